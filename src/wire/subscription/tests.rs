//! Whatever can be kept comes back as it was; whatever was not kept so is an error.

use proptest::prelude::*;

use super::*;

const BERLIN: &str = "Europe/Berlin";

fn instant() -> impl Strategy<Value = UnixMillis> {
    prop_oneof![(-62_000_000_000_000..250_000_000_000_000_i64), Just(i64::MAX)].prop_map(UnixMillis)
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![0..1_000_000_u64, (1_u64 << 62)..(1 << 63)].prop_map(Version)
}

fn plan() -> impl Strategy<Value = PlanRef> {
    ("[a-z][a-z0-9_.-]{0,62}", any::<u32>())
        .prop_map(|(id, version)| PlanRef { id: id.parse().unwrap(), version: PlanVersion(version) })
}

fn usage() -> impl Strategy<Value = UsageRule> {
    prop_oneof![Just(UsageRule::Keep), Just(UsageRule::Reset), Just(UsageRule::Prorate)]
}

fn anchor() -> impl Strategy<Value = AnchorDay> {
    (1..=31_i64).prop_map(|day| AnchorDay::new(day).unwrap())
}

fn month() -> impl Strategy<Value = Period> {
    (-62_000_000_000_000..250_000_000_000_000_i64, 1..6_000_000_000_i64)
        .prop_map(|(start, length)| Period { start: UnixMillis(start), end: UnixMillis(start + length) })
}

fn state() -> impl Strategy<Value = Standing> {
    let trial = (instant(), prop::option::of(plan()), usage(), version()).prop_map(
        |(ends_at, then, usage, version)| Standing::Trialing(TrialTerms { ends_at, then, usage, version }),
    );
    let plain = prop_oneof![
        trial,
        Just(Standing::Active),
        instant().prop_map(|grace_ends_at| Standing::PastDue { grace_ends_at }),
        Just(Standing::Unpaid),
        Just(Standing::Paused),
        Just(Standing::Expired),
    ];
    plain.prop_recursive(2, 4, 1, |before| {
        let undo = prop::option::of((before.prop_map(Box::new), instant()));
        (instant(), undo).prop_map(|(at, undo)| Standing::Canceled { at, undo })
    })
}

fn scheduled() -> impl Strategy<Value = Scheduled> {
    let what = prop_oneof![
        Just(Upcoming::Cancel),
        (plan(), prop::option::of(anchor()), usage()).prop_map(|(plan, anchor, usage)| Upcoming::Plan {
            plan,
            anchor,
            usage
        }),
    ];
    (instant(), any::<bool>(), version(), what).prop_map(|(at, at_period_end, version, what)| Scheduled {
        at,
        at_period_end,
        version,
        what,
    })
}

fn subscription() -> impl Strategy<Value = Subscription> {
    let mixture = (month(), prop::collection::vec((plan(), instant()), 0..4))
        .prop_map(|(month, parts)| Mixture { month, parts });
    let ahead = (prop::option::of(month()), prop::option::of(scheduled()), prop::option::of(mixture));
    (plan(), state(), anchor(), version(), instant(), instant(), ahead).prop_map(
        |(plan, state, anchor, epoch, since, rolls_at, (odd_month, scheduled, mixture))| Subscription {
            state,
            odd_month,
            scheduled,
            mixture,
            rolls_at,
            ..Subscription::active(plan, anchor, epoch, since)
        },
    )
}

fn columns(subscription: &Subscription) -> Columns {
    Columns {
        plan: subscription.plan.clone(),
        state: subscription.state.state().as_str().to_owned(),
        anchor: subscription.anchor,
        epoch: subscription.epoch,
        since: subscription.since,
    }
}

fn there_and_back(subscription: &Subscription) -> Result<Subscription, FieldError> {
    let kept = encode(subscription).to_string();
    decode(columns(subscription), &Zone::UTC, &serde_json::from_str(&kept).unwrap())
}

/// Every place in a document.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| places(value, &format!("{at}/{key}"), all)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(place, value)| places(value, &format!("{at}/{place}"), all));
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn what_is_kept_comes_back(subscription in subscription()) {
        prop_assert_eq!(there_and_back(&subscription).unwrap(), subscription);
    }

    #[test]
    fn what_was_spoiled_is_never_more_than_an_error(
        subscription in subscription(), seed in any::<prop::sample::Index>(), spoil in 0..9_usize,
    ) {
        let mut life = encode(&subscription);
        let mut all = Vec::new();
        places(&life, "", &mut all);
        let place = seed.get(&all);
        let with = [
            json!(null), json!(-1), json!(1.5), json!("x"), json!([]), json!({}), json!(true), json!(i64::MIN),
            json!(u64::MAX),
        ];
        *life.pointer_mut(place).unwrap() = with[spoil].clone();
        let berlin = Zone::named(BERLIN).unwrap();
        // What can still be read can be lived with.
        if let Ok(read) = decode(columns(&subscription), &berlin, &life) {
            let mut tenant = crate::domain::tenant::Tenant::new("acme".parse().unwrap(), UnixMillis(0));
            tenant.zone = berlin;
            tenant.subscription = Some(read);
            for now in [0, 1_760_000_000_000] {
                let _ = tenant.rollover_due(UnixMillis(now));
                let _ = tenant.at(UnixMillis(now)).next_instant();
            }
        }
    }
}

#[test]
fn rows_from_before_were_simply_active() {
    let columns = Columns {
        plan: "basic".parse().unwrap(),
        state: "active".into(),
        anchor: AnchorDay::new(9).unwrap(),
        epoch: Version(3),
        since: UnixMillis(1_760_000_000_000),
    };
    let read = decode(columns, &Zone::UTC, &json!({})).unwrap();
    assert_eq!((&read.state, read.plan.version), (&Standing::Active, PlanVersion::FIRST));
    assert!(read.is_plain());
    assert_eq!(read.rolls_at.to_string(), "2025-11-09T00:00:00Z", "the end of its first month");
}

#[test]
fn what_does_not_belong_together_is_an_error() {
    let active = Subscription::active("pro@2".parse().unwrap(), AnchorDay::FIRST, Version(1), UnixMillis(0));
    let read = |word: &str, life: Value| {
        let columns = Columns { state: word.to_owned(), ..columns(&active) };
        decode(columns, &Zone::UTC, &life).unwrap_err().to_string()
    };
    for word in ["", "none", "Active", "gone"] {
        assert!(read(word, json!({})).contains("not a subscription's state"), "{word}");
    }
    assert!(read("trialing", json!({})).contains("`trial` is missing"));
    assert!(read("active", json!({ "grace_ends_at": 5 })).contains("`/grace_ends_at`"));
    assert!(read("active", json!({ "plan": "x" })).contains("unknown field `plan`"));
    assert!(read("active", json!({ "odd_month": [5, 5] })).contains("a later end"));
    assert!(read("active", json!({ "odd_month": [-5, i64::MAX] })).contains("a later end"));
    let scheduled = json!({ "scheduled": { "at": 1, "at_period_end": false, "version": 1, "what": "end" } });
    assert!(read("active", scheduled).contains("`/scheduled/what`"));
    let part = json!({ "mixture": { "month": [0, 9], "parts": [["pro@x", 3]] } });
    assert!(read("active", part).contains("`/mixture/parts/0/0`"));
}
