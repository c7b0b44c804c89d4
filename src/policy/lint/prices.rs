//! Plans that have less than one that costs less.
//!
//! Only plans of one currency are compared, and only those of one line: the dearer extends the cheaper (and takes nothing
//! away with `without`, which would say that it is a variant) or the other way round, has all of its features, or has
//! nothing at all that the cheaper has not. What several plans lack for one reason is told once.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::domain::{
    catalog::Catalog,
    features::FeatureIx,
    id::{LimitId, PlanId},
    money::Price,
    period::Window,
    plan::{MeterIx, Overage, Plan, Quota},
    units::{Allowance, Units},
};
use crate::policy::{
    compile::{Read, meter_name},
    definition::PlanFile,
    diagnostic::Findings,
    source::Place,
};

/// So many plans below each are compared with it, the nearest first.
const MOST_COMPARED: usize = 16;
/// And so many values in all: a thousand plans of thousands of names are not read by anybody either.
const MOST_VALUES: usize = 4_000_000;
/// So many differences are named.
const MOST_NAMED: usize = 4;

/// A plan with a price.
struct Priced<'r> {
    file: &'r PlanFile,
    plan: &'r Plan,
    price: Price,
    number: usize,
}

/// Which plan extends which, by numbers: chains of a thousand plans are walked for each pair.
struct Lines(Vec<Link>);

struct Link {
    parent: Option<usize>,
    takes_away: bool,
}

/// Something that a plan has less of.
enum Less<'c> {
    Feature(FeatureIx),
    Limit { id: &'c LimitId, less: Option<Allowance>, more: Allowance },
    Quota { meter: MeterIx, less: Option<&'c Quota>, more: &'c Quota },
}

/// Warns of each plan that has less than a cheaper one.
pub(super) fn check(catalog: &Catalog, read: &Read, findings: &mut Findings<'_>) {
    let mut currencies: BTreeMap<String, Vec<Priced<'_>>> = BTreeMap::new();
    let (lines, numbers) = lines(catalog, read);
    for file in read.plans.values().flatten() {
        if let Some(plan) = catalog.plan(file.id.as_str())
            && let (Some(price), Some(number)) = (plan.price, numbers.get(file.id.as_str()))
        {
            let priced = Priced { file, plan, price, number: *number };
            currencies.entry(price.currency.to_string()).or_default().push(priced);
        }
    }
    let (mut told, mut left) = (BTreeSet::new(), MOST_VALUES);
    for plans in currencies.values_mut() {
        // Stable, so that plans of one price stay in the order of their names.
        plans.sort_by(|a, b| a.price.amount.compare(b.price.amount));
        for (place, dearer) in plans.iter().enumerate() {
            let below = plans[..place].iter().rev();
            let below = below.filter(|one| one.price.amount.compare(dearer.price.amount) == Ordering::Less);
            for cheaper in below.take(MOST_COMPARED) {
                let values = cheaper.plan.limits.len() + catalog.meters.len() + catalog.features.len() / 64;
                left = left.saturating_sub(values + 1);
                if left == 0 {
                    return;
                }
                if pair(catalog, &lines, cheaper, dearer, &mut told, findings) {
                    break;
                }
            }
        }
    }
}

fn lines<'c>(catalog: &'c Catalog, read: &Read) -> (Lines, BTreeMap<&'c str, usize>) {
    let numbers: BTreeMap<&str, usize> = catalog.plans.keys().map(PlanId::as_str).zip(0..).collect();
    let link = |plan: &Arc<Plan>| {
        let written = read.plans.get(plan.id.as_str()).and_then(Option::as_ref);
        Link {
            parent: plan.parent.as_ref().and_then(|id| numbers.get(id.as_str()).copied()),
            takes_away: written.is_some_and(|file| !file.without.is_empty()),
        }
    };
    (Lines(catalog.plans.values().map(link).collect()), numbers)
}

impl Lines {
    /// Whether one plan extends another, and if so, whether anything is taken away on the way.
    fn extends(&self, from: usize, to: usize) -> Option<bool> {
        let (mut at, mut taken_away) = (from, false);
        // Compiled plans have no circles; bounded all the same.
        for _ in 0..self.0.len() {
            let link = self.0.get(at)?;
            taken_away |= link.takes_away;
            at = link.parent?;
            if at == to {
                return Some(taken_away);
            }
        }
        None
    }

    /// Whether the one plan can be meant to be more than the other.
    fn are_one(&self, cheaper: &Priced<'_>, dearer: &Priced<'_>) -> bool {
        if let Some(variant) = self.extends(dearer.number, cheaper.number) {
            return !variant;
        }
        self.extends(cheaper.number, dearer.number).is_some()
            || dearer.plan.features.first_missing(&cheaper.plan.features).is_none()
            || less(dearer.plan, cheaper.plan).next().is_none()
    }
}

