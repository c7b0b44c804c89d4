//! Who waits for units of a slot, and the queue in which slots wait for a grant: one request in flight per slot, off the
//! requests' own threads.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::oneshot;

use super::{
    grant::{self, Job},
    shared::{Shared, lock},
    slot::Slot,
};
use crate::domain::time::Monotonic;

/// Requests that may wait for units of one slot.
const WAITERS: usize = 256;
/// Requests for grants in one statement, and statements at a time.
const BATCH: usize = 256;
const WORKERS: usize = 4;

/// What those who waited for a grant are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again: units came, or it is known now that there are none.
    Again,
    /// The limit was compiled from facts that are not the current ones.
    Stale,
    /// Nothing is granted at present, for a reason that passes.
    Later,
    /// The database cannot say now.
    Unavailable,
}

/// The state of a slot's requests for units.
#[derive(Debug)]
pub(super) struct Refill {
    pub in_flight: bool,
    /// What the database has granted so far, as far as it has said; the word may have opened less.
    pub believed: u64,
    /// The least that is of use to anybody who waits.
    pub need: u64,
    /// What all who wait want together.
    pub wanted: u64,
    /// Mostly nobody: then they take no room.
    waiters: Option<Box<Waiters>>,
    /// When units were last asked for, and how many were used by then.
    pub rate_from: (Monotonic, u64),
    /// The size of the last grant.
    pub last: u64,
    /// What is likely to be used soon, where nothing was yet.
    pub expected: u64,
}

/// Those who wait for units of one slot.
#[derive(Debug, Default)]
struct Waiters(Vec<oneshot::Sender<Verdict>>);

impl Refill {
    pub fn since(now: Monotonic) -> Self {
        Self {
            in_flight: false,
            believed: 0,
            need: u64::MAX,
            wanted: 0,
            waiters: None,
            rate_from: (now, 0),
            last: 0,
            expected: 0,
        }
    }

    /// The request in flight has ended. Who waited for it.
    pub fn conclude(&mut self) -> Vec<oneshot::Sender<Verdict>> {
        self.in_flight = false;
        self.need = u64::MAX;
        self.wanted = 0;
        self.waiters.take().map(|waiters| waiters.0).unwrap_or_default()
    }
}

/// Slots that want units.
#[derive(Debug, Default)]
pub(super) struct GrantQueue(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    slots: VecDeque<Arc<Slot>>,
    workers: usize,
}

/// Asks for at least `need` more units, unless that is under way. The receiver hears when to look again; `None`: too many
/// wait already.
pub(super) fn join(shared: &Arc<Shared>, slot: &Arc<Slot>, need: u64) -> Option<oneshot::Receiver<Verdict>> {
    let (tell, hear) = oneshot::channel();
    let start = {
        let mut refill = lock(&slot.refill);
        let waiters = refill.waiters.get_or_insert_default();
        if waiters.0.len() >= WAITERS {
            return None;
        }
        waiters.0.push(tell);
        refill.need = refill.need.min(need);
        refill.wanted = refill.wanted.saturating_add(need);
        !std::mem::replace(&mut refill.in_flight, true)
    };
    if start {
        enqueue(shared, slot);
    }
    Some(hear)
}

/// Asks for more units in the background, as few are left.
pub(super) fn prefetch(shared: &Arc<Shared>, slot: &Arc<Slot>) {
    if shared.outage.is_on(shared.monotonic()) || slot.low_water.swap(0, Ordering::Relaxed) == 0 {
        return;
    }
    let start = !std::mem::replace(&mut lock(&slot.refill).in_flight, true);
    if start {
        enqueue(shared, slot);
    }
}

/// Asks for the first units of a slot that is charged later.
pub(super) fn ask_ahead(shared: &Arc<Shared>, slot: &Arc<Slot>, expected: u64) {
    {
        let mut refill = lock(&slot.refill);
        refill.expected = expected;
        if std::mem::replace(&mut refill.in_flight, true) {
            return;
        }
    }
    enqueue(shared, slot);
}

fn enqueue(shared: &Arc<Shared>, slot: &Arc<Slot>) {
    let hire = {
        let mut queue = lock(&shared.grants.0);
        queue.slots.push_back(Arc::clone(slot));
        let hire = queue.workers < WORKERS;
        queue.workers += usize::from(hire);
        hire
    };
    if hire {
        let worker = Worker { shared: Arc::clone(shared), counted: true };
        shared.world.tracker.spawn_on(worker.run(), &shared.world.runtime);
    }
}

/// A task that asks until nothing is queued. Counted for as long as it works, however it ends.
struct Worker {
    shared: Arc<Shared>,
    counted: bool,
}

impl Worker {
    async fn run(mut self) {
        while let Some(jobs) = self.next() {
            grant::grant(&self.shared, jobs).await;
        }
    }

    /// The next jobs. With none it leaves, under the same lock, so that whoever queues next sees that it must hire.
    fn next(&mut self) -> Option<Vec<Job>> {
        let mut queue = lock(&self.shared.grants.0);
        let most = queue.slots.len().min(BATCH);
        if most == 0 {
            queue.workers -= 1;
            self.counted = false;
            return None;
        }
        let job = |slot| Job::new(&self.shared, slot);
        Some(queue.slots.drain(..most).map(job).collect())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.counted {
            lock(&self.shared.grants.0).workers -= 1;
        }
    }
}

/// Whether granted units are so few that more should be asked for.
pub(super) fn is_low(low_water: &AtomicU64, left: u64) -> bool {
    left < low_water.load(Ordering::Relaxed)
}
