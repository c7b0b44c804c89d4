//! What is told while a bucket is used up, and before a trial ends: each thing once, in the transaction that makes it true.

use std::sync::Arc;

use plangate::{
    domain::{
        command::{Subscribe, TrialOffer},
        event::EventKind,
        period::Period,
        warning::{Marks, WarnAt},
    },
    ports::{EventOutcome, EventRow, GrantOutcome, Registration, WhichEvents},
};
use serde_json::{Value, json};

use super::*;
use crate::{Fixture, Kind};

on_every_store!(
    each_mark_is_told_once_and_in_order,
    a_grant_tells_too,
    nodes_that_cross_together_tell_once,
    a_changed_limit_is_looked_at_anew,
    a_word_that_is_over_does_not_bring_an_older_limit_back,
    a_recovered_word_tells_by_what_is_kept,
    who_is_refused_the_rest_has_exhausted_it,
    money_is_told_as_money,
    what_was_told_is_paged_picked_and_forgotten,
    the_end_of_a_trial_is_told_once,
    many_trials_end_at_once,
    what_usage_events_reach_is_told_with_them,
);

const DAY: i64 = 86_400_000;

fn marks(limit: u64) -> Marks {
    Marks {
        plan: "pro".parse().unwrap(),
        period: Period { start: START, end: UnixMillis(START.0 + 1_000_000) },
        limit,
        before: 0,
        warn_at: WarnAt::default(),
        last: true,
        money: None,
    }
}

fn marked(totals: SlotTotals, limit: u64) -> SlotTotals {
    SlotTotals { marks: Some(Arc::new(marks(limit))), ..totals }
}

async fn events(on: &Fixture) -> Vec<EventRow> {
    let all = on.store.events(0, 1000, &WhichEvents::default()).await.unwrap();
    all.into_iter().filter(|row| !row.kind.starts_with("plan.") && !row.kind.starts_with("sub")).collect()
}

/// Of each quota event its percentage, or that it is the end, with the limit and what was used.
async fn told(on: &Fixture) -> Vec<String> {
    let number = |row: &EventRow, key: &str| row.data[key].as_u64().unwrap();
    let words = |row: &EventRow| {
        let what = row.data["threshold"].as_u64().map_or("end".to_owned(), |percent| percent.to_string());
        let kind = if what == "end" { "quota.exhausted" } else { "quota.threshold" };
        assert_eq!(row.kind, kind);
        format!("{what} of {}: {}", number(row, "limit"), number(row, "used"))
    };
    events(on).await.iter().map(words).collect()
}

async fn flush(on: &Fixture, totals: &[SlotTotals]) {
    on.store.flush(totals).await.unwrap();
}

async fn each_mark_is_told_once_and_in_order(on: &Fixture) {
    let bucket = bucket("acme", 1);
    let of = |used| marked(totals(&bucket, 1, used, 0), 200);
    flush(on, &[of(99)]).await;
    assert!(told(on).await.is_empty());
    flush(on, &[of(100)]).await;
    flush(on, &[of(100), of(99), of(101)]).await;
    flush(on, &[of(159)]).await;
    assert_eq!(told(on).await, ["50 of 200: 100"]);
    let event = events(on).await.remove(0);
    assert_eq!((event.tenant, event.at, event.id.len()), (tenant("acme"), START, 36));
    let expected = json!({
        "tenant": "acme", "meter": "requests", "threshold": 50, "limit": 200, "used": 100, "plan": "pro",
        "period": { "start": "2025-10-09T08:53:20Z", "end": "2025-10-09T09:10:00Z" },
    });
    assert_eq!(event.data, expected);
    flush(on, &[of(201)]).await;
    let all = ["50 of 200: 100", "80 of 200: 201", "100 of 200: 201", "end of 200: 201"];
    assert_eq!(told(on).await, all);
    flush(on, &[sealed(of(230)), totals(&bucket, 1, 230, 100)]).await;
    flush(on, &[marked(totals(&bucket, 2, 100, 0), 200)]).await;
    assert_eq!(told(on).await, all, "neither what comes back nor what is used again is told");
    // The next counting of the same month is another.
    flush(on, &[marked(totals(&super::bucket("acme", 2), 1, 100, 0), 200)]).await;
    assert_eq!(told(on).await[4..], ["50 of 200: 100"]);
    // Nobody knows of what a window without marks is told.
    flush(on, &[totals(&super::bucket("quiet", 1), 1, 1000, 0)]).await;
    assert_eq!(told(on).await.len(), 5);
}

