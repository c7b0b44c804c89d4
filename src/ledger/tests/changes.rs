//! What changes under the requests' feet: rights, policies, periods, and the database's own mind.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::world::*;
use crate::{
    domain::{
        id::TenantId,
        period::Window,
        plan::Quota,
        rights::Rights,
        time::{UnixMillis, Version},
        units::Allowance,
    },
    ports::{Answer, ChargeError, Hold, Ledger},
};

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

/// Rights of a version with a monthly limit; the database knows of them.
fn change(world: &World, version: u64, quota: Quota) -> Arc<Rights> {
    world.store.versions.lock().unwrap().insert(acme(), Version(version));
    rights(version, &catalog(terms(quota), terms(unlimited())))
}

#[tokio::test]
async fn an_upgrade_is_usable_at_once_and_a_downgrade_in_force() {
    let world = World::new();
    let old = change(&world, 1, monthly(100));
    assert_eq!(world.exhaust(&old).await.0, 100);
    let more = change(&world, 2, monthly(150));
    world.ledger.apply(&acme(), Version(u64::MAX)).await.unwrap();
    assert_eq!(world.exhaust(&more).await.0, 50, "the refusal is forgotten");
    let less = change(&world, 3, monthly(120));
    world.ledger.apply(&acme(), Version(u64::MAX)).await.unwrap();
    assert_eq!(world.exhaust(&less).await.0, 0);
    let key = bucket(&less, "requests", Window::Month, START);
    assert_eq!(world.store.net(&key), 150);
    assert_eq!(world.used(&less, "requests", Window::Month).await.used, units(150));
}

#[tokio::test]
async fn applying_returns_what_is_held() {
    let world = World::new();
    let old = change(&world, 1, monthly(100_000));
    world.charge(&old, &[charge(REQUESTS, 7)]).await.unwrap().keep();
    let key = bucket(&old, "requests", Window::Month, START);
    assert_eq!(world.store.allocated(&key), 100);
    let new = change(&world, 2, monthly(10));
    world.ledger.apply(&acme(), Version(u64::MAX)).await.unwrap();
    assert_eq!(world.store.allocated(&key), 7);
    assert_eq!(world.exhaust(&new).await.0, 3);
}

#[tokio::test]
async fn what_was_used_without_a_limit_counts_against_a_later_one() {
    let world = World::new();
    let old = change(&world, 1, unlimited());
    world.charge(&old, &[charge(REQUESTS, 95)]).await.unwrap().keep();
    // Nothing was applied: newer rights alone seal the old word, and its totals come before the first grant.
    let new = change(&world, 2, monthly(100));
    assert_eq!(world.exhaust(&new).await.0, 5);
}

#[tokio::test]
async fn an_answer_that_arrives_after_a_change_is_not_opened() {
    let world = World::new();
    let old = change(&world, 1, monthly(100));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    *world.store.gate.lock().unwrap() = Some(gate.clone());
    let Answer::Pending(waiting) = world.ledger.charge(&old, &[charge(REQUESTS, 1)], START) else { panic!() };
    let late = async {
        while world.store.grants.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let new = change(&world, 2, monthly(5));
        world.ledger.apply(&acme(), Version(u64::MAX)).await.unwrap();
        gate.add_permits(1000);
        new
    };
    let (answer, new) = tokio::join!(waiting, late);
    // The request went on under its own rights, on a new word, where the database refused the old limit.
    assert_eq!(answer.err(), Some(ChargeError::Outdated));
    assert_eq!(world.exhaust(&new).await.0, 5);
    assert_eq!(world.store.allocated(&bucket(&new, "requests", Window::Month, START)), 5);
}

