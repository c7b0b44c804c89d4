//! What every part of the ledger reaches: the world outside, the queues, and the numbering of slots.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{runtime::Handle, sync::Notify};
use tokio_util::task::TaskTracker;

use super::{
    account::Accounts,
    bucket::Bucket,
    file::{Booking, LedgerFile, Record},
    flush::DirtyQueue,
    follow::Followed,
    metrics::LedgerMetrics,
    refill::GrantQueue,
    slot::Slot,
};
use crate::{
    clock::Clock,
    domain::{
        catalog::Catalog,
        id::TenantId,
        time::{Monotonic, UnixMillis},
    },
    freshness::Freshness,
    ports::{ChargeError, Incarnation, LedgerStore, SlotKey},
};

/// What a ledger is made of.
pub struct LedgerParts {
    /// The database's side.
    pub store: Arc<dyn LedgerStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How many nodes there are.
    pub freshness: Arc<Freshness>,
    /// The registered run of this node.
    pub incarnation: Incarnation,
    /// Where the words are kept.
    pub file: LedgerFile,
    /// Where grants are asked for and returned: it must outlive the threads that charge.
    pub runtime: Handle,
    /// Owns the ledger's tasks.
    pub tracker: TaskTracker,
}

/// What a hold needs of the ledger, however long it is held. It does not keep the ledger: the file is let go of with the last
/// handle of it, whatever tabs are remembered with rights.
pub(super) struct Home {
    ledger: Weak<Shared>,
    clock: Arc<dyn Clock>,
}

impl Home {
    /// The ledger, if it is still there.
    pub fn ledger(&self) -> Option<Arc<Shared>> {
        self.ledger.upgrade()
    }

    pub fn monotonic(&self) -> Monotonic {
        self.clock.monotonic()
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Home")
    }
}

pub(super) struct Shared {
    pub world: LedgerParts,
    pub home: Arc<Home>,
    pub accounts: Accounts,
    pub dirty: DirtyQueue,
    pub followed: Followed,
    pub grants: GrantQueue,
    pub outage: Outage,
    pub metrics: Arc<LedgerMetrics>,
    /// The catalog in force, once one was announced.
    pub catalog: ArcSwapOption<Catalog>,
    /// Nothing is charged any more.
    pub closed: AtomicBool,
    /// Exhausted buckets of which requests were refused since they were last looked at.
    pub watched: Mutex<Vec<Arc<Bucket>>>,
    /// Tenants that were charged without this node.
    pub charged: Mutex<HashSet<TenantId>>,
    /// The file has refused a word, and the log says so.
    full: AtomicBool,
    /// Something is to be recorded sooner than with the next flush.
    pub hurry: Notify,
    seq: AtomicU64,
}

impl Shared {
    pub fn new(world: LedgerParts) -> Arc<Self> {
        Arc::new_cyclic(|ledger| Self {
            home: Arc::new(Home { ledger: Weak::clone(ledger), clock: Arc::clone(&world.clock) }),
            world,
            accounts: Accounts::default(),
            dirty: DirtyQueue::default(),
            followed: Followed::default(),
            grants: GrantQueue::default(),
            outage: Outage::default(),
            metrics: Arc::default(),
            catalog: ArcSwapOption::empty(),
            closed: AtomicBool::new(false),
            watched: Mutex::default(),
            charged: Mutex::default(),
            full: AtomicBool::new(false),
            hurry: Notify::new(),
            seq: AtomicU64::new(1),
        })
    }

    pub fn monotonic(&self) -> Monotonic {
        self.world.clock.monotonic()
    }

    /// A number that no other slot of this incarnation has.
    pub fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::Relaxed)
    }

    /// A new word for a slot, on record.
    pub fn record(&self, slot: &SlotKey, end: UnixMillis, booking: Booking) -> Result<Record, ChargeError> {
        self.world.file.record(slot, end, booking).map_err(|error| {
            if !self.full.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, "no room for more tenants' units");
            }
            ChargeError::Unavailable
        })
    }

    /// Has a slot's totals recorded with the next flush.
    pub fn soil(&self, slot: &Arc<Slot>) {
        if slot.soil() {
            let now = self.monotonic();
            slot.waiting(now);
            self.dirty.push(Arc::clone(slot));
            self.followed.charged(slot);
            if slot.word.is_sealed() && slot.bucket.is_wanted(now) {
                self.hurry.notify_one();
            }
        }
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Whether the database's clock has not been heard for so long that no period can be told for sure.
    pub fn is_adrift(&self, now: Monotonic) -> bool {
        self.world.freshness.poll_age(now).is_some_and(|age| age > ADRIFT)
    }
}

impl Drop for Shared {
    /// Buckets and their sealed slots hold each other, and rights may outlive the ledger with their desks and tabs; the
    /// file stays locked as long as any slot is left.
    fn drop(&mut self) {
        self.accounts.all().iter().for_each(|account| account.forget());
    }
}

/// An estimate of the database's clock that is older stops grants.
const ADRIFT: Duration = Duration::from_secs(60);

/// Remembers that the database is away, so that requests which need it fail at once instead of queueing.
#[derive(Debug, Default)]
pub(super) struct Outage {
    until: AtomicU64,
    streak: AtomicU64,
}

const FIRST_PAUSE: Duration = Duration::from_millis(200);

impl Outage {
    /// Whether it would be of no use to ask now.
    pub fn is_on(&self, now: Monotonic) -> bool {
        let until = self.until.load(Ordering::SeqCst);
        until != 0 && now.0 < until
    }

    /// The database did not answer: the next attempt comes after 200, 400, 800, then 1600 ms.
    pub fn begin(&self, now: Monotonic) {
        let streak = self.streak.fetch_add(1, Ordering::SeqCst).min(3);
        let pause = FIRST_PAUSE * (1 << streak);
        self.until.store(now.after(pause).0, Ordering::SeqCst);
    }

    /// It did.
    pub fn end(&self) {
        if self.until.load(Ordering::SeqCst) != 0 {
            self.until.store(0, Ordering::SeqCst);
            self.streak.store(0, Ordering::SeqCst);
        }
    }
}

/// Locks also what a panicking thread left behind: every change under these locks is complete in itself.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
