//! What in a plan has no effect, or refuses more than was meant.

use super::operations;
use crate::domain::{
    catalog::Catalog,
    plan::{Overage, PlanVersion},
    units::Units,
};
use crate::policy::{compile::Read, definition::PlanFile, diagnostic::Findings};

/// Warns about each plan by itself.
pub(super) fn check(catalog: &Catalog, read: &Read, findings: &mut Findings<'_>) {
    let dearest = dearest(catalog);
    for file in read.plans.values().flatten() {
        plan(catalog, file, &dearest, findings);
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
