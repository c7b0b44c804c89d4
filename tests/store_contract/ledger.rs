//! Grants, flushes and what is read of them.

use std::sync::Arc;

use plangate::{
    domain::{command::Change, period::Period},
    ports::{GrantOutcome, OthersUsage, Registration, Span},
};

use super::*;
use crate::Fixture;

on_every_store!(
    a_grant_is_debited,
    an_answer_that_was_lost_is_found_again,
    old_facts_are_stale,
    sealing_returns_the_rest,
    totals_are_recorded_in_their_hour,
    every_source_is_recorded_in_its_counting,
    a_month_and_its_overage_keep_to_what_both_may_come_to,
    others_are_seen_and_the_lost_are_uncertain,
    a_batch_answers_in_its_own_order,
    a_flush_says_what_is_used_of_each_bucket,
    absurd_numbers_neither_wrap_nor_fail,
    many_thousand_totals_at_once,
    competitors_get_exactly_the_limit,
    crossing_batches_do_not_lock_each_other_out,
);

async fn acme(on: &Fixture) -> (BucketKey, Version) {
    let version = done(&*on.store, &put("acme")).await.version;
    (bucket("acme", version.0), version)
}

async fn grant(on: &Fixture, request: GrantRequest) -> GrantOutcome {
    on.store.grant(&[request]).await.unwrap().remove(0)
}

async fn a_grant_is_debited(on: &Fixture) {
    let (bucket, version) = acme(on).await;
    let first = GrantRequest { want: 1000, ..ask(totals(&bucket, 1, 0, 0), version, 0, 1) };
    assert_eq!(grant(on, first).await, GrantOutcome::Granted { granted: 50, used: 0 });
    let second = GrantRequest { want: 5, ..ask(totals(&bucket, 2, 0, 0), version, 0, 1) };
    assert_eq!(grant(on, second).await, GrantOutcome::Granted { granted: 5, used: 0 });
    let more = ask(totals(&bucket, 1, 48, 8), version, 50, 45);
    assert_eq!(grant(on, more).await, GrantOutcome::Granted { granted: 95, used: 40 });
    let empty = ask(totals(&bucket, 2, 5, 0), version, 5, 0);
    assert_eq!(grant(on, empty).await, GrantOutcome::Exhausted { left: 0, used: 45, held: 0 });
    let raised =
        GrantRequest { limit: Units::saturating(110), ..ask(totals(&bucket, 2, 5, 0), version, 5, 11) };
    assert_eq!(grant(on, raised.clone()).await, GrantOutcome::Exhausted { left: 10, used: 45, held: 0 });
    let fits = GrantRequest { need: 10, ..raised };
    assert_eq!(grant(on, fits).await, GrantOutcome::Granted { granted: 15, used: 45 });
    let lowered = GrantRequest { limit: Units::ZERO, ..ask(totals(&bucket, 3, 0, 0), version, 0, 1) };
    assert_eq!(grant(on, lowered).await, GrantOutcome::Exhausted { left: 0, used: 45, held: 0 });
}

async fn an_answer_that_was_lost_is_found_again(on: &Fixture) {
    let (bucket, version) = acme(on).await;
    let request = ask(totals(&bucket, 1, 0, 0), version, 0, 60);
    assert_eq!(grant(on, request.clone()).await, GrantOutcome::Granted { granted: 60, used: 0 });
    assert_eq!(grant(on, request).await, GrantOutcome::Refused { granted: 60 });
    let rest = ask(totals(&bucket, 2, 0, 0), version, 0, 40);
    assert_eq!(
        grant(on, rest).await,
        GrantOutcome::Granted { granted: 40, used: 0 },
        "nothing was granted twice"
    );
}

async fn old_facts_are_stale(on: &Fixture) {
    let (bucket, version) = acme(on).await;
    done(&*on.store, &change("acme", Change::Suspend)).await;
    assert_eq!(grant(on, ask(totals(&bucket, 1, 0, 0), version, 0, 1)).await, GrantOutcome::Stale);
    let now = Version(version.0 + 1);
    assert!(matches!(
        grant(on, ask(totals(&bucket, 1, 0, 0), now, 0, 1)).await,
        GrantOutcome::Granted { .. }
    ));
    // A key changes no rights.
    done(&*on.store, &key("acme", "k1", 1)).await;
    assert!(matches!(
        grant(on, ask(totals(&bucket, 1, 1, 0), now, 1, 1)).await,
        GrantOutcome::Granted { .. }
    ));
    done(&*on.store, &change("acme", Change::DeleteTenant)).await;
    assert_eq!(grant(on, ask(totals(&bucket, 1, 1, 0), now, 2, 1)).await, GrantOutcome::Stale);
    let again = done(&*on.store, &put("acme")).await.version;
    assert_eq!(grant(on, ask(totals(&bucket, 1, 1, 0), now, 2, 1)).await, GrantOutcome::Stale);
    // The new tenant counts from zero.
    let anew = super::bucket("acme", again.0);
    let all = ask(totals(&anew, 1, 0, 0), again, 0, 100);
    assert_eq!(grant(on, all).await, GrantOutcome::Granted { granted: 100, used: 0 });
}

