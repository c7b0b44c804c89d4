//! What is legal and probably not meant. Only asked of policies without errors.

use std::{cell::OnceCell, collections::BTreeSet};

use super::{
    compile::{Read, meter_name},
    definition::{PlanFile, RouteTerms},
    diagnostic::Findings,
    extras, inherit,
};
use crate::domain::{
    catalog::{Catalog, Unmatched},
    period::Window,
    plan::{MeterIx, Overage, Plan, PlanVersion, Quota},
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
    extras::check(catalog, read, findings);
    if let Some(file) = &read.routes {
        let full = OnceCell::new();
        for (route, operation) in file.routes.iter().zip(catalog.routes.operations()) {
            if operation.public || catalog.plans.values().any(|plan| plan.admits(operation)) {
                continue;
            }
            // What no plan has of its own may be sold beside it.
            let full = full.get_or_init(|| extras::with_all(catalog));
            if !full.iter().any(|plan| plan.admits(operation)) {
                nobody(full, catalog, route, operation, findings);
            }
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
        meters.extend(operation.meters());
    }
    let plans = read.plans.values().flatten();
    let sold = plans.clone().flat_map(|p| &p.features).chain(read.addons.iter().flat_map(|a| &a.features));
    let named: BTreeSet<&str> = sold.map(|name| name.value.as_str()).collect();
    let set = plans.flat_map(|p| &p.limits).chain(read.addons.iter().flat_map(|a| &a.limits));
    let limits: BTreeSet<&str> = set.map(|(name, _)| name.value.as_str()).collect();
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
    if let Some(existing) = file.existing.as_ref().filter(|_| file.version == PlanVersion::FIRST) {
        let message = "`existing` has no effect in version 1: no tenant is on an older one";
        let help = "raise `version` together with the terms, or remove `existing`".to_owned();
        findings.warn("existing-without-effect", existing.place, message, help);
    }
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

/// Warns of a route that no plan admits, whatever is sold beside it.
fn nobody(
    full: &[Plan],
    catalog: &Catalog,
    route: &RouteTerms,
    operation: &Operation,
    findings: &mut Findings<'_>,
) {
    let without_quota = operation.charge.iter().map(|charge| charge.meter).find(|ix| {
        let place = usize::from(ix.0);
        full.iter().all(|plan| plan.meters.get(place).is_none_or(|terms| terms.quota.is_none()))
    });
    let help = match without_quota {
        Some(ix) => Some(format!("no plan has a quota for `{}`", meter_name(catalog, ix))),
        None => above_every_limit(full, catalog, operation),
    };
    let message = format!("no plan admits `{}`", route.name.value);
    findings.warn("route-for-nobody", route.name.place, message, help);
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
