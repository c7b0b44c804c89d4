//! Two nodes that share one spend cap: whatever happens, they spend the whole of it and no more.

use std::{sync::atomic::Ordering, time::Duration};

use proptest::prelude::*;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{super::world::*, Sale, limited, runtime, sold, spend};
use crate::{
    clock::Clock,
    domain::spend::MoneyUnits,
    ledger::recall,
    ports::{ChargeError, Hold},
};

#[allow(clippy::too_many_lines, reason = "one history of two nodes")]
async fn two_nodes(sale: Sale, cap: u64, steps: Vec<(usize, u64, Option<u64>)>) {
    let mut world = World::new();
    world.store.nodes.store(2, Ordering::SeqCst);
    world.freshness.polled(world.clock.monotonic(), 2);
    let nodes = [world.ledger.clone(), world.other()];
    let rights = [(); 2].map(|()| sold(&sale, limited(cap)));
    let (stop, polled, store) = (CancellationToken::new(), nodes.clone(), world.store.clone());
    let (stopped, limit) = (stop.clone(), sale.included);
    *world.store.limit.lock().unwrap() = limit;
    TaskTracker::new().spawn(async move {
        while !stopped.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            polled.iter().for_each(|node| node.recall(&store.polled(limit)));
        }
    });
    let charge_at = async |node: usize, n: u64| {
        let charges = [charge(REQUESTS, n)];
        let again = || charge_on(&nodes[node], &rights[node], &charges, START);
        match again().await {
            Err(ChargeError::Denied(_)) => {
                // What the other node gave back to its own words is heard of with the next look, and what it still holds
                // with the next recall: nothing is refused for longer than that.
                for node in &nodes {
                    node.flush().await.unwrap();
                }
                recall::look_again(&nodes[node].0).await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
                again().await
            }
            answer => answer,
        }
    };
    let mut used = 0;
    let money = |used: u64| sale.cost(used.saturating_sub(sale.included));
    let mut open: Vec<(Hold, u64)> = Vec::new();
    for (node, n, end) in steps {
        match charge_at(node, n).await {
            Ok(hold) => {
                used += n;
                assert!(money(used) <= cap, "{} of {cap} were spent", money(used));
                open.push((hold, n));
            }
            Err(ChargeError::Denied(_)) => {
                assert!(money(used + n) > cap, "{n} refused, {} of {cap} spent", money(used));
            }
            Err(error) => panic!("{error:?}"),
        }
        if let (Some(actual), false) = (end, open.is_empty()) {
            let (hold, taken) = open.remove(0);
            let actual = actual.min(taken);
            // Units of overage may come back before included ones of another charge: only the last one is settled so.
            if used <= sale.included || open.is_empty() {
                hold.settle(&[charge(REQUESTS, actual)]);
                used -= taken - actual;
            } else {
                hold.keep();
            }
        }
    }
    open.into_iter().for_each(|(hold, _)| hold.keep());
    let mut refused = 0;
    for node in [0, 1].into_iter().cycle() {
        match charge_at(node, 1).await {
            Ok(hold) => {
                hold.keep();
                (used, refused) = (used + 1, 0);
            }
            Err(ChargeError::Denied(_)) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
        if refused == 2 {
            break;
        }
    }
    assert!(money(used) <= cap && money(used + 1) > cap, "{used} used, {} of {cap} spent", money(used));
    for node in &nodes {
        node.flush().await.unwrap();
        let usage = spend(node, &rights[1], START).await.unwrap();
        assert_eq!(usage.spent.units().get(), money(used));
    }
    assert!(sale.billed(used.saturating_sub(sale.included)) <= MoneyUnits::of(units(cap)).total());
    stop.cancel();
    drop(world);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn two_nodes_spend_the_whole_cap_and_no_more(
        included in 0u64..40,
        price in 1u64..2_000,
        per in 1u64..12,
        cap in 0u64..90_000,
        steps in prop::collection::vec((0usize..2, 1u64..9, proptest::option::of(0u64..9)), 1..40),
    ) {
        let sale = Sale { included, ..Sale::new(0, &format!("0.{price:09}"), per) };
        runtime().block_on(two_nodes(sale, cap, steps));
    }
}
