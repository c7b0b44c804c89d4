//! What comes of Stripe's events, in every order.

use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::domain::{
    billing::{Sold, StripeMap},
    catalog::{Catalog, Digest},
    id::{AddonId, FeatureId, PlanId},
    mirror::MirroredStanding,
    plan::Plan,
};

const DAY: i64 = 86_400_000;

fn catalog() -> Catalog {
    let plan = |id: &str| PlanId::parse(id).unwrap();
    let sold = |id: &str| Sold::Plan(plan(id));
    let map = StripeMap {
        prices: [("p_basic".to_owned(), sold("basic")), ("p_pro".to_owned(), sold("pro"))].into(),
        lookup_keys: [("seats".to_owned(), Sold::Addon(AddonId::parse("seats").unwrap()))].into(),
        features: [("x".to_owned(), FeatureId::parse("export").unwrap())].into(),
        ..StripeMap::default()
    };
    let plans = ["basic", "pro"].map(|id| (plan(id), Arc::new(Plan::empty(plan(id)))));
    Catalog { plans: plans.into(), stripe: Arc::new(map), ..Catalog::empty(Digest("test".into())) }
}

fn snapshot(subscription: &str, status: StripeStatus, price: &str) -> Snapshot {
    let item = |price: &str, key: Option<&str>, quantity| Item {
        price: price.to_owned(),
        lookup_key: key.map(str::to_owned),
        quantity,
    };
    Snapshot {
        subscription: subscription.to_owned(),
        status,
        created: UnixMillis(i64::from(subscription.as_bytes()[0])),
        begun: UnixMillis(0),
        anchor: UnixMillis(0),
        trial_end: Some(UnixMillis(9 * DAY)),
        cancel_at: None,
        ended_at: None,
        items: vec![item(price, None, 1), item("any", Some("seats"), 2)],
    }
}

fn event(number: u32, kind: StripeKind, second: i64, fact: StripeFact) -> StripeEvent {
    let id = format!("evt_{number}");
    StripeEvent { id, kind, created: UnixMillis(second), customer: "cus_1".to_owned(), names: None, fact }
}

fn updated(number: u32, second: i64, snapshot: Snapshot) -> StripeEvent {
    event(number, StripeKind::Updated, second, StripeFact::Subscription(snapshot))
}

fn standing(events: &[StripeEvent]) -> Option<MirroredStanding> {
    fold(events, &catalog()).mirror.subscription.map(|subscription| subscription.standing)
}

#[test]
fn the_grace_runs_from_the_first_failure() {
    let behind = |number, at| updated(number, at, snapshot("s", StripeStatus::PastDue, "p_pro"));
    let failed = event(
        3,
        StripeKind::PaymentFailed,
        40,
        StripeFact::Payment { subscription: "s".to_owned(), paid: false },
    );
    let all =
        [behind(1, 50), behind(2, 60), failed, updated(4, 10, snapshot("s", StripeStatus::Active, "p_pro"))];
    let since = UnixMillis(40);
    assert_eq!(standing(&all), Some(MirroredStanding::PastDue { since, grace_days: Plan::GRACE_DAYS }));
    assert_eq!(
        fold(&all, &catalog()).verdicts["evt_3"],
        Verdict::Applied,
        "it is kept, as the grace depends on it"
    );
    let by = "evt_2".to_owned();
    assert_eq!(fold(&all, &catalog()).verdicts["evt_1"], Verdict::Superseded { by });
}

