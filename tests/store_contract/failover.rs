//! A database that is not the one it was: nothing is granted before every node has recorded its slots again.

use plangate::ports::{GrantOutcome, Heartbeat, Registration};

use super::{
    nodes::{beat, registration},
    *,
};
use crate::{Fixture, open};

on_every_store!(
    grants_wait_for_every_node,
    a_successor_is_awaited_as_its_predecessor_was,
    many_nodes_see_one_failover,
);

fn again(of: u128, epoch: u64) -> Heartbeat {
    Heartbeat { reasserted: Epoch(epoch), ..beat(of, 0) }
}

async fn try_grant(on: &Fixture) -> GrantOutcome {
    let version = on.store.tenant(&tenant("acme")).await.unwrap().value.unwrap().version;
    let bucket = bucket("acme", version.0);
    on.store.grant(&[ask(totals(&bucket, 9, 0, 0), version, 0, 0)]).await.unwrap().remove(0)
}

fn granted(outcome: &GrantOutcome) -> bool {
    matches!(outcome, GrantOutcome::Granted { .. } | GrantOutcome::Refused { granted: 1 })
}

async fn grants_wait_for_every_node(on: &Fixture) {
    let store = &*on.store;
    done(store, &put("acme")).await;
    assert_eq!(store.register(&registration("a", 1)).await.unwrap().epoch, Epoch(0));
    store.register(&registration("b", 2)).await.unwrap();
    let calm = store.poll(&beat(1, 1)).await.unwrap();
    assert_eq!((calm.epoch, calm.awaited, calm.gap), (Epoch(0), vec![], false));

    on.fail_over().await;
    assert_eq!(try_grant(on).await, GrantOutcome::Withheld, "a grant sees it first");
    let after = store.poll(&beat(1, 1)).await.unwrap();
    assert_eq!((after.epoch, after.gap), (Epoch(1), true));
    assert!(after.upto.0 > 1 << 20);
    assert_eq!(after.awaited, ["a", "b"]);
    assert_eq!(store.poll(&again(1, 1)).await.unwrap().awaited, ["b"], "it says so itself");
    assert_eq!(store.poll(&again(2, 1)).await.unwrap().awaited, Vec::<String>::new());
    assert_eq!(try_grant(on).await, GrantOutcome::Withheld, "not within a second");
    on.let_six_seconds_pass().await;
    assert!(granted(&try_grant(on).await));
    // Changes go on where the version has jumped to.
    let version = done(store, &put("other")).await.version;
    assert_eq!(version.0, after.upto.0 + 1);

    on.fail_over().await;
    let second = store.poll(&again(1, 1)).await.unwrap();
    assert_eq!((second.epoch, second.awaited.len()), (Epoch(2), 2));
    on.let_six_seconds_pass().await;
    assert_eq!(try_grant(on).await, GrantOutcome::Withheld);
    store.poll(&again(1, 2)).await.unwrap();
    // The other will not come back; its leases count as spent.
    assert_eq!(try_grant(on).await, GrantOutcome::Withheld);
    store.declare_lost("b", &origin()).await.unwrap();
    assert!(granted(&try_grant(on).await));
}

async fn a_successor_is_awaited_as_its_predecessor_was(on: &Fixture) {
    let store = &*on.store;
    done(store, &put("acme")).await;
    let with = |of, file| Registration { file: node(file).0, ..registration("a", of) };
    store.register(&with(1, 70)).await.unwrap();
    on.fail_over().await;
    let other = store.poll(&again(8, 0)).await.unwrap();
    assert_eq!((other.epoch, other.awaited), (Epoch(1), vec!["a".to_owned()]));
    on.let_six_seconds_pass().await;
    // With the file of the older run it can record what that one has used, and has yet to do so.
    assert_eq!(store.register(&with(2, 70)).await.unwrap().epoch, Epoch(1));
    assert_eq!(store.poll(&again(2, 0)).await.unwrap().awaited, ["a"]);
    assert_eq!(try_grant(on).await, GrantOutcome::Withheld);
    store.poll(&again(2, 1)).await.unwrap();
    assert!(granted(&try_grant(on).await));
    // A new name has nothing from before.
    store.register(&registration("b", 3)).await.unwrap();
    assert_eq!(store.poll(&again(3, 0)).await.unwrap().awaited, Vec::<String>::new());

    on.fail_over().await;
    store.poll(&again(3, 2)).await.unwrap();
    store.poll(&again(3, 2)).await.unwrap();
    on.let_six_seconds_pass().await;
    // With another file it cannot, whatever it says: an operator has to.
    store.register(&with(4, 71)).await.unwrap();
    assert_eq!(store.poll(&again(4, 2)).await.unwrap().awaited, ["a"]);
    assert_eq!(try_grant(on).await, GrantOutcome::Withheld);
    store.register(&with(5, 71)).await.unwrap();
    assert_eq!(try_grant(on).await, GrantOutcome::Withheld, "nor after another start");
    store.declare_lost("a", &origin()).await.unwrap();
    assert!(granted(&try_grant(on).await));
    store.register(&with(6, 71)).await.unwrap();
    assert!(granted(&try_grant(on).await));
}

async fn many_nodes_see_one_failover(on: &Fixture) {
    done(&*on.store, &put("acme")).await;
    on.store.register(&registration("a", 1)).await.unwrap();
    let mut stores = vec![on.store.clone()];
    if let Some(url) = on.url() {
        stores.push(open(url).await);
        stores.push(open(url).await);
    }
    on.fail_over().await;
    let mut polls = tokio::task::JoinSet::new();
    for number in 0..9 {
        let store = stores[number % stores.len()].clone();
        polls.spawn(async move {
            if number % 3 == 2 {
                // A change may come first; it is not made in the old epoch.
                let _ = store.execute(&put("acme"), &origin()).await;
            }
            store.poll(&beat(1, 1)).await.unwrap().epoch
        });
    }
    assert!(polls.join_all().await.iter().all(|epoch| *epoch == Epoch(1)));
    for row in on.store.changes(Version(1), 100).await.unwrap() {
        assert!(row.version.0 > 1 << 20, "{row:?}");
    }
}
