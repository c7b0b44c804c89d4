//! What is legal and probably not meant. Only asked of policies without errors.

use std::collections::BTreeSet;

use super::{
    compile::{Read, meter_name},
    definition::{PlanFile, RouteTerms},
    diagnostic::Findings,
    inherit,
};
use crate::domain::{
    catalog::{Catalog, Unmatched},
    period::Window,
    plan::{MeterIx, Overage, Plan, Quota},
    route::Operation,
    units::Units,
};

/// Adds the warnings about a catalog.
pub(super) fn check(catalog: &Catalog, read: &Read, findings: &mut Findings<'_>) {
    unused_names(catalog, read, findings);
    let dearest = dearest(catalog);
    for (id, file) in &read.plans {
        if let Some(file) = file
            && catalog.plan(id).is_some()
        {
            plan(catalog, file, &dearest, findings);
        }
    }
    if let Some(file) = &read.routes {
        for (route, operation) in file.routes.iter().zip(catalog.routes.operations()) {
            nobody(catalog, route, operation, findings);
        }
    }
}

fn operations(catalog: &Catalog) -> impl Iterator<Item = &Operation> {
    let rest = match &catalog.unmatched {
        Unmatched::Allow(operation) => Some(operation),
        Unmatched::Deny => None,
    };
    catalog.routes.operations().iter().chain(rest)
}

fn unused_names(catalog: &Catalog, read: &Read, findings: &mut Findings<'_>) {
    let Some(declarations) = &read.declarations else { return };
    let mut features = BTreeSet::new();
    let mut meters = BTreeSet::new();
    for operation in operations(catalog) {
        features.extend(operation.features.iter());
        meters.extend(operation.charge.iter().map(|charge| charge.meter));
    }
    let plans = read.plans.values().flatten();
    let named: BTreeSet<&str> = plans.clone().flat_map(|p| &p.features).map(|n| n.value.as_str()).collect();
    let limits: BTreeSet<&str> = plans.flat_map(|p| &p.limits).map(|(n, _)| n.value.as_str()).collect();
    for declared in &declarations.features {
        let id = declared.id.as_str();
        if !named.contains(id)
            && !inherit::feature_ix(declarations, id).is_some_and(|ix| features.contains(&ix))
        {
            findings.warn(
                "unused-feature",
                declared.place,
                format!("no plan and no route uses `{id}`"),
                None,
            );
        }
    }
    for declared in &declarations.limits {
        if !limits.contains(declared.id.as_str()) {
            let message = format!("no plan sets the limit `{}`", declared.id);
            findings.warn("unused-limit", declared.place, message, None);
        }
    }
    for declared in &declarations.meters {
        if !inherit::meter_ix(declarations, declared.id.as_str()).is_some_and(|ix| meters.contains(&ix)) {
            let message = format!("no route charges `{}`", declared.id);
            findings.warn("unused-meter", declared.place, message, None);
        }
    }
}

/// For each meter the largest charge, and the route that makes it.
fn dearest(catalog: &Catalog) -> Vec<(Units, &str)> {
    let mut dearest = vec![(Units::ZERO, ""); catalog.meters.len()];
    for operation in operations(catalog) {
        for charge in &operation.charge {
            if let Some(most) = dearest.get_mut(usize::from(charge.meter.0))
                && charge.units > most.0
            {
                *most = (charge.units, operation.name.as_str());
            }
        }
    }
    dearest
}

fn plan(catalog: &Catalog, file: &PlanFile, dearest: &[(Units, &str)], findings: &mut Findings<'_>) {
    let Some(plan) = catalog.plan(file.id.as_str()) else { return };
    let parent = plan.parent.as_ref().and_then(|id| catalog.plan(id.as_str()));
    for name in &file.without {
        let had = catalog.feature_ix(&name.value).zip(parent).is_some_and(|(ix, p)| p.features.contains(ix));
        if !had {
            let message = match &plan.parent {
                Some(parent) => format!("`{parent}` does not have `{}`: nothing is taken away", name.value),
                None => format!("the plan extends none: there is no `{}` to take away", name.value),
            };
            findings.warn("without-effect", name.place, message, None);
        }
    }
    for (name, quota) in &file.quotas {
        if matches!(quota.overage, Overage::Bill { .. }) && plan.price.is_none() {
            let message =
                format!("the overage of `{}` has a price, but the plan has no currency", name.value);
            let help = "give the plan a `price`".to_owned();
            findings.warn("overage-without-currency", name.place, message, help);
        }
    }
    for (name, rate) in &file.rates {
        let Some(ix) = catalog.meter_ix(&name.value) else { continue };
        let place = usize::from(ix.0);
        if plan.meters.get(place).is_some_and(|terms| terms.quota.is_none()) {
            let message =
                format!("the plan has no quota for `{}`: its requests are refused at any rate", name.value);
            let help = "add it to `quotas`, if only as `unlimited`".to_owned();
            findings.warn("rate-without-quota", name.place, message, help);
        }
        if let (Some(rate), Some((units, route))) = (rate, dearest.get(place))
            && rate.burst > Units::ZERO
            && *units > rate.burst
        {
            let burst = rate.burst;
            let message = format!("a burst of {burst} can never let `{route}` pass, which costs {units}");
            findings.warn("charge-above-burst", name.place, message, format!("set `burst: {units}` or more"));
        }
    }
}

fn nobody(catalog: &Catalog, route: &RouteTerms, operation: &Operation, findings: &mut Findings<'_>) {
    if operation.public || catalog.plans.values().any(|plan| plan.admits(operation)) {
        return;
    }
    let without_quota = operation.charge.iter().map(|charge| charge.meter).find(|ix| {
        let place = usize::from(ix.0);
        catalog.plans.values().all(|plan| plan.meters.get(place).is_none_or(|terms| terms.quota.is_none()))
    });
    let help = match without_quota {
        Some(ix) => Some(format!("no plan has a quota for `{}`", meter_name(catalog, ix))),
        None => above_every_limit(catalog, operation),
    };
    let message = format!("no plan admits `{}`", route.name.value);
    findings.warn("route-for-nobody", route.name.place, message, help);
}

/// The charge that is larger than what any plan allows at once, in words.
fn above_every_limit(catalog: &Catalog, operation: &Operation) -> Option<String> {
    let quota = |plan: &Plan, ix: MeterIx| plan.meters.get(usize::from(ix.0)).and_then(|terms| terms.quota);
    let whole = |quota: Quota| {
        let limits = Window::ALL.into_iter().filter_map(|window| quota.hard_limit(window));
        limits.min().unwrap_or(Units::MAX)
    };
    operation.charge.iter().find_map(|charge| {
        let quotas = catalog.plans.values().filter_map(|plan| quota(plan, charge.meter));
        let most = quotas.map(whole).max().filter(|most| charge.units > *most)?;
        let reserved = operation.settle.iter().any(|from| from.meter == charge.meter);
        let takes = if reserved { "reserves" } else { "costs" };
        let (units, name) = (charge.units, meter_name(catalog, charge.meter));
        Some(format!("it {takes} {units} of `{name}`, and no plan allows more than {most}"))
    })
}
