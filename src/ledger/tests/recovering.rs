//! After a crash: the file's words are recorded and returned, and a file that is behind the database credits nobody.

use std::{fs::File, sync::atomic::Ordering};

use rustix::fs::{MemfdFlags, memfd_create};

use super::{
    sources::{capped, compiled, grant, holder},
    world::*,
};
use crate::{
    domain::{period::Window, plan::Quota, time::Version, units::Allowance},
    ledger::{
        RecoverError, Recovered,
        file::{Found, Identity, LedgerFile, Leftover, LockedFile, SetAsideReason},
        recover,
    },
    ports::{BucketKey, LedgerStore, SlotTotals, Span},
};

/// A file that outlives every process of the test.
fn memory() -> File {
    File::from(memfd_create("ledger", MemfdFlags::empty()).unwrap())
}

fn found(memory: &File, boot: u8) -> (LedgerFile, Found) {
    let identity = Identity { node: "a".into(), database: "d".into(), boot: Some([boot; 16]) };
    LockedFile::over(memory.try_clone().unwrap()).unwrap().open(&identity, 0).unwrap()
}

fn open(memory: &File) -> (LedgerFile, Vec<Leftover>) {
    let (file, found) = found(memory, 1);
    let leftovers = match found {
        Found::Leftovers(leftovers) => leftovers,
        Found::New | Found::Clean => Vec::new(),
        Found::SetAside { reason, .. } => panic!("{reason}"),
    };
    (file, leftovers)
}

/// A node on the file that was used and then killed; nothing of it was flushed since its grants.
async fn killed(memory: &File) -> World {
    let mut world = World::new();
    world.ledger = World::on_file(&world.store, &world.clock, &world.freshness, 7, open(memory).0);
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
    let memory = memory();
    let world = killed(&memory).await;
    let rights = requests(Quota { day: Some(Allowance::Limited(units(500))), ..monthly(10_000) });
    let keys =
        [("requests", Window::Day, 12), ("requests", Window::Month, 12), ("ai_tokens", Window::Month, 18)];
    let keys = keys.map(|(meter, window, used)| (bucket(&rights, meter, window, START), used));
    let (file, leftovers) = open(&memory);
    assert_eq!(leftovers.len(), 3);
    world.store.away.store(true, Ordering::SeqCst);
    let failed = recover(&*world.store, &file, &leftovers, START).await;
    assert!(matches!(failed, Err(RecoverError::Store(_))));
    world.store.away.store(false, Ordering::SeqCst);
    // The process may die in between as often as it likes.
    drop(file);
    let (file, leftovers) = open(&memory);
    let done = recover(&*world.store, &file, &leftovers, START).await.unwrap();
    assert_eq!(done, Recovered::Returned { slots: 3 });
    for (key, used) in &keys {
        assert_eq!((world.store.net(key), world.store.allocated(key)), (*used, *used), "{key:?}");
    }
    assert_eq!(file.figures().in_use, 0);
    drop(file);
    assert!(open(&memory).1.is_empty(), "each word is told of once");
}

#[tokio::test]
async fn words_of_every_source_are_recovered_with_their_counting() {
    let memory = memory();
    let mut world = World::new();
    world.ledger = World::on_file(&world.store, &world.clock, &world.freshness, 7, open(&memory).0);
    let rights = compiled(&holder(1, &[grant(5, 2)]), capped(3, 100_000), START);
    for _ in 0..4 {
        world.charge(&rights, &[charge(REQUESTS, 2)]).await.unwrap().keep();
    }
    drop(rights);
    let other = World::node(&world.store, &world.clock, &world.freshness, 8);
    drop(std::mem::replace(&mut world.ledger, other));
    let (file, leftovers) = open(&memory);
    assert!(leftovers.iter().all(|leftover| leftover.booking.counting == Version(1)), "{leftovers:?}");
    let done = recover(&*world.store, &file, &leftovers, START).await.unwrap();
    assert_eq!(done, Recovered::Returned { slots: 3 });
    let rights = compiled(&holder(1, &[grant(5, 2)]), capped(3, 100_000), START);
    let month = bucket(&rights, "requests", Window::Month, START);
    let gift = BucketKey { span: Span::Grant, start: START, epoch: Version(5), ..month.clone() };
    let beyond = BucketKey { span: Span::Overage, ..month.clone() };
    for (key, used) in [(gift, 2), (month, 3), (beyond, 3)] {
        assert_eq!((world.store.net(&key), world.store.allocated(&key)), (used, used), "{key:?}");
        assert_eq!(world.store.countings(&key), [Version(1)]);
    }
}

#[tokio::test]
async fn a_file_behind_the_database_returns_nothing() {
    let memory = memory();
    let world = killed(&memory).await;
    let rights = requests(monthly(10_000));
    let key = bucket(&rights, "requests", Window::Month, START);
    let (file, leftovers) = open(&memory);
    let ahead = leftovers.iter().find(|leftover| leftover.slot.bucket == key).unwrap();
    let totals = SlotTotals {
        slot: ahead.slot.clone(),
        end: ahead.end,
        granted: 0,
        used: ahead.totals.used + 1,
        refunded: 0,
        at: START,
        sealed: false,
        counted: ahead.booking.counted,
        counting: ahead.booking.counting,
        marks: None,
    };
    world.store.flush(&[totals]).await.unwrap();
    let debited = world.store.allocated(&key);
    let done = recover(&*world.store, &file, &leftovers, START).await.unwrap();
    assert_eq!(done, Recovered::SetAside(SetAsideReason::BehindDatabase));
    assert_eq!(world.store.allocated(&key), debited, "nothing came back");
    assert!(world.store.allocated(&key) > world.store.net(&key));
    drop(file);
    assert!(open(&memory).1.is_empty(), "and is not told of again");
}

#[tokio::test]
async fn a_clean_stop_leaves_nothing_to_recover() {
    let memory = memory();
    let mut world = World::new();
    world.ledger = World::on_file(&world.store, &world.clock, &world.freshness, 7, open(&memory).0);
    world.charge(&requests(monthly(10)), &[charge(REQUESTS, 4)]).await.unwrap().keep();
    world.ledger.drain().await;
    let other = World::node(&world.store, &world.clock, &world.freshness, 8);
    drop(std::mem::replace(&mut world.ledger, other));
    assert_eq!(found(&memory, 2).1, Found::Clean, "whatever happened to the machine since");
}
