//! Policies in the store: what decides, what is on trial, and what did before.

use plangate::{
    domain::{
        catalog::Digest,
        revision::{Deploy, DeployRefused, PolicyFiles, RevisionNumber, Rollout, Selection, Share, Trial},
    },
    ports::{ChangeRow, DeployCommand, DeployError, Deployed, GrantOutcome},
};

use super::*;
use crate::Fixture;

on_every_store!(
    files_are_kept_by_their_digest,
    a_change_is_one_version_and_one_entry,
    a_stale_base_is_refused_and_leaves_nothing,
    the_folder_is_the_first_entry,
    trials_and_the_way_back,
    a_change_is_made_once,
    of_many_at_once_each_sees_the_one_before,
    a_grant_by_other_policies_is_stale,
);

fn files(text: &str) -> PolicyFiles {
    PolicyFiles([("routes.yaml".to_owned(), text.to_owned())].into())
}

fn digest(text: &str) -> Digest {
    Digest(text.into())
}

async fn kept(store: &dyn Store, text: &str) -> Digest {
    store.keep_policy_files(&digest(text), &files(text)).await.unwrap();
    digest(text)
}

fn command(change: Deploy) -> DeployCommand {
    let (message, author) = (Some("because".to_owned()), Some("ann".to_owned()));
    DeployCommand { change, base: None, folder: None, message, author }
}

async fn deployed(store: &dyn Store, change: Deploy) -> Deployed {
    store.deploy(&command(change), &origin()).await.unwrap()
}

async fn files_are_kept_by_their_digest(on: &Fixture) {
    let store = &*on.store;
    assert_eq!(store.policy_files(&digest("a")).await.unwrap(), None);
    kept(store, "a").await;
    store.keep_policy_files(&digest("a"), &files("other")).await.unwrap();
    assert_eq!(store.policy_files(&digest("a")).await.unwrap(), Some(files("a")), "the first stays");
}

async fn a_change_is_one_version_and_one_entry(on: &Fixture) {
    let store = &*on.store;
    let before = store.deployment().await.unwrap();
    assert_eq!((before.number, before.version, before.enforced), (RevisionNumber(0), Version(0), None));
    done(store, &put("acme")).await;
    let first = kept(store, "a").await;
    let made = deployed(store, Deploy::Enforce(first.clone())).await;
    assert_eq!((made.version, made.number, made.replayed), (Version(2), RevisionNumber(1), false));
    let now = store.deployment().await.unwrap();
    assert_eq!((now.number, now.version, now.enforced), (RevisionNumber(1), Version(2), Some(first)));
    let feed = store.changes(Version(1), 10).await.unwrap();
    let row = ChangeRow { version: Version(2), tenant: None, kind: "policy.apply".into(), at: START };
    assert_eq!(feed, [row]);
    let line = store.audit(1, 10).await.unwrap().pop().unwrap();
    assert_eq!((line.version, line.tenant, line.kind.as_str()), (Version(2), None, "policy.apply"));
    assert_eq!(line.detail["enforced"], "a");
    assert_eq!((&line.detail["message"], &line.detail["author"]), (&"because".into(), &"ann".into()));
    let entry = store.revisions(None, 10).await.unwrap().pop().unwrap();
    assert_eq!((entry.kind.as_str(), entry.message.as_deref(), entry.at), ("apply", Some("because"), START));
}

async fn a_stale_base_is_refused_and_leaves_nothing(on: &Fixture) {
    let store = &*on.store;
    for text in ["a", "b", "c"] {
        kept(store, text).await;
    }
    let on_base = |text: &str, base| DeployCommand {
        base: Some(RevisionNumber(base)),
        ..command(Deploy::Enforce(digest(text)))
    };
    store.deploy(&on_base("a", 0), &origin()).await.unwrap();
    store.deploy(&on_base("b", 1), &origin()).await.unwrap();
    let stale = DeployRefused::Stale { base: RevisionNumber(1), now: RevisionNumber(2) };
    let refused = store.deploy(&on_base("c", 1), &once("k", "f")).await;
    assert_eq!(refused, Err(DeployError::Refused(stale)));
    let again = store.deploy(&on_base("c", 2), &once("k", "g")).await.unwrap();
    assert_eq!(
        (again.version, again.number),
        (Version(3), RevisionNumber(3)),
        "neither version nor key was taken"
    );
    let unchanged = store.deploy(&on_base("c", 3), &origin()).await;
    assert_eq!(unchanged, Err(DeployError::Refused(DeployRefused::Unchanged)));
}

