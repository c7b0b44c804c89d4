//! How often the ledger calls the store, in simulated seconds of steady traffic: each call is one transaction.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use plangate::{
    clock::{Clock, ManualClock},
    domain::{rights::Rights, time::UnixMillis},
    ledger::EscrowLedger,
    ports::{
        BucketKey, GrantOutcome, GrantRequest, Incarnation, Ledger, LedgerStore, OthersUsage, Remainder,
        SlotTotals, StoreError,
    },
    store::memory::Memory,
};
use tokio_util::sync::CancellationToken;

use super::world::{self, ONE, TENANT_LIMIT};

/// 2026-03-15T10:30:00Z.
const START: UnixMillis = UnixMillis(1_773_570_600_000);

#[derive(Default)]
struct Counts {
    grants: AtomicU64,
    flushes: AtomicU64,
    looks: AtomicU64,
}

struct Counting {
    store: Arc<Memory>,
    counts: Arc<Counts>,
}

#[async_trait]
impl LedgerStore for Counting {
    async fn grant(&self, requests: &[GrantRequest]) -> Result<Vec<GrantOutcome>, StoreError> {
        self.counts.grants.fetch_add(1, Ordering::Relaxed);
        self.store.grant(requests).await
    }

    async fn recorded(&self, buckets: &[BucketKey]) -> Result<Vec<u64>, StoreError> {
        self.counts.looks.fetch_add(1, Ordering::Relaxed);
        self.store.recorded(buckets).await
    }

    async fn flush(&self, totals: &[SlotTotals]) -> Result<Vec<u64>, StoreError> {
        self.counts.flushes.fetch_add(1, Ordering::Relaxed);
        self.store.flush(totals).await
    }

    async fn remainders(
        &self,
        incarnation: Incarnation,
        buckets: &[BucketKey],
    ) -> Result<Vec<Remainder>, StoreError> {
        self.counts.looks.fetch_add(1, Ordering::Relaxed);
        self.store.remainders(incarnation, buckets).await
    }

    async fn open_slots(&self, incarnations: &[Incarnation]) -> Result<Vec<SlotTotals>, StoreError> {
        self.store.open_slots(incarnations).await
    }

    async fn others(
        &self,
        incarnation: Incarnation,
        buckets: &[BucketKey],
    ) -> Result<Vec<OthersUsage>, StoreError> {
        self.counts.looks.fetch_add(1, Ordering::Relaxed);
        self.store.others(incarnation, buckets).await
    }
}

/// So many tenants, each with a limit and a pace.
struct Traffic {
    what: &'static str,
    tenants: usize,
    limit: u64,
    a_second: u64,
}

/// Runs each kind of traffic for so many simulated seconds and prints what the store was asked.
pub fn print(seconds: u64) {
    println!("\n| traffic, {seconds} s | requests | admitted | grants | flushes | looks | calls per 1,000 |");
    println!("|---|--:|--:|--:|--:|--:|--:|");
    let kinds = [
        Traffic { what: "1 tenant, 100/s, far", tenants: 1, limit: TENANT_LIMIT, a_second: 100 },
        Traffic { what: "100 tenants, 100/s each, far", tenants: 100, limit: TENANT_LIMIT, a_second: 100 },
        Traffic { what: "1 tenant, 100/s, to the tail", tenants: 1, limit: 100 * seconds, a_second: 100 },
        Traffic { what: "1 tenant, 1,000/s, exhausted", tenants: 1, limit: 10, a_second: 1_000 },
        Traffic { what: "1,000 tenants, 10/s, exhausted", tenants: 1_000, limit: 10, a_second: 10 },
    ];
    for traffic in kinds {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(&traffic, seconds));
    }
}

async fn run(traffic: &Traffic, seconds: u64) {
    let clock = ManualClock::at(START);
    let store = Arc::new(Memory::with_clock(Arc::clone(&clock) as _).unwrap());
    let counts = Arc::new(Counts::default());
    let counting = Counting { store: Arc::clone(&store), counts: Arc::clone(&counts) };
    let handle = tokio::runtime::Handle::current();
    let ledger = EscrowLedger::new(world::parts(Arc::new(counting), Arc::clone(&clock) as _, handle.clone()));
    let (flushing, stop) = (ledger.clone(), CancellationToken::new());
    let end = stop.clone();
    let flushing = handle.spawn(async move { flushing.run(end).await });
    let mut tenants: Vec<Arc<Rights>> = Vec::new();
    for n in 0..traffic.tenants {
        tenants.push(world::enroll(&*store, &format!("t{n}"), traffic.limit).await);
    }
    let mut admitted = 0;
    // Each second in as many parts as each tenant has requests in it.
    let turn = Duration::from_secs(1) / u32::try_from(traffic.a_second).unwrap();
    for _ in 0..seconds * traffic.a_second {
        for rights in &tenants {
            if let Ok(hold) = ledger.charge(rights, &ONE, clock.now()).wait().await {
                hold.keep();
                admitted += 1;
            }
        }
        clock.advance(turn);
        tokio::time::sleep(turn).await;
    }
    stop.cancel();
    flushing.await.unwrap();
    let requests = traffic.tenants as u64 * seconds * traffic.a_second;
    let [grants, flushes, looks] =
        [&counts.grants, &counts.flushes, &counts.looks].map(|count| count.load(Ordering::Relaxed));
    let calls = (grants + flushes + looks) * 1000;
    let each = calls as f64 / requests as f64;
    println!("| {} | {requests} | {admitted} | {grants} | {flushes} | {looks} | {each:.2} |", traffic.what);
}
