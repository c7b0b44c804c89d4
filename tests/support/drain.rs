//! Uses a quota up: clients on every node go on until all of them are refused for good.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    client::Ask,
    load::{Place, Tally, exchange},
};

/// Each client was refused so often since anything passed anywhere,
const REFUSALS: usize = 8;
/// and for so long: units that come back late are found, and the test does not depend on how late.
const QUIET: Duration = Duration::from_millis(1200);
const PATIENCE: Duration = Duration::from_secs(100);
/// Between two attempts of a client that was refused.
const PAUSE: Duration = Duration::from_millis(15);

struct Board {
    refusals: Vec<usize>,
    passed: Instant,
}

impl Board {
    fn over(&self) -> bool {
        self.passed.elapsed() >= QUIET && self.refusals.iter().all(|refusals| *refusals >= REFUSALS)
    }
}

/// Sends a request again and again, by so many clients on each node, until every one of them keeps being refused.
pub async fn drain(ask: &Ask, nodes: &[Place], clients: usize) -> Tally {
    let board = Board { refusals: vec![0; nodes.len() * clients], passed: Instant::now() };
    let board = Arc::new(Mutex::new(board));
    let mut all = JoinSet::new();
    for client in 0..nodes.len() * clients {
        let (ask, node, board) = (ask.clone(), nodes[client % nodes.len()].clone(), Arc::clone(&board));
        all.spawn(async move {
            let (mut tally, mut connection) = (Tally::default(), None);
            while !board.lock().unwrap().over() {
                let outcome = exchange(&mut connection, &ask, node.address()).await;
                let passed = outcome.as_ref().is_ok_and(|outcome| outcome == "passed");
                tally.note(outcome);
                {
                    let mut board = board.lock().unwrap();
                    if passed {
                        board.refusals.fill(0);
                        board.passed = Instant::now();
                    } else {
                        board.refusals[client] += 1;
                    }
                }
                if !passed {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            tally
        });
    }
    let ended = async {
        let mut tally = Tally::default();
        while let Some(one) = all.join_next().await {
            tally.add(one.unwrap());
        }
        tally
    };
    timeout(PATIENCE, ended).await.expect("the quota is not used up in time")
}
