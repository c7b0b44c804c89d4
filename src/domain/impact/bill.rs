//! What a month costs a tenant: plan, add-ons, and what was let through beyond what is included.

use std::collections::BTreeMap;

use crate::domain::{
    catalog::Catalog,
    money::{Currency, Total},
    plan::{Overage, Quota},
    rights::Entitlement,
    tenant::Tenant,
    transitions::State,
    units::Units,
};

/// Amounts by currency.
pub(super) type Amounts = BTreeMap<Currency, Total>;

pub(super) fn add(amounts: &mut Amounts, currency: Currency, amount: Total) {
    let sum = amounts.entry(currency).or_default();
    *sum = sum.plus(amount);
}

/// Plan and add-ons. A trial costs nothing.
pub(super) fn fixed(given: &Entitlement, tenant: &Tenant, catalog: &Catalog) -> Amounts {
    let mut amounts = Amounts::new();
    if given.state == State::Trialing {
        return amounts;
    }
    if let Some(price) = given.offer.price {
        add(&mut amounts, price.currency, Total::of(price.amount, 1));
    }
    for attached in &tenant.addons {
        let addon = catalog.addon(attached.addon.as_str()).filter(|addon| addon.goes_with(&given.plan));
        if let Some(price) = addon.and_then(|addon| addon.price) {
            add(&mut amounts, price.currency, Total::of(price.amount, attached.quantity));
        }
    }
    amounts
}

/// What so many units cost of which so many are included, in the currency of the plan's price.
pub(super) fn overage(
    given: &Entitlement,
    quota: Option<Quota>,
    admitted: u64,
    included: Option<Units>,
) -> Option<(Currency, Total)> {
    let Some(Overage::Bill { price, per, .. }) = quota.map(|quota| quota.overage) else { return None };
    let currency = given.offer.price?.currency;
    let beyond = admitted.saturating_sub(included?.get());
    let billed = beyond > 0 && given.state != State::Trialing;
    billed.then(|| (currency, Total::metered(price, per, Units::saturating(beyond))))
}

/// What of a month's overage is let through under the spend cap.
pub(super) fn capped(given: Option<&Entitlement>, currency: Currency, overage: Total) -> Total {
    let terms = given.and_then(|given| given.offer.spend()).filter(|terms| terms.currency == currency);
    terms.and_then(|terms| terms.cap).map_or(overage, |cap| overage.min(cap.total()))
}