#[test]
fn one_that_lets_in_counts_before_a_newer_one_that_does_not() {
    let all = [
        updated(1, 10, snapshot("a", StripeStatus::Active, "p_basic")),
        updated(2, 20, snapshot("b", StripeStatus::Incomplete, "p_pro")),
    ];
    let folded = fold(&all, &catalog());
    assert_eq!(folded.subscription().unwrap().plan.id.as_str(), "basic");
    assert_eq!(folded.mirror.addons.values().copied().collect::<Vec<_>>(), [2], "of those that let in");
    let ended = [
        updated(1, 10, snapshot("a", StripeStatus::Canceled, "p_basic")),
        updated(2, 20, snapshot("b", StripeStatus::Canceled, "p_pro")),
    ];
    let folded = fold(&ended, &catalog());
    assert_eq!(folded.subscription().unwrap().plan.id.as_str(), "pro", "the newest");
    assert_eq!(folded.mirror.addons.values().copied().collect::<Vec<_>>(), [0]);
}

#[test]
fn an_end_is_understood_whatever_it_sold() {
    let all = [
        updated(1, 10, snapshot("s", StripeStatus::Active, "p_pro")),
        event(
            2,
            StripeKind::Deleted,
            20,
            StripeFact::Subscription(snapshot("s", StripeStatus::Canceled, "gold")),
        ),
    ];
    assert_eq!(standing(&all), Some(MirroredStanding::Canceled { at: UnixMillis(20) }));
    assert_eq!(standing(&all[1..]), None, "of nothing but an unknown price nothing follows");
    assert!(matches!(fold(&all[1..], &catalog()).verdicts["evt_2"], Verdict::Unmapped(_)));
}

fn any_event() -> impl Strategy<Value = StripeEvent> {
    let subscription = prop::sample::select(vec!["a", "b"]);
    let price = prop::sample::select(vec!["p_basic", "p_pro", "gold"]);
    let status = prop::sample::select(StripeStatus::ALL.to_vec());
    let fact = prop_oneof![
        4 => (subscription.clone(), status, price).prop_map(|(id, status, price)| {
            let kind = if status.is_over() { StripeKind::Deleted } else { StripeKind::Updated };
            (kind, StripeFact::Subscription(snapshot(id, status, price)))
        }),
        2 => (subscription, any::<bool>()).prop_map(|(id, paid)| {
            let kind = if paid { StripeKind::Paid } else { StripeKind::PaymentFailed };
            (kind, StripeFact::Payment { subscription: id.to_owned(), paid })
        }),
        1 => any::<bool>().prop_map(|has| {
            let keys: BTreeSet<String> = has.then(|| "x".to_owned()).into_iter().collect();
            (StripeKind::Entitled, StripeFact::Entitlements(keys))
        }),
    ];
    (0..50u32, 0..6i64, fact).prop_map(|(number, second, (kind, fact))| event(number, kind, second, fact))
}

proptest! {
    #[test]
    fn the_fold_goes_by_the_set_alone(
        events in prop::collection::vec(any_event(), 0..12),
        seed in prop::collection::vec(any::<prop::sample::Index>(), 24),
    ) {
        // An id is one event's.
        let mut seen = BTreeSet::new();
        let events: Vec<StripeEvent> = events.into_iter().filter(|event| seen.insert(event.id.clone())).collect();
        let folded = fold(&events, &catalog());
        let mut other = events.clone();
        for (place, at) in seed.iter().enumerate().filter(|_| !events.is_empty()) {
            let from = at.index(other.len());
            other.swap(from, place % events.len());
            if place % 3 == 0 {
                other.push(other[from].clone());
            }
        }
        prop_assert_eq!(fold(&other, &catalog()), folded);
    }

    #[test]
    fn what_is_superseded_can_be_forgotten(events in prop::collection::vec(any_event(), 0..12)) {
        let mut seen = BTreeSet::new();
        let events: Vec<StripeEvent> = events.into_iter().filter(|event| seen.insert(event.id.clone())).collect();
        let folded = fold(&events, &catalog());
        let superseded = |event: &StripeEvent| {
            matches!(folded.verdicts[&event.id], Verdict::Superseded { .. } | Verdict::Settled)
        };
        let left: Vec<StripeEvent> = events.iter().filter(|event| !superseded(event)).cloned().collect();
        prop_assert_eq!(fold(&left, &catalog()).mirror, folded.mirror);
    }
}
