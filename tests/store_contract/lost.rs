//! Nodes that are declared lost.

use plangate::ports::{GrantOutcome, Lost, LostError, OthersUsage};

use super::{
    nodes::{beat, registration},
    *,
};
use crate::{Fixture, Kind};

on_every_store!(
    what_a_lost_node_held_is_spent,
    who_is_not_there_is_not_lost,
    a_node_is_lost_once,
    what_earlier_runs_left_behind,
);

async fn what_earlier_runs_left_behind(on: &Fixture) {
    let store = &*on.store;
    let version = done(store, &put("acme")).await.version;
    let goes_on = |of, epoch| {
        let end = UnixMillis(i64::from(i32::MAX) * 2_000);
        SlotTotals { end, ..totals(&bucket("acme", epoch), of, 0, 0) }
    };
    for (of, granted) in [(1, 20), (2, 5)] {
        store.register(&registration("a", of)).await.unwrap();
        store.grant(&[ask(goes_on(of, 1), version, 0, granted)]).await.unwrap();
        store.deregister(node(of)).await.unwrap();
    }
    // Of a period that is over, of another name, and of one that has returned it.
    store.grant(&[ask(totals(&bucket("acme", 2), 1, 0, 0), version, 0, 7)]).await.unwrap();
    store.register(&registration("b", 3)).await.unwrap();
    store.grant(&[ask(goes_on(3, 1), version, 0, 9)]).await.unwrap();
    let behind = |slots, units| Lost { slots, units };
    let over = usize::from(matches!(on.kind, Kind::Memory(..)));
    assert_eq!(store.left_behind("a", node(2)).await.unwrap(), behind(1 + over as u64, 20 + 7 * over as u64));
    store.flush(&[sealed(goes_on(1, 1)), sealed(totals(&bucket("acme", 2), 1, 0, 0))]).await.unwrap();
    assert_eq!(store.left_behind("a", node(2)).await.unwrap(), behind(0, 0));
    assert_eq!(store.left_behind("a", node(9)).await.unwrap(), behind(1, 5));
    store.declare_lost("a", &origin()).await.unwrap();
    assert_eq!(store.left_behind("a", node(9)).await.unwrap(), behind(1, 5), "written off is not returned");
}

async fn what_a_lost_node_held_is_spent(on: &Fixture) {
    let store = &*on.store;
    let version = done(store, &put("acme")).await.version;
    let bucket = bucket("acme", version.0);
    let next = |of| {
        let mut totals = totals(&bucket, of, 0, 0);
        totals.slot.seq = 1;
        totals
    };
    // Two runs of one name, and another node.
    store.register(&registration("a", 1)).await.unwrap();
    store.grant(&[ask(totals(&bucket, 1, 0, 0), version, 0, 20)]).await.unwrap();
    store.deregister(node(1)).await.unwrap();
    store.register(&registration("a", 2)).await.unwrap();
    store.register(&registration("b", 3)).await.unwrap();
    store.grant(&[ask(totals(&bucket, 2, 0, 0), version, 0, 30)]).await.unwrap();
    store.grant(&[ask(next(2), version, 0, 5)]).await.unwrap();
    store.grant(&[ask(totals(&bucket, 3, 0, 0), version, 0, 10)]).await.unwrap();
    store.flush(&[totals(&bucket, 1, 4, 0), totals(&bucket, 2, 6, 0), sealed(next(2))]).await.unwrap();

    assert_eq!(store.declare_lost("a", &origin()).await.unwrap(), Lost { slots: 2, units: 40 });
    assert!(store.poll(&beat(2, 1)).await.unwrap().forgotten);
    let names: Vec<String> = store.nodes().await.unwrap().into_iter().map(|node| node.name).collect();
    assert_eq!(names, ["b"]);
    assert_eq!(store.open_slots(&[node(1), node(2)]).await.unwrap(), []);
    let seen = |used, uncertain| OthersUsage {
        used: Units::saturating(used),
        uncertain: Units::saturating(uncertain),
    };
    let buckets = [bucket.clone()];
    assert_eq!(store.others(node(3), &buckets).await.unwrap(), [seen(10, 40)]);
    // Nothing more is granted to them, and nothing comes back; but what they really used is recorded.
    let more = ask(totals(&bucket, 2, 9, 0), version, 30, 1);
    assert_eq!(store.grant(&[more]).await.unwrap(), [GrantOutcome::Refused { granted: 30 }]);
    store.flush(&[sealed(totals(&bucket, 2, 25, 0)), totals(&bucket, 1, 7, 0)]).await.unwrap();
    assert_eq!(store.others(node(3), &buckets).await.unwrap(), [seen(32, 18)]);
    store.register(&registration("a", 2)).await.unwrap();
    assert_eq!(store.others(node(3), &buckets).await.unwrap(), [seen(32, 18)], "for good");
    let rest = ask(totals(&bucket, 3, 0, 0), version, 10, 41);
    let refused = GrantOutcome::Exhausted { left: 40, used: 32, held: 0 };
    assert_eq!(store.grant(&[rest]).await.unwrap(), [refused]);

    let audit = store.audit(0, 10).await.unwrap();
    let line = audit.last().unwrap();
    assert_eq!((line.kind.as_str(), &line.tenant, line.version), ("node.lost", &None, Version(1)));
    assert_eq!(line.detail, serde_json::json!({ "node": "a", "slots": 2, "units": 40 }));
    assert_eq!(audit[0].tenant, Some(tenant("acme")));
}

async fn who_is_not_there_is_not_lost(on: &Fixture) {
    let store = &*on.store;
    let unknown = |name: &str| Err(LostError::Unknown(name.into()));
    assert_eq!(store.declare_lost("a", &once("x", "f")).await, unknown("a"));
    store.register(&registration("a", 1)).await.unwrap();
    assert_eq!(store.declare_lost("a", &once("x", "f")).await, Ok(Lost { slots: 0, units: 0 }));
    assert_eq!(store.declare_lost("a", &origin()).await, unknown("a"), "there is nothing left");
    // It may come back, as any other.
    store.register(&registration("a", 1)).await.unwrap();
    assert!(!store.poll(&beat(1, 0)).await.unwrap().forgotten);
}

async fn a_node_is_lost_once(on: &Fixture) {
    let store = &*on.store;
    let version = done(store, &put("acme")).await.version;
    let bucket = bucket("acme", version.0);
    store.register(&registration("a", 1)).await.unwrap();
    store.grant(&[ask(totals(&bucket, 1, 0, 0), version, 0, 20)]).await.unwrap();
    let lost = Ok(Lost { slots: 1, units: 20 });
    assert_eq!(store.declare_lost("a", &once("x", "f")).await, lost);
    store.register(&registration("a", 2)).await.unwrap();
    assert_eq!(store.declare_lost("a", &once("x", "f")).await, lost);
    assert_eq!(store.nodes().await.unwrap().len(), 1, "a repetition does nothing");
    assert_eq!(store.declare_lost("a", &once("x", "g")).await, Err(LostError::IdempotencyConflict));
    store.execute(&put("acme"), &once("y", "f")).await.unwrap();
    assert_eq!(store.declare_lost("a", &once("y", "f")).await, Err(LostError::IdempotencyConflict));
    assert!(store.execute(&put("acme"), &once("x", "f")).await.is_err());
    assert_eq!(store.audit(0, 10).await.unwrap().len(), 3);
}