async fn sealing_returns_the_rest(on: &Fixture) {
    let (bucket, version) = acme(on).await;
    grant(on, ask(totals(&bucket, 1, 0, 0), version, 0, 80)).await;
    let end = sealed(totals(&bucket, 1, 30, 0));
    on.store.flush(std::slice::from_ref(&end)).await.unwrap();
    on.store.flush(&[end.clone(), totals(&bucket, 1, 10, 0)]).await.unwrap();
    assert_eq!(
        grant(on, ask(totals(&bucket, 1, 30, 0), version, 80, 1)).await,
        GrantOutcome::Refused { granted: 80 }
    );
    let others = ask(totals(&bucket, 2, 0, 0), version, 0, 71);
    assert_eq!(grant(on, others).await, GrantOutcome::Exhausted { left: 70, used: 30, held: 0 });
    // What is refunded after the seal comes back too.
    on.store.flush(&[sealed(totals(&bucket, 1, 30, 10))]).await.unwrap();
    let others = ask(totals(&bucket, 2, 0, 0), version, 0, 80);
    assert_eq!(grant(on, others).await, GrantOutcome::Granted { granted: 80, used: 20 });
    // The next word of the same node is a slot of its own.
    let mut next = totals(&bucket, 1, 0, 0);
    next.slot.seq = 1;
    assert_eq!(
        grant(on, ask(next, version, 0, 1)).await,
        GrantOutcome::Exhausted { left: 0, used: 20, held: 0 }
    );
    // A slot that was sealed before the database heard of it is never granted anything.
    on.store.flush(&[sealed(totals(&bucket, 7, 0, 0))]).await.unwrap();
    assert_eq!(
        grant(on, ask(totals(&bucket, 7, 0, 0), version, 0, 1)).await,
        GrantOutcome::Refused { granted: 0 }
    );
}

async fn totals_are_recorded_in_their_hour(on: &Fixture) {
    const HOUR: i64 = 3_600_000;
    let (bucket, _) = acme(on).await;
    let first = START.0.div_euclid(HOUR) * HOUR;
    let at = |used, refunded, hour: i64| SlotTotals {
        at: UnixMillis(first + hour * HOUR + 5),
        ..totals(&bucket, 1, used, refunded)
    };
    let day = SlotTotals {
        slot: SlotKey {
            bucket: BucketKey { span: Window::Day.into(), ..bucket.clone() },
            incarnation: node(1),
            seq: 0,
        },
        ..at(10, 0, 0)
    };
    let second_node =
        SlotTotals { slot: SlotKey { bucket: bucket.clone(), incarnation: node(2), seq: 0 }, ..at(7, 0, 0) };
    on.store.flush(&[at(10, 0, 0), day, second_node]).await.unwrap();
    on.store.flush(&[at(10, 0, 1), at(25, 3, 1), at(12, 0, 2)]).await.unwrap();
    let rows = |from: i64, to: i64| {
        let span = Period { start: UnixMillis(first + from * HOUR), end: UnixMillis(first + to * HOUR) };
        async move {
            let rows = on.store.usage(&tenant("acme"), span).await.unwrap();
            rows.iter().map(|row| ((row.hour.0 - first) / HOUR, row.units)).collect::<Vec<_>>()
        }
    };
    assert_eq!(rows(0, 24).await, [(0, 17), (1, 12)]);
    assert_eq!(rows(1, 2).await, [(1, 12)]);
    assert_eq!(rows(2, 24).await, []);
    // More given back than charged in an hour: below zero, so that the sum of all hours is what was used.
    on.store.flush(&[at(25, 8, 5)]).await.unwrap();
    assert_eq!(rows(5, 6).await, [(5, -5)]);
    on.store.flush(&[at(35, 8, 5)]).await.unwrap();
    assert_eq!(rows(5, 6).await, [(5, 5)]);
    done(&*on.store, &change("acme", Change::DeleteTenant)).await;
    assert_eq!(rows(0, 24).await.len(), 3, "usage outlives the tenant");
}

