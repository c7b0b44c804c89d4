//! What is written is read again, in whatever catalog; and what is no plan's terms is refused with its place.

use proptest::prelude::*;

use super::*;
use crate::domain::{
    catalog::{Digest, Feature, Limit, Meter},
    features::FeatureIx,
    plan::{Overage, PlanVersion, Quota, Rollover},
    rate::Rate,
    units::{Allowance, Units},
};

fn catalog(features: &[&str], limits: &[&str], meters: &[&str]) -> Catalog {
    let mut catalog = Catalog::empty(Digest("0".into()));
    let feature = |id: &&str| Feature { id: FeatureId::parse(id).unwrap(), title: None };
    catalog.features = features.iter().map(feature).collect();
    catalog.limits = limits.iter().map(|id| Limit { id: LimitId::parse(id).unwrap(), title: None }).collect();
    let meter = |id: &&str| Meter { id: MeterId::parse(id).unwrap(), title: None, unit: None };
    catalog.meters = meters.iter().map(meter).collect();
    catalog
}

const FEATURES: [&str; 4] = ["a", "b.c", "chat", "export"];
const LIMITS: [&str; 2] = ["rooms", "seats"];
const METERS: [&str; 3] = ["ai", "mails", "requests"];

fn reference() -> PlanRef {
    PlanRef { id: PlanId::parse("pro").unwrap(), version: PlanVersion(7) }
}

fn units() -> impl Strategy<Value = Units> {
    prop_oneof![Just(Units::ZERO), Just(Units::MAX), (0..1_000_000u64).prop_map(Units::saturating)]
}

fn allowance() -> impl Strategy<Value = Allowance> {
    prop_oneof![Just(Allowance::Unlimited), units().prop_map(Allowance::Limited)]
}

fn overage() -> impl Strategy<Value = Overage> {
    let cap = || proptest::option::of(units());
    let price = (0..10_000u32).prop_map(|n| format!("{}.{:03}", n / 1000, n % 1000).parse().unwrap());
    prop_oneof![
        Just(Overage::Block),
        cap().prop_map(|cap| Overage::Allow { cap }),
        (cap(), price, 1..5000u64).prop_map(|(cap, price, per)| Overage::Bill {
            cap,
            price,
            per: Units::saturating(per)
        }),
    ]
}

fn quota() -> impl Strategy<Value = Quota> {
    let window = || proptest::option::of(allowance());
    let rollover = prop_oneof![
        Just(None),
        (0..=100u8).prop_map(|percent| Some(Rollover::Percent(percent))),
        units().prop_map(|units| Some(Rollover::Units(units))),
    ];
    (allowance(), window(), window(), window(), overage(), rollover).prop_map(
        |(month, hour, day, week, overage, rollover)| {
            let quota = Quota { month, hour, day, week, overage, rollover: None };
            let hard = quota.hard_limit(crate::domain::period::Window::Month).is_some();
            Quota { rollover: rollover.filter(|_| hard), ..quota }
        },
    )
}

fn rate() -> impl Strategy<Value = Rate> {
    (units(), 1..100_000_000u64, units()).prop_map(|(limit, millis, burst)| Rate {
        limit,
        per: std::time::Duration::from_millis(millis),
        burst,
    })
}

fn plan_id() -> impl Strategy<Value = PlanId> {
    "[a-z][a-z0-9_.-]{0,9}"
        .prop_filter("means none", |id| id != BLOCK)
        .prop_map(|id| PlanId::parse(&id).unwrap())
}

fn life() -> impl Strategy<Value = Plan> {
    let change = || prop_oneof![Just(ChangeAt::Now), Just(ChangeAt::PeriodEnd)];
    let usage = prop_oneof![Just(UsageRule::Keep), Just(UsageRule::Reset)];
    let trial = (1..=3650u16, proptest::option::of(plan_id()), usage).prop_map(|(days, then, usage)| Trial {
        days,
        then,
        usage,
    });
    let price = (0..9_999u32)
        .prop_map(|n| Price { amount: format!("{n}.90").parse().unwrap(), currency: "EUR".parse().unwrap() });
    (
        (change(), change()),
        (
            proptest::option::of(0..=365u16),
            proptest::option::of(proptest::collection::btree_set(1..=100u64, 0..=10)),
        ),
        proptest::option::of("[ -~é]{1,40}"),
        proptest::option::of(plan_id()),
        proptest::option::of(price),
        proptest::option::of(trial),
    )
        .prop_map(|((upgrade, downgrade), (grace_days, warn_at), title, parent, price, trial)| Plan {
            version: reference().version,
            changes: Changes { upgrade, downgrade },
            grace_days,
            warn_at: warn_at.map(|all| WarnAt::new(&all.into_iter().collect::<Vec<_>>()).unwrap()),
            title,
            parent,
            price,
            trial,
            ..Plan::empty(reference().id)
        })
}

