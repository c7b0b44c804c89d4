//! Asks the database for units: one request in flight per slot, many slots in one statement, off the requests' threads.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    flush::{self, PATIENCE},
    shared::{Shared, lock},
    slot::{Mark, Slot},
};
use crate::{
    domain::time::Monotonic,
    ports::{GrantOutcome, GrantRequest, SlotTotals, StoreError},
};

/// Requests that may wait for units of one slot.
const WAITERS: usize = 256;
/// Requests for grants in one statement, and statements at a time.
const BATCH: usize = 256;
const WORKERS: usize = 4;
/// A grant is to last so long.
const HORIZON_SECONDS: u64 = 60;

/// What those who waited for a grant are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again: units came, or it is known now that there are none.
    Again,
    /// The limit was compiled from facts that are not the current ones.
    Stale,
    /// The database cannot say now.
    Unavailable,
}

/// The state of a slot's requests for units.
#[derive(Debug)]
pub(super) struct Refill {
    in_flight: bool,
    /// What the database has granted so far, as far as it has said; the word may have opened less.
    believed: u64,
    need: u64,
    wanted: u64,
    waiters: Vec<oneshot::Sender<Verdict>>,
    rate_from: (Monotonic, u64),
    last: u64,
}

impl Refill {
    pub fn since(now: Monotonic) -> Self {
        Self {
            in_flight: false,
            believed: 0,
            need: u64::MAX,
            wanted: 0,
            waiters: Vec::new(),
            rate_from: (now, 0),
            last: 0,
        }
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
        if refill.waiters.len() >= WAITERS {
            return None;
        }
        refill.waiters.push(tell);
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
            grant(&self.shared, jobs).await;
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
        let job = |slot| Job { shared: Arc::clone(&self.shared), slot, concluded: false };
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

/// One slot's turn. Dropped before it is concluded, those who wait hear that the database is not available.
struct Job {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    concluded: bool,
}

impl Job {
    fn conclude(mut self, verdict: Verdict) {
        self.concluded = true;
        self.tell(verdict);
    }

    fn tell(&self, verdict: Verdict) {
        let waiters = {
            let mut refill = lock(&self.slot.refill);
            refill.in_flight = false;
            refill.need = u64::MAX;
            refill.wanted = 0;
            std::mem::take(&mut refill.waiters)
        };
        for waiter in waiters {
            // Who went away meanwhile needs no answer.
            let _ = waiter.send(verdict);
        }
    }

    /// What to ask, and what was known at that time.
    fn ask(&self) -> Asked {
        let shared = &self.shared;
        let sealed = self.slot.bucket.sealed();
        let freed = self.slot.bucket.freed();
        let look = self.slot.bucket.mark();
        let totals = SlotTotals { sealed: false, ..self.slot.report(shared.world.clock.now()) };
        let begun = self.slot.bucket.mark();
        let own = totals.used.saturating_sub(totals.refunded);
        let own = sealed.iter().fold(own, |sum, slot| sum.saturating_add(slot.recorded().net()));
        let limit = self.slot.limit.unwrap_or_default();
        let mut refill = lock(&self.slot.refill);
        let now = shared.monotonic();
        let (since, before) = refill.rate_from;
        let passed = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX).max(1000);
        refill.rate_from = (now, totals.used);
        let spent = totals.used.saturating_sub(before);
        let ahead = spent.saturating_mul(HORIZON_SECONDS * 1000) / passed;
        // What is granted and not opened yet serves the need, too.
        let unopened = refill.believed.saturating_sub(self.slot.word.granted());
        let need = if refill.need == u64::MAX { 1 } else { refill.need };
        let request = GrantRequest {
            totals,
            limit,
            version: self.slot.version,
            granted: refill.believed,
            need: need.saturating_sub(unopened).max(1),
            want: ahead.max(limit.get() / 1000).max(refill.wanted).max(1),
        };
        Asked { request, own, freed, begun, quiet: begun.follows(look) }
    }

    fn apply(&self, asked: &Asked, outcome: GrantOutcome) -> Verdict {
        match outcome {
            GrantOutcome::Granted { granted, used } => {
                self.learn(asked, used);
                self.open(granted);
                self.shared.metrics.grants.fetch_add(1, Ordering::Relaxed);
                Verdict::Again
            }
            GrantOutcome::Exhausted { left, used } => {
                self.learn(asked, used);
                // It compared what it has granted with what was asked: all of that may be spent.
                self.open(asked.request.granted);
                self.slot.low_water.store(0, Ordering::Relaxed);
                let until = self.shared.monotonic().0.saturating_add(nanos(self.shared.exhaustion_holds()));
                self.slot.bucket.exhaust(self.slot.key.seq, asked.freed, left, Monotonic(until));
                Verdict::Again
            }
            GrantOutcome::Stale => Verdict::Stale,
            GrantOutcome::Refused { granted } => self.refused(granted),
        }
    }

    /// The compare-and-set failed. Either an earlier grant's answer was lost: then the next request compares with the
    /// right total, which also tells whether the slot is still open there. Or the slot was sealed by somebody else.
    fn refused(&self, granted: u64) -> Verdict {
        let mut refill = lock(&self.slot.refill);
        if granted > refill.believed {
            refill.believed = granted;
            self.slot.low_water.store(refill.last / 4, Ordering::Relaxed);
            return Verdict::Again;
        }
        drop(refill);
        if !self.slot.word.seal() {
            // By this node: the answer came after the return, and nothing of it is opened.
            return Verdict::Again;
        }
        tracing::warn!(slot = ?self.slot.key, "the database has sealed this slot: a new one is opened");
        self.shared.soil(&self.slot);
        Verdict::Unavailable
    }

    fn open(&self, granted: u64) {
        let mut refill = lock(&self.slot.refill);
        refill.believed = refill.believed.max(granted);
        let more = granted.saturating_sub(self.slot.word.granted());
        self.slot.word.open(granted);
        if more > 0 {
            refill.last = more;
            self.slot.low_water.store(more / 4, Ordering::Relaxed);
        }
    }

    fn learn(&self, asked: &Asked, used: u64) {
        // Had anything else been recorded meanwhile, the difference would not be that of one instant.
        let sure = asked.quiet && self.slot.bucket.mark() == asked.begun;
        self.slot.bucket.learn_elsewhere(used.saturating_sub(asked.own), sure);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.concluded {
            self.tell(Verdict::Unavailable);
        }
    }
}

struct Asked {
    request: GrantRequest,
    own: u64,
    freed: u64,
    begun: Mark,
    quiet: bool,
}

/// Settles the reports of the requests, also when the future is dropped.
struct Reported<'a> {
    jobs: &'a [Job],
    asked: &'a [Asked],
    recorded: bool,
}

