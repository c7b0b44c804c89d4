//! What passes and what does not: limits, windows, rates, soft quotas, the database away.

use std::{sync::atomic::Ordering, time::Duration};

use super::world::*;
use crate::{
    clock::Clock,
    domain::{
        denial::Denial,
        period::Window,
        plan::{MeterTerms, Quota},
        rate::Rate,
        units::Allowance,
    },
    ports::{Answer, ChargeError, Ledger, Standing},
};

fn denial(error: ChargeError) -> Denial {
    let ChargeError::Denied(denial) = error else { panic!("{error:?}") };
    denial
}

#[tokio::test]
async fn exactly_the_limit_is_usable() {
    for limit in [0, 1, 2, 7, 100, 2500] {
        let world = World::new();
        let rights = requests(monthly(limit));
        let (passed, error) = world.exhaust(&rights).await;
        assert_eq!(passed, limit);
        let Denial::QuotaExhausted { meter, window, limit: shown, used, period } = denial(error) else {
            panic!()
        };
        assert_eq!((meter.as_str(), window), ("requests", Window::Month));
        assert_eq!((shown, used), (units(limit), units(limit)));
        assert!(period.contains(START));
        world.ledger.drain().await;
        assert_eq!(world.store.net(&bucket(&rights, "requests", Window::Month, START)), limit);
    }
}

#[tokio::test]
async fn refuses_from_memory_until_it_is_told_otherwise() {
    let world = World::new();
    let rights = requests(monthly(5));
    assert_eq!(world.exhaust(&rights).await.0, 5);
    let asked = world.store.grants.load(Ordering::SeqCst);
    for _ in 0..1000 {
        assert!(at_once(&world, &rights, &[charge(REQUESTS, 1)]).is_err());
        world.advance(Duration::from_millis(100));
    }
    assert_eq!(world.store.grants.load(Ordering::SeqCst), asked);
}

#[tokio::test]
async fn what_remains_is_refused_to_larger_charges_only() {
    let world = World::new();
    let rights = requests(monthly(10));
    world.charge(&rights, &[charge(REQUESTS, 7)]).await.unwrap().keep();
    assert!(world.charge(&rights, &[charge(REQUESTS, 11)]).await.is_err());
    assert!(world.charge(&rights, &[charge(REQUESTS, 4)]).await.is_err());
    assert!(at_once(&world, &rights, &[charge(REQUESTS, 4)]).is_err());
    for _ in 0..3 {
        world.charge(&rights, &[charge(REQUESTS, 1)]).await.unwrap().keep();
    }
    assert!(world.charge(&rights, &[charge(REQUESTS, 1)]).await.is_err());
    world.charge(&rights, &[charge(REQUESTS, 0)]).await.unwrap().keep();
}

#[tokio::test]
async fn all_windows_of_all_meters_or_nothing() {
    let world = World::new();
    let daily = Quota { day: Some(Allowance::Limited(units(3))), ..monthly(10) };
    let rights = rights(1, &catalog(terms(daily), terms(monthly(2))));
    let both = [charge(REQUESTS, 1), charge(TOKENS, 1)];
    for _ in 0..2 {
        world.charge(&rights, &both).await.unwrap().keep();
    }
    let Denial::QuotaExhausted { meter, .. } = denial(world.charge(&rights, &both).await.err().unwrap())
    else {
        panic!()
    };
    assert_eq!(meter.as_str(), "ai_tokens");
    assert_eq!(world.used(&rights, "requests", Window::Day).await.used, units(2));
    world.charge(&rights, &[charge(REQUESTS, 1)]).await.unwrap().keep();
    let error = world.charge(&rights, &[charge(REQUESTS, 1)]).await.err().unwrap();
    assert!(matches!(denial(error), Denial::QuotaExhausted { window: Window::Day, .. }));
    assert_eq!(world.used(&rights, "requests", Window::Month).await.used, units(3));
    world.advance(Duration::from_secs(86_400));
    assert_eq!(world.exhaust(&rights).await.0, 3, "a new day");
    assert_eq!(world.used(&rights, "requests", Window::Month).await.used, units(6));
}

