//! What tenants are billed by, the hours of each bucket, and periods that are closed once.

use std::time::Duration;

use plangate::{
    domain::{
        command::When,
        event::EventKind,
        period::Period,
        rights::Source,
        statement::{BucketUse, Counted},
        transitions::State,
    },
    ports::{Closing, ClosingRecord, NewEvent, Span},
    store::Retention,
};

use super::{
    nodes::{beat, registration},
    *,
};
use crate::Fixture;

on_every_store!(
    each_change_of_what_is_billed_is_kept,
    what_was_there_before_is_kept_with_the_first_change,
    hours_of_a_bucket_always_come_to_what_is_used,
    a_grant_is_counted_by_the_period,
    open_slots_hold_a_period_open,
    a_period_is_closed_once,
    a_bucket_stays_until_its_statement_is_closed,
);

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const ALWAYS: Period = Period { start: UnixMillis(0), end: UnixMillis(i64::MAX) };

fn at(days: i64) -> Origin {
    Origin { at: UnixMillis(START.0 + days * DAY), ..origin() }
}

async fn make(on: &Fixture, days: i64, what: Change) -> Version {
    on.store.execute(&change("acme", what), &at(days)).await.unwrap().version
}

/// Acme on `pro` since the start.
async fn subscribed(on: &Fixture) -> Version {
    done(&*on.store, &put("acme")).await;
    done(&*on.store, &subscribe("acme", "pro", UsageRule::Keep)).await.version
}

async fn kept(on: &Fixture, span: Period) -> Vec<(i64, State, String)> {
    let facts = on.store.billing_facts(&tenant("acme"), span).await.unwrap();
    let row = |facts: &plangate::domain::statement::BillingFacts| {
        let plan = facts.tenant.subscription.as_ref().unwrap().plan.id.to_string();
        ((facts.since.0 - START.0) / DAY, facts.tenant.state(), plan)
    };
    facts.iter().map(row).collect()
}

async fn each_change_of_what_is_billed_is_kept(on: &Fixture) {
    subscribed(on).await;
    make(on, 1, Change::Suspend).await;
    make(on, 2, Change::Cancel(When::At(UnixMillis(START.0 + 4 * DAY)))).await;
    make(on, 6, Change::Resume).await;
    // A clock that is behind does not change what was before.
    make(on, 5, Change::Subscribe(Subscribe::to("basic".parse().unwrap()))).await;
    make(on, 8, Change::Attach { addon: "seats".parse().unwrap(), quantity: 3 }).await;
    let row = |day, state, plan: &str| (day, state, plan.to_owned());
    let all = kept(on, ALWAYS).await;
    assert_eq!(
        all,
        [
            row(0, State::Active, "pro"),
            row(4, State::Canceled, "pro"),
            row(5, State::Active, "basic"),
            row(8, State::Active, "basic"),
        ]
    );
    let of = |from: i64, to: i64| Period {
        start: UnixMillis(START.0 + from * DAY),
        end: UnixMillis(START.0 + to * DAY),
    };
    assert_eq!(
        kept(on, of(6, 8)).await,
        all[2..3],
        "what is in force at the start, and not what comes later"
    );
    assert_eq!(kept(on, of(4, 9)).await, all[1..]);
    let last = on.store.billing_facts(&tenant("acme"), of(8, 9)).await.unwrap().remove(0);
    assert_eq!((last.tenant.addons[0].quantity, last.tenant.version), (3, Version(7)));
    // Who is deleted leaves nothing, also for another of the same name.
    done(&*on.store, &change("acme", Change::DeleteTenant)).await;
    done(&*on.store, &put("acme")).await;
    assert_eq!(kept(on, ALWAYS).await, []);
}

async fn what_was_there_before_is_kept_with_the_first_change(on: &Fixture) {
    subscribed(on).await;
    if on.url().is_none() {
        return;
    }
    // As by an older version.
    on.raw("DELETE FROM billing_facts").await;
    on.raw("UPDATE subscriptions SET bills_from_ms = 0, bills_until_ms = 0").await;
    let due = on.store.to_close(START, 10).await.unwrap();
    assert_eq!(due, [(tenant("acme"), None)], "nobody knows which is the first");
    make(on, 3, Change::Pause).await;
    let row = |day, state| (day, state, "pro".to_owned());
    assert_eq!(kept(on, ALWAYS).await, [row(0, State::Active), row(3, State::Paused)]);
    assert_eq!(on.store.to_close(START, 10).await.unwrap(), []);
    assert!(on.store.next_to_close(&tenant("acme")).await.unwrap().is_some());
}

fn report(key: &BucketKey, of: u128, used: u64, refunded: u64, at: i64) -> SlotTotals {
    let end = UnixMillis(START.0 + 31 * DAY);
    SlotTotals { at: UnixMillis(at), end, ..totals(key, of, used, refunded) }
}

/// The period in which the buckets of these tests begin.
fn month() -> Period {
    Period { start: UnixMillis(START.0 - HOUR), end: UnixMillis(START.0 + 31 * DAY) }
}