async fn the_folder_is_the_first_entry(on: &Fixture) {
    let store = &*on.store;
    let (folder, other) = (kept(store, "folder").await, kept(store, "other").await);
    let first = DeployCommand { folder: Some(folder.clone()), ..command(Deploy::Enforce(other)) };
    assert_eq!(store.deploy(&first, &origin()).await.unwrap().number, RevisionNumber(2));
    let history = store.revisions(None, 10).await.unwrap();
    let kinds: Vec<_> = history.iter().map(|entry| (entry.number.0, entry.kind.as_str())).collect();
    assert_eq!(kinds, [(2, "apply"), (1, "import")]);
    deployed(store, Deploy::RollBack(None)).await;
    assert_eq!(store.deployment().await.unwrap().enforced, Some(folder));
}

async fn trials_and_the_way_back(on: &Fixture) {
    let store = &*on.store;
    for text in ["a", "b", "c"] {
        kept(store, text).await;
    }
    deployed(store, Deploy::Enforce(digest("a"))).await;
    deployed(store, Deploy::Enforce(digest("b"))).await;
    let trial = |rollout| Trial { digest: digest("c"), rollout };
    let tenants = Rollout::Staged(Selection::Tenants([tenant("x"), tenant("y")].into()));
    for rollout in [Rollout::Shadow, Rollout::Staged(Selection::Share(Share::new(50).unwrap())), tenants] {
        deployed(store, Deploy::Try(trial(rollout.clone()))).await;
        let now = store.deployment().await.unwrap();
        assert_eq!((now.enforced, now.candidate), (Some(digest("b")), Some(trial(rollout))));
    }
    deployed(store, Deploy::Promote).await;
    let now = store.deployment().await.unwrap();
    assert_eq!((now.enforced, now.candidate, now.number), (Some(digest("c")), None, RevisionNumber(6)));
    deployed(store, Deploy::RollBack(Some(RevisionNumber(1)))).await;
    assert_eq!(store.deployment().await.unwrap().enforced, Some(digest("a")));
    deployed(store, Deploy::RollBack(None)).await;
    assert_eq!(store.deployment().await.unwrap().enforced, Some(digest("c")));
    let nothing = store.deploy(&command(Deploy::RollBack(Some(RevisionNumber(99)))), &origin()).await;
    assert_eq!(nothing, Err(DeployError::Refused(DeployRefused::Unknown(RevisionNumber(99)))));
    let page = store.revisions(Some(RevisionNumber(4)), 2).await.unwrap();
    assert_eq!(page.iter().map(|entry| entry.number.0).collect::<Vec<_>>(), [3, 2]);
}

async fn a_change_is_made_once(on: &Fixture) {
    let store = &*on.store;
    kept(store, "a").await;
    kept(store, "b").await;
    let first = store.deploy(&command(Deploy::Enforce(digest("a"))), &once("k", "f")).await.unwrap();
    deployed(store, Deploy::Enforce(digest("b"))).await;
    let again = store.deploy(&command(Deploy::Enforce(digest("a"))), &once("k", "f")).await.unwrap();
    assert_eq!(again, Deployed { replayed: true, ..first });
    assert_eq!(store.deployment().await.unwrap().enforced, Some(digest("b")), "nothing was done again");
    let other = store.deploy(&command(Deploy::Enforce(digest("a"))), &once("k", "g")).await;
    assert_eq!(other, Err(DeployError::IdempotencyConflict));
    assert!(store.execute(&put("acme"), &once("k", "f")).await.is_err(), "a key of another kind of request");
}

async fn of_many_at_once_each_sees_the_one_before(on: &Fixture) {
    let store = &*on.store;
    for n in 0..8 {
        kept(store, &format!("d{n}")).await;
    }
    let each = (0..8).map(|n| {
        let store = std::sync::Arc::clone(&on.store);
        async move {
            let base = Some(RevisionNumber(0));
            let command = DeployCommand { base, ..command(Deploy::Enforce(digest(&format!("d{n}")))) };
            store.deploy(&command, &origin()).await
        }
    });
    let outcomes = futures_util::future::join_all(each).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert_eq!(store.deployment().await.unwrap().number, RevisionNumber(1));
}

async fn a_grant_by_other_policies_is_stale(on: &Fixture) {
    let store = &*on.store;
    store.register(&super::nodes::registration("a", 1)).await.unwrap();
    let version = done(store, &put("acme")).await.version;
    let ask = |policies, seq| {
        let mut totals = totals(&bucket("acme", version.0), 1, 0, 0);
        totals.slot.seq = seq;
        GrantRequest { policies, ..ask(totals, version, 0, 5) }
    };
    let granted = |outcome: &GrantOutcome| matches!(outcome, GrantOutcome::Granted { .. });
    assert!(granted(&store.grant(&[ask(Version(0), 0)]).await.unwrap()[0]));
    kept(store, "a").await;
    let made = deployed(store, Deploy::Enforce(digest("a"))).await;
    assert_eq!(store.grant(&[ask(Version(0), 1)]).await.unwrap(), [GrantOutcome::Stale]);
    assert!(granted(&store.grant(&[ask(made.version, 2)]).await.unwrap()[0]));
}