#[tokio::test]
async fn a_rate_comes_first_and_is_given_back_with_a_refusal() {
    let world = World::new();
    let rate = Rate { limit: units(1), per: Duration::from_secs(1), burst: units(3) };
    let rated = MeterTerms { quota: Some(monthly(2)), rate: Some(rate) };
    let rights = rights(1, &catalog(rated, terms(unlimited())));
    for _ in 0..2 {
        world.charge(&rights, &[charge(REQUESTS, 1)]).await.unwrap().keep();
    }
    for _ in 0..5 {
        let error = world.charge(&rights, &[charge(REQUESTS, 1)]).await.err().unwrap();
        assert!(matches!(denial(error), Denial::QuotaExhausted { .. }), "the third of the burst stays");
    }
    world.charge(&rights, &[charge(REQUESTS, 0)]).await.unwrap().keep();
    let error = world.charge(&rights, &[charge(REQUESTS, 2)]).await.err().unwrap();
    let Denial::RateLimited { retry_after, rate: shown, .. } = denial(error) else { panic!() };
    assert_eq!((retry_after, shown), (Some(Duration::from_secs(1)), rate));
    assert_eq!(world.used(&rights, "requests", Window::Month).await.used, units(2));
}

#[tokio::test]
async fn nodes_share_a_rate() {
    let world = World::new();
    world.freshness.polled(world.clock.monotonic(), 2);
    let rate = Rate { limit: units(4), per: Duration::from_secs(1), burst: units(4) };
    let rights =
        rights(1, &catalog(MeterTerms { quota: Some(unlimited()), rate: Some(rate) }, terms(unlimited())));
    assert_eq!(world.exhaust(&rights).await.0, 2);
}

