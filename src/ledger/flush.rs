//! Records totals in the database: every second what was soiled since, and at once what has been sealed.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    follow::Told,
    heed, recall,
    shared::{Shared, lock},
    slot::Slot,
};
use crate::{
    domain::time::Version,
    ports::{SlotTotals, StoreError},
};

/// How often totals are recorded.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// While that fails, the pause grows up to so many times.
const SLOWEST: u32 = 8;
const BATCH: usize = 5000;
/// Sweeping all accounts takes so many ticks.
const PARTS: usize = 16;
/// A statement that has not ended after so long is taken as failed; repeating it is harmless.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Exhausted buckets are looked at with every second flush: so a node with nothing but exhausted tenants asks for less
/// than one statement in a second.
const LOOK: u32 = 2;

/// Slots whose totals are to be recorded, oldest first, each at most once in effect (see [`Slot::soil`]).
#[derive(Debug, Default)]
pub(super) struct DirtyQueue(Mutex<VecDeque<Arc<Slot>>>);

impl DirtyQueue {
    pub fn push(&self, slot: Arc<Slot>) {
        lock(&self.0).push_back(slot);
    }

    pub fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// Up to `most` entries, less those that were recorded since they were queued.
    fn take(&self, most: usize) -> Vec<Arc<Slot>> {
        let mut queue = lock(&self.0);
        let most = most.min(queue.len());
        queue.drain(..most).filter(|slot| slot.clean()).collect()
    }
}

/// Totals on their way. Dropped without an answer they count as not recorded, so that nothing is lost with a cancelled
/// future.
struct Shipment<'a> {
    shared: &'a Shared,
    slots: Vec<Arc<Slot>>,
    reports: Vec<SlotTotals>,
    /// Each bucket, with the number of its last report.
    told: Vec<(Told, usize)>,
    recorded: bool,
}

impl<'a> Shipment<'a> {
    fn load(shared: &'a Shared, mut slots: Vec<Arc<Slot>>) -> Self {
        // One order for all statements, so that two of them cannot wait for each other's rows.
        let order = |slot: &Arc<Slot>| (slot.bucket.key.clone(), slot.seq);
        slots.sort_by_cached_key(order);
        slots.dedup_by(|a, b| Arc::ptr_eq(a, b));
        let at = shared.world.clock.now();
        let (mut reports, mut told) = (Vec::with_capacity(slots.len()), Vec::<(Told, usize)>::new());
        for slot in &slots {
            if told.last().is_none_or(|(told, _)| !told.is_of(&slot.bucket)) {
                told.push((Told::begin(&slot.bucket), 0));
            }
            slot.clean();
            if let Some((told, last)) = told.last_mut() {
                told.report();
                *last = reports.len();
            }
            reports.push(slot.report(shared.world.incarnation, at));
        }
        Self { shared, slots, reports, told, recorded: false }
    }

    /// The database has recorded it all, and says of each report what is used of its bucket by then.
    fn arrive(mut self, used: &[u64]) {
        self.recorded = true;
        let (shared, told) = (self.shared, std::mem::take(&mut self.told));
        // Acknowledged before anything is learnt: what is used elsewhere is all that is not recorded of this node.
        drop(self);
        let now = shared.monotonic();
        for (told, last) in told {
            // Of several that were recorded one after the other the last says it.
            if let Some(used) = used.get(last) {
                told.learn(shared, *used, now);
            }
        }
    }

    /// How long the oldest totals have waited.
    fn lag(&self) -> Duration {
        let now = self.shared.monotonic();
        self.slots.iter().map(|slot| now.since(slot.waiting(now))).max().unwrap_or_default()
    }
}

impl Drop for Shipment<'_> {
    fn drop(&mut self) {
        for (slot, report) in self.slots.iter().zip(&self.reports) {
            slot.acknowledge(report, self.recorded);
            if !self.recorded {
                self.shared.soil(slot);
            }
        }
    }
}

/// Records the totals of these slots now.
pub(super) async fn ship(shared: &Shared, slots: Vec<Arc<Slot>>) -> Result<(), StoreError> {
    if slots.is_empty() {
        return Ok(());
    }
    let shipment = Shipment::load(shared, slots);
    let lag = u64::try_from(shipment.lag().as_millis()).unwrap_or(u64::MAX);
    shared.metrics.lag_millis.store(lag, Ordering::Relaxed);
    let outcome = match tokio::time::timeout(PATIENCE, shared.world.store.flush(&shipment.reports)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(StoreError::Unavailable(format!("no answer to a flush within {PATIENCE:?}"))),
    };
    match outcome {
        Ok(used) => {
            shipment.arrive(&used);
            Ok(())
        }
        Err(error) => {
            shared.metrics.failures.fetch_add(1, Ordering::Relaxed);
            Err(error)
        }
    }
}