#[tokio::test]
async fn outdated_rights_are_told_so_when_the_news_arrive() {
    let world = World::new();
    let old = change(&world, 1, monthly(100));
    let new = change(&world, 2, monthly(100));
    let begun = tokio::time::Instant::now();
    assert_eq!(world.charge(&old, &[charge(REQUESTS, 1)]).await.err(), Some(ChargeError::Outdated));
    assert!(begun.elapsed() >= Duration::from_millis(300), "the news did not come");
    let asked = world.store.grants.load(Ordering::SeqCst);
    let news = async {
        while world.store.grants.load(Ordering::SeqCst) == asked {
            tokio::task::yield_now().await;
        }
        world.ledger.apply(&acme(), Version(u64::MAX)).await.unwrap();
    };
    let begun = tokio::time::Instant::now();
    let one = [charge(REQUESTS, 1)];
    let (answer, ()) = tokio::join!(world.charge(&old, &one), news);
    assert_eq!(answer.err(), Some(ChargeError::Outdated));
    assert!(begun.elapsed() < Duration::from_millis(300), "woken by the news");
    world.charge(&new, &[charge(REQUESTS, 1)]).await.unwrap().keep();
    assert_eq!(
        at_once(&world, &old, &[charge(REQUESTS, 1)]).err(),
        Some(ChargeError::Outdated),
        "older rights never bring an older limit back"
    );
}

#[tokio::test]
async fn changed_policies_change_the_limits_they_change() {
    let world = World::new();
    let quota = |month, day| Quota { day: Some(Allowance::Limited(units(day))), ..monthly(month) };
    let first = catalog(terms(quota(100, 60)), terms(monthly(50)));
    world.ledger.apply_all(first.clone());
    let old = rights(1, &first);
    world.charge(&old, &[charge(REQUESTS, 10), charge(TOKENS, 1)]).await.unwrap().keep();
    let second = catalog(terms(quota(100, 20)), terms(monthly(50)));
    world.ledger.apply_all(second.clone());
    let new = rights(1, &second);
    // A request of the old catalog opens nothing new; it uses what is there.
    world.charge(&old, &[charge(REQUESTS, 1)]).await.unwrap().keep();
    assert_eq!(world.exhaust(&new).await.0, 9);
    assert!(world.charge(&old, &[charge(REQUESTS, 1)]).await.is_err());
    let seqs = |meter: &str, window| {
        let key = bucket(&new, meter, window, START);
        world.store.rows().into_iter().filter(|(of, ..)| *of == key).count()
    };
    assert_eq!(seqs("requests", Window::Day), 2);
    assert_eq!(seqs("requests", Window::Month), 1, "a limit that stays keeps its word");
}

#[tokio::test]
async fn a_request_from_before_the_boundary_is_charged_to_its_own_period() {
    let world = World::new();
    let daily = Quota { day: Some(Allowance::Limited(units(3))), ..monthly(100) };
    let rights = requests(daily);
    let midnight = bucket(&rights, "requests", Window::Day, UnixMillis(START.0 + 86_400_000)).start;
    let before = UnixMillis(midnight.0 - 1);
    let charge_at =
        async |now| charge_on(&world.ledger, &rights, &[charge(REQUESTS, 1)], now).await.map(Hold::keep);
    let used = |now| world.store.net(&bucket(&rights, "requests", Window::Day, now));
    charge_at(before).await.unwrap();
    charge_at(midnight).await.unwrap();
    charge_at(before).await.unwrap();
    charge_at(midnight).await.unwrap();
    charge_at(before).await.unwrap();
    charge_at(before).await.unwrap_err();
    charge_at(midnight).await.unwrap();
    charge_at(midnight).await.unwrap_err();
    world.ledger.flush().await.unwrap();
    assert_eq!((used(before), used(midnight)), (3, 3));
    let slots = world.store.rows().into_iter().filter(|(key, ..)| key.span == Window::Day.into()).count();
    assert_eq!(slots, 2, "each day has one word");

    // On a node that never saw the day before, too.
    let fresh = requests(daily);
    let other = World::new();
    charge_on(&other.ledger, &fresh, &[charge(REQUESTS, 1)], midnight).await.unwrap().keep();
    charge_on(&other.ledger, &fresh, &[charge(REQUESTS, 1)], before).await.unwrap().keep();
    charge_on(&other.ledger, &fresh, &[charge(REQUESTS, 1)], midnight).await.unwrap().keep();
    other.ledger.flush().await.unwrap();
    assert_eq!(other.store.net(&bucket(&fresh, "requests", Window::Day, before)), 1);
    assert_eq!(other.store.net(&bucket(&fresh, "requests", Window::Day, midnight)), 2);
}

