//! Usage events: known and charged together, each once, and never beyond what is left.

use plangate::{
    domain::{command::Change, period::Period},
    ports::{
        EVENTS, EarlierCall, EventBucket, EventCharge, EventDigest, EventKey, EventOutcome, EventSpend,
        GrantOutcome, OthersUsage, Remainder, Shortage, Span, UsageEvent,
    },
    store::Retention,
};

use super::{
    nodes::{beat, registration},
    *,
};
use crate::{Fixture, Kind};

mod crowd;

on_every_store!(
    an_event_is_charged_once,
    all_windows_or_nothing,
    sources_are_burnt_in_order,
    overage_keeps_to_the_spend_cap,
    without_a_cap_no_amount_refuses,
    what_nodes_hold_is_asked_back,
    old_facts_and_policies_are_stale,
    a_window_that_is_limited_later_counts_events,
    nothing_is_charged_before_nodes_have_recorded_what_they_know,
    events_are_forgotten_in_the_end,
    nobody_owns_what_events_have_charged,
    absurd_numbers_are_refused,
    a_call_is_claimed_once,
    many_events_in_one_call,
);

pub(super) const HOUR: i64 = 3_600_000;

/// An event of `acme` that charges `units` to its month of 100.
pub(super) fn event(id: &str, version: Version, units: u64) -> UsageEvent {
    of("acme", id, version, vec![charge("acme", version, units, &[], &[(Span::MONTH, 100)])])
}

pub(super) fn of(tenant_id: &str, id: &str, version: Version, charges: Vec<EventCharge>) -> UsageEvent {
    let content: u64 = charges.iter().map(|charge| charge.units.get()).sum();
    UsageEvent {
        key: EventKey { source: "/shop".into(), id: id.into() },
        digest: EventDigest([u8::try_from(content % 251).unwrap(); 32]),
        tenant: tenant(tenant_id),
        at: START,
        version,
        policies: Version(0),
        counting: version,
        charges,
    }
}

pub(super) fn charge(
    tenant: &str,
    epoch: Version,
    units: u64,
    windows: &[(Window, u64)],
    sources: &[(Span, u64)],
) -> EventCharge {
    let place = |span, limit| EventBucket {
        key: BucketKey { span, ..bucket(tenant, epoch.0) },
        end: UnixMillis(START.0 + 1_000_000),
        limit: Some(Units::saturating(limit)),
        marks: None,
    };
    EventCharge {
        meter: MeterId::parse("requests").unwrap(),
        units: Units::saturating(units),
        windows: windows.iter().map(|(window, limit)| place(Span::from(*window), *limit)).collect(),
        sources: sources.iter().map(|(span, limit)| place(*span, *limit)).collect(),
        counted: Windows::of(|window| windows.iter().any(|(counted, _)| *counted == window)),
        ceiling: None,
        spend: None,
    }
}

async fn charged(on: &Fixture, event: &UsageEvent) -> EventOutcome {
    on.store.charge_events(std::slice::from_ref(event)).await.unwrap().remove(0)
}

async fn acme(on: &Fixture) -> Version {
    done(&*on.store, &put("acme")).await.version
}

async fn used(on: &Fixture, buckets: &[BucketKey]) -> Vec<u64> {
    let others = on.store.others(node(99), buckets).await.unwrap();
    assert!(others.iter().all(|one| one.uncertain == Units::ZERO));
    others.iter().map(|one| one.used.get()).collect()
}

fn short(limit: u64, used: u64, held: u64) -> EventOutcome {
    let meter = MeterId::parse("requests").unwrap();
    let (limit, used) = (Units::saturating(limit), Units::saturating(used));
    EventOutcome::Exhausted(Shortage { meter, window: Some(Window::Month), limit, used, held })
}

