//! Spend caps that bound nothing, or that cannot be used up to the last billionth.

use crate::domain::{catalog::Catalog, plan::Plan, spend::UnitCost};
use crate::policy::{
    compile::{Read, meter_name},
    definition::PlanFile,
    diagnostic::Findings,
};

/// Warns about each plan by itself.
pub(super) fn check(catalog: &Catalog, read: &Read, findings: &mut Findings<'_>) {
    for file in read.plans.values().flatten() {
        if let Some(plan) = catalog.plan(file.id.as_str())
            && plan.spend_cap.limit().is_some()
        {
            without_effect(plan, file, findings);
            inexact(catalog, plan, file, findings);
        }
    }
}

/// A cap that the file itself sets.
fn without_effect(plan: &Plan, file: &PlanFile, findings: &mut Findings<'_>) {
    let Some(place) = file.keys.get("spend_cap") else { return };
    let (message, help) = if plan.price.is_none() {
        ("the spend cap has no currency, as the plan has no `price`", "give the plan a `price`")
    } else if plan.meters.iter().all(|terms| UnitCost::of_meter(terms).is_none()) {
        (
            "the spend cap bounds nothing, as the plan bills no overage",
            "set `overage: { mode: bill, price: .. }` in one of its quotas, or remove `spend_cap`",
        )
    } else {
        return;
    };
    findings.warn("spend-cap-without-effect", *place, message, help.to_owned());
}

/// Prices of which one unit is no whole number of billionths. They are told where this file says either of the two.
fn inexact(catalog: &Catalog, plan: &Plan, file: &PlanFile, findings: &mut Findings<'_>) {
    for (ix, terms) in (0..).map(crate::domain::plan::MeterIx).zip(&plan.meters) {
        let Some(cost) = UnitCost::of_meter(terms).filter(|cost| !cost.exact) else { continue };
        let meter = meter_name(catalog, ix);
        let quota = file.quotas.iter().find(|(name, _)| name.value == meter).map(|(name, _)| name.place);
        let Some(place) = quota.or_else(|| file.keys.get("spend_cap").copied()) else { continue };
        let message = format!(
            "one `{meter}` beyond what is included costs no whole number of billionths: under the spend cap it takes {}",
            cost.money
        );
        let help =
            "a little of the cap may stay unused: choose `price` and `per` so that a unit costs at most 9 \
                    fractional digits"
                .to_owned();
        findings.warn("spend-cap-inexact", place, message, help);
    }
}