#[tokio::test]
async fn a_reset_counts_anew() {
    let world = World::new();
    let catalog = catalog(terms(monthly(10)), terms(unlimited()));
    let old = rights(1, &catalog);
    assert_eq!(world.exhaust(&old).await.0, 10);
    let reset = Arc::new(Rights::compile(&tenant("acme", 2, 2), &catalog, START).unwrap());
    world.ledger.apply(&acme(), Version(u64::MAX)).await.unwrap();
    assert_eq!(world.exhaust(&reset).await.0, 10);
    assert_eq!(world.used(&reset, "requests", Window::Month).await.used, units(10));
}

#[tokio::test]
async fn a_refund_goes_to_the_word_that_was_charged() {
    let world = World::new();
    let old = change(&world, 1, monthly(10));
    let hold = world.charge(&old, &[charge(REQUESTS, 4)]).await.unwrap();
    assert_eq!(world.exhaust(&old).await.0, 6);
    let new = change(&world, 2, monthly(10));
    world.ledger.apply(&acme(), Version(u64::MAX)).await.unwrap();
    assert_eq!(world.exhaust(&new).await.0, 0);
    hold.refund();
    // The open word of the bucket has nothing; the sealed one's refund is recorded before it asks again.
    assert_eq!(world.exhaust(&new).await.0, 4);
    assert_eq!(world.used(&new, "requests", Window::Month).await.used, units(10));
}

#[tokio::test]
async fn lost_answers_grant_nothing_twice_and_lose_nothing() {
    for lenient in [false, true] {
        let world = World::new();
        world.store.lenient.store(lenient, Ordering::SeqCst);
        let rights = requests(monthly(50));
        let mut passed = 0;
        for round in 0..400 {
            if round % 3 == 0 {
                world.store.lose_answers.store(1, Ordering::SeqCst);
            }
            passed += u64::from(world.charge(&rights, &[charge(REQUESTS, 1)]).await.is_ok());
            world.advance(Duration::from_secs(3));
        }
        assert_eq!(passed, 50, "lenient: {lenient}");
        world.ledger.drain().await;
        let key = bucket(&rights, "requests", Window::Month, START);
        assert_eq!((world.store.net(&key), world.store.allocated(&key)), (50, 50));
    }
}

#[tokio::test]
async fn a_slot_that_was_declared_lost_is_not_spent_from_after_the_next_question() {
    let world = World::new();
    let rights = requests(monthly(1000));
    world.charge(&rights, &[charge(REQUESTS, 1)]).await.unwrap().keep();
    world.store.slots.lock().unwrap().values_mut().for_each(|row| row.sealed = true);
    assert_eq!(world.charge(&rights, &[charge(REQUESTS, 5)]).await.err(), Some(ChargeError::Unavailable));
    world.charge(&rights, &[charge(REQUESTS, 5)]).await.unwrap().keep();
    world.ledger.flush().await.unwrap();
    assert_eq!(world.store.net(&bucket(&rights, "requests", Window::Month, START)), 6);
}

