//! The registry and the feed.

use std::time::Duration;

use plangate::{
    domain::{catalog::Digest, time::Version},
    ports::{Heartbeat, Incarnation, RegisterError, Registration},
};

use super::*;
use crate::{Fixture, Kind, open};

on_every_store!(
    a_name_is_one_nodes,
    who_holds_the_file_takes_the_name_at_once,
    a_run_learns_whether_it_was_replaced_or_forgotten,
    a_files_openings_are_counted,
    a_poll_brings_what_is_new,
    what_was_pruned_is_a_gap,
    two_openings_share_one_feed,
);

pub fn registration(name: &str, of: u128) -> Registration {
    Registration { name: name.into(), incarnation: node(of), file: node(of).0, digest: Digest("d1".into()) }
}

pub fn beat(of: u128, applied: u64) -> Heartbeat {
    Heartbeat {
        incarnation: node(of),
        applied: Version(applied),
        digest: Digest("d2".into()),
        reasserted: Epoch(0),
    }
}

async fn a_name_is_one_nodes(on: &Fixture) {
    let store = &*on.store;
    done(store, &put("acme")).await;
    assert_eq!(store.register(&registration("a", 1)).await.unwrap().version, Version(1));
    assert_eq!(
        store.register(&registration("a", 1)).await.unwrap().version,
        Version(1),
        "itself may come again"
    );
    let taken = store.register(&registration("a", 2)).await.unwrap_err();
    assert!(
        matches!(&taken, RegisterError::NameTaken { name, age } if name == "a" && *age < Duration::from_secs(5)),
        "{taken}"
    );
    store.register(&registration("b", 3)).await.unwrap();
    assert_eq!(store.poll(&beat(1, 1)).await.unwrap().live_nodes, 2);

    on.let_six_seconds_pass().await;
    let answer = store.poll(&beat(3, 1)).await.unwrap();
    assert_eq!((answer.live_nodes, answer.superseded), (1, false));
    store.register(&registration("a", 2)).await.unwrap();
    assert!(store.poll(&beat(1, 1)).await.unwrap().superseded);
    let names: Vec<(String, Incarnation, u64)> = store
        .nodes()
        .await
        .unwrap()
        .into_iter()
        .map(|row| (row.name, row.incarnation, row.applied.0))
        .collect();
    assert_eq!(names, [("a".into(), node(2), 1), ("b".into(), node(3), 1)]);

    store.deregister(node(2)).await.unwrap();
    store.register(&registration("a", 4)).await.unwrap();
    store.deregister(node(2)).await.unwrap();
    assert_eq!(store.nodes().await.unwrap().len(), 2, "a late farewell does not remove the successor");
}

async fn a_poll_brings_what_is_new(on: &Fixture) {
    let store = &*on.store;
    store.register(&registration("a", 1)).await.unwrap();
    let nothing = store.poll(&beat(1, 0)).await.unwrap();
    assert_eq!((nothing.changes.len(), nothing.upto, nothing.gap), (0, Version(0), false));
    for id in ["x", "y", "z"] {
        done(store, &put(id)).await;
    }
    let answer = store.poll(&beat(1, 1)).await.unwrap();
    assert_eq!((answer.changes.len(), answer.upto, answer.gap), (2, Version(3), false));
    assert_eq!(answer.changes[0].tenant, Some(tenant("y")));
    assert_eq!(answer.changes, store.changes(Version(1), 9).await.unwrap());
    // A late poll does not take back what was reported.
    store.poll(&beat(1, 0)).await.unwrap();
    let row = store.nodes().await.unwrap().remove(0);
    assert_eq!((row.applied, row.digest, row.name.as_str()), (Version(1), Digest("d2".into()), "a"));
    assert!(row.beat_age < Duration::from_secs(5));

    let before = plangate::clock::SystemClock::uncorrected();
    let database = store.poll(&beat(1, 3)).await.unwrap().database_now;
    if !matches!(on.kind, Kind::Memory(..)) {
        assert!((database.0 - before.0).abs() < 2_000, "{database} at {before}");
    }
}