/// Seals every word and records the totals of all that is still known, whether they were recorded before or not.
pub(super) async fn reassert(shared: &Shared) -> Result<(), StoreError> {
    let mut slots = Vec::new();
    for account in shared.accounts.all() {
        account.seal(shared, Version(u64::MAX));
        slots.extend(account.sealed());
        while slots.len() >= BATCH {
            let batch = slots.split_off(slots.len() - BATCH);
            ship(shared, batch).await?;
        }
    }
    ship(shared, slots).await
}

/// Records everything that is soiled now.
pub(super) async fn flush(shared: &Shared) -> Result<(), StoreError> {
    let mut budget = shared.dirty.len();
    let mut size = BATCH;
    let mut outcome = Ok(());
    if budget == 0 {
        shared.metrics.lag_millis.store(0, Ordering::Relaxed);
    }
    while budget > 0 {
        let most = size.min(budget);
        budget -= most;
        let batch = shared.dirty.take(most);
        let rows = batch.len();
        match ship(shared, batch).await {
            Ok(()) => size = BATCH.min(size * 2),
            Err(away @ StoreError::Unavailable(_)) => return Err(away),
            // A row that the database refuses must not keep the others: they are queued again, and smaller and smaller
            // batches leave it alone.
            Err(error) => {
                size = (rows / 2).max(1);
                budget += if rows > 1 { most } else { 0 };
                outcome = Err(error);
            }
        }
    }
    outcome
}

/// Flushes once in `every`, less often while it fails, and sweeps the accounts, until `stop`.
pub(super) async fn run(shared: &Arc<Shared>, stop: CancellationToken, every: Duration) {
    let mut pause = every;
    let mut away = false;
    let mut part = 0;
    let mut ticks = 0_u32;
    loop {
        let turn = async {
            tokio::select! {
                biased;
                () = tokio::time::sleep(pause) => true,
                // The database was away, and now it answers somebody else.
                () = shared.world.freshness.next_poll(), if away => true,
                // Somebody waits for what came free.
                () = shared.hurry.notified() => false,
            }
        };
        let whole = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            whole = turn => whole,
        };
        let outcome = flush(shared).await;
        away = matches!(outcome, Err(StoreError::Unavailable(_)));
        match outcome {
            Ok(()) => pause = every,
            Err(error) => {
                pause = (every * SLOWEST).min(pause * 2);
                tracing::warn!(%error, waiting = shared.dirty.len(), retry_in = ?pause, "usage not recorded yet");
            }
        }
        if !whole {
            continue;
        }
        ticks = ticks.wrapping_add(1);
        if !away && let Err(error) = heed::look(shared).await {
            tracing::debug!(%error, "what events have charged is looked up later");
        }
        if !away
            && ticks.is_multiple_of(LOOK)
            && let Err(error) = recall::look_again(shared).await
        {
            tracing::debug!(%error, "exhausted quotas are looked at later");
        }
        part = (part + 1) % PARTS;
        shared.accounts.sweep(shared, part, PARTS);
    }
}

/// The ticks of [`run`] in which all accounts are swept once, and the flush after them.
#[cfg(test)]
pub(super) async fn look_at_all(shared: &Arc<Shared>) -> Result<(), StoreError> {
    flush(shared).await?;
    heed::look(shared).await?;
    recall::look_again(shared).await?;
    (0..PARTS).for_each(|part| shared.accounts.sweep(shared, part, PARTS));
    flush(shared).await
}

/// Ends all charging, seals every word and records everything. Repeats until it has succeeded.
pub(super) async fn drain(shared: &Shared) {
    shared.closed.store(true, Ordering::SeqCst);
    for account in shared.accounts.all() {
        account.seal(shared, Version(u64::MAX));
    }
    let mut pause = Duration::from_millis(50);
    loop {
        let unsettled = unsettled(shared);
        if unsettled.is_empty() {
            break;
        }
        // Also those of a statement that is still under way: it may come back without an answer.
        unsettled.iter().for_each(|slot| shared.soil(slot));
        if let Err(error) = flush(shared).await {
            tracing::warn!(%error, waiting = unsettled.len(), "usage not recorded yet");
            tokio::time::sleep(pause).await;
            pause = EVERY.min(pause * 2);
        }
    }
    if let Err(error) = shared.world.file.close_clean() {
        tracing::warn!(%error, "the next start reads the ledger file once more");
    }
}

/// Sealed slots with totals that are not recorded yet.
fn unsettled(shared: &Shared) -> Vec<Arc<Slot>> {
    let accounts = shared.accounts.all();
    accounts.iter().flat_map(|account| account.sealed()).filter(|slot| !slot.is_settled()).collect()
}
