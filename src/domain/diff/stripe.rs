//! What differs in what a Stripe account's names mean.

use std::collections::BTreeMap;

use super::{Change, Found, Subject, pairs};
use crate::domain::{billing::Sold, catalog::Catalog};

/// What a price means is nothing to tenants by itself: it depends on what each has bought, which the impact tells.
pub(super) fn compare(before: &Catalog, after: &Catalog, changes: &mut Vec<Change>) {
    let mut found = Found::of(Subject::Stripe, changes);
    let (was, is) = (&*before.stripe, &*after.stripe);
    prices(&mut found, "prices", &was.prices, &is.prices);
    prices(&mut found, "lookup_keys", &was.lookup_keys, &is.lookup_keys);
    for (key, was, is) in pairs(&was.features, &is.features) {
        let words = |feature: &crate::domain::id::FeatureId| format!("feature {feature}");
        found.plain(&format!("features.{key}"), was.map(words), is.map(words));
    }
    for (meter, was, is) in pairs(&was.meters, &is.meters) {
        found.plain(&format!("meters.{meter}"), was.map(ToString::to_string), is.map(ToString::to_string));
    }
}

fn prices(
    found: &mut Found<'_>,
    section: &str,
    before: &BTreeMap<String, Sold>,
    after: &BTreeMap<String, Sold>,
) {
    for (name, was, is) in pairs(before, after) {
        found.plain(&format!("{section}.{name}"), was.map(ToString::to_string), is.map(ToString::to_string));
    }
}