async fn counted(on: &Fixture) -> Counted {
    let by_hour = on.store.counted(&tenant("acme"), month(), true).await.unwrap();
    let plain = on.store.counted(&tenant("acme"), month(), false).await.unwrap();
    let bare = |one: &BucketUse| BucketUse { hours: Vec::new(), ..one.clone() };
    assert_eq!(
        by_hour.buckets.iter().map(bare).collect::<Vec<_>>(),
        plain.buckets,
        "both ways to one number"
    );
    for bucket in &by_hour.buckets {
        let sum: i64 = bucket.hours.iter().map(|(_, units)| units).sum();
        assert_eq!(sum.unsigned_abs(), bucket.used, "{bucket:?}");
    }
    by_hour
}

async fn hours_of_a_bucket_always_come_to_what_is_used(on: &Fixture) {
    let version = subscribed(on).await;
    let (month, hour) = (bucket("acme", version.0), START.0.div_euclid(HOUR) * HOUR);
    let overage = BucketKey { span: Span::Overage, ..month.clone() };
    // Numbers that tell nothing but that they must add up, from several runs, in any order, more than once.
    let mut seed = 7_u64;
    let mut roll = |most: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % most
    };
    let mut all = Vec::new();
    for step in 1..=40_u64 {
        let key = if roll(3) == 0 { &overage } else { &month };
        let of = 1 + u128::from(roll(3));
        let used = step * 10 + roll(10);
        let at = START.0 + i64::try_from(roll(40)).unwrap() * DAY - HOUR;
        all.push(report(key, of, used, roll(used), at));
    }
    for some in all.chunks(3).chain(all.rchunks(7)) {
        on.store.flush(some).await.unwrap();
        counted(on).await;
    }
    let found = counted(on).await;
    let hours = || found.buckets.iter().flat_map(|bucket| &bucket.hours);
    assert!(hours().all(|(at, _)| *at >= START && at.0 < START.0 + 31 * DAY), "within the bucket");
    assert!(hours().all(|(at, _)| *at == START || at.0 % HOUR == 0), "by whole hours: {hour}");
    let sources: Vec<Source> = found.buckets.iter().map(|bucket| bucket.source).collect();
    assert_eq!(sources, [Source::Plan, Source::Overage]);
    // By a grant, too.
    let ask = GrantRequest { limit: Units::MAX, ..ask(report(&month, 9, 5, 0, START.0), version, 0, 1) };
    on.store.grant(&[ask]).await.unwrap();
    assert_eq!(counted(on).await.buckets[0].used, found.buckets[0].used + 5);
}

async fn a_grant_is_counted_by_the_period(on: &Fixture) {
    subscribed(on).await;
    let given = plangate::domain::command::NewGrant {
        meter: MeterId::parse("requests").unwrap(),
        units: Units::saturating(500),
        priority: 100,
        expires_at: None,
        recurring: false,
        reason: None,
    };
    let number = done(&*on.store, &change("acme", Change::Grant(given))).await.version;
    let key = BucketKey { span: Span::Grant, ..bucket("acme", number.0) };
    let end = UnixMillis(i64::MAX);
    for (used, days) in [(10, 0), (30, 5), (100, 33)] {
        let at = START.0 + days * DAY;
        on.store.flush(&[SlotTotals { end, ..report(&key, 1, used, 0, at) }]).await.unwrap();
    }
    let found = counted(on).await;
    assert_eq!(found.buckets.len(), 1);
    let bucket = &found.buckets[0];
    assert_eq!((bucket.used, bucket.source), (30, Source::Grant(number)));
    assert_eq!(bucket.grant.as_ref().unwrap().to_string(), format!("g{number}"));
    assert!(!found.open && !found.unreturned, "it goes on, and so do its slots");
    let later = Period { start: month().end, end: UnixMillis(START.0 + 60 * DAY) };
    let after = on.store.counted(&tenant("acme"), later, true).await.unwrap();
    assert_eq!(after.buckets[0].used, 70);
}

async fn open_slots_hold_a_period_open(on: &Fixture) {
    let version = subscribed(on).await;
    let key = bucket("acme", version.0);
    on.store.register(&registration("a", 1)).await.unwrap();
    on.store.poll(&beat(1, 2)).await.unwrap();
    for of in [1, 2] {
        let granted = ask(report(&key, of, 0, 0, START.0), version, 0, 20);
        on.store.grant(&[granted]).await.unwrap();
    }
    on.store.flush(&[report(&key, 1, 5, 0, START.0), report(&key, 2, 8, 0, START.0)]).await.unwrap();
    let found = counted(on).await;
    assert_eq!((found.open, found.unreturned, found.buckets[0].uncertain), (true, true, 12));
    on.store.flush(&[sealed(report(&key, 1, 6, 0, START.0))]).await.unwrap();
    let found = counted(on).await;
    assert_eq!((found.open, found.unreturned, found.buckets[0].used), (false, true, 14));
    on.store.flush(&[sealed(report(&key, 2, 8, 0, START.0))]).await.unwrap();
    let found = counted(on).await;
    assert_eq!((found.open, found.unreturned, found.buckets[0].uncertain), (false, false, 0));
}