impl Drop for Reported<'_> {
    fn drop(&mut self) {
        for (job, asked) in self.jobs.iter().zip(self.asked) {
            job.slot.acknowledge(&asked.request.totals, self.recorded);
            if !self.recorded {
                job.shared.soil(&job.slot);
            }
        }
    }
}

async fn grant(shared: &Arc<Shared>, jobs: Vec<Job>) {
    // One that was sealed meanwhile has a successor to look at.
    let (jobs, sealed): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.slot.ask());
    sealed.into_iter().for_each(|job| job.conclude(Verdict::Again));
    if jobs.is_empty() {
        return;
    }
    match ask(shared, &jobs).await {
        Ok(verdicts) => {
            shared.outage.end();
            jobs.into_iter().zip(verdicts).for_each(|(job, verdict)| job.conclude(verdict));
        }
        Err(error) => {
            shared.outage.begin(shared.monotonic());
            shared.metrics.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, slots = jobs.len(), "no units granted");
            for job in jobs {
                let last = lock(&job.slot.refill).last;
                job.slot.low_water.store(last / 4, Ordering::Relaxed);
                job.conclude(Verdict::Unavailable);
            }
        }
    }
}

async fn ask(shared: &Arc<Shared>, jobs: &[Job]) -> Result<Vec<Verdict>, StoreError> {
    // What this node gives back of the same buckets comes first: it may be all that is left.
    let returns: Vec<Arc<Slot>> =
        jobs.iter().flat_map(|job| job.slot.bucket.sealed()).filter(|slot| !slot.is_settled()).collect();
    flush::ship(shared, returns).await?;
    let asked: Vec<Asked> = jobs.iter().map(Job::ask).collect();
    let requests: Vec<GrantRequest> = asked.iter().map(|asked| asked.request.clone()).collect();
    let mut reported = Reported { jobs, asked: &asked, recorded: false };
    let answer = tokio::time::timeout(PATIENCE, shared.world.store.grant(&requests)).await;
    let outcomes = answer
        .map_err(|_| StoreError::Unavailable(format!("no answer to a grant within {PATIENCE:?}")))??;
    if outcomes.len() != jobs.len() {
        return Err(StoreError::Corrupt(format!("{} answers to {} grants", outcomes.len(), jobs.len())));
    }
    let verdicts = jobs
        .iter()
        .zip(&asked)
        .zip(outcomes)
        .map(|((job, asked), outcome)| job.apply(asked, outcome))
        .collect();
    reported.recorded = true;
    drop(reported);
    Ok(verdicts)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether granted units are so few that more should be asked for.
pub(super) fn is_low(low_water: &AtomicU64, left: u64) -> bool {
    left < low_water.load(Ordering::Relaxed)
}
