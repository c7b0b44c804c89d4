//! What is recorded: flushes, returns, settling, usage, restarts, and what memory is given up.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::world::*;
use crate::{
    domain::{id::TenantId, period::Window, plan::Quota, time::Version, units::Allowance},
    ports::{ChargeError, Ledger},
};

#[tokio::test]
async fn a_clean_stop_returns_everything() {
    let mut world = World::new();
    let quota = Quota { hour: Some(Allowance::Limited(units(500))), ..monthly(10_000) };
    let rights_ = requests(quota);
    world.charge(&rights_, &[charge(REQUESTS, 3), charge(TOKENS, 4)]).await.unwrap().keep();
    let stopped = world.ledger.clone();
    world.restart().await;
    for (key, _, row) in world.store.rows() {
        assert!(row.sealed && row.net() == if key.meter.as_str() == "requests" { 3 } else { 4 });
    }
    let key = bucket(&rights_, "requests", Window::Month, START);
    assert_eq!(world.store.allocated(&key), 3);
    let late = charge_on(&stopped, &requests(quota), &[charge(REQUESTS, 1)], START).await;
    assert_eq!(late.err(), Some(ChargeError::Unavailable));
    let rights = requests(quota);
    assert_eq!(world.used(&rights, "requests", Window::Month).await.used, units(3));
    assert_eq!(world.exhaust(&rights).await.0, 497);
    assert_eq!(world.used(&rights, "requests", Window::Hour).await.used, units(500));
}

#[tokio::test]
async fn totals_are_kept_until_they_are_recorded() {
    let world = World::new();
    let rights = requests(unlimited());
    let stop = CancellationToken::new();
    let (ledger, stopped) = (world.ledger.clone(), stop.clone());
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(async move { crate::ledger::flush::run(&ledger.0, stopped, Duration::from_millis(2)).await });
    tasks.close();
    let key = bucket(&rights, "requests", Window::Month, START);
    let recorded = async |units| {
        while world.store.net(&key) != units {
            tokio::task::yield_now().await;
        }
    };
    world.charge(&rights, &[charge(REQUESTS, 2)]).await.unwrap().keep();
    recorded(2).await;
    world.store.away.store(true, Ordering::SeqCst);
    world.charge(&rights, &[charge(REQUESTS, 3)]).await.unwrap().keep();
    let flushes = world.store.flushes.load(Ordering::SeqCst);
    while world.store.flushes.load(Ordering::SeqCst) < flushes + 1 {
        tokio::task::yield_now().await;
    }
    world.advance(Duration::from_secs(60));
    while world.ledger.metrics().flush_lag_millis() != 60_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.store.net(&key), 2);
    world.store.away.store(false, Ordering::SeqCst);
    recorded(5).await;
    while world.ledger.metrics().flush_lag_millis() != 0 {
        tokio::task::yield_now().await;
    }
    let flushes = world.store.flushes.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.store.flushes.load(Ordering::SeqCst), flushes, "nothing to record");
    stop.cancel();
    tasks.wait().await;
}

#[tokio::test]
async fn more_slots_than_a_batch_are_all_recorded() {
    let world = World::new();
    let catalog = catalog(terms(unlimited()), terms(unlimited()));
    for n in 0..6000 {
        let rights = Arc::new(
            crate::domain::rights::Rights::compile(&tenant(&format!("t{n}"), 1, 1), &catalog, START).unwrap(),
        );
        at_once(&world, &rights, &[charge(REQUESTS, 1)]).unwrap().keep();
    }
    world.ledger.flush().await.unwrap();
    assert_eq!(world.store.flushes.load(Ordering::SeqCst), 2);
    assert_eq!(world.store.rows().len(), 6000);
}

