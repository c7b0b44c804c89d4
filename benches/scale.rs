//! What one PostgreSQL carries beside grants: changes, totals, and reads of tenants. See `benches/README.md`.
#![allow(clippy::unwrap_used, reason = "what cannot be set up cannot be measured")]
#![allow(missing_docs, reason = "nobody uses a bench as a library")]

#[path = "ledger/world.rs"]
#[allow(dead_code, reason = "the ledger's bench asks for more")]
mod world;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use plangate::{
    clock::{Clock, SystemClock},
    domain::{
        id::MeterId,
        period::{Window, Windows},
        rights::Rights,
        time::{UnixMillis, Version},
        units::Units,
    },
    ports::{BucketKey, GrantOutcome, GrantRequest, Incarnation, SlotKey, SlotTotals},
    store::{Options, Store, connect},
};
use uuid::Uuid;

/// Names a database that does not exist yet, or was made by an earlier run.
const VARIABLE: &str = "PLANGATE_BENCH_DATABASE";
const LIMIT: u64 = world::TENANT_LIMIT;
const DAY: i64 = 86_400_000;
/// As many as a node asks for in one transaction.
const GRANTS: usize = 256;

fn main() {
    let timed = !std::env::args().any(|argument| argument == "--test");
    let Some(url) = std::env::var(VARIABLE).ok().filter(|url| !url.is_empty()) else {
        return println!("skipped, as {VARIABLE} names no database");
    };
    let (tenants, time) = if timed { (5_000, Duration::from_secs(5)) } else { (20, Duration::ZERO) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut stores = Vec::new();
        for _ in 0..4 {
            stores.push(connect(&url, &Options::default()).await.unwrap());
        }
        println!("| what | nodes | at a time, each | a second |\n|---|--:|--:|--:|");
        let known = changes(&stores, tenants).await;
        for at_once in [1, 4] {
            reads(&stores[0], &known, at_once, time).await;
        }
        for nodes in [1, 2, 4] {
            totals("the same tenants", &stores[..nodes], &known, tenants, time).await;
        }
        for nodes in [2, 4] {
            totals("tenants of its own each", &stores[..nodes], &known, tenants / nodes, time).await;
        }
        for store in stores {
            store.close().await;
        }
    });
}

/// Makes tenants: each is a change with a version of its own.
async fn changes(stores: &[Arc<dyn Store>], tenants: usize) -> Vec<Arc<Rights>> {
    let (clock, run) = (SystemClock::default(), Uuid::now_v7());
    let mut known = Vec::new();
    for (nodes, at_once, share) in [(1, 1, 10), (1, 4, 5), (4, 4, 1)] {
        let wanted = tenants / share - known.len();
        let begun = clock.monotonic();
        let making = (0..nodes * at_once).map(|lane| {
            let (store, from) = (&stores[lane % nodes], known.len());
            async move {
                let mut made = Vec::new();
                for n in (lane..wanted).step_by(nodes * at_once) {
                    made.push(world::enroll(&**store, &format!("scale-{run}-{}", from + n), LIMIT).await);
                }
                made
            }
        });
        let made: Vec<_> = join_all(making).await.into_iter().flatten().collect();
        row("changes", nodes, at_once, made.len() as u64, clock.monotonic().since(begun));
        known.extend(made);
    }
    known
}

/// Reads tenants one by one, as requests of tenants that a node does not know make it do.
async fn reads(store: &Arc<dyn Store>, known: &[Arc<Rights>], at_once: usize, time: Duration) {
    let (clock, next) = (SystemClock::default(), AtomicU64::new(0));
    let begun = clock.monotonic();
    join_all((0..at_once).map(async |_| {
        while next.load(Ordering::Relaxed) == 0 || clock.monotonic().since(begun) < time {
            let n = next.fetch_add(1, Ordering::Relaxed) as usize;
            assert!(store.tenant(&known[n % known.len()].tenant).await.unwrap().value.is_some());
        }
    }))
    .await;
    row("reads of a tenant", 1, at_once, next.into_inner(), clock.monotonic().since(begun));
}

/// Totals of one slot of each of so many tenants on each node, again and again, each time with some units more.
async fn totals(whose: &str, stores: &[Arc<dyn Store>], known: &[Arc<Rights>], each: usize, time: Duration) {
    let clock = SystemClock::default();
    let mut nodes = Vec::new();
    for (store, known) in stores.iter().zip(known.chunks(each).cycle()) {
        nodes.push((store, granted(store, known, clock.now()).await));
    }
    let begun = clock.monotonic();
    let flushed = join_all(nodes.iter_mut().map(async |(store, totals)| {
        let mut rows = 0;
        while rows == 0 || clock.monotonic().since(begun) < time {
            for totals in totals.iter_mut() {
                totals.used += 1;
                totals.at = clock.now();
            }
            store.flush(totals).await.unwrap();
            rows += totals.len() as u64;
        }
        rows
    }))
    .await;
    let what = format!("totals, {each} in a flush, {whose}");
    row(&what, stores.len(), 1, flushed.into_iter().sum(), clock.monotonic().since(begun));
}

/// A slot of each tenant, with units.
async fn granted(store: &Arc<dyn Store>, known: &[Arc<Rights>], now: UnixMillis) -> Vec<SlotTotals> {
    let incarnation = Incarnation(Uuid::now_v7());
    let mut slots = Vec::new();
    for some in known.chunks(GRANTS) {
        let requests: Vec<_> = some.iter().map(|rights| request(rights, incarnation, now)).collect();
        let outcomes = store.grant(&requests).await.unwrap();
        for (request, outcome) in requests.into_iter().zip(outcomes) {
            let GrantOutcome::Granted { granted, .. } = outcome else { panic!("{outcome:?}") };
            slots.push(SlotTotals { granted, ..request.totals });
        }
    }
    slots
}

fn request(rights: &Rights, incarnation: Incarnation, now: UnixMillis) -> GrantRequest {
    let bucket = BucketKey {
        tenant: rights.tenant.clone(),
        meter: MeterId::parse("requests").unwrap(),
        span: Window::Month.into(),
        start: UnixMillis(now.0 - now.0.rem_euclid(DAY)),
        epoch: Version(1),
    };
    GrantRequest {
        policies: plangate::domain::time::Version(0),
        totals: SlotTotals {
            slot: SlotKey { bucket, incarnation, seq: 1 },
            end: UnixMillis(now.0 + DAY),
            granted: 0,
            used: 0,
            refunded: 0,
            at: now,
            sealed: false,
            counted: Windows::default(),
            counting: Version(1),
            marks: None,
        },
        limit: Units::saturating(LIMIT),
        ceiling: None,
        version: rights.version,
        granted: 0,
        need: 1,
        demand: 1,
        want: 1_000_000,
    }
}

fn row(what: &str, nodes: usize, at_once: usize, count: u64, time: Duration) {
    println!("| {what} | {nodes} | {at_once} | {:.0} |", count as f64 / time.as_secs_f64().max(1e-9));
}