async fn a_grant_tells_too(on: &Fixture) {
    let version = done(&*on.store, &put("acme")).await.version;
    let bucket = bucket("acme", version.0);
    let first = ask(marked(totals(&bucket, 1, 0, 0), 100), version, 0, 60);
    on.store.grant(&[first]).await.unwrap();
    assert!(told(on).await.is_empty(), "what is granted is not used");
    let more = ask(marked(totals(&bucket, 1, 55, 0), 100), version, 60, 1);
    on.store.grant(&[more]).await.unwrap();
    assert_eq!(told(on).await, ["50 of 100: 55"]);
}

async fn nodes_that_cross_together_tell_once(on: &Fixture) {
    let mut nodes = tokio::task::JoinSet::new();
    for of in 1..=3 {
        let store = Arc::clone(&on.store);
        nodes.spawn(async move {
            for used in 1..=20 {
                let [one, two] = ["acme", "b"].map(|id| marked(totals(&bucket(id, 1), of, used * 2, 0), 120));
                store.flush(&[one, two]).await.unwrap();
            }
        });
    }
    while let Some(done) = nodes.join_next().await {
        done.unwrap();
    }
    for id in ["acme", "b"] {
        let of = events(on).await.into_iter().filter(|row| row.tenant == tenant(id));
        let told: Vec<(Value, Value)> =
            of.map(|row| (row.kind.into(), row.data["threshold"].clone())).collect();
        let threshold = |percent: u64| (json!("quota.threshold"), json!(percent));
        assert_eq!(
            told,
            [threshold(50), threshold(80), threshold(100), (json!("quota.exhausted"), Value::Null)]
        );
    }
}

async fn a_changed_limit_is_looked_at_anew(on: &Fixture) {
    let bucket = bucket("acme", 1);
    let of = |node, used, limit| marked(totals(&bucket, node, used, 0), limit);
    flush(on, &[of(1, 60, 100)]).await;
    flush(on, &[of(1, 60, 200)]).await;
    // A node goes on by older rights for a while.
    for _ in 0..3 {
        flush(on, &[of(2, 1, 100)]).await;
        flush(on, &[of(1, 61, 200)]).await;
    }
    assert_eq!(told(on).await, ["50 of 100: 60"]);
    flush(on, &[of(1, 119, 200)]).await;
    assert_eq!(told(on).await[1..], ["50 of 200: 120"]);
    flush(on, &[of(1, 119, 100)]).await;
    assert_eq!(told(on).await[2..], ["80 of 100: 120", "100 of 100: 120", "end of 100: 120"]);
    // Other percentages of the same limit.
    let at = WarnAt::new(&[60, 50]).unwrap();
    let other = Marks { warn_at: at, ..marks(200) };
    flush(on, &[SlotTotals { marks: Some(Arc::new(other)), ..of(1, 119, 0) }]).await;
    assert_eq!(told(on).await[5..], ["60 of 200: 120"]);
}

async fn a_word_that_is_over_does_not_bring_an_older_limit_back(on: &Fixture) {
    let bucket = bucket("acme", 1);
    let of = |node, used, limit| marked(totals(&bucket, node, used, 0), limit);
    flush(on, &[of(1, 40, 1000)]).await;
    flush(on, &[sealed(of(2, 40, 100))]).await;
    assert!(told(on).await.is_empty());
    // But where nothing else is known it is better than nothing.
    flush(on, &[sealed(marked(totals(&super::bucket("b", 1), 2, 40, 0), 80))]).await;
    assert_eq!(told(on).await, ["50 of 80: 40"]);
}