#[tokio::test]
async fn the_next_period_is_granted_before_it_begins_and_spent_from_then_on() {
    let world = World::new();
    let daily = requests(Quota { day: Some(Allowance::Limited(units(100))), ..monthly(10_000) });
    let charges = [charge(REQUESTS, 1)];
    world.charge(&daily, &charges).await.unwrap().keep();
    let sweep = async || {
        for part in 0..16 {
            world.ledger.0.accounts.sweep(&world.ledger.0, part, 16);
        }
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    };
    let tomorrow = UnixMillis(1_773_619_200_000);
    let next_day = bucket(&daily, "requests", Window::Day, tomorrow);
    // 2026-03-15T23:49Z is too early for anybody.
    world.advance(Duration::from_secs(47_940));
    world.charge(&daily, &charges).await.unwrap().keep();
    sweep().await;
    assert_eq!(world.store.allocated(&next_day), 0);
    // A minute before midnight everybody has asked.
    world.advance(Duration::from_secs(600));
    world.charge(&daily, &charges).await.unwrap().keep();
    sweep().await;
    let ahead = world.store.allocated(&next_day);
    assert!(ahead > 0);
    // Nothing of it is spent today.
    world.charge(&daily, &charges).await.unwrap().keep();
    world.ledger.flush().await.unwrap();
    assert_eq!((world.store.net(&next_day), world.store.allocated(&next_day)), (0, ahead));
    world.advance(Duration::from_secs(60));
    assert_eq!(world.now(), tomorrow);
    let asked = world.store.grants.load(Ordering::SeqCst);
    at_once(&world, &daily, &charges).unwrap().keep();
    assert_eq!(world.store.grants.load(Ordering::SeqCst), asked, "it was there already");
    world.ledger.flush().await.unwrap();
    assert_eq!(world.store.net(&next_day), 1);
    // The last day's rest goes back once nobody can come late; an unused day is given back like any idle one.
    let last_day = bucket(&daily, "requests", Window::Day, START);
    world.advance(Duration::from_secs(6));
    sweep().await;
    world.ledger.flush().await.unwrap();
    assert_eq!(world.store.allocated(&last_day), world.store.net(&last_day));
}

#[tokio::test]
async fn a_window_that_begins_to_count_opens_a_new_month_word() {
    let world = World::new();
    let plain = catalog(terms(monthly(100)), terms(unlimited()));
    let daily = catalog(
        terms(Quota { day: Some(Allowance::Limited(units(50))), ..monthly(100) }),
        terms(unlimited()),
    );
    world.ledger.apply_all(plain.clone());
    world.charge(&rights(1, &plain), &[charge(REQUESTS, 3)]).await.unwrap().keep();
    world.ledger.apply_all(daily.clone());
    world.charge(&rights(1, &daily), &[charge(REQUESTS, 4)]).await.unwrap().keep();
    world.ledger.flush().await.unwrap();
    let month = bucket(&rights(1, &plain), "requests", Window::Month, START);
    let of_month: Vec<u64> = world
        .store
        .rows()
        .into_iter()
        .filter(|(key, ..)| *key == month)
        .map(|(_, _, row)| row.net())
        .collect();
    assert_eq!(of_month.len(), 2, "each says in which windows it was counted: {of_month:?}");
    assert_eq!(of_month.iter().sum::<u64>(), 7);
}

#[tokio::test]
async fn a_lease_under_the_very_change_is_kept() {
    let world = World::new();
    let catalog = catalog(terms(monthly(100_000)), terms(unlimited()));
    world.charge(&rights(7, &catalog), &[charge(REQUESTS, 1)]).await.unwrap().keep();
    let asked = world.store.grants.load(Ordering::SeqCst);
    // The news of what these rights were compiled from comes late.
    world.ledger.apply(&acme(), Version(7)).await.unwrap();
    at_once(&world, &rights(7, &catalog), &[charge(REQUESTS, 1)]).unwrap().keep();
    assert_eq!(world.store.grants.load(Ordering::SeqCst), asked);
    world.ledger.apply(&acme(), Version(8)).await.unwrap();
    let key = bucket(&rights(7, &catalog), "requests", Window::Month, START);
    assert_eq!(world.store.allocated(&key), 2, "all that was not used is returned");
}