/// A word of some source of the bucket's month.
fn of_source(bucket: &BucketKey, span: Span, epoch: Version, used: u64) -> SlotTotals {
    SlotTotals { counting: bucket.epoch, ..totals(&BucketKey { span, epoch, ..bucket.clone() }, 1, used, 0) }
}

async fn every_source_is_recorded_in_its_counting(on: &Fixture) {
    let (bucket, version) = acme(on).await;
    let never = SlotTotals { end: UnixMillis::NEVER, ..of_source(&bucket, Span::Grant, Version(77), 4) };
    let other = SlotTotals {
        slot: SlotKey { seq: 1, ..never.slot.clone() },
        counting: Version(9000),
        used: 100,
        ..never.clone()
    };
    let beyond = of_source(&bucket, Span::Overage, version, 5);
    on.store
        .flush(&[of_source(&bucket, Span::MONTH, version, 3), beyond.clone(), never.clone(), other])
        .await
        .unwrap();
    let whole = Period { start: UnixMillis(0), end: UnixMillis::NEVER };
    let rows = on.store.usage(&tenant("acme"), whole).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.units).sum::<i64>(), 112);
    // A day that is limited from now on counts what was charged to any source in this counting.
    let day = BucketKey { span: Window::Day.into(), ..bucket.clone() };
    let refused = GrantOutcome::Exhausted { left: 88, used: 12, held: 0 };
    assert_eq!(grant(on, ask(totals(&day, 1, 0, 0), version, 0, 89)).await, refused);
    let keys = [day, beyond.slot.bucket.clone(), never.slot.bucket.clone()];
    let used: Vec<u64> =
        on.store.others(node(2), &keys).await.unwrap().iter().map(|usage| usage.used.get()).collect();
    assert_eq!(used, [12, 5, 104]);
    let open = on.store.open_slots(&[node(1)]).await.unwrap();
    let mut spans: Vec<Span> = open.iter().map(|totals| totals.slot.bucket.span).collect();
    spans.sort();
    assert_eq!(spans, [Span::Window(Window::Day), Span::MONTH, Span::Overage, Span::Grant, Span::Grant]);
    assert!(open.iter().any(|totals| totals.slot.bucket == never.slot.bucket && totals.end == never.end));
    assert_eq!(on.store.remainders(node(2), &keys).await.unwrap().len(), 3);
}

async fn a_month_and_its_overage_keep_to_what_both_may_come_to(on: &Fixture) {
    let (bucket, version) = acme(on).await;
    let try_grant = async |seq, span, (limit, ceiling), need| {
        let mut totals = of_source(&bucket, span, version, 0);
        totals.slot.seq = seq;
        let request = GrantRequest {
            limit: Units::saturating(limit),
            ceiling: Some(Units::saturating(ceiling)),
            ..ask(totals, version, 0, need)
        };
        grant(on, request).await
    };
    let granted = |granted| GrantOutcome::Granted { granted, used: 0 };
    let left = |left, used| GrantOutcome::Exhausted { left, used, held: 0 };
    // The overage first: its month is made with it.
    assert_eq!(try_grant(0, Span::Overage, (50, 150), 30).await, granted(30));
    assert_eq!(try_grant(0, Span::MONTH, (100, 150), 90).await, granted(90));
    assert_eq!(try_grant(1, Span::MONTH, (100, 150), 11).await, left(10, 0), "each to its own limit");
    assert_eq!(try_grant(1, Span::MONTH, (500, 500), 381).await, left(380, 0), "a larger plan with a block");
    assert_eq!(try_grant(1, Span::Overage, (40, 60), 1).await, left(0, 0), "a smaller one");
    assert_eq!(try_grant(1, Span::Overage, (40, 125), 6).await, left(5, 0));
    let mut back = sealed(of_source(&bucket, Span::Overage, version, 12));
    back.refunded = 2;
    on.store.flush(&[back]).await.unwrap();
    assert_eq!(
        try_grant(1, Span::MONTH, (500, 500), 401).await,
        left(400, 0),
        "what is returned is heard of"
    );
    assert_eq!(try_grant(1, Span::MONTH, (500, 500), 400).await, granted(400));
    assert_eq!(try_grant(2, Span::Overage, (90, 600), 81).await, left(80, 10));
    assert_eq!(on.store.others(node(2), std::slice::from_ref(&bucket)).await.unwrap()[0].used, Units::ZERO);
}