#[tokio::test]
async fn soft_and_unlimited_quotas_need_no_database() {
    let world = World::new();
    world.store.away.store(true, Ordering::SeqCst);
    let rights = rights(1, &catalog(terms(soft(2)), terms(unlimited())));
    // The first finds out that the database is away.
    world.charge(&rights, &[charge(REQUESTS, 1), charge(TOKENS, 3)]).await.unwrap().keep();
    for _ in 0..49 {
        at_once(&world, &rights, &[charge(REQUESTS, 1), charge(TOKENS, 3)]).unwrap().keep();
    }
    world.ledger.flush().await.unwrap_err();
    world.store.away.store(false, Ordering::SeqCst);
    world.ledger.flush().await.unwrap();
    assert_eq!(world.store.net(&bucket(&rights, "requests", Window::Month, START)), 50);
    assert_eq!(world.store.net(&bucket(&rights, "ai_tokens", Window::Month, START)), 150);
    assert_eq!(world.used(&rights, "requests", Window::Month).await.limit, Some(units(2)));
    assert_eq!(world.store.grants.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn hard_quotas_spend_what_is_held_then_are_unavailable() {
    let world = World::new();
    let rights = requests(monthly(100_000));
    world.charge(&rights, &[charge(REQUESTS, 1)]).await.unwrap().keep();
    world.store.away.store(true, Ordering::SeqCst);
    let (passed, error) = world.exhaust(&rights).await;
    assert_eq!((passed, error), (99, ChargeError::Unavailable), "the first grant was a thousandth");
    let asked = world.store.grants.load(Ordering::SeqCst);
    for _ in 0..100 {
        assert_eq!(at_once(&world, &rights, &[charge(REQUESTS, 1)]).err(), Some(ChargeError::Unavailable));
    }
    assert_eq!(
        world.store.grants.load(Ordering::SeqCst),
        asked,
        "no queue builds up at a database that is away"
    );
    assert!(world.ledger.usage(&rights, START).await.is_err());
    world.store.away.store(false, Ordering::SeqCst);
    world.advance(Duration::from_secs(2));
    assert_eq!(world.exhaust(&rights).await.0, 99_900);
}

#[tokio::test]
async fn one_grant_serves_all_who_wait_and_their_number_is_bounded() {
    let world = World::new();
    let rights = requests(monthly(1000));
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    *world.store.gate.lock().unwrap() = Some(gate.clone());
    let mut waiting = Vec::new();
    for _ in 0..300 {
        match world.ledger.charge(&rights, &[charge(REQUESTS, 1)], START) {
            Answer::Pending(future) => waiting.push(future),
            Answer::Ready(_) => panic!("nothing is granted"),
        }
    }
    let opener = async {
        while world.store.grants.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.store.grants.load(Ordering::SeqCst), 1);
        gate.add_permits(1000);
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(waiting), opener);
    let refused = answers.iter().filter(|answer| matches!(answer, Err(ChargeError::Unavailable))).count();
    let passed = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!((passed, refused), (256, 44));
    assert!(world.store.grants.load(Ordering::SeqCst) < 12, "{:?}", world.store.grants);
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let world = World::new();
    let rights = requests(monthly(1000));
    *world.store.gate.lock().unwrap() = Some(std::sync::Arc::new(tokio::sync::Semaphore::new(0)));
    let begun = tokio::time::Instant::now();
    assert_eq!(world.charge(&rights, &[charge(REQUESTS, 1)]).await.err(), Some(ChargeError::Unavailable));
    assert!(begun.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_steady_tenant_rarely_asks_and_never_waits() {
    let world = World::new();
    let rights = requests(monthly(1_000_000));
    world.charge(&rights, &[charge(REQUESTS, 1)]).await.unwrap().keep();
    for _ in 0..6000 {
        world.advance(Duration::from_millis(10));
        tokio::task::yield_now().await;
        at_once(&world, &rights, &[charge(REQUESTS, 1)]).unwrap().keep();
    }
    let asked = world.store.grants.load(Ordering::SeqCst);
    assert!(asked <= 6, "{asked} statements for 6,000 requests");
}

#[tokio::test]
async fn standings_are_exact() {
    let world = World::new();
    let rate = Rate { limit: units(50), per: Duration::from_secs(1), burst: units(100) };
    let quota = Quota { day: Some(Allowance::Limited(units(50))), ..monthly(100) };
    let terms_ = MeterTerms { quota: Some(quota), rate: Some(rate) };
    let rights = rights(1, &catalog(terms_, terms(unlimited())));
    for done in 1..=50u64 {
        let hold = world.charge(&rights, &[charge(REQUESTS, 1), charge(TOKENS, 1)]).await.unwrap();
        let mut shown = Vec::new();
        hold.standings(START, |standing| {
            let Standing { meter, window, quota, seconds, remaining, resets_in } = standing;
            shown.push((meter.to_owned(), window, quota.get(), seconds, remaining.get(), resets_in));
        });
        let meter = || "requests".to_owned();
        let month = (meter(), Some(Window::Month), 100, 31 * 86_400, 100 - done, 1_431_000);
        let day = (meter(), Some(Window::Day), 50, 86_400, 50 - done, 48_600);
        let rate = (meter(), None, 50, 1, 100 - done, done.div_ceil(50));
        assert_eq!(shown, [month, day, rate]);
        if done == 20 {
            world.ledger.flush().await.unwrap();
        }
        hold.keep();
    }
}

#[tokio::test]
async fn two_nodes_never_pass_more_than_the_limit() {
    let mut world = World::new();
    world.freshness.polled(world.clock.monotonic(), 2);
    world.store.nodes.store(2, Ordering::SeqCst);
    let other = world.other();
    // Each node has rights of its own: they lead to the node's own account.
    let catalog = catalog(terms(monthly(1000)), terms(unlimited()));
    let (here, there) = (rights(1, &catalog), rights(1, &catalog));
    let mut passed = 0;
    for _ in 0..3000 {
        world.advance(Duration::from_millis(7));
        passed += u64::from(world.charge(&here, &[charge(REQUESTS, 1)]).await.is_ok());
        passed += u64::from(charge_on(&other, &there, &[charge(REQUESTS, 1)], START).await.is_ok());
    }
    assert_eq!(passed, 1000);
    other.flush().await.unwrap();
    assert_eq!(world.used(&here, "requests", Window::Month).await.used, units(1000));
}