async fn a_recovered_word_tells_by_what_is_kept(on: &Fixture) {
    let version = done(&*on.store, &put("acme")).await.version;
    let bucket = bucket("acme", version.0);
    let first = ask(marked(totals(&bucket, 1, 0, 0), 100), version, 0, 90);
    assert!(matches!(on.store.grant(&[first]).await.unwrap()[0], GrantOutcome::Granted { .. }));
    let left = sealed(totals(&bucket, 1, 80, 0));
    flush(on, std::slice::from_ref(&left)).await;
    flush(on, &[left]).await;
    assert_eq!(told(on).await, ["50 of 100: 80", "80 of 100: 80"]);
}

async fn who_is_refused_the_rest_has_exhausted_it(on: &Fixture) {
    let version = done(&*on.store, &put("acme")).await.version;
    let registration = |name: &str, number| Registration {
        name: name.to_owned(),
        incarnation: node(number),
        file: uuid::Uuid::from_u128(number),
        digest: plangate::domain::catalog::Digest("d".into()),
    };
    for (name, number) in [("a", 1), ("b", 2)] {
        on.store.register(&registration(name, number)).await.unwrap();
    }
    let bucket = bucket("acme", version.0);
    let of = |node, used, granted, need| {
        let marks = Marks { before: 20, warn_at: WarnAt::new(&[]).unwrap(), ..marks(100) };
        let totals = SlotTotals { marks: Some(Arc::new(marks)), ..totals(&bucket, node, used, 0) };
        ask(totals, version, granted, need)
    };
    let grant = async |request| on.store.grant(&[request]).await.unwrap().remove(0);
    assert!(matches!(grant(of(1, 0, 0, 60)).await, GrantOutcome::Granted { granted: 60, .. }));
    assert!(matches!(grant(of(2, 0, 0, 38)).await, GrantOutcome::Granted { granted: 38, .. }));
    assert!(matches!(grant(of(1, 60, 60, 3)).await, GrantOutcome::Exhausted { left: 2, held: 38, .. }));
    assert!(told(on).await.is_empty(), "another may give something back");
    flush(on, &[totals(&bucket, 2, 38, 0)]).await;
    assert!(matches!(grant(of(1, 60, 60, 121)).await, GrantOutcome::Exhausted { left: 2, held: 0, .. }));
    assert!(told(on).await.is_empty(), "so much there never was");
    assert!(matches!(grant(of(1, 60, 60, 3)).await, GrantOutcome::Exhausted { left: 2, held: 0, .. }));
    assert_eq!(told(on).await, ["end of 120: 118"]);
    grant(of(1, 60, 60, 3)).await;
    grant(of(1, 60, 60, 2)).await;
    flush(on, &[of(1, 62, 62, 0).totals]).await;
    assert_eq!(told(on).await.len(), 1);
}

async fn money_is_told_as_money(on: &Fixture) {
    let bucket = bucket("acme", 1);
    let (cap, currency) = (Units::saturating(200_000_000_000), "USD".parse().unwrap());
    let marks = Marks::of_money("pro".parse().unwrap(), marks(0).period, cap, currency, WarnAt::default());
    let report = SlotTotals { marks: Some(Arc::new(marks)), ..totals(&bucket, 1, 160_100_000_000, 0) };
    flush(on, &[report]).await;
    let all = events(on).await;
    assert_eq!(all.iter().map(|row| row.kind.as_str()).collect::<Vec<_>>(), ["spend.threshold"; 2]);
    let expected = json!({
        "tenant": "acme", "threshold": 80, "spend_cap": "200.00", "spent": "160.10", "currency": "USD", "plan": "pro",
        "period": { "start": "2025-10-09T08:53:20Z", "end": "2025-10-09T09:10:00Z" },
    });
    assert_eq!(all[1].data, expected);
}

