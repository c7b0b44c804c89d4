//! Asks the database for units and opens what it grants: many slots in one statement.

use std::sync::{Arc, atomic::Ordering};

use super::{
    bucket::Mark,
    charge::RECALL,
    flush::{self, PATIENCE},
    refill::Verdict,
    shared::{Shared, lock},
    slot::Slot,
};
use crate::{
    domain::time::Monotonic,
    ports::{GrantOutcome, GrantRequest, SlotTotals, StoreError},
};

/// A grant is to last so long.
const HORIZON_SECONDS: u64 = 60;

/// One slot's turn. Dropped before it is concluded, those who wait hear that the database is not available.
pub(super) struct Job {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    concluded: bool,
}

impl Job {
    pub fn new(shared: &Arc<Shared>, slot: Arc<Slot>) -> Self {
        Self { shared: Arc::clone(shared), slot, concluded: false }
    }

    fn conclude(mut self, verdict: Verdict) {
        self.concluded = true;
        self.tell(verdict);
    }

    fn tell(&self, verdict: Verdict) {
        let waiters = lock(&self.slot.refill).conclude();
        for waiter in waiters {
            // Who went away meanwhile needs no answer.
            let _ = waiter.send(verdict);
        }
    }

    /// What to ask, and what was known at that time.
    fn ask(&self) -> Asked {
        let shared = &self.shared;
        // It may have been sealed since it was asked whether it is: its own report counts it.
        let mut sealed = self.slot.bucket.sealed();
        sealed.retain(|slot| slot.seq != self.slot.seq);
        let freed = self.slot.bucket.freed();
        let look = self.slot.bucket.mark();
        let totals = SlotTotals {
            sealed: false,
            ..self.slot.report(shared.world.incarnation, shared.world.clock.now())
        };
        let begun = self.slot.bucket.mark();
        let own = totals.used.saturating_sub(totals.refunded);
        let own = sealed.iter().fold(own, |sum, slot| sum.saturating_add(slot.recorded().net()));
        let limit = self.slot.limit().unwrap_or_default();
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
            ceiling: self.slot.ceiling(),
            version: self.slot.version,
            policies: self.slot.policies(),
            granted: refill.believed,
            need: need.saturating_sub(unopened).max(1),
            demand: refill.wanted.max(need),
            want: ahead.max(limit.get() / 1000).max(refill.wanted).max(refill.expected).max(1),
        };
        let sure = begun.follows(look) && !sealed.iter().any(|slot| slot.is_unsure());
        Asked { request, own, freed, begun, sure }
    }

    fn apply(&self, asked: &Asked, outcome: GrantOutcome) -> Verdict {
        match outcome {
            GrantOutcome::Granted { granted, used } => {
                self.slot.unheard(false);
                self.learn(asked, used);
                self.open(granted);
                self.shared.metrics.grants.fetch_add(1, Ordering::Relaxed);
                Verdict::Again
            }
            GrantOutcome::Exhausted { left, used, held } => {
                self.slot.unheard(false);
                self.learn(asked, used);
                // It compared what it has granted with what was asked: all of that may be spent.
                self.open(asked.request.granted);
                self.slot.low_water.store(0, Ordering::Relaxed);
                let recall_ends = match held {
                    0 => Monotonic(0),
                    _ => self.shared.monotonic().after(RECALL),
                };
                if let Some(terms) = self.slot.terms() {
                    self.slot.bucket.exhaust(terms, asked.freed, left, recall_ends);
                }
                Verdict::Again
            }
            // It was asked under policies that were replaced meanwhile, and the limit is the same by those of now.
            GrantOutcome::Stale if self.slot.policies() > asked.request.policies => Verdict::Again,
            GrantOutcome::Stale => Verdict::Stale,
            GrantOutcome::Withheld => {
                let last = lock(&self.slot.refill).last;
                self.slot.low_water.store(last / 4, Ordering::Relaxed);
                Verdict::Later
            }
            GrantOutcome::Refused { granted } => self.refused(granted),
        }
    }

    /// The compare-and-set failed. Either an earlier grant's answer was lost: then the next request compares with the
    /// right total, which also tells whether the slot is still open there. Or the slot was sealed by somebody else.
    fn refused(&self, granted: u64) -> Verdict {
        self.slot.unheard(false);
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
        tracing::warn!(bucket = ?self.slot.bucket.key, seq = self.slot.seq, "the database has sealed this slot: a new one is opened");
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
            self.slot.bucket.rouse();
        }
    }

    fn learn(&self, asked: &Asked, used: u64) {
        let (bucket, elsewhere) = (&self.slot.bucket, used.saturating_sub(asked.own));
        // Had anything else been recorded meanwhile, the difference would not be that of one instant.
        let sure = || asked.sure && bucket.mark() == asked.begun;
        if !bucket.learn_elsewhere(elsewhere, self.shared.monotonic(), sure) {
            bucket.guess_elsewhere(elsewhere);
        }
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
    sure: bool,
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
                job.slot.unheard(true);
                job.shared.soil(&job.slot);
            }
        }
    }
}

/// Asks for the units of all jobs, and tells those who wait.
pub(super) async fn grant(shared: &Arc<Shared>, jobs: Vec<Job>) {
    // One that was sealed meanwhile has a successor to look at.
    let (jobs, sealed): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.slot.ask());
    for job in sealed {
        // From now on the database has to hear of it.
        shared.soil(&job.slot);
        job.conclude(Verdict::Again);
    }
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