async fn what_was_pruned_is_a_gap(on: &Fixture) {
    let store = &*on.store;
    store.register(&registration("a", 1)).await.unwrap();
    for _ in 0..255 {
        done(store, &put("x")).await;
    }
    // Every 256th change forgets what is older than a week.
    let much_later = Origin { at: UnixMillis(START.0 + 8 * 86_400_000), ..origin() };
    store.execute(&put("x"), &much_later).await.unwrap();
    let left = store.changes(Version(0), 1000).await.unwrap();
    assert_eq!(left.iter().map(|row| row.version.0).collect::<Vec<_>>(), [256]);
    let behind = store.poll(&beat(1, 100)).await.unwrap();
    assert_eq!((behind.gap, behind.upto, behind.changes.len()), (true, Version(256), 0));
    let close = store.poll(&beat(1, 255)).await.unwrap();
    assert_eq!((close.gap, close.upto, close.changes.len()), (false, Version(256), 1));
    // A database that was set back has less than the node knows.
    assert!(store.poll(&beat(1, 300)).await.unwrap().gap);
}

async fn two_openings_share_one_feed(on: &Fixture) {
    let Some(url) = on.url() else { return };
    let other = open(url).await;
    assert_eq!(other.installation(), on.store.installation());
    assert_eq!(other.key_secret().await.unwrap(), on.store.key_secret().await.unwrap());
    done(&*on.store, &put("acme")).await;
    done(&*other, &put("acme")).await;
    assert_eq!(other.tenant(&tenant("acme")).await.unwrap(), on.store.tenant(&tenant("acme")).await.unwrap());
    if matches!(on.kind, Kind::Postgres { .. }) {
        let heard = async {
            loop {
                other.changed().await;
                if other.changes(Version(2), 1).await.unwrap().len() == 1 {
                    return;
                }
            }
        };
        done(&*on.store, &put("acme")).await;
        tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap();
    }
    other.close().await;
}

async fn who_holds_the_file_takes_the_name_at_once(on: &Fixture) {
    let store = &*on.store;
    let with = |of, file| Registration { file: node(file).0, ..registration("a", of) };
    store.register(&with(1, 77)).await.unwrap();
    let other = store.register(&with(2, 78)).await;
    assert!(matches!(other, Err(RegisterError::NameTaken { .. })), "{other:?}");
    store.register(&with(3, 77)).await.unwrap();
    assert!(store.poll(&beat(1, 0)).await.unwrap().superseded);
    // The file of the run before that is not this one's any more.
    store.register(&with(4, 77)).await.unwrap();
    assert_eq!(store.nodes().await.unwrap()[0].incarnation, node(4));
    on.let_six_seconds_pass().await;
    store.register(&with(5, 79)).await.unwrap();
    let first = store.register(&with(6, 77)).await;
    assert!(matches!(first, Err(RegisterError::NameTaken { .. })), "{first:?}");
}

async fn a_run_learns_whether_it_was_replaced_or_forgotten(on: &Fixture) {
    let store = &*on.store;
    let told = |of| async move {
        let answer = store.poll(&beat(of, 0)).await.unwrap();
        (answer.superseded, answer.forgotten)
    };
    assert_eq!(told(1).await, (false, true), "nobody knows it");
    store.register(&registration("a", 1)).await.unwrap();
    assert_eq!(told(1).await, (false, false));
    store.deregister(node(1)).await.unwrap();
    assert_eq!(told(1).await, (false, true));
    store.register(&registration("a", 2)).await.unwrap();
    store.register(&registration("b", 3)).await.unwrap();
    assert_eq!(told(1).await, (true, false));
    store.deregister(node(2)).await.unwrap();
    assert_eq!(told(1).await, (false, true));
}

async fn a_files_openings_are_counted(on: &Fixture) {
    let store = &*on.store;
    let file = node(5).0;
    for (opens, before) in [(3, 0), (4, 3), (2, 4), (4, 4), (u64::MAX, 4)] {
        assert_eq!(store.open_file(file, opens).await.unwrap(), before);
    }
    assert_eq!(store.open_file(node(6).0, 1).await.unwrap(), 0);
    assert!(store.identity().contains(&store.installation().to_string()));
    if let Some(url) = on.url() {
        assert_eq!(open(url).await.identity(), store.identity());
    }
}
