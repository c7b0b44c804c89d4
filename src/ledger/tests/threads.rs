//! Real threads that all charge one tenant: the limit holds to the unit.

use std::sync::atomic::{AtomicU64, Ordering};

use super::world::*;
use crate::{
    domain::{period::Window, plan::Quota, time::Version, units::Allowance},
    ports::ChargeError,
};

#[test]
fn threads_share_a_quota_to_the_unit() {
    share_a_quota(false);
}

#[test]
fn threads_with_rights_of_their_own_share_it_too() {
    share_a_quota(true);
}

/// `own`: each thread has its own compiled rights, as the workers of a node do.
fn share_a_quota(own: bool) {
    let background =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let entered = background.enter();
    let world = World::new();
    drop(entered);
    let quota = Quota { day: Some(Allowance::Limited(units(20_000))), ..monthly(10_007) };
    let catalog = catalog(terms(quota), terms(unlimited()));
    let rights = rights(1, &catalog);
    let (passed, given_back) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for lane in 0..4u64 {
            let (world, catalog, common) = (&world, &catalog, &rights);
            let (passed, given_back) = (&passed, &given_back);
            scope.spawn(move || {
                let rights = if own { super::world::rights(1, catalog) } else { common.clone() };
                let rights = &rights;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    for round in 0.. {
                        let both = [charge(REQUESTS, 1), charge(TOKENS, 2)];
                        match world.charge(rights, &both).await {
                            // The last ones are kept, so that all of the quota is used in the end.
                            Ok(hold) if (round + lane) % 7 == 0 && round < 2000 => {
                                given_back.fetch_add(1, Ordering::SeqCst);
                                hold.refund();
                            }
                            Ok(hold) => {
                                passed.fetch_add(1, Ordering::SeqCst);
                                hold.keep();
                            }
                            Err(ChargeError::Denied(_)) if round >= 2000 => return,
                            Err(ChargeError::Denied(_)) => {}
                            Err(error) => panic!("{error}"),
                        }
                        if round % 500 == 499 {
                            world.ledger.apply(&rights.tenant, Version(u64::MAX)).await.unwrap();
                        }
                    }
                });
            });
        }
    });
    background.block_on(async {
        // A refund can race with the last refusals: what it freed is still usable.
        let rest = world.exhaust(&rights).await.0;
        assert_eq!(passed.load(Ordering::SeqCst) + rest, 10_007);
        world.ledger.drain().await;
    });
    assert!(given_back.load(Ordering::SeqCst) > 0);
    for (meter, window, times) in [("requests", Window::Month, 1), ("requests", Window::Day, 1)] {
        let key = bucket(&rights, meter, window, START);
        assert_eq!(world.store.net(&key), 10_007 * times);
        assert_eq!(world.store.allocated(&key), 10_007 * times);
    }
}