#[tokio::test]
async fn a_row_that_the_database_refuses_does_not_keep_the_others() {
    let world = World::new();
    let catalog = catalog(terms(unlimited()), terms(unlimited()));
    for n in 0..50 {
        let rights = Arc::new(
            crate::domain::rights::Rights::compile(&tenant(&format!("t{n}"), 1, 1), &catalog, START).unwrap(),
        );
        at_once(&world, &rights, &[charge(REQUESTS, 1)]).unwrap().keep();
    }
    *world.store.poison.lock().unwrap() = Some(TenantId::parse("t17").unwrap());
    world.ledger.flush().await.unwrap_err();
    assert_eq!(world.store.rows().len(), 49);
    *world.store.poison.lock().unwrap() = None;
    world.ledger.flush().await.unwrap();
    assert_eq!(world.store.rows().len(), 50);
}

#[tokio::test]
async fn holds_end_once_and_give_back_no_more_than_was_taken() {
    let world = World::new();
    let rights = rights(1, &catalog(terms(monthly(100)), terms(monthly(100))));
    let both = [charge(REQUESTS, 1), charge(TOKENS, 40)];
    let used = async |meter| world.used(&rights, meter, Window::Month).await.used.get();
    world.charge(&rights, &both).await.unwrap().settle(&[charge(TOKENS, 15)]);
    assert_eq!((used("requests").await, used("ai_tokens").await), (1, 15));
    world.charge(&rights, &both).await.unwrap().refund();
    assert_eq!((used("requests").await, used("ai_tokens").await), (1, 15));
    drop(world.charge(&rights, &both).await.unwrap());
    assert_eq!((used("requests").await, used("ai_tokens").await), (2, 55));
    world.charge(&rights, &both).await.unwrap().settle(&[]);
    assert_eq!((used("requests").await, used("ai_tokens").await), (3, 95));
    // More than was reserved is recorded, also over the limit; what is named twice is added up.
    let five = [charge(REQUESTS, 1), charge(TOKENS, 5)];
    world.charge(&rights, &five).await.unwrap().settle(&[charge(TOKENS, 5), charge(TOKENS, 20)]);
    assert_eq!((used("requests").await, used("ai_tokens").await), (4, 120));
    assert!(world.charge(&rights, &[charge(TOKENS, 1)]).await.is_err());
    world.charge(&rights, &[charge(REQUESTS, 1)]).await.unwrap().settle(&[charge(TOKENS, 50)]);
    assert_eq!(used("ai_tokens").await, 120, "a meter that was not reserved is not settled");
    world.ledger.drain().await;
    assert_eq!(world.store.net(&bucket(&rights, "ai_tokens", Window::Month, START)), 120);
    let counted = world.ledger.metrics().units();
    let tokens = counted.iter().find(|(meter, _)| meter.as_str() == "ai_tokens").unwrap().1;
    assert_eq!((tokens.admitted, tokens.refunded, tokens.overrun), (165, 65, 20));
}

#[tokio::test]
async fn usage_is_exact_through_changes_others_and_forgotten_memory() {
    let mut world = World::new();
    let catalog = catalog(terms(monthly(100_000)), terms(unlimited()));
    let acme = TenantId::parse("acme").unwrap();
    let mut expected = 0;
    for version in 1..6 {
        let rights = rights(version, &catalog);
        for _ in 0..version * 3 {
            world.charge(&rights, &[charge(REQUESTS, 1)]).await.unwrap().keep();
            expected += 1;
            assert_eq!(world.used(&rights, "requests", Window::Month).await.used.get(), expected);
        }
        world.ledger.apply(&acme, Version(u64::MAX)).await.unwrap();
        assert_eq!(world.used(&rights, "requests", Window::Month).await.used.get(), expected);
    }
    let other = world.other();
    let rights_there = rights(6, &catalog);
    charge_on(&other, &rights_there, &[charge(REQUESTS, 9)], START).await.unwrap().keep();
    other.flush().await.unwrap();
    let rights = rights(6, &catalog);
    assert_eq!(world.used(&rights, "requests", Window::Month).await.used.get(), expected + 9);
    let hold = world.charge(&rights, &[charge(REQUESTS, 5)]).await.unwrap();
    let mut remaining = 0;
    hold.standings(START, |standing| remaining = standing.remaining.get());
    assert_eq!(remaining, 100_000 - (expected + 14));
}

