//! After a crash: the file's words are recorded and returned, and a file that is behind the database credits nobody.

use std::{path::Path, sync::atomic::Ordering};

use super::world::*;
use crate::{
    domain::{period::Window, plan::Quota, units::Allowance},
    ledger::{
        RecoverError, Recovered,
        file::{Found, Identity, LedgerFile, Leftover, SetAsideReason},
        recover,
    },
    ports::{LedgerStore, SlotTotals},
};

fn open(folder: &Path) -> (LedgerFile, Vec<Leftover>) {
    let identity = Identity { node: "a".into(), database: "d".into(), boot: Some([1; 16]) };
    let (file, found) = LedgerFile::lock(folder).unwrap().open(&identity, 0).unwrap();
    let leftovers = match found {
        Found::Leftovers(leftovers) => leftovers,
        Found::New | Found::Clean => Vec::new(),
        Found::SetAside { reason, .. } => panic!("{reason}"),
    };
    (file, leftovers)
}

/// A node on the file that was used and then killed; nothing of it was flushed since its grants.
async fn killed(folder: &Path) -> World {
    let mut world = World::new();
    world.ledger = World::on_file(&world.store, &world.clock, &world.freshness, 7, open(folder).0);
    let quota = Quota { day: Some(Allowance::Limited(units(500))), ..monthly(10_000) };
    let rights = requests(quota);
    for _ in 0..9 {
        world.charge(&rights, &[charge(REQUESTS, 1), charge(TOKENS, 2)]).await.unwrap().keep();
    }
    let refunded = world.charge(&rights, &[charge(REQUESTS, 5)]).await.unwrap();
    refunded.refund();
    // A request under way at that moment keeps what it has reserved.
    std::mem::forget(world.charge(&rights, &[charge(REQUESTS, 3)]).await.unwrap());
    drop(rights);
    let other = World::node(&world.store, &world.clock, &world.freshness, 8);
    drop(std::mem::replace(&mut world.ledger, other));
    world
}

#[tokio::test]
async fn recorded_is_what_was_admitted_and_the_rest_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let world = killed(folder.path()).await;
    let rights = requests(Quota { day: Some(Allowance::Limited(units(500))), ..monthly(10_000) });
    let keys =
        [("requests", Window::Day, 12), ("requests", Window::Month, 12), ("ai_tokens", Window::Month, 18)];
    let keys = keys.map(|(meter, window, used)| (bucket(&rights, meter, window, START), used));
    let (file, leftovers) = open(folder.path());
    assert_eq!(leftovers.len(), 3);
    world.store.away.store(true, Ordering::SeqCst);
    let failed = recover(&*world.store, &file, &leftovers, START).await;
    assert!(matches!(failed, Err(RecoverError::Store(_))));
    world.store.away.store(false, Ordering::SeqCst);
    // The process may die in between as often as it likes.
    drop(file);
    let (file, leftovers) = open(folder.path());
    let done = recover(&*world.store, &file, &leftovers, START).await.unwrap();
    assert_eq!(done, Recovered::Returned { slots: 3 });
    for (key, used) in &keys {
        assert_eq!((world.store.net(key), world.store.allocated(key)), (*used, *used), "{key:?}");
    }
    assert_eq!(file.figures().in_use, 0);
    drop(file);
    assert!(open(folder.path()).1.is_empty(), "each word is told of once");
}

#[tokio::test]
async fn a_file_behind_the_database_returns_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let world = killed(folder.path()).await;
    let rights = requests(monthly(10_000));
    let key = bucket(&rights, "requests", Window::Month, START);
    let (file, leftovers) = open(folder.path());
    let ahead = leftovers.iter().find(|leftover| leftover.slot.bucket == key).unwrap();
    let totals = SlotTotals {
        slot: ahead.slot.clone(),
        end: ahead.end,
        granted: 0,
        used: ahead.totals.used + 1,
        refunded: 0,
        at: START,
        sealed: false,
        counted: ahead.counted,
    };
    world.store.flush(&[totals]).await.unwrap();
    let debited = world.store.allocated(&key);
    let done = recover(&*world.store, &file, &leftovers, START).await.unwrap();
    assert_eq!(done, Recovered::SetAside(SetAsideReason::BehindDatabase));
    assert_eq!(world.store.allocated(&key), debited, "nothing came back");
    assert!(world.store.allocated(&key) > world.store.net(&key));
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        2,
        "the old one is kept beside the new one"
    );
}

#[tokio::test]
async fn a_clean_stop_leaves_nothing_to_recover() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new();
    world.ledger = World::on_file(&world.store, &world.clock, &world.freshness, 7, open(folder.path()).0);
    world.charge(&requests(monthly(10)), &[charge(REQUESTS, 4)]).await.unwrap().keep();
    world.ledger.drain().await;
    let other = World::node(&world.store, &world.clock, &world.freshness, 8);
    drop(std::mem::replace(&mut world.ledger, other));
    let identity = Identity { node: "a".into(), database: "d".into(), boot: Some([2; 16]) };
    let (_, found) = LedgerFile::lock(folder.path()).unwrap().open(&identity, 0).unwrap();
    assert_eq!(found, Found::Clean, "whatever happened to the machine since");
}
