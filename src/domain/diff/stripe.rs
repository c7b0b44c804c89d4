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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{
        billing::{StripeMap, Told, ToldMeter},
        catalog::Digest,
        diff::{Bearing, diff},
        id::{AddonId, FeatureId, MeterId, PlanId},
    };

    #[test]
    fn what_a_name_means_is_told_in_words() {
        let plan = |id: &str| Sold::Plan(PlanId::parse(id).unwrap());
        let told = |count| ToldMeter { event_name: "tokens".to_owned(), count };
        let meter = MeterId::parse("ai_tokens").unwrap();
        let before = StripeMap {
            prices: [("p_1".to_owned(), plan("pro")), ("p_2".to_owned(), plan("pro"))].into(),
            lookup_keys: [("seats".to_owned(), Sold::Addon(AddonId::parse("extra-seats").unwrap()))].into(),
            meters: [(meter.clone(), told(Told::Overage))].into(),
            ..StripeMap::default()
        };
        let after = StripeMap {
            prices: [("p_1".to_owned(), plan("basic")), ("p_2".to_owned(), plan("pro"))].into(),
            features: [("key".to_owned(), FeatureId::parse("export").unwrap())].into(),
            meters: [(meter, told(Told::All))].into(),
            ..StripeMap::default()
        };
        let of = |map| Catalog { stripe: Arc::new(map), ..Catalog::empty(Digest("test".into())) };
        let (before, after) = (of(before), of(after));
        let changes = diff(&before, &after);
        assert!(changes.iter().all(|one| one.subject == Subject::Stripe && one.bearing == Bearing::Neither));
        let words = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let told: Vec<[String; 3]> =
            changes.iter().map(|one| [one.aspect.clone(), words(&one.before), words(&one.after)]).collect();
        let expected = [
            ["prices.p_1", "plan pro", "plan basic"],
            ["lookup_keys.seats", "add-on extra-seats", "-"],
            ["features.key", "-", "feature export"],
            ["meters.ai_tokens", "told as tokens, what is beyond the quota", "told as tokens, all units"],
        ];
        assert_eq!(told, expected);
        assert!(diff(&after, &after).is_empty());
    }
}
