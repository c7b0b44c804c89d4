//! Routes that no plan admits, whatever is sold beside it: one warning for each reason, not for each route.

use std::{
    cell::OnceCell,
    collections::{HashMap, HashSet},
};

use crate::domain::{
    catalog::{Catalog, Unmatched},
    features::{FeatureIx, FeatureSet},
    period::Window,
    plan::{MeterIx, Plan, Quota},
    route::{Charge, Operation},
    units::Units,
};
use crate::policy::{
    compile::{Read, meter_name},
    definition::RoutesFile,
    diagnostic::Findings,
    extras,
    source::Place,
};

/// Why no plan admits a route.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Reason<'c> {
    Feature(FeatureIx),
    Meter(MeterIx),
    /// No one plan has all of it, or allows so much at once.
    Needs(&'c FeatureSet, &'c [Charge]),
}

/// Routes that nobody may use for one reason, in the order of the file.
struct Refused<'c> {
    name: String,
    place: Place,
    others: Vec<Place>,
    operation: &'c Operation,
}

/// So many other routes are shown beside the first.
const MOST_SHOWN: usize = 3;

/// Warns of routes that no plan admits.
pub(super) fn check(catalog: &Catalog, read: &Read, file: &RoutesFile, findings: &mut Findings<'_>) {
    let named = file.routes.iter().zip(catalog.routes.operations());
    let named =
        named.map(|(route, operation)| (format!("`{}`", route.name.value), route.name.place, operation));
    // Requests that no route covers are charged as the default says, so that is where they have a place.
    let rest = match (&catalog.unmatched, file.default_charge.first()) {
        (Unmatched::Allow(operation), Some((name, _))) => {
            Some(("what no route covers".to_owned(), name.place, operation))
        }
        _ => None,
    };
    let sold = OnceCell::new();
    let mut last: Option<&Plan> = None;
    let mut seen: HashSet<(&FeatureSet, &[Charge])> = HashSet::new();
    let mut places: HashMap<Reason<'_>, usize> = HashMap::new();
    let mut refused: Vec<(Reason<'_>, Refused<'_>)> = Vec::new();
    for (name, place, operation) in named.chain(rest) {
        let needs = (&operation.features, &*operation.charge);
        // The plan with most in it admits most routes.
        if operation.public || seen.contains(&needs) || last.is_some_and(|plan| plan.admits(operation)) {
            continue;
        }
        let sold: &Sold = sold.get_or_init(|| Sold::of(catalog));
        if let Some(plan) = sold.admitting(operation) {
            last = Some(plan);
            seen.insert(needs);
            continue;
        }
        let reason = sold.reason(operation);
        match places.get(&reason) {
            Some(at) => refused[*at].1.others.push(place),
            None => {
                places.insert(reason, refused.len());
                refused.push((reason, Refused { name, place, others: Vec::new(), operation }));
            }
        }
    }
    for (reason, refused) in &refused {
        warn(catalog, read, reason, refused, sold.get().map_or(&[], |sold| &sold.full), findings);
    }
}

/// Each plan with all that may be sold beside it, and for each feature which of these have it, as bits: ten thousand
/// routes may each ask for other features of a thousand plans.
struct Sold {
    full: Vec<Plan>,
    holders: Vec<Vec<u64>>,
}

impl Sold {
    fn of(catalog: &Catalog) -> Self {
        let full = extras::with_all(catalog);
        let mut holders = vec![vec![0; full.len().div_ceil(64)]; catalog.features.len()];
        for (place, plan) in full.iter().enumerate() {
            for ix in plan.features.iter() {
                if let Some(word) =
                    holders.get_mut(usize::from(ix.0)).and_then(|words| words.get_mut(place / 64))
                {
                    *word |= 1 << (place % 64);
                }
            }
        }
        Self { full, holders }
    }

