//! Grants per second from a real database: the ledger's own first ones, and repeated ones of known slots.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use plangate::{
    clock::{Clock, SystemClock},
    domain::{
        id::MeterId,
        period::{Window, Windows},
        rights::Rights,
        time::UnixMillis,
        units::Units,
    },
    freshness::Freshness,
    ledger::{EscrowLedger, LedgerParts, file::LedgerFile},
    ports::{BucketKey, GrantOutcome, GrantRequest, Incarnation, Ledger, LedgerStore, SlotKey, SlotTotals},
    store::Store,
};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::world::{self, ONE, TENANT_LIMIT};

/// Slots in one transaction, and transactions at a time: as the ledger does it.
const BATCH: usize = 256;
const AT_ONCE: usize = 4;
const DAY: i64 = 86_400_000;

/// Prints grants per second, in transactions of one and of many.
pub async fn print(store: &Arc<dyn Store>, timed: bool) {
    let (batch, repeated) = if timed { (BATCH, Duration::from_secs(5)) } else { (4, Duration::ZERO) };
    let run = Uuid::now_v7();
    let mut tenants = Vec::new();
    for n in 0..batch * AT_ONCE {
        tenants.push(world::enroll(&**store, &format!("grant-{run}-{n}"), TENANT_LIMIT).await);
    }
    println!("\n| grants | in one transaction | at a time | transactions | grants a second |");
    println!("|---|--:|--:|--:|--:|");
    first(store, &tenants).await;
    for (batch, at_once) in [(1, 1), (1, AT_ONCE), (batch, 1), (batch, AT_ONCE)] {
        again(store, &tenants, batch, at_once, repeated).await;
    }
}

/// The first charges of all tenants at once, through a ledger: each makes its bucket and its slot.
async fn first(store: &Arc<dyn Store>, tenants: &[Arc<Rights>]) {
    let clock = Arc::new(SystemClock::default());
    let ledger = EscrowLedger::new(LedgerParts {
        store: Arc::clone(store) as Arc<dyn LedgerStore>,
        clock: Arc::clone(&clock) as _,
        freshness: Arc::new(Freshness::default()),
        incarnation: Incarnation(Uuid::now_v7()),
        file: LedgerFile::anonymous(),
        runtime: tokio::runtime::Handle::current(),
        tracker: TaskTracker::new(),
    });
    let begun = clock.monotonic();
    let charges = tenants.iter().map(|rights| ledger.charge(rights, &ONE, clock.now()).wait());
    join_all(charges).await.into_iter().for_each(|hold| hold.unwrap().keep());
    let rate = tenants.len() as f64 / clock.monotonic().since(begun).as_secs_f64();
    println!("| first ones, by the ledger | up to {BATCH} | up to {AT_ONCE} | - | {rate:.0} |");
}

/// Slots that want more, again and again, by the store alone.
async fn again(
    store: &Arc<dyn Store>,
    tenants: &[Arc<Rights>],
    batch: usize,
    at_once: usize,
    time: Duration,
) {
    let clock = SystemClock::default();
    let begun = clock.monotonic();
    let working = tenants.chunks(tenants.len() / at_once).take(at_once).map(async |tenants| {
        let mut requests = requests(&tenants[..batch], clock.now());
        let mut transactions = 0_u64;
        // The first one makes what the others find.
        while transactions < 2 || clock.monotonic().since(begun) < time {
            let outcomes = store.grant(&requests).await.unwrap();
            for (request, outcome) in requests.iter_mut().zip(outcomes) {
                let GrantOutcome::Granted { granted, .. } = outcome else { panic!("{outcome:?}") };
                request.granted = granted;
                request.totals.used = granted;
            }
            transactions += 1;
        }
        transactions
    });
    let transactions: u64 = join_all(working).await.into_iter().sum();
    let rate = (transactions * batch as u64) as f64 / clock.monotonic().since(begun).as_secs_f64();
    println!("| repeated, by the store | {batch} | {at_once} | {transactions} | {rate:.0} |");
}

fn requests(tenants: &[Arc<Rights>], now: UnixMillis) -> Vec<GrantRequest> {
    let incarnation = Incarnation(Uuid::now_v7());
    let request = |rights: &Arc<Rights>| {
        let bucket = BucketKey {
            tenant: rights.tenant.clone(),
            meter: MeterId::parse("requests").unwrap(),
            span: Window::Month.into(),
            start: UnixMillis(now.0 - DAY),
            epoch: rights.version,
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
                counting: rights.version,
                marks: None,
            },
            limit: Units::saturating(TENANT_LIMIT),
            ceiling: None,
            version: rights.version,
            granted: 0,
            need: 1,
            demand: 1,
            want: 6_000,
        }
    };
    tenants.iter().map(request).collect()
}
