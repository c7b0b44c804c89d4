//! The ledger alone: a charge from memory, grants, calls to the store, memory. See `benches/README.md`.
#![allow(clippy::unwrap_used, reason = "what cannot be set up cannot be measured")]
#![allow(missing_docs, reason = "nobody uses a bench as a library")]

mod atomic {
    pub use std::sync::atomic::{AtomicU64, Ordering};
}
#[path = "ledger/calls.rs"]
mod calls;
#[path = "ledger/cluster.rs"]
mod cluster;
#[path = "ledger/grants.rs"]
mod grants;
#[path = "ledger/observer.rs"]
mod observer;
#[path = "ledger/postgres.rs"]
mod postgres;
#[path = "decide/report.rs"]
mod report;
#[path = "ledger/spends.rs"]
mod spends;
#[allow(dead_code, reason = "the word has more than is measured here")]
#[path = "../src/ledger/word.rs"]
mod word;
#[path = "ledger/world.rs"]
mod world;

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput};
use futures_util::future::join_all;
use plangate::{domain::rights::Rights, ports::Ledger};
use report::resident;
use world::{Generous, Node, TENANT_LIMIT, rights};

// The product's allocator, counted.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: alloc_counter::AllocCounter<mimalloc::MiMalloc> =
    alloc_counter::AllocCounter(mimalloc::MiMalloc);
#[cfg(not(feature = "mimalloc"))]
#[global_allocator]
static ALLOCATOR: alloc_counter::AllocCounterSystem = alloc_counter::AllocCounterSystem;

/// Tenants that ask for their first units at the same time.
const AT_ONCE: usize = 256;

fn main() {
    let timed = !std::env::args().any(|argument| argument == "--test");
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    let mut rows = Vec::new();
    spends::measure(&mut criterion, &mut rows);
    measure_grants(&mut criterion);
    criterion.final_summary();
    report::print("spend", &rows, timed);
    spends::print_shared(if timed { 40 } else { 1 });
    calls::print(if timed { 600 } else { 5 });
    postgres::print(timed);
    let (known, active) = if timed { (1_000_000, 100_000) } else { (1_000, 100) };
    print_memory(known, active);
}

/// First charges of so many tenants, which all wait for units: through the queue, the workers and the store's rules.
fn measure_grants(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("grant");
    group.throughput(Throughput::Elements(AT_ONCE as u64));
    let node = Node::with_memory();
    let mut round = 0_u64;
    group.bench_function(BenchmarkId::new("first charges", AT_ONCE), |b| {
        b.iter_batched(
            || {
                round += 1;
                (0..AT_ONCE).map(|n| node.enroll(&format!("t{round}-{n}"))).collect::<Vec<_>>()
            },
            |tenants| {
                node.runtime.block_on(join_all(tenants.iter().map(async |rights| {
                    let hold = node.ledger.charge(rights, &world::ONE, node.now()).wait().await;
                    hold.unwrap().keep();
                })));
            },
            criterion::BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// What a tenant takes, known (its rights compiled) and active (charged this month).
fn print_memory(known: usize, active: usize) {
    let node = Node::new(Arc::new(Generous));
    let before = resident();
    let tenants: Vec<Arc<Rights>> =
        (0..known).map(|n| rights(&format!("tenant-{n:07}"), TENANT_LIMIT)).collect();
    let with_known = resident();
    tenants.iter().take(active).for_each(|rights| node.admit(rights));
    let with_active = resident();
    let each = |grown: u64, of: usize| grown / of as u64;
    println!("\n{known} tenants known: {} bytes each (their rights)", each(with_known - before, known));
    let ledger = each(with_active.saturating_sub(with_known), active);
    println!("{active} tenants active: {ledger} bytes each in the ledger");
    black_box(tenants);
}