    /// The plans that have all of these features.
    fn holding(&self, features: &FeatureSet) -> impl Iterator<Item = &Plan> {
        let mut held = vec![u64::MAX; self.full.len().div_ceil(64)];
        for words in features.iter().filter_map(|ix| self.holders.get(usize::from(ix.0))) {
            held.iter_mut().zip(words).for_each(|(held, word)| *held &= word);
        }
        let has = move |place: &usize| held.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1);
        (0..self.full.len()).filter(has).filter_map(|place| self.full.get(place))
    }

    fn admitting(&self, operation: &Operation) -> Option<&Plan> {
        self.holding(&operation.features).find(|plan| plan.admits(operation))
    }

    fn reason<'c>(&self, operation: &'c Operation) -> Reason<'c> {
        let held =
            |ix: FeatureIx| self.holders.get(usize::from(ix.0)).is_some_and(|w| w.iter().any(|w| *w != 0));
        if let Some(ix) = operation.features.iter().find(|ix| !held(*ix)) {
            return Reason::Feature(ix);
        }
        let without_quota = operation.charge.iter().map(|charge| charge.meter).find(|ix| {
            let place = usize::from(ix.0);
            self.full.iter().all(|plan| plan.meters.get(place).is_none_or(|terms| terms.quota.is_none()))
        });
        without_quota.map_or(Reason::Needs(&operation.features, &operation.charge), Reason::Meter)
    }
}

fn warn(
    catalog: &Catalog,
    read: &Read,
    reason: &Reason<'_>,
    refused: &Refused<'_>,
    full: &[Plan],
    findings: &mut Findings<'_>,
) {
    let or_addon = if read.addons.is_empty() { "" } else { " and no add-on" };
    let help = match reason {
        Reason::Feature(ix) => {
            let feature = catalog.feature(*ix).map_or("?", |feature| feature.id.as_str());
            Some(format!("no plan{or_addon} has the feature `{feature}`"))
        }
        Reason::Meter(ix) => {
            let meter = meter_name(catalog, *ix);
            Some(format!("no plan has a quota for `{meter}`: add one to `quotas`, if only as `unlimited`"))
        }
        Reason::Needs(..) => above_every_limit(full, catalog, refused.operation)
            .or_else(|| not_together(full, catalog, refused.operation)),
    };
    let mut message = format!("no plan admits {}", refused.name);
    match refused.others.len() {
        0 => {}
        1 => message.push_str(", nor one more route for the same reason"),
        more => message.push_str(&format!(", nor {more} more routes for the same reason")),
    }
    let mut finding = findings.warning_at("route-for-nobody", refused.place, message).help(help);
    for place in refused.others.iter().take(MOST_SHOWN) {
        finding = finding.related(findings.locate(*place), "nor this one");
    }
    findings.push(finding);
}

/// Features that plans have, and none all of them.
fn not_together(full: &[Plan], catalog: &Catalog, operation: &Operation) -> Option<String> {
    if full.iter().any(|plan| plan.features.first_missing(&operation.features).is_none()) {
        return Some("the plans that have its features lack a quota that is large enough".to_owned());
    }
    let names = operation.features.iter().filter_map(|ix| catalog.feature(ix));
    let names: Vec<String> = names.take(8).map(|feature| format!("`{}`", feature.id)).collect();
    Some(format!("no plan has all of {} at once", names.join(", ")))
}

/// The charge that is larger than what any plan allows at once, in words.
fn above_every_limit(full: &[Plan], catalog: &Catalog, operation: &Operation) -> Option<String> {
    let quota = |plan: &Plan, ix: MeterIx| plan.meters.get(usize::from(ix.0)).and_then(|terms| terms.quota);
    let whole = |quota: Quota| {
        let limits = Window::ALL.into_iter().filter_map(|window| quota.hard_limit(window));
        limits.min().unwrap_or(Units::MAX)
    };
    operation.charge.iter().find_map(|charge| {
        let quotas = full.iter().filter_map(|plan| quota(plan, charge.meter));
        let most = quotas.map(whole).max().filter(|most| charge.units > *most)?;
        let reserved = operation.settle.iter().any(|from| from.meter == charge.meter);
        let takes = if reserved { "reserves" } else { "costs" };
        let (units, name) = (charge.units, meter_name(catalog, charge.meter));
        Some(format!("it {takes} {units} of `{name}`, and no plan allows more than {most}"))
    })
}
