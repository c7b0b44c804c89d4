//! The tail of a quota: what other nodes hold comes back to where it is wanted, and a refusal costs no question.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::world::*;
use crate::{
    clock::Clock,
    domain::{period::Window, plan::Quota, rights::Rights, units::Allowance},
    ledger::{EscrowLedger, recall},
    ports::{Answer, ChargeError, Hold, Ledger},
};

/// Two nodes with rights of their own, and whoever tells them what is wanted, as polls would.
struct Pair {
    world: World,
    other: EscrowLedger,
    here: Arc<Rights>,
    there: Arc<Rights>,
}

impl Pair {
    fn of(quota: Quota) -> Self {
        let mut world = World::new();
        world.store.nodes.store(2, Ordering::SeqCst);
        world.freshness.polled(world.clock.monotonic(), 2);
        let other = world.other();
        let catalog = catalog(terms(quota), terms(unlimited()));
        Self { world, other, here: rights(1, &catalog), there: rights(1, &catalog) }
    }

    /// Polls on both nodes every 10 ms, for as long as the test runs.
    fn polling(&self, limit: u64) {
        let nodes = [self.world.ledger.clone(), self.other.clone()];
        let store = self.world.store.clone();
        TaskTracker::new().spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                nodes.iter().for_each(|node| node.recall(&store.polled(limit)));
            }
        });
    }

    async fn there(&self, units: u64) -> Result<(), ChargeError> {
        let charges = [charge(REQUESTS, units)];
        charge_on(&self.other, &self.there, &charges, self.world.now()).await.map(Hold::keep)
    }

    async fn here(&self, units: u64) -> Result<(), ChargeError> {
        self.world.charge(&self.here, &[charge(REQUESTS, units)]).await.map(Hold::keep)
    }

    async fn drained(&self, units: u64) -> u64 {
        let mut passed = 0;
        while self.here(units).await.is_ok() {
            passed += units;
        }
        passed
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_was_never_heard_of_is_given_back_too() {
    let pair = Pair::of(monthly(10));
    pair.polling(10);
    pair.world.store.lose_answers.store(1, Ordering::SeqCst);
    assert_eq!(pair.there(10).await, Err(ChargeError::Unavailable));
    // The database has granted everything to a node that knows nothing of it.
    assert_eq!(pair.here(10).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_idle_holder_gives_back_what_another_node_needs() {
    let pair = Pair::of(monthly(5000));
    pair.polling(5000);
    pair.there(3).await.unwrap();
    let held = pair.world.store.allocated(&bucket(&pair.here, "requests", Window::Month, START));
    assert!(held > 3, "more than it spent");
    assert_eq!(pair.drained(1).await, 4997, "to the last unit");
    assert!(pair.other.metrics().recalls() > 0);
    pair.there(1).await.unwrap_err();
    // From then on it knows, without a wait.
    assert!(matches!(
        pair.other.charge(&pair.there, &[charge(REQUESTS, 1)], START),
        Answer::Ready(Err(ChargeError::Denied(_)))
    ));
}

#[tokio::test(start_paused = true)]
async fn what_two_nodes_hold_is_put_together_for_a_charge_that_needs_both() {
    let pair = Pair::of(monthly(4000));
    pair.polling(4000);
    for _ in 0..3 {
        pair.here(1).await.unwrap();
        pair.there(1).await.unwrap();
    }
    pair.here(3990).await.unwrap();
    pair.there(5).await.unwrap_err();
    pair.there(4).await.unwrap();
    pair.here(1).await.unwrap_err();
    assert!(pair.other.metrics().recalls() + pair.world.ledger.metrics().recalls() > 0);
}

#[tokio::test(start_paused = true)]
async fn every_window_is_recalled() {
    let pair = Pair::of(Quota { day: Some(Allowance::Limited(units(5000))), ..monthly(100_000) });
    pair.polling(5000);
    pair.there(1).await.unwrap();
    assert_eq!(pair.drained(1).await, 4999);
    assert!(pair.other.metrics().recalls() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_once_and_not_for_long() {
    let pair = Pair::of(monthly(5000));
    pair.there(1).await.unwrap();
    // The other holds some and never answers.
    let passed = {
        let mut passed = 0;
        loop {
            let begun = Instant::now();
            let answer = pair.here(1).await;
            let waited = begun.elapsed();
            if answer.is_err() {
                assert!(
                    waited >= Duration::from_millis(100) && waited < Duration::from_millis(200),
                    "{waited:?}"
                );
                break passed;
            }
            passed += 1;
        }
    };
    assert!(passed < 4999, "{passed}");
    // The next ones do not wait any more once the time is over.
    pair.world.advance(Duration::from_millis(100));
    assert!(at_once(&pair.world, &pair.here, &[charge(REQUESTS, 1)]).is_err());
    // At the next look it turns out that the units are still there to be asked for; polls then bring them.
    *pair.world.store.limit.lock().unwrap() = 5000;
    recall::look_again(&pair.world.ledger.0).await.unwrap();
    pair.polling(5000);
    assert_eq!(pair.drained(1).await, 4999 - passed);
}

#[tokio::test]
async fn exhausted_tenants_that_hammer_cost_one_question_at_a_time() {
    let world = World::new();
    let rights = requests(monthly(5));
    world.exhaust(&rights).await;
    *world.store.limit.lock().unwrap() = 5;
    for round in 1..=3 {
        for _ in 0..100 {
            assert!(at_once(&world, &rights, &[charge(REQUESTS, 1)]).is_err());
        }
        recall::look_again(&world.ledger.0).await.unwrap();
        // Nobody was refused since.
        recall::look_again(&world.ledger.0).await.unwrap();
        assert_eq!(world.store.looks.load(Ordering::SeqCst), round);
    }
    // Somebody gave units back, and nobody was told.
    *world.store.limit.lock().unwrap() = 7;
    assert!(at_once(&world, &rights, &[charge(REQUESTS, 1)]).is_err());
    let asked = world.store.grants.load(Ordering::SeqCst);
    recall::look_again(&world.ledger.0).await.unwrap();
    assert!(world.charge(&rights, &[charge(REQUESTS, 1)]).await.is_err(), "the limit itself is as it was");
    assert_eq!(world.store.grants.load(Ordering::SeqCst), asked + 1, "but it was asked");
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_while_it_is_wanted_does_not_wait_for_the_next_flush() {
    let pair = Pair::of(monthly(5000));
    pair.polling(5000);
    let stop = CancellationToken::new();
    let (other, stopped) = (pair.other.clone(), stop.clone());
    TaskTracker::new().spawn(async move { other.run(stopped).await });
    let hold = charge_on(&pair.other, &pair.there, &[charge(REQUESTS, 4)], START).await.unwrap();
    assert_eq!(pair.drained(1).await, 4996);
    let begun = Instant::now();
    hold.refund();
    while pair.here(4).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
    stop.cancel();
}
