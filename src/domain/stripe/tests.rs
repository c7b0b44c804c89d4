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

    #[test]
    fn what_is_needless_can_be_forgotten_whatever_is_mapped(
        events in prop::collection::vec(any_event(), 0..16),
        understood in prop::collection::vec(any::<bool>(), 4),
        later in prop::collection::vec(any_event(), 0..3),
    ) {
        let mut seen = BTreeSet::new();
        let events: Vec<StripeEvent> = events.into_iter().filter(|event| seen.insert(event.id.clone())).collect();
        let needless: BTreeSet<String> = needless(&events).into_iter().map(str::to_owned).collect();
        let mut left: Vec<StripeEvent> =
            events.iter().filter(|event| !needless.contains(&event.id)).cloned().collect();
        prop_assert!(super::needless(&left).is_empty(), "nothing of what is left");
        // Some of the names are mapped, and not those that were; more events come.
        let mut catalog = catalog();
        let map = Arc::make_mut(&mut catalog.stripe);
        let mut understood = understood.into_iter();
        map.prices.retain(|_, _| understood.next().unwrap());
        if understood.next().unwrap() {
            map.prices.insert("gold".to_owned(), Sold::Plan(PlanId::parse("pro").unwrap()));
        }
        if understood.next().unwrap() {
            map.lookup_keys.clear();
        }
        let mut all = events;
        for (number, mut event) in (100..).zip(later) {
            (event.id, event.created) = (format!("evt_{number}"), UnixMillis(event.created.0 + 10));
            all.push(event.clone());
            left.push(event);
        }
        prop_assert_eq!(fold(&left, &catalog).mirror, fold(&all, &catalog).mirror);
        prop_assert_eq!(named(&left), named(&all));
    }
}

#[test]
fn years_of_what_nobody_has_mapped_come_to_a_few_events() {
    let mut events = Vec::new();
    for month in 0..120_u32 {
        let second = i64::from(month) * 100;
        let status = if month % 10 == 3 { StripeStatus::PastDue } else { StripeStatus::Active };
        let mut told = snapshot("s", status, "gold");
        // Seats come and go.
        told.items[1].quantity = month + 1;
        events.push(updated(month * 3, second, told));
        for (number, paid) in [(1, false), (2, true)] {
            let kind = if paid { StripeKind::Paid } else { StripeKind::PaymentFailed };
            let payment = StripeFact::Payment { subscription: "s".to_owned(), paid };
            events.push(event(month * 3 + number, kind, second + i64::from(number), payment));
        }
    }
    events[0].names = Some("acme".to_owned());
    let gone = needless(&events);
    let left: Vec<&str> =
        events.iter().map(|event| event.id.as_str()).filter(|id| !gone.contains(id)).collect();
    assert_eq!(left, ["evt_0", "evt_356", "evt_357", "evt_359"]);
    assert!(fold(&events, &catalog()).verdicts.values().all(|verdict| *verdict != Verdict::Applied));
}