async fn an_event_is_charged_once(on: &Fixture) {
    let version = acme(on).await;
    let (first, second) = (event("1", version, 7), event("2", version, 5));
    let other = UsageEvent { digest: EventDigest([9; 32]), ..first.clone() };
    let keys = [first.key.clone(), second.key.clone()];
    assert_eq!(on.store.known_events(&keys).await.unwrap(), [None, None]);
    assert_eq!(charged(on, &first).await, EventOutcome::Charged);
    let answers = on.store.charge_events(&[second.clone(), first.clone()]).await.unwrap();
    assert_eq!(answers, [EventOutcome::Charged, EventOutcome::Duplicate]);
    assert_eq!(charged(on, &other).await, EventOutcome::Conflict);
    let known = on.store.known_events(&keys).await.unwrap();
    assert_eq!(known, [Some(first.digest), Some(second.digest)]);
    assert_eq!(used(on, &[bucket("acme", version.0)]).await, [12]);
    let left = on.store.remainders(node(1), &[bucket("acme", version.0)]).await.unwrap();
    assert_eq!(left, [Remainder { left: 88, held: 0 }]);
    // Another source may use the same id; a node finds what is left.
    let elsewhere = EventKey { source: "/other".into(), ..first.key.clone() };
    assert_eq!(charged(on, &UsageEvent { key: elsewhere, ..first.clone() }).await, EventOutcome::Charged);
    let grant = ask(totals(&bucket("acme", version.0), 1, 0, 0), version, 0, 82);
    let refused = GrantOutcome::Exhausted { left: 81, used: 19, held: 0 };
    assert_eq!(on.store.grant(&[grant]).await.unwrap(), [refused]);
    // Also where the facts have changed since.
    done(&*on.store, &change("acme", Change::Suspend)).await;
    assert_eq!(charged(on, &first).await, EventOutcome::Duplicate);
    assert_eq!(on.store.charge_events(&[]).await.unwrap(), []);
    // The hours are those of the events.
    let earlier = UsageEvent { at: UnixMillis(START.0 - 5 * HOUR), ..event("3", Version(2), 4) };
    assert_eq!(charged(on, &earlier).await, EventOutcome::Charged);
    let span = Period { start: UnixMillis(START.0 - 24 * HOUR), end: UnixMillis(START.0 + HOUR) };
    let rows = on.store.usage(&tenant("acme"), span).await.unwrap();
    let hours: Vec<(i64, i64)> =
        rows.iter().map(|row| ((START.0 - row.hour.0).div_euclid(HOUR), row.units)).collect();
    assert_eq!(hours, [(5, 4), (0, 19)]);
}

async fn all_windows_or_nothing(on: &Fixture) {
    let version = acme(on).await;
    let windows = [(Window::Hour, 4), (Window::Day, 10)];
    let one = |id, units| {
        of("acme", id, version, vec![charge("acme", version, units, &windows, &[(Span::MONTH, 12)])])
    };
    assert_eq!(charged(on, &one("1", 3)).await, EventOutcome::Charged);
    let refused = charged(on, &one("2", 2)).await;
    assert!(
        matches!(&refused, EventOutcome::Exhausted(Shortage { window: Some(Window::Hour), limit, used, held: 0, .. })
            if (limit.get(), used.get()) == (4, 3)),
        "{refused:?}"
    );
    // It may come again as something else: nothing of it is known.
    assert_eq!(charged(on, &one("2", 1)).await, EventOutcome::Charged);
    let of_span = |span| BucketKey { span, ..bucket("acme", version.0) };
    let all = [Window::Hour.into(), Window::Day.into(), Span::MONTH].map(of_span);
    assert_eq!(used(on, &all).await, [4, 4, 4]);
    // Of two meters both or none.
    let mut other = charge("acme", version, 5, &[], &[(Span::MONTH, 5)]);
    other.meter = MeterId::parse("tokens").unwrap();
    other.sources[0].key.meter = other.meter.clone();
    let month = charge("acme", version, 9, &[], &[(Span::MONTH, 12)]);
    let tokens = other.sources[0].key.clone();
    let both = of("acme", "3", version, vec![other.clone(), month]);
    assert_eq!(charged(on, &both).await, short(12, 4, 0));
    assert_eq!(used(on, std::slice::from_ref(&tokens)).await, [0]);
    let less = charge("acme", version, 8, &[], &[(Span::MONTH, 12)]);
    assert_eq!(charged(on, &of("acme", "3", version, vec![other, less])).await, EventOutcome::Charged);
    assert_eq!(used(on, &[tokens, of_span(Span::MONTH)]).await, [5, 12]);
    // Nothing is always to be had.
    assert_eq!(charged(on, &one("4", 0)).await, EventOutcome::Charged);
}