fn closing(version: Version, period: Period, units: u64) -> Closing {
    let event = NewEvent {
        name: format!("statement.closed/acme/{}", period.start.0),
        kind: EventKind::StatementClosed,
        tenant: tenant("acme"),
        at: START,
        data: serde_json::json!({ "total": "5.00" }),
    };
    let record = ClosingRecord {
        period,
        name: "2025-10-09".into(),
        units,
        currency: Some("USD".into()),
        total: "5.00".into(),
        at: UnixMillis(START.0 + 40 * DAY),
        body: "{\"total\":\"5.00\"}".into(),
        event,
    };
    let next = Period { start: period.end, end: UnixMillis(period.end.0 + 30 * DAY) };
    Closing { tenant: tenant("acme"), version, period: Some(period), record: Some(record), next: Some(next) }
}

async fn a_period_is_closed_once(on: &Fixture) {
    let version = subscribed(on).await;
    let acme = tenant("acme");
    let period = on.store.next_to_close(&acme).await.unwrap().unwrap();
    assert!(period.contains(START));
    assert_eq!(on.store.to_close(period.end, 10).await.unwrap(), [], "it has not ended before");
    let ended = UnixMillis(period.end.0 + 1);
    assert_eq!(on.store.to_close(ended, 10).await.unwrap(), [(acme.clone(), Some(period))]);
    let key = BucketKey { start: period.start, ..bucket("acme", version.0) };
    on.store.flush(&[sealed(report(&key, 1, 7, 0, START.0))]).await.unwrap();

    let right = closing(version, period, 7);
    for wrong in [
        closing(Version(version.0 + 1), period, 7),
        closing(version, period, 6),
        Closing { period: None, ..right.clone() },
        Closing { tenant: tenant("nobody"), ..right.clone() },
    ] {
        assert!(!on.store.close_period(&wrong).await.unwrap(), "{wrong:?}");
    }
    assert_eq!(on.store.closed_statement(&acme, "2025-10-09").await.unwrap(), None);
    let tries = (0..8).map(|_| on.store.close_period(&right));
    let made = futures_util::future::join_all(tries).await;
    assert_eq!(made.into_iter().filter(|done| *done.as_ref().unwrap()).count(), 1);

    let found = on.store.closed_statement(&acme, "2025-10-").await.unwrap().unwrap();
    assert_eq!((found.body.as_str(), found.head.total.as_str()), ("{\"total\":\"5.00\"}", "5.00"));
    assert_eq!(
        found.head.digest, "a3dfc96b891bf45e37c1dfd7b7915cd459f618fd08f9cfd7af689ac5881faf4f",
        "of the body"
    );
    assert_eq!(on.store.next_to_close(&acme).await.unwrap().unwrap().start, period.end);
    // A late report changes nothing that is closed.
    on.store.flush(&[sealed(report(&key, 1, 9, 0, START.0))]).await.unwrap();
    let again = Closing { period: right.next, ..closing(version, period, 9) };
    assert!(on.store.close_period(&again).await.unwrap(), "the next period is said");
    assert_eq!(on.store.closed_statement(&acme, "2025-10-09").await.unwrap(), Some(found.clone()));
    let heads = on.store.closed_statements(&acme, None, 10).await.unwrap();
    assert_eq!(heads, [found.head]);
    assert_eq!(on.store.closed_statements(&acme, Some(period.start), 10).await.unwrap(), []);
    let over = Closing { period: right.next, next: None, record: None, ..right };
    assert!(on.store.close_period(&over).await.unwrap());
    assert_eq!(on.store.next_to_close(&acme).await.unwrap(), None);
    assert_eq!(on.store.to_close(UnixMillis(i64::MAX), 10).await.unwrap(), []);
}

async fn a_bucket_stays_until_its_statement_is_closed(on: &Fixture) {
    let now = on.store.poll(&beat(1, 0)).await.unwrap().database_now;
    done(&*on.store, &put("acme")).await;
    let past = Origin { at: UnixMillis(now.0 - 200 * DAY), ..origin() };
    let asked = subscribe("acme", "pro", UsageRule::Keep);
    let version = on.store.execute(&asked, &past).await.unwrap().version;
    let period = on.store.next_to_close(&tenant("acme")).await.unwrap().unwrap();
    let key = BucketKey { start: period.start, ..bucket("acme", version.0) };
    let used = SlotTotals { end: period.end, ..sealed(report(&key, 1, 7, 0, period.start.0)) };
    on.store.flush(&[used]).await.unwrap();
    let day = Duration::from_secs(86_400);
    let keep = Retention { usage_hours: day * 400, usage_days: day * 3_000, audit: day * 1_000 };
    assert_eq!(on.store.tidy(&keep).await.unwrap().buckets, 0, "it is not closed");
    assert!(on.store.close_period(&closing(version, period, 7)).await.unwrap());
    assert_eq!(on.store.tidy(&keep).await.unwrap().buckets, 1);
    let found = on.store.counted(&tenant("acme"), period, true).await.unwrap();
    assert_eq!(found.buckets, [], "with its hours");
}
