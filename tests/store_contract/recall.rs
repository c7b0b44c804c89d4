//! Asking back what others hold, and what a node says of its own slots.

use std::time::Duration;

use plangate::ports::{GrantOutcome, Remainder, Wanted};

use super::{
    nodes::{beat, registration},
    *,
};
use crate::Fixture;

on_every_store!(
    a_refusal_asks_for_what_others_hold,
    what_comes_back_wakes_who_waits,
    an_owner_restores_what_the_database_forgot,
    open_slots_are_found_by_their_runs,
);

async fn scene(on: &Fixture) -> (BucketKey, Version) {
    let version = done(&*on.store, &put("acme")).await.version;
    for (name, of) in [("a", 1), ("b", 2)] {
        on.store.register(&registration(name, of)).await.unwrap();
    }
    (bucket("acme", version.0), version)
}

async fn grant(on: &Fixture, request: GrantRequest) -> GrantOutcome {
    on.store.grant(&[request]).await.unwrap().remove(0)
}

async fn wanted(on: &Fixture) -> Vec<Wanted> {
    on.store.poll(&beat(2, 1)).await.unwrap().wanted
}

async fn a_refusal_asks_for_what_others_hold(on: &Fixture) {
    let (bucket, version) = scene(on).await;
    for (of, units) in [(1, 60), (2, 30), (3, 10)] {
        grant(on, ask(totals(&bucket, of, 0, 0), version, 0, units)).await;
    }
    assert_eq!(wanted(on).await, []);
    // The third is not registered: nobody would hear of the wish.
    let more = ask(totals(&bucket, 1, 20, 0), version, 60, 1);
    let refused = GrantOutcome::Exhausted { left: 0, used: 20, held: 30 };
    assert_eq!(grant(on, more.clone()).await, refused);
    let now = |left, held| vec![Wanted { bucket: bucket.clone(), remainder: Remainder { left, held } }];
    assert_eq!(wanted(on).await, now(0, 70));
    let remainders = |of| {
        let buckets = [super::bucket("acme", 99), bucket.clone()];
        async move { on.store.remainders(node(of), &buckets).await.unwrap() }
    };
    assert_eq!(remainders(1).await, [Remainder::default(), Remainder { left: 0, held: 30 }]);
    assert_eq!(remainders(2).await[1], Remainder { left: 0, held: 40 });
    on.store.flush(&[totals(&bucket, 2, 12, 2)]).await.unwrap();
    assert_eq!(wanted(on).await, now(0, 60));
    on.store.flush(&[sealed(totals(&bucket, 2, 12, 2))]).await.unwrap();
    assert_eq!(wanted(on).await, now(20, 40));
    // While it is wanted nobody gets more than what is waited for.
    let some = GrantRequest { demand: 7, want: 1000, ..more.clone() };
    assert_eq!(grant(on, some).await, GrantOutcome::Granted { granted: 67, used: 30 });
    on.let_six_seconds_pass().await;
    assert_eq!(wanted(on).await, []);
    on.store.poll(&beat(1, 1)).await.unwrap();
    let plenty = GrantRequest { granted: 67, want: 1000, ..more };
    assert_eq!(grant(on, plenty).await, GrantOutcome::Granted { granted: 70, used: 30 });
    // Nobody else holds anything that could come back.
    let last = ask(totals(&bucket, 1, 20, 0), version, 70, 11);
    assert_eq!(grant(on, last).await, GrantOutcome::Exhausted { left: 10, used: 30, held: 0 });
    assert_eq!(wanted(on).await, []);
}

async fn what_comes_back_wakes_who_waits(on: &Fixture) {
    let (bucket, version) = scene(on).await;
    grant(on, ask(totals(&bucket, 2, 0, 0), version, 0, 100)).await;
    grant(on, ask(totals(&bucket, 1, 0, 0), version, 0, 1)).await;
    for report in
        [totals(&bucket, 2, 5, 0), sealed(totals(&bucket, 2, 5, 0)), sealed(totals(&bucket, 2, 5, 3))]
    {
        // What was told before is heard first.
        while tokio::time::timeout(Duration::from_millis(200), on.store.changed()).await.is_ok() {}
        on.store.flush(&[report]).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), on.store.changed()).await.unwrap();
    }
}

async fn an_owner_restores_what_the_database_forgot(on: &Fixture) {
    let (bucket, version) = scene(on).await;
    let claim = |of, granted, used| SlotTotals { granted, ..totals(&bucket, of, used, 0) };
    on.store.flush(&[claim(1, 50, 10), claim(1, 20, 4)]).await.unwrap();
    let other = ask(totals(&bucket, 2, 0, 0), version, 0, 51);
    assert_eq!(grant(on, other.clone()).await, GrantOutcome::Exhausted { left: 50, used: 10, held: 40 });
    let more = ask(totals(&bucket, 1, 10, 0), version, 50, 1);
    assert_eq!(grant(on, more).await, GrantOutcome::Granted { granted: 51, used: 10 });
    // A seal is for good, whatever arrives later.
    on.store.flush(&[sealed(claim(1, 51, 10)), claim(1, 90, 10)]).await.unwrap();
    assert_eq!(grant(on, other).await, GrantOutcome::Granted { granted: 51, used: 10 });
    let late = ask(totals(&bucket, 1, 10, 0), version, 51, 1);
    assert_eq!(grant(on, late).await, GrantOutcome::Refused { granted: 51 });
}

async fn open_slots_are_found_by_their_runs(on: &Fixture) {
    let (bucket, version) = scene(on).await;
    let day = BucketKey { span: Window::Day.into(), ..bucket.clone() };
    grant(on, ask(totals(&bucket, 1, 0, 0), version, 0, 10)).await;
    let counted = Windows::of(|window| window == Window::Day);
    let used = SlotTotals { counted, ..totals(&bucket, 1, 7, 2) };
    on.store.flush(&[used.clone(), totals(&day, 1, 5, 0), totals(&bucket, 2, 1, 0)]).await.unwrap();
    on.store.flush(&[sealed(totals(&day, 1, 5, 0))]).await.unwrap();
    let open = |runs: &'static [u128]| async move {
        let runs: Vec<Incarnation> = runs.iter().map(|run| node(*run)).collect();
        on.store.open_slots(&runs).await.unwrap()
    };
    assert_eq!(open(&[]).await, []);
    assert_eq!(open(&[9]).await, []);
    assert_eq!(open(&[1, 1, 9]).await, [SlotTotals { granted: 10, ..used }]);
    assert_eq!(open(&[1, 2]).await.len(), 2);
}