async fn others_are_seen_and_the_lost_are_uncertain(on: &Fixture) {
    let (bucket, version) = acme(on).await;
    let digest = plangate::domain::catalog::Digest("d".into());
    let registration = Registration { name: "a".into(), incarnation: node(1), file: node(9).0, digest };
    on.store.register(&registration).await.unwrap();
    for (of, used) in [(1, 4), (2, 5), (3, 6)] {
        grant(on, ask(totals(&bucket, of, 0, 0), version, 0, 10)).await;
        on.store.flush(&[totals(&bucket, of, used, 1)]).await.unwrap();
    }
    let unknown = super::bucket("acme", 99);
    let see = |of| {
        let buckets = [unknown.clone(), bucket.clone(), bucket.clone()];
        async move { on.store.others(node(of), &buckets).await.unwrap() }
    };
    let usage = |used, uncertain| OthersUsage {
        used: Units::saturating(used),
        uncertain: Units::saturating(uncertain),
    };
    assert_eq!(see(1).await, [usage(0, 0), usage(9, 11), usage(9, 11)]);
    assert_eq!(see(2).await[1], usage(8, 5));
    on.store.flush(&[sealed(totals(&bucket, 3, 6, 1))]).await.unwrap();
    assert_eq!(see(1).await[1], usage(9, 6));
    assert_eq!(on.store.others(node(1), &[]).await.unwrap(), []);
}

async fn a_batch_answers_in_its_own_order(on: &Fixture) {
    let mut requests = Vec::new();
    for number in (0..40).rev() {
        let id = format!("t{number}");
        let version = done(&*on.store, &put(&id)).await.version;
        let request = ask(totals(&bucket(&id, version.0), 1, 0, 0), version, 0, number + 1);
        requests.push(GrantRequest { version: if number == 7 { Version(0) } else { version }, ..request });
    }
    // Two slots of one bucket, and one slot twice.
    let mut second = requests[0].clone();
    second.totals.slot.seq = 1;
    requests.push(second);
    requests.push(requests[0].clone());
    let outcomes = on.store.grant(&requests).await.unwrap();
    for (place, number) in (0..40).rev().enumerate() {
        let expected = match number {
            7 => GrantOutcome::Stale,
            _ => GrantOutcome::Granted { granted: number + 1, used: 0 },
        };
        assert_eq!(outcomes[place], expected, "{number}");
    }
    assert_eq!(outcomes[40], GrantOutcome::Granted { granted: 40, used: 0 });
    assert_eq!(outcomes[41], GrantOutcome::Refused { granted: 40 });
    assert_eq!(on.store.grant(&[]).await.unwrap(), []);
    assert!(on.store.flush(&[]).await.unwrap().is_empty());
}

async fn a_flush_says_what_is_used_of_each_bucket(on: &Fixture) {
    let (bucket, version) = acme(on).await;
    let (other, unknown) = (super::bucket("other", version.0), super::bucket("acme", 99));
    grant(on, ask(totals(&bucket, 1, 0, 0), version, 0, 50)).await;
    assert_eq!(on.store.flush(&[totals(&bucket, 1, 30, 10)]).await.unwrap(), [20]);
    // Two slots of one bucket, and what comes late: each is told what is true after all of them.
    let all = [totals(&bucket, 2, 7, 0), totals(&other, 1, 3, 1), totals(&bucket, 1, 25, 10)];
    assert_eq!(on.store.flush(&all).await.unwrap(), [27, 2, 27]);
    assert_eq!(on.store.flush(&[sealed(totals(&bucket, 2, 9, 3))]).await.unwrap(), [26]);
    let asked = [unknown, other.clone(), bucket.clone(), other];
    assert_eq!(on.store.recorded(&asked).await.unwrap(), [0, 2, 26, 2]);
    assert!(on.store.recorded(&[]).await.unwrap().is_empty());
    // As a grant tells it.
    let more = on.store.grant(&[ask(totals(&bucket, 1, 31, 10), version, 50, 1)]).await.unwrap();
    assert!(matches!(more[..], [GrantOutcome::Granted { used: 27, .. }]), "{more:?}");
    assert_eq!(on.store.recorded(&asked[2..3]).await.unwrap(), [27]);
}