async fn sources_are_burnt_in_order(on: &Fixture) {
    let version = acme(on).await;
    let sources = [(Span::Grant, 3), (Span::MONTH, 5), (Span::Overage, 2)];
    let one = |id, units| {
        let mut charge = charge("acme", version, units, &[], &sources);
        charge.ceiling = Some(Units::saturating(7));
        of("acme", id, version, vec![charge])
    };
    let all = sources.map(|(span, _)| BucketKey { span, ..bucket("acme", version.0) });
    assert_eq!(charged(on, &one("1", 2)).await, EventOutcome::Charged);
    assert_eq!(charged(on, &one("2", 3)).await, EventOutcome::Charged);
    assert_eq!(used(on, &all).await, [3, 2, 0]);
    assert_eq!(charged(on, &one("3", 6)).await, short(10, 5, 0));
    assert_eq!(charged(on, &one("4", 4)).await, EventOutcome::Charged);
    assert_eq!(used(on, &all).await, [3, 5, 1]);
    // Where the month's limit was lowered below what is used of it, overage is not granted that once more.
    let lowered = |units, id| {
        let mut charge = charge("acme", version, units, &[], &[(Span::MONTH, 1), (Span::Overage, 8)]);
        charge.ceiling = Some(Units::saturating(9));
        of("acme", id, version, vec![charge])
    };
    assert!(matches!(charged(on, &lowered(4, "5")).await, EventOutcome::Exhausted(_)));
    assert_eq!(charged(on, &lowered(3, "5")).await, EventOutcome::Charged);
    assert_eq!(used(on, &all).await, [3, 5, 4]);
    let span = Period { start: UnixMillis(START.0 - HOUR), end: UnixMillis(START.0 + HOUR) };
    let rows = on.store.usage(&tenant("acme"), span).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.units).sum::<i64>(), 12, "windows and money are not usage");
}

async fn overage_keeps_to_the_spend_cap(on: &Fixture) {
    let version = acme(on).await;
    let money = EventBucket {
        key: BucketKey {
            meter: MeterId::parse("usd").unwrap(),
            span: Window::Week.into(),
            ..bucket("acme", version.0)
        },
        end: UnixMillis(START.0 + 1_000_000),
        limit: Some(Units::saturating(100)),
        marks: None,
    };
    let one = |id, units| {
        let mut charge = charge("acme", version, units, &[], &[(Span::MONTH, 5), (Span::Overage, 50)]);
        charge.spend = Some(EventSpend { bucket: money.clone(), cost: Units::saturating(30) });
        of("acme", id, version, vec![charge])
    };
    assert_eq!(charged(on, &one("1", 4)).await, EventOutcome::Charged);
    assert_eq!(charged(on, &one("2", 3)).await, EventOutcome::Charged);
    assert_eq!(used(on, std::slice::from_ref(&money.key)).await, [60]);
    let refused = charged(on, &one("3", 2)).await;
    assert!(
        matches!(&refused, EventOutcome::Exhausted(Shortage { window: None, limit, used, .. })
            if (limit.get(), used.get()) == (100, 60)),
        "{refused:?}"
    );
    assert_eq!(charged(on, &one("4", 1)).await, EventOutcome::Charged);
    assert_eq!(used(on, std::slice::from_ref(&money.key)).await, [90]);
}

async fn without_a_cap_no_amount_refuses(on: &Fixture) {
    let version = acme(on).await;
    let key = BucketKey { meter: MeterId::parse("vnd").unwrap(), span: Span::Spend, ..bucket("acme", 0) };
    let money = EventBucket { key, end: UnixMillis(START.0 + 1_000_000), limit: None, marks: None };
    let one = |id, units| {
        let mut charge = charge("acme", version, units, &[], &[(Span::MONTH, 5), (Span::Overage, 1_000_000)]);
        let cost = Units::saturating(20_000_000_000_000);
        charge.spend = Some(EventSpend { bucket: money.clone(), cost });
        of("acme", id, version, vec![charge])
    };
    assert_eq!(charged(on, &one("1", 105)).await, EventOutcome::Charged);
    assert_eq!(used(on, std::slice::from_ref(&money.key)).await, [2_000_000_000_000_000]);
    // More than can be counted.
    for id in ["2", "3"] {
        assert_eq!(charged(on, &one(id, 1_000)).await, EventOutcome::Charged);
        assert_eq!(used(on, std::slice::from_ref(&money.key)).await, [Units::MAX.get()]);
    }
    let beyond = BucketKey { span: Span::Overage, ..bucket("acme", version.0) };
    assert_eq!(used(on, &[beyond]).await, [2_100]);
}

