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
#[allow(dead_code, reason = "the word has more than is measured here")]
#[path = "../src/ledger/word.rs"]
mod word;
#[path = "ledger/world.rs"]
mod world;

use std::{
    hint::black_box,
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use futures_util::future::join_all;
use plangate::{
    domain::rights::Rights,
    ports::{Answer, Ledger},
};
use report::{Row, allocations, resident};
use word::{Spend, Word};
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
    measure_spends(&mut criterion, &mut rows);
    measure_grants(&mut criterion);
    criterion.final_summary();
    report::print("spend", &rows, timed);
    calls::print(if timed { 600 } else { 5 });
    postgres::print(timed);
    let (known, active) = if timed { (1_000_000, 100_000) } else { (1_000, 100) };
    print_memory(known, active);
}

fn charge(node: &Node, rights: &Arc<Rights>) {
    match node.ledger.charge(rights, &world::ONE, node.now()) {
        Answer::Ready(hold) => hold.unwrap().keep(),
        Answer::Pending(_) => panic!("not in memory"),
    }
}

/// One tenant's word, charged and kept, from one thread and from two.
fn measure_spends(criterion: &mut Criterion, rows: &mut Vec<Row>) {
    let node = Node::new(Arc::new(Generous));
    let rights = rights("acme", TENANT_LIMIT);
    node.admit(&rights);
    let mut group = criterion.benchmark_group("spend");
    let one = |_| charge(&node, black_box(&rights));
    (0..1000).for_each(one);
    let allocations = allocations(10_000, one);
    for what in ["one word", "one word, 2 threads"] {
        rows.push(Row { what: what.to_owned(), tenants: 1, allocations });
    }
    measure_the_word(&mut group, rows);
    group.bench_function(BenchmarkId::new("one word", 1), |b| b.iter(|| one(0)));
    group.bench_function(BenchmarkId::new("one word, 2 threads", 1), |b| {
        b.iter_custom(|rounds| {
            on_two_threads(|| (0..rounds).for_each(|_| charge(&node, black_box(&rights))))
        });
    });
    group.finish();
}

/// The compare-and-swap alone, without the charge around it: `src/ledger/word.rs` itself.
fn measure_the_word(group: &mut BenchmarkGroup<'_, WallTime>, rows: &mut Vec<Row>) {
    let word = Word::default();
    word.open(u64::MAX);
    // A word that is full takes nothing: in the time of a bench none comes near.
    let spend = || assert!(matches!(black_box(&word).spend(black_box(1), true), Spend::Taken { .. }));
    let allocations = allocations(10_000, |_| spend());
    for what in ["the word alone", "the word alone, 2 threads"] {
        rows.push(Row { what: what.to_owned(), tenants: 1, allocations });
    }
    group.bench_function(BenchmarkId::new("the word alone", 1), |b| b.iter(spend));
    group.bench_function(BenchmarkId::new("the word alone, 2 threads", 1), |b| {
        b.iter_custom(|rounds| on_two_threads(|| (0..rounds).for_each(|_| spend())));
    });
}

/// How long two threads take that do the same at the same time.
fn on_two_threads(work: impl Fn() + Sync) -> Duration {
    let start = Barrier::new(3);
    std::thread::scope(|scope| {
        let threads = [0, 1].map(|_| {
            scope.spawn(|| {
                start.wait();
                work();
            })
        });
        start.wait();
        #[allow(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
        let begun = Instant::now();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        begun.elapsed()
    })
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