async fn absurd_numbers_neither_wrap_nor_fail(on: &Fixture) {
    let (bucket, version) = acme(on).await;
    let mut all = Vec::new();
    for of in 0..5 {
        let at = [i64::MIN, i64::MAX, 0, -1, START.0][usize::try_from(of).unwrap()];
        all.push(SlotTotals { at: UnixMillis(at), ..totals(&bucket, of, u64::MAX, 0) });
        all.push(totals(&bucket, of, 3, u64::MAX));
    }
    all[0].slot.seq = u64::MAX;
    all[0].slot.bucket.start = UnixMillis(i64::MIN);
    all[0].slot.bucket.epoch = Version(u64::MAX);
    on.store.flush(&all).await.unwrap();
    let greedy = GrantRequest {
        limit: Units::MAX,
        want: u64::MAX,
        ..ask(totals(&bucket, 9, u64::MAX, u64::MAX), version, 0, u64::MAX)
    };
    assert!(matches!(grant(on, greedy).await, GrantOutcome::Exhausted { left: 0, .. }));
    on.store.others(node(1), &[bucket]).await.unwrap();
}

async fn many_thousand_totals_at_once(on: &Fixture) {
    let (bucket, version) = acme(on).await;
    let of_day = |day: i64| BucketKey { start: UnixMillis(START.0 + day * 86_400_000), ..bucket.clone() };
    for used in [1, 3] {
        let all: Vec<SlotTotals> = (0..6_000).map(|day| totals(&of_day(day), 1, used, 0)).collect();
        on.store.flush(&all).await.unwrap();
    }
    let requests: Vec<GrantRequest> =
        (0..500).map(|day| ask(totals(&of_day(day), 1, 3, 0), version, 0, 1)).collect();
    let granted = on.store.grant(&requests).await.unwrap();
    assert!(granted.iter().all(|one| *one == GrantOutcome::Granted { granted: 1, used: 3 }), "{granted:?}");
    let hour = START.0.div_euclid(3_600_000) * 3_600_000;
    let span = Period { start: UnixMillis(hour), end: UnixMillis(hour + 1) };
    assert_eq!(on.store.usage(&tenant("acme"), span).await.unwrap()[0].units, 18_000);
}

async fn competitors_get_exactly_the_limit(on: &Fixture) {
    let (bucket, version) = acme(on).await;
    let mut nodes = tokio::task::JoinSet::new();
    for of in 1..=4 {
        let (store, bucket) = (Arc::clone(&on.store), bucket.clone());
        nodes.spawn(async move {
            let mut own = 0;
            loop {
                let request = GrantRequest { want: 9, ..ask(totals(&bucket, of, own, 0), version, own, 1) };
                match store.grant(&[request]).await.unwrap().remove(0) {
                    GrantOutcome::Granted { granted, .. } => own = granted,
                    GrantOutcome::Exhausted { .. } => return own,
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    assert_eq!(nodes.join_all().await.iter().sum::<u64>(), 100);
}

async fn crossing_batches_do_not_lock_each_other_out(on: &Fixture) {
    let mut keys = Vec::new();
    for number in 0..12 {
        let id = format!("t{number}");
        let version = done(&*on.store, &put(&id)).await.version;
        keys.push((bucket(&id, version.0), version));
    }
    let mut nodes = tokio::task::JoinSet::new();
    for of in 1..=4u64 {
        let (store, mut keys) = (Arc::clone(&on.store), keys.clone());
        nodes.spawn(async move {
            for round in 0..6u64 {
                keys.rotate_left(usize::try_from(of).unwrap());
                if of % 2 == 0 {
                    keys.reverse();
                }
                // New buckets in each round, some asked for and some only flushed; and changes in between.
                let fresh = |key: &BucketKey| BucketKey {
                    start: UnixMillis(i64::try_from(round).unwrap()),
                    ..key.clone()
                };
                let requests: Vec<GrantRequest> = keys[..8]
                    .iter()
                    .map(|(key, version)| ask(totals(&fresh(key), u128::from(of), 1, 0), *version, 0, 1))
                    .collect();
                let flushed: Vec<SlotTotals> =
                    keys[4..].iter().map(|(key, _)| totals(&fresh(key), u128::from(of), 1, 0)).collect();
                let again = put("t0");
                let origin = origin();
                let (granted, flush, _) =
                    tokio::join!(store.grant(&requests), store.flush(&flushed), async {
                        if of == 1 {
                            store.execute(&again, &origin).await.unwrap();
                        }
                    });
                granted.unwrap();
                flush.unwrap();
            }
        });
    }
    nodes.join_all().await;
}