async fn what_nodes_hold_is_asked_back(on: &Fixture) {
    let version = acme(on).await;
    let month = bucket("acme", version.0);
    for (name, of) in [("a", 1), ("b", 2)] {
        on.store.register(&registration(name, of)).await.unwrap();
    }
    let grant = |of, units| ask(totals(&month, of, 0, 0), version, 0, units);
    on.store.grant(&[grant(1, 60), grant(2, 20)]).await.unwrap();
    assert_eq!(charged(on, &event("1", version, 15)).await, EventOutcome::Charged);
    let wanted = async || on.store.poll(&beat(1, version.0)).await.unwrap().wanted;
    assert_eq!(wanted().await, []);
    while tokio::time::timeout(std::time::Duration::from_millis(100), on.store.changed()).await.is_ok() {}
    assert_eq!(charged(on, &event("2", version, 6)).await, short(100, 15, 80));
    // Somebody is told.
    tokio::time::timeout(std::time::Duration::from_secs(10), on.store.changed()).await.unwrap();
    let asked = wanted().await;
    assert_eq!((asked.len(), asked[0].remainder), (1, Remainder { left: 5, held: 80 }));
    on.store.flush(&[sealed(totals(&month, 1, 10, 0))]).await.unwrap();
    assert_eq!(charged(on, &event("2", version, 6)).await, EventOutcome::Charged);
    assert_eq!(used(on, std::slice::from_ref(&month)).await, [31]);
    // What a node holds that is gone for good counts as used.
    on.let_six_seconds_pass().await;
    assert_eq!(charged(on, &event("3", version, 50)).await, short(100, 51, 0));
    assert_eq!(charged(on, &event("3", version, 49)).await, EventOutcome::Charged);
}

async fn old_facts_and_policies_are_stale(on: &Fixture) {
    let version = acme(on).await;
    let older = event("1", version, 1);
    let newer = done(&*on.store, &change("acme", Change::Suspend)).await.version;
    assert_eq!(charged(on, &older).await, EventOutcome::Stale);
    let policies = UsageEvent { policies: Version(7), version: newer, ..older.clone() };
    assert_eq!(charged(on, &policies).await, EventOutcome::Stale);
    let current = UsageEvent { version: newer, ..older.clone() };
    let answers = on.store.charge_events(&[event("0", version, 1), current.clone()]).await.unwrap();
    assert_eq!(answers, [EventOutcome::Stale, EventOutcome::Charged], "each by itself");
    done(&*on.store, &change("acme", Change::DeleteTenant)).await;
    let gone = UsageEvent { key: EventKey { id: "2".into(), ..older.key.clone() }, ..current };
    assert_eq!(charged(on, &gone).await, EventOutcome::Stale);
    assert_eq!(on.store.known_events(&[gone.key]).await.unwrap(), [None]);
}

async fn a_window_that_is_limited_later_counts_events(on: &Fixture) {
    let version = acme(on).await;
    assert_eq!(charged(on, &event("1", version, 8)).await, EventOutcome::Charged);
    let newer = done(&*on.store, &change("acme", Change::Suspend)).await.version;
    let limited = |id, units| {
        let charge = charge("acme", version, units, &[(Window::Day, 10)], &[(Span::MONTH, 100)]);
        UsageEvent { version: newer, ..of("acme", id, version, vec![charge]) }
    };
    let refused = charged(on, &limited("2", 3)).await;
    assert!(
        matches!(&refused, EventOutcome::Exhausted(Shortage { used, .. }) if used.get() == 8),
        "{refused:?}"
    );
    assert_eq!(charged(on, &limited("2", 2)).await, EventOutcome::Charged);
    let day = BucketKey { span: Window::Day.into(), ..bucket("acme", version.0) };
    assert_eq!(used(on, &[day, bucket("acme", version.0)]).await, [10, 10]);
}

async fn nothing_is_charged_before_nodes_have_recorded_what_they_know(on: &Fixture) {
    let version = acme(on).await;
    on.store.register(&registration("a", 1)).await.unwrap();
    let newer = done(&*on.store, &change("acme", Change::Suspend)).await.version;
    let charge = charge("acme", version, 1, &[(Window::Day, 10)], &[(Span::MONTH, 100)]);
    let event = UsageEvent { version: newer, ..of("acme", "1", version, vec![charge]) };
    assert_eq!(charged(on, &event).await, EventOutcome::Withheld);
    on.store.poll(&beat(1, newer.0)).await.unwrap();
    assert_eq!(charged(on, &event).await, EventOutcome::Charged);
    on.fail_over().await;
    let next = UsageEvent { key: EventKey { id: "2".into(), ..event.key.clone() }, ..event.clone() };
    assert_eq!(charged(on, &next).await, EventOutcome::Withheld);
    assert_eq!(charged(on, &event).await, EventOutcome::Duplicate);
}