/// Compares two plans; whether something was told.
fn pair(
    catalog: &Catalog,
    lines: &Lines,
    cheaper: &Priced<'_>,
    dearer: &Priced<'_>,
    told: &mut BTreeSet<String>,
    findings: &mut Findings<'_>,
) -> bool {
    if !lines.are_one(cheaper, dearer) {
        return false;
    }
    let mut found: Vec<Less<'_>> = less(cheaper.plan, dearer.plan).collect();
    found.retain(|less| !less.keys().iter().any(|key| told.contains(key)));
    if found.is_empty() {
        return false;
    }
    told.extend(found.iter().flat_map(Less::keys));
    let mut texts: Vec<String> = found.iter().take(MOST_NAMED).map(|less| less.text(catalog)).collect();
    if found.len() > MOST_NAMED {
        texts.push(format!("{} more", found.len() - MOST_NAMED));
    }
    let (low, high) = (cheaper.price, dearer.price);
    let message = format!(
        "`{}` costs more than `{}` ({} to {} {}) and has less: {}",
        dearer.plan.id,
        cheaper.plan.id,
        high.amount,
        low.amount,
        low.currency,
        texts.join(", ")
    );
    let place = found.iter().find_map(|less| less.written(catalog, dearer.file)).unwrap_or(dearer.file.place);
    let finding = findings
        .warning_at("cheaper-has-more", place, message)
        .help("who changes to the dearer plan would lose it".to_owned())
        .related(findings.locate(cheaper.file.place), "the cheaper plan");
    findings.push(finding);
    true
}

/// What `of` has less of than `than`.
fn less<'p>(than: &'p Plan, of: &'p Plan) -> impl Iterator<Item = Less<'p>> {
    let features = than.features.iter().filter(|ix| !of.features.contains(*ix)).map(Less::Feature);
    let limits = than.limits.iter().filter_map(|(id, more)| {
        let less = of.limits.get(id).copied();
        less.is_none_or(|less| is_less(less, *more)).then_some(Less::Limit { id, less, more: *more })
    });
    let quotas = (0..).zip(than.meters.iter().zip(&of.meters)).filter_map(|(ix, (more, less))| {
        let (more, less) = (more.quota.as_ref()?, less.quota.as_ref());
        let is = less.is_none_or(|less| shorter(less, more).is_some());
        is.then_some(Less::Quota { meter: MeterIx(ix), less, more })
    });
    features.chain(limits).chain(quotas)
}

impl Less<'_> {
    /// What, and how much of it on either side: whatever agrees in one with what was told already has the same cause.
    fn keys(&self) -> [String; 2] {
        match self {
            Self::Feature(ix) => [format!("less {ix:?}"), format!("more {ix:?}")],
            Self::Limit { id, less, more } => [format!("less {id} {less:?}"), format!("more {id} {more:?}")],
            Self::Quota { meter, less, more } => {
                [format!("less {meter:?} {less:?}"), format!("more {meter:?} {more:?}")]
            }
        }
    }

    fn text(&self, catalog: &Catalog) -> String {
        match self {
            Self::Feature(ix) => {
                format!("no `{}`", catalog.feature(*ix).map_or("?", |feature| feature.id.as_str()))
            }
            Self::Limit { id, less: Some(less), more } => format!("{less} `{id}` instead of {more}"),
            Self::Limit { id, less: None, more } => format!("no limit `{id}`, which is {more} there"),
            Self::Quota { meter, less, more } => {
                let name = meter_name(catalog, *meter);
                match less.and_then(|less| shorter(less, more)) {
                    Some((window, less, more)) => {
                        format!("{less} `{name}` in the {} instead of {more}", window.as_str())
                    }
                    None => format!("no quota for `{name}`"),
                }
            }
        }
    }

    /// Where the plan itself says it; `None`: it comes from elsewhere.
    fn written(&self, catalog: &Catalog, file: &PlanFile) -> Option<Place> {
        match self {
            Self::Feature(_) => None,
            Self::Limit { id, .. } => {
                file.limits.iter().find(|(name, _)| name.value == id.as_str()).map(|(name, _)| name.place)
            }
            Self::Quota { meter, .. } => {
                let meter = meter_name(catalog, *meter);
                file.quotas.iter().find(|(name, _)| name.value == meter).map(|(name, _)| name.place)
            }
        }
    }
}

/// The longest window in which less may be used, with both numbers.
fn shorter(less: &Quota, more: &Quota) -> Option<(Window, Allowance, Allowance)> {
    let windows = Window::ALL.into_iter().rev();
    let mut windows = windows.map(|window| (window, usable(less, window), usable(more, window)));
    windows.find(|(_, less, more)| is_less(*less, *more))
}

fn is_less(one: Allowance, other: Allowance) -> bool {
    let number = |allowance: Allowance| allowance.limit().map_or(u64::MAX, Units::get);
    number(one) < number(other)
}

/// What may be used in a window without being billed, longer windows included.
fn usable(quota: &Quota, window: Window) -> Allowance {
    let free = match quota.overage {
        Overage::Allow { .. } => quota.hard_limit(Window::Month),
        Overage::Block | Overage::Bill { .. } => quota.month.limit(),
    };
    let longer = Window::ALL.into_iter().skip_while(|one| *one != window);
    let limits = longer.filter_map(|one| match one {
        Window::Month => free,
        _ => quota.hard_limit(one),
    });
    limits.min().map_or(Allowance::Unlimited, Allowance::Limited)
}
