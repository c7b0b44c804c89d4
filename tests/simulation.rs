//! The real ledger of several nodes over one store in memory, with a network that loses, delays, repeats and reorders, and
//! clocks, pauses, kills, stops and changes of the limit, all from one number: the same seed is the same history. What the
//! callers saw is counted apart from the ledger, and the promises are checked after every step.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails here fails the test")]

#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/ending.rs"]
mod ending;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/node.rs"]
mod node;
#[path = "simulation/seed.rs"]
mod seed;
#[path = "simulation/shadow.rs"]
mod shadow;
#[path = "simulation/tenants.rs"]
mod tenants;
#[path = "simulation/world.rs"]
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
};

use world::World;

/// Unless `PLANGATE_SEEDS` says otherwise, as a nightly run does.
const SEEDS: u64 = 10_000;
const STEPS: usize = 40;
const THREADS: u64 = 2;

struct Ran {
    hash: u64,
    admitted: u64,
    kills: u64,
    uncertain: bool,
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a whole number"))
}

/// One history.
fn run(seed: u64, told: bool) -> Ran {
    run_in(World::new(seed, told, false))
}

fn run_in(mut world: World) -> Ran {
    for _ in 0..STEPS {
        world.step();
    }
    world.end();
    Ran { hash: world.trace.hash(), admitted: world.admitted, kills: world.kills, uncertain: world.uncertain }
}

/// One history; where it fails, once more with its trace.
fn run_or_tell(seed: u64) -> Ran {
    catch_unwind(|| run(seed, false)).unwrap_or_else(|_| {
        println!("seed {seed} failed; this is its history:");
        let _ = catch_unwind(AssertUnwindSafe(|| run(seed, true)));
        panic!("replay with: PLANGATE_SEED={seed} cargo test --test simulation one_seed -- --nocapture");
    })
}

#[test]
fn ten_thousand_histories() {
    let seeds = number("PLANGATE_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(1);
    let [admitted, kills, uncertain] = [const { AtomicU64::new(0) }; 3];
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds {
                        return;
                    }
                    let ran = run_or_tell(seed);
                    admitted.fetch_add(ran.admitted, Ordering::Relaxed);
                    kills.fetch_add(ran.kills, Ordering::Relaxed);
                    uncertain.fetch_add(u64::from(ran.uncertain), Ordering::Relaxed);
                }
            });
        }
    });
    let [admitted, kills, uncertain] = [admitted, kills, uncertain].map(AtomicU64::into_inner);
    println!(
        "{seeds} histories of {STEPS} steps: {admitted} units admitted, {kills} kills, {uncertain} histories with files lost"
    );
    assert!(admitted > seeds * 10 && kills > seeds / 2, "too little happened");
    assert!(
        uncertain > seeds / 20 && uncertain < seeds / 2,
        "too few histories that must be exact, or that cannot be"
    );
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in 1..=50 {
        assert_eq!(run(seed, false).hash, run(seed, false).hash, "seed {seed}");
    }
    assert_ne!(run(1, false).hash, run(2, false).hash);
}

/// That the checks can fail: leases that time out are what the protocol must not have.
#[test]
fn taken_leases_are_noticed() {
    let noticed = |seed: &u64| {
        let failed = catch_unwind(|| run_in(World::new(*seed, false, true))).err();
        failed.is_some_and(|why| why.downcast_ref::<String>().is_some_and(|why| why.starts_with("P1")))
    };
    assert!((1..=200).filter(noticed).count() >= 5);
}

/// For replays: the seed is named by the environment.
#[test]
fn one_seed() {
    if let Some(seed) = number("PLANGATE_SEED") {
        run(seed, true);
    }
}