async fn events_are_forgotten_in_the_end(on: &Fixture) {
    let version = acme(on).await;
    let days = |count: u64| std::time::Duration::from_secs(count * 86_400);
    let keep = Retention { usage_hours: days(400), usage_days: days(3_000), audit: days(1_000) };
    let first = event("1", version, 3);
    assert_eq!(charged(on, &first).await, EventOutcome::Charged);
    let mut buckets = 0;
    for (older, gone) in [(32, 0), (2, 1)] {
        if let Kind::Memory(clock, _) = &on.kind {
            clock.advance(days(older));
        }
        match older {
            32 => on.raw("UPDATE usage_events SET at_ms = at_ms - 2764800000").await,
            _ => on.raw("UPDATE usage_events SET at_ms = at_ms - 172800000").await,
        };
        let tidied = on.store.tidy(&keep).await.unwrap();
        assert_eq!(tidied.usage_events, gone);
        buckets += tidied.buckets;
    }
    assert_eq!(on.store.known_events(&[first.key]).await.unwrap(), [None]);
    // Their bucket goes as any other whose period is long over.
    if let Kind::Memory(clock, _) = &on.kind {
        clock.advance(days(60));
    }
    assert_eq!(buckets + on.store.tidy(&keep).await.unwrap().buckets, 1);
    assert_eq!(
        on.store.others(node(9), &[bucket("acme", version.0)]).await.unwrap(),
        [OthersUsage::default()]
    );
}

async fn nobody_owns_what_events_have_charged(on: &Fixture) {
    let version = acme(on).await;
    on.store.register(&registration("a", 1)).await.unwrap();
    assert_eq!(charged(on, &event("1", version, 40)).await, EventOutcome::Charged);
    assert_eq!(on.store.open_slots(&[EVENTS]).await.unwrap(), []);
    on.store.declare_lost("a", &origin()).await.unwrap();
    assert_eq!(used(on, &[bucket("acme", version.0)]).await, [40]);
    // As others see it, and as all do who ask for everybody.
    let all = on.store.others(Incarnation(uuid::Uuid::nil()), &[bucket("acme", version.0)]).await.unwrap();
    assert_eq!(all[0].used.get(), 40);
    let grant = ask(totals(&bucket("acme", version.0), 2, 0, 0), version, 0, 60);
    assert_eq!(on.store.grant(&[grant]).await.unwrap(), [GrantOutcome::Granted { granted: 60, used: 40 }]);
}

async fn absurd_numbers_are_refused(on: &Fixture) {
    let version = acme(on).await;
    let unlimited = |id, units| {
        let mut event = event(id, version, units);
        event.charges[0].sources[0].limit = None;
        event
    };
    assert_eq!(charged(on, &unlimited("1", u64::MAX)).await, EventOutcome::Charged);
    assert_eq!(charged(on, &unlimited("2", 1)).await, short(Units::MAX.get(), Units::MAX.get(), 0));
    assert_eq!(used(on, &[bucket("acme", version.0)]).await, [Units::MAX.get()]);
    // Lowered below what is used: nothing is left, and nothing wraps.
    assert!(matches!(charged(on, &event("3", version, 1)).await, EventOutcome::Exhausted(_)));
}

async fn a_call_is_claimed_once(on: &Fixture) {
    let claim = |fingerprint: &str| Idempotency { key: "k".into(), fingerprint: fingerprint.into() };
    let expect = async |fingerprint: &str, earlier: EarlierCall| {
        assert_eq!(on.store.claim_call(&claim(fingerprint), START).await.unwrap(), earlier);
    };
    expect("a", EarlierCall::Open).await;
    // Whoever claimed it was killed before it was answered.
    expect("a", EarlierCall::Open).await;
    expect("b", EarlierCall::Another).await;
    on.store.keep_call(&claim("a"), "{\"charged\":1}").await.unwrap();
    expect("a", EarlierCall::Answered("{\"charged\":1}".into())).await;
    expect("b", EarlierCall::Another).await;
}

async fn many_events_in_one_call(on: &Fixture) {
    let version = acme(on).await;
    let mut events: Vec<UsageEvent> = Vec::new();
    for number in 0..450 {
        let mut event = event(&number.to_string(), version, 1);
        event.charges[0].sources[0].limit = Some(Units::saturating(400));
        events.push(event);
    }
    let answers = on.store.charge_events(&events).await.unwrap();
    let (charged, refused) = answers.split_at(400);
    assert!(charged.iter().all(|outcome| *outcome == EventOutcome::Charged));
    assert!(refused.iter().all(|outcome| *outcome == short(400, 400, 0)), "{refused:?}");
    let again = on.store.charge_events(&events).await.unwrap();
    assert_eq!(again.iter().filter(|outcome| **outcome == EventOutcome::Duplicate).count(), 400);
    assert_eq!(used(on, &[bucket("acme", version.0)]).await, [400]);
}