fn plan() -> impl Strategy<Value = Plan> {
    let meter = (proptest::option::of(quota()), proptest::option::of(rate()))
        .prop_map(|(quota, rate)| MeterTerms { quota, rate });
    (
        life(),
        proptest::collection::vec(any::<bool>(), FEATURES.len()),
        proptest::collection::vec(proptest::option::of(allowance()), LIMITS.len()),
        proptest::collection::vec(meter, METERS.len()),
    )
        .prop_map(|(life, on, limits, meters)| {
            let mut features = FeatureSet::empty(FEATURES.len());
            for (ix, _) in (0..).zip(on).filter(|(_, on)| *on) {
                features.insert(FeatureIx(ix));
            }
            let limits = LIMITS
                .iter()
                .zip(limits)
                .filter_map(|(id, limit)| Some((LimitId::parse(id).unwrap(), limit?)));
            Plan { features, limits: limits.collect(), meters: meters.into(), ..life }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn there_and_back(plan in plan()) {
        let catalog = catalog(&FEATURES, &LIMITS, &METERS);
        let written = encode(&plan, &catalog);
        prop_assert_eq!(decode(reference(), &written, &catalog).unwrap(), plan.clone());
        // Also by way of the database's text.
        let text: Value = serde_json::from_str(&written.to_string()).unwrap();
        prop_assert_eq!(&text, &written);
        // In a catalog with other names at other places what both have stays, and nothing else comes.
        let other = self::catalog(&["aa", "chat", "export", "z"], &["seats"], &["aa", "requests"]);
        let read = decode(reference(), &written, &other).unwrap();
        for id in ["chat", "export"] {
            let had = plan.features.contains(catalog.feature_ix(id).unwrap());
            prop_assert_eq!(read.features.contains(other.feature_ix(id).unwrap()), had);
        }
        prop_assert!(!["aa", "z"].iter().any(|id| read.features.contains(other.feature_ix(id).unwrap())));
        prop_assert_eq!(read.limits.get("seats"), plan.limits.get("seats"));
        prop_assert!(!read.limits.contains_key("rooms"));
        prop_assert_eq!(read.meters.as_ref(), &[MeterTerms::default(), plan.meters[2]]);
    }

    #[test]
    fn damage_is_an_error_or_another_plan_and_never_a_panic(plan in plan(), place in any::<prop::sample::Index>(), by in 0usize..8) {
        let catalog = catalog(&FEATURES, &LIMITS, &METERS);
        let mut document = encode(&plan, &catalog);
        let with = [json!(null), json!(-1), json!(1e300), json!("\u{0}"), json!([[]]), json!({ "a": {} }), json!(true), json!("x".repeat(500))];
        let mut pointers = Vec::new();
        all_pointers(&document, String::new(), &mut pointers);
        *document.pointer_mut(&pointers[place.index(pointers.len())]).unwrap() = with[by].clone();
        if let Err(error) = decode(reference(), &document, &catalog) {
            prop_assert!(!error.fields.is_empty());
            let text = error.to_string();
            prop_assert!(text.contains("version 7 of plan `pro`") && text.len() < 2000, "{}", text);
        }
    }
}

fn all_pointers(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| all_pointers(value, format!("{at}/{}", escape(key)), out))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(ix, item)| all_pointers(item, format!("{at}/{ix}"), out))
        }
        _ => {}
    }
    out.push(at);
}

#[test]
fn every_error_has_its_pointer() {
    let document = json!({
        "title": "a\nb", "extends": "No", "price": { "amount": 1, "currency": "eur" }, "grace": { "days": 366 },
        "trial": { "days": 3, "then": "free", "usage": "prorate" }, "changes": { "upgrade": "later", "x": 1 },
        "features": ["chat", 1, "No"], "limits": { "seats": -1 }, "rates": { "requests": {} }, "version": 3,
        "quotas": { "requests": { "limit": "unlimited", "rollover": { "max": "20%" } }, "Bad": 1 },
    });
    let error = decode(reference(), &document, &catalog(&FEATURES, &LIMITS, &METERS)).unwrap_err();
    let mut pointers: Vec<&str> = error.fields.iter().map(|field| field.pointer.as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        [
            "/changes/upgrade",
            "/changes/x",
            "/extends",
            "/features/1",
            "/features/2",
            "/grace/days",
            "/limits/seats",
            "/price/amount",
            "/quotas/Bad",
            "/quotas/requests/rollover",
            "/rates/requests",
            "/title",
            "/trial/usage",
            "/version",
        ]
    );
    assert!(error.to_string().ends_with("; and 9 more"), "{error}");
    for nothing in [json!(null), json!([]), json!("pro"), json!(1)] {
        assert!(decode(reference(), &nothing, &catalog(&FEATURES, &LIMITS, &METERS)).is_err());
    }
}
