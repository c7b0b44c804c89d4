//! Plans that have less than one that costs less.
//!
//! Only plans of one currency are compared, and only those of one line: the dearer extends the cheaper (and takes nothing
//! away with `without`, which would say that it is a variant) or the other way round, has all of its features, or has
//! nothing at all that the cheaper has not. What several plans lack for one reason is told once.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use crate::domain::{
    catalog::Catalog,
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
}

/// Something that a plan has less of.
struct Less {
    /// What, and how much of it on either side: whatever agrees in one with what was told already has the same cause.
    keys: [String; 2],
    text: String,
    place: Option<Place>,
}

/// Warns of each plan that has less than a cheaper one.
pub(super) fn check(catalog: &Catalog, read: &Read, findings: &mut Findings<'_>) {
    let mut currencies: BTreeMap<String, Vec<Priced<'_>>> = BTreeMap::new();
    for file in read.plans.values().flatten() {
        if let Some(plan) = catalog.plan(file.id.as_str())
            && let Some(price) = plan.price
        {
            currencies.entry(price.currency.to_string()).or_default().push(Priced { file, plan, price });
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
                if pair(catalog, read, cheaper, dearer, &mut told, findings) {
                    break;
                }
            }
        }
    }
}

/// Compares two plans; whether something was told.
fn pair(
    catalog: &Catalog,
    read: &Read,
    cheaper: &Priced<'_>,
    dearer: &Priced<'_>,
    told: &mut BTreeSet<String>,
    findings: &mut Findings<'_>,
) -> bool {
    if !of_one_line(catalog, read, cheaper, dearer) {
        return false;
    }
    let mut less = less(catalog, cheaper.plan, dearer);
    less.retain(|less| !less.keys.iter().any(|key| told.contains(key)));
    if less.is_empty() {
        return false;
    }
    told.extend(less.iter().flat_map(|less| less.keys.clone()));
    let mut texts: Vec<&str> = less.iter().map(|less| less.text.as_str()).take(MOST_NAMED).collect();
    let more = format!("{} more", less.len().saturating_sub(MOST_NAMED));
    if less.len() > MOST_NAMED {
        texts.push(&more);
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
    let place = less.iter().find_map(|less| less.place).unwrap_or(dearer.file.place);
    let finding = findings
        .warning_at("cheaper-has-more", place, message)
        .help("who changes to the dearer plan would lose it".to_owned())
        .related(findings.locate(cheaper.file.place), "the cheaper plan");
    findings.push(finding);
    true
}

/// Whether the one plan can be meant to be more than the other.
fn of_one_line(catalog: &Catalog, read: &Read, cheaper: &Priced<'_>, dearer: &Priced<'_>) -> bool {
    let chain = |from: &Priced<'_>, to: &Priced<'_>| {
        let mut taken_away = false;
        let mut at = from.plan;
        // Compiled plans have no circles; bounded all the same.
        for _ in 0..catalog.plans.len() {
            let written = read.plans.get(at.id.as_str()).and_then(Option::as_ref);
            taken_away |= written.is_some_and(|file| !file.without.is_empty());
            let parent = at.parent.as_ref().and_then(|id| catalog.plan(id.as_str()))?;
            if parent.id == to.plan.id {
                return Some(taken_away);
            }
            at = parent;
        }
        None
    };
    if let Some(variant) = chain(dearer, cheaper) {
        return !variant;
    }
    if chain(cheaper, dearer).is_some()
        || dearer.plan.features.first_missing(&cheaper.plan.features).is_none()
    {
        return true;
    }
    less(catalog, dearer.plan, cheaper).is_empty()
}

/// What `of` has less of than `than`.
fn less(catalog: &Catalog, than: &Plan, of: &Priced<'_>) -> Vec<Less> {
    let mut out = Vec::new();
    for ix in than.features.iter().filter(|ix| !of.plan.features.contains(*ix)) {
        let name = catalog.feature(ix).map_or("?", |feature| feature.id.as_str());
        let key = format!("feature {name}");
        out.push(Less { keys: [key.clone(), key], text: format!("no `{name}`"), place: None });
    }
    for (id, more) in &than.limits {
        let less = of.plan.limits.get(id);
        if less.is_some_and(|less| !is_less(Some(*less), Some(*more))) {
            continue;
        }
        let text = match less {
            Some(less) => format!("{less} `{id}` instead of {more}"),
            None => format!("no limit `{id}`, which is {more} there"),
        };
        let key = |side: &str, limit: Option<&Allowance>| format!("{side} limit {id} {limit:?}");
        let written = of.file.limits.iter().find(|(name, _)| name.value == id.as_str());
        let place = written.map(|(name, _)| name.place);
        out.push(Less { keys: [key("less", less), key("more", Some(more))], text, place });
    }
    for (ix, (more, less)) in (0..).zip(than.meters.iter().zip(&of.plan.meters)) {
        let Some(more) = more.quota else { continue };
        let name = meter_name(catalog, MeterIx(ix));
        let text = match less.quota {
            None => format!("no quota for `{name}`"),
            Some(less) => {
                let windows = Window::ALL.into_iter().rev();
                let mut windows = windows.map(|window| (window, usable(less, window), usable(more, window)));
                match windows.find(|(_, less, more)| is_less(Some(*less), Some(*more))) {
                    None => continue,
                    Some((window, less, more)) => {
                        format!("{less} `{name}` in the {} instead of {more}", window.as_str())
                    }
                }
            }
        };
        let key = |side: &str, quota: Option<Quota>| format!("{side} quota {name} {quota:?}");
        let written = of.file.quotas.iter().find(|(meter, _)| meter.value == name);
        let place = written.map(|(name, _)| name.place);
        out.push(Less { keys: [key("less", less.quota), key("more", Some(more))], text, place });
    }
    out
}

fn is_less(one: Option<Allowance>, other: Option<Allowance>) -> bool {
    let number = |allowance: Option<Allowance>| allowance.map(|a| a.limit().map_or(u64::MAX, Units::get));
    number(one) < number(other)
}

/// What may be used in a window without being billed, longer windows included.
fn usable(quota: Quota, window: Window) -> Allowance {
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