#[tokio::test]
async fn usage_is_exact_while_totals_are_being_recorded() {
    let world = World::new();
    let rights = requests(monthly(100_000));
    world.charge(&rights, &[charge(REQUESTS, 7)]).await.unwrap().keep();
    // As the database answers, one more unit is used and recorded: five times in a row.
    for _ in 0..5 {
        let (ledger, rights) = (world.ledger.clone(), rights.clone());
        world.store.meanwhile.lock().unwrap().push_back(Box::pin(async move {
            charge_on(&ledger, &rights, &[charge(REQUESTS, 1)], START).await.unwrap().keep();
            ledger.flush().await.unwrap();
        }));
    }
    assert_eq!(world.used(&rights, "requests", Window::Month).await.used.get(), 12);
}

fn tick(world: &World) {
    for part in 0..16 {
        world.ledger.0.accounts.sweep(&world.ledger.0, part, 16);
    }
}

#[tokio::test]
async fn idle_tenants_give_their_units_back_and_are_forgotten() {
    let world = World::new();
    let rights = requests(monthly(100_000));
    let key = bucket(&rights, "requests", Window::Month, START);
    world.charge(&rights, &[charge(REQUESTS, 1)]).await.unwrap().keep();
    let hold = world.charge(&rights, &[charge(REQUESTS, 2)]).await.unwrap();
    assert_eq!(world.store.allocated(&key), 100);
    tick(&world);
    world.advance(Duration::from_secs(599));
    tick(&world);
    world.ledger.flush().await.unwrap();
    assert_eq!(world.store.allocated(&key), 100);
    world.advance(Duration::from_secs(1));
    tick(&world);
    world.ledger.flush().await.unwrap();
    assert_eq!(world.store.allocated(&key), 3);
    drop(rights);
    tick(&world);
    assert_eq!(world.ledger.accounts(), 1, "a request is still open");
    hold.refund();
    world.ledger.flush().await.unwrap();
    tick(&world);
    assert_eq!(world.ledger.accounts(), 0);
    let again = requests(monthly(100_000));
    assert_eq!(world.used(&again, "requests", Window::Month).await.used, units(1));
    let hold = world.charge(&again, &[charge(REQUESTS, 1)]).await.unwrap();
    hold.standings(START, |standing| assert_eq!(standing.remaining, units(99_998)));
    hold.keep();
    assert_eq!(world.used(&again, "requests", Window::Month).await.used, units(2));
}

#[tokio::test]
async fn the_units_of_an_ended_period_are_returned() {
    let world = World::new();
    let quota = Quota { hour: Some(Allowance::Limited(units(50_000))), ..monthly(100_000) };
    let rights = requests(quota);
    let hour = bucket(&rights, "requests", Window::Hour, START);
    world.charge(&rights, &[charge(REQUESTS, 1)]).await.unwrap().keep();
    assert_eq!(world.store.allocated(&hour), 50);
    world.advance(Duration::from_secs(1800));
    world.charge(&rights, &[charge(REQUESTS, 1)]).await.unwrap().keep();
    tick(&world);
    world.ledger.flush().await.unwrap();
    assert_eq!(world.store.allocated(&hour), 50, "a late request may still come");
    world.advance(Duration::from_secs(5));
    tick(&world);
    world.ledger.flush().await.unwrap();
    assert_eq!(world.store.allocated(&hour), 1);
}

#[tokio::test]
async fn a_dropped_apply_loses_nothing() {
    let world = World::new();
    let rights = requests(monthly(100));
    world.charge(&rights, &[charge(REQUESTS, 1)]).await.unwrap().keep();
    drop(world.ledger.apply(&rights.tenant, Version(u64::MAX)));
    world.ledger.flush().await.unwrap();
    let key = bucket(&rights, "requests", Window::Month, START);
    assert_eq!(world.store.allocated(&key), 1);
    world.ledger.apply_everything().await.unwrap();
    assert!(world.ledger.usage(&rights, START).await.is_ok());
}