async fn what_was_told_is_paged_picked_and_forgotten(on: &Fixture) {
    // Long ago by every store's clock, and in the future.
    let (old, young) = (START.0 - 41 * DAY, START.0 + 900 * DAY);
    let at = |id, used, at| {
        let totals = marked(totals(&bucket(id, 1), 1, used, 0), 10);
        SlotTotals { at: UnixMillis(at), ..totals }
    };
    flush(on, &[at("acme", 5, old), at("b", 8, old)]).await;
    flush(on, &[at("acme", 10, young)]).await;
    let ask = async |after, limit, tenant: Option<&str>, kind| {
        let which = WhichEvents { tenant: tenant.map(super::tenant), kind };
        on.store.events(after, limit, &which).await.unwrap()
    };
    let all = ask(0, 100, None, None).await;
    assert_eq!(all.len(), 6);
    assert!(all.is_sorted_by(|a, b| a.cursor < b.cursor));
    let mut paged: Vec<EventRow> = Vec::new();
    loop {
        let page = ask(paged.last().map_or(0, |row| row.cursor), 4, None, None).await;
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    assert_eq!(ask(0, 100, Some("b"), None).await, all[1..3]);
    assert_eq!(ask(0, 100, None, Some(EventKind::QuotaExhausted)).await, all[5..]);
    assert_eq!(ask(all[1].cursor, 1, Some("acme"), Some(EventKind::QuotaThreshold)).await, all[3..4]);
    assert!(ask(0, 100, Some("nobody"), None).await.is_empty());
    let keep = plangate::store::Retention {
        usage_hours: std::time::Duration::from_secs(3_000_000_000),
        usage_days: std::time::Duration::from_secs(3_000_000_000),
        audit: std::time::Duration::from_secs(3_000_000_000),
    };
    assert_eq!(on.store.tidy(&keep).await.unwrap().events, 3);
    assert_eq!(ask(0, 100, None, None).await, all[3..], "with the places that they had");
}

fn try_for(days: u16, then: Option<&str>) -> Change {
    let then = then.map(|plan| plan.parse().unwrap());
    let trial = TrialOffer { days, then, usage: UsageRule::Keep, asked: true, again: true };
    Change::Subscribe(Subscribe { trial: Some(trial), ..Subscribe::to("pro".parse().unwrap()) })
}

async fn make(on: &Fixture, id: &str, days: i64, what: Change) {
    let at = UnixMillis(START.0 + days * DAY);
    on.store.execute(&change(id, what), &Origin { at, ..origin() }).await.unwrap();
}

/// What is told of trials by a number of days, and whether it is told there may be more.
async fn trials(on: &Fixture, days: i64) -> Vec<(String, Value)> {
    let before = events(on).await.len();
    let now = UnixMillis(START.0 + days * DAY);
    assert!(!on.store.tell_trial_ends(now, 10).await.unwrap());
    let told = events(on).await.split_off(before);
    assert!(told.iter().all(|row| row.kind == "trial.will_end" && row.at == now));
    told.into_iter().map(|row| (row.tenant.to_string(), row.data)).collect()
}

async fn the_end_of_a_trial_is_told_once(on: &Fixture) {
    for id in ["a", "b", "c", "d", "e"] {
        done(&*on.store, &put(id)).await;
    }
    make(on, "a", 0, try_for(14, Some("free"))).await;
    make(on, "b", 0, try_for(14, None)).await;
    make(on, "c", 0, try_for(14, Some("free"))).await;
    make(on, "d", 0, Change::Subscribe(Subscribe::to("pro".parse().unwrap()))).await;
    assert!(trials(on, 10).await.is_empty());
    // Bought before it ended: there is nothing to tell.
    make(on, "c", 10, Change::Subscribe(Subscribe::to("pro".parse().unwrap()))).await;
    let told = trials(on, 11).await;
    let expected =
        json!({ "tenant": "a", "plan": "pro", "trial_ends_at": "2025-10-23T08:53:20Z", "then": "free" });
    assert_eq!(told[0], ("a".to_owned(), expected));
    assert_eq!((told.len(), told[1].0.as_str(), &told[1].1["then"]), (2, "b", &Value::Null));
    assert!(trials(on, 11).await.is_empty());
    // What is changed of the tenant beside it is no reason to tell it again.
    make(on, "a", 12, Change::Suspend).await;
    assert!(trials(on, 12).await.is_empty());
    // A trial that is shorter than the notice is told of at once; a new one is another.
    make(on, "e", 12, try_for(2, None)).await;
    assert_eq!(trials(on, 12).await.len(), 1);
    make(on, "b", 13, try_for(10, Some("free"))).await;
    assert!(trials(on, 19).await.is_empty());
    assert_eq!(trials(on, 20).await.len(), 1);
    // Nobody was there in time: an end that is past is not about to come.
    done(&*on.store, &put("f")).await;
    make(on, "f", 20, try_for(5, None)).await;
    assert!(trials(on, 26).await.is_empty());
    make(on, "f", 26, Change::Advance).await;
    assert!(trials(on, 27).await.is_empty());
    let of_a = WhichEvents { tenant: Some(tenant("a")), kind: Some(EventKind::TrialWillEnd) };
    assert_eq!(on.store.events(0, 10, &of_a).await.unwrap().len(), 1);
}

async fn many_trials_end_at_once(on: &Fixture) {
    for number in 0..7 {
        let id = format!("t{number}");
        done(&*on.store, &put(&id)).await;
        make(on, &id, 0, try_for(5, None)).await;
    }
    done(&*on.store, &change("t6", Change::DeleteTenant)).await;
    let now = UnixMillis(START.0 + 2 * DAY);
    let mut nodes = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let store = Arc::clone(&on.store);
        nodes.spawn(async move { while store.tell_trial_ends(now, 2).await.unwrap() {} });
    }
    while let Some(done) = nodes.join_next().await {
        done.unwrap();
    }
    let mut told: Vec<String> = events(on).await.iter().map(|row| row.tenant.to_string()).collect();
    told.sort();
    assert_eq!(told, (0..6).map(|number| format!("t{number}")).collect::<Vec<_>>());
    // One that cannot be read does not hold up the others.
    if !matches!(on.kind, Kind::Memory(..)) {
        for id in ["x", "y"] {
            done(&*on.store, &put(id)).await;
            make(on, id, 0, try_for(5, None)).await;
        }
        on.raw("UPDATE tenants SET zone = 'Nowhere/None' WHERE id = 'x'").await;
        assert!(!on.store.tell_trial_ends(now, 10).await.unwrap());
        assert_eq!(events(on).await.len(), 7);
    }
}

async fn what_usage_events_reach_is_told_with_them(on: &Fixture) {
    let version = done(&*on.store, &put("acme")).await.version;
    let charge = async |id: &str, units: u64| {
        let mut event = super::usage_events::event(id, version, units);
        event.charges[0].sources[0].marks = Some(Arc::new(marks(100)));
        on.store.charge_events(&[event]).await.unwrap().remove(0)
    };
    assert_eq!(charge("1", 49).await, EventOutcome::Charged);
    assert!(told(on).await.is_empty());
    assert_eq!(charge("2", 1).await, EventOutcome::Charged);
    assert_eq!(told(on).await, ["50 of 100: 50"], "nobody has to make a request for it");
    assert_eq!(charge("2", 1).await, EventOutcome::Duplicate);
    assert_eq!(charge("3", 50).await, EventOutcome::Charged);
    let all = ["50 of 100: 50", "80 of 100: 100", "100 of 100: 100", "end of 100: 100"];
    assert_eq!(told(on).await, all);
}
