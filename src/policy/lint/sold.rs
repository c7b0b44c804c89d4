//! Plans that have a price and that no price of Stripe sells. Only asked where there is a stripe.yaml with prices.

use crate::domain::{billing::Sold, catalog::Catalog, money::Total};
use crate::policy::{compile::Read, diagnostic::Findings};

/// Warns of plans that nobody can buy at Stripe.
pub(super) fn check(catalog: &Catalog, read: &Read, findings: &mut Findings<'_>) {
    let map = &catalog.stripe;
    if read.stripe.is_none() || map.prices.is_empty() && map.lookup_keys.is_empty() {
        return;
    }
    for file in read.plans.values().flatten() {
        let sold = Sold::Plan(file.id.clone());
        let priced = catalog
            .plan(file.id.as_str())
            .and_then(|plan| plan.price)
            .is_some_and(|price| Total::of(price.amount, 1) > Total::default());
        if priced && !map.prices.values().chain(map.lookup_keys.values()).any(|one| *one == sold) {
            let message = format!("the plan `{}` has a price, and no price of stripe.yaml sells it", file.id);
            let help = format!(
                "add a price to stripe.yaml: `price_...: {{ plan: {} }}`, or remove the plan's",
                file.id
            );
            findings.warn("plan-not-sold", file.place, message, help);
        }
    }
}
