//! A node on a real database: ledger, flush and polls, each kind of call through sessions of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use plangate::{
    clock::{Clock, SystemClock},
    domain::{catalog::Digest, time::Epoch},
    freshness::Freshness,
    ledger::{EscrowLedger, LedgerParts, file::LedgerFile},
    ports::{
        BucketKey, GrantOutcome, GrantRequest, Heartbeat, Incarnation, LedgerStore, OthersUsage,
        Registration, Remainder, SlotTotals, StoreError,
    },
    store::{Options, Store, connect},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::observer::{self, PURPOSES};

/// As the change feed does it.
const POLL_EVERY: Duration = Duration::from_millis(250);

/// Calls of each purpose.
#[derive(Default)]
pub struct Calls([AtomicU64; 4]);

impl Calls {
    pub fn get(&self) -> [u64; 4] {
        self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    fn count(&self, purpose: usize) {
        self.0[purpose].fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends each kind of call through the sessions of its purpose.
struct Routed {
    stores: [Arc<dyn Store>; 4],
    calls: Arc<Calls>,
}

// As in `PURPOSES`.
const GRANTS: usize = 0;
const FLUSHES: usize = 1;
const LOOKS: usize = 2;
const POLLS: usize = 3;

#[async_trait]
impl LedgerStore for Routed {
    async fn grant(&self, requests: &[GrantRequest]) -> Result<Vec<GrantOutcome>, StoreError> {
        self.calls.count(GRANTS);
        self.stores[GRANTS].grant(requests).await
    }

    async fn recorded(&self, buckets: &[BucketKey]) -> Result<Vec<u64>, StoreError> {
        self.calls.count(LOOKS);
        self.stores[LOOKS].recorded(buckets).await
    }

    async fn flush(&self, totals: &[SlotTotals]) -> Result<Vec<u64>, StoreError> {
        self.calls.count(FLUSHES);
        self.stores[FLUSHES].flush(totals).await
    }

    async fn remainders(
        &self,
        incarnation: Incarnation,
        buckets: &[BucketKey],
    ) -> Result<Vec<Remainder>, StoreError> {
        self.calls.count(LOOKS);
        self.stores[LOOKS].remainders(incarnation, buckets).await
    }

    async fn open_slots(&self, incarnations: &[Incarnation]) -> Result<Vec<SlotTotals>, StoreError> {
        self.stores[LOOKS].open_slots(incarnations).await
    }

    async fn others(
        &self,
        incarnation: Incarnation,
        buckets: &[BucketKey],
    ) -> Result<Vec<OthersUsage>, StoreError> {
        self.calls.count(LOOKS);
        self.stores[LOOKS].others(incarnation, buckets).await
    }
}

pub struct Member {
    pub ledger: EscrowLedger,
    pub clock: Arc<SystemClock>,
    pub calls: Arc<Calls>,
    freshness: Arc<Freshness>,
    incarnation: Incarnation,
    stores: [Arc<dyn Store>; 4],
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Member {
    /// Registers a node and lets it flush and poll.
    pub async fn start(url: &str, name: &str) -> Arc<Self> {
        let options = Options::default();
        let mut stores = Vec::new();
        for purpose in PURPOSES {
            stores.push(connect(&observer::address(url, purpose), &options).await.unwrap());
        }
        let stores: [Arc<dyn Store>; 4] = stores.try_into().ok().unwrap();
        let incarnation = Incarnation(Uuid::now_v7());
        let registration = Registration {
            name: name.to_owned(),
            incarnation,
            file: Uuid::now_v7(),
            digest: Digest("bench".into()),
        };
        let registered = stores[POLLS].register(&registration).await.unwrap();
        let (clock, freshness) = (Arc::new(SystemClock::default()), Arc::new(Freshness::default()));
        freshness.set_applied(registered.version);
        let (calls, tasks, stop) = (Arc::<Calls>::default(), TaskTracker::new(), CancellationToken::new());
        let ledger = EscrowLedger::new(LedgerParts {
            store: Arc::new(Routed { stores: stores.clone(), calls: Arc::clone(&calls) }),
            clock: Arc::clone(&clock) as _,
            freshness: Arc::clone(&freshness),
            incarnation,
            file: LedgerFile::anonymous(),
            runtime: tokio::runtime::Handle::current(),
            tracker: tasks.clone(),
        });
        let member = Arc::new(Self { ledger, clock, calls, freshness, incarnation, stores, stop, tasks });
        let (flushing, polling) = (Arc::clone(&member), Arc::clone(&member));
        member.tasks.spawn(async move { flushing.ledger.run(flushing.stop.clone()).await });
        member.tasks.spawn(async move { polling.poll_on(registered.epoch).await });
        member
    }

    /// Polls as the change feed does: in its turn, and when woken; again at once where there was news to report.
    async fn poll_on(&self, epoch: Epoch) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(POLL_EVERY) => {}
                () = self.freshness.poll_wanted() => {}
                () = self.stores[POLLS].changed() => {}
            }
            while self.poll(epoch).await {}
        }
    }

    async fn poll(&self, epoch: Epoch) -> bool {
        let applied = self.freshness.applied();
        let beat = Heartbeat {
            incarnation: self.incarnation,
            applied,
            digest: Digest("bench".into()),
            reasserted: epoch,
        };
        let sent = self.clock.monotonic();
        self.calls.count(POLLS);
        let answer = self.stores[POLLS].poll(&beat).await.unwrap();
        for change in &answer.changes {
            let Some(tenant) = &change.tenant else { continue };
            self.ledger.apply(tenant, change.version).await.unwrap();
        }
        self.freshness.set_applied(answer.upto);
        if !answer.wanted.is_empty() {
            self.ledger.recall(&answer.wanted);
        }
        self.freshness.polled(sent, answer.live_nodes);
        answer.upto > applied
    }

    /// Ends flushing and polling, where it stands.
    pub async fn halt(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends all sessions. What it holds stays granted: nobody else has these tenants.
    pub async fn close(&self) {
        self.stores[POLLS].deregister(self.incarnation).await.unwrap();
        for store in &self.stores {
            store.close().await;
        }
    }
}
