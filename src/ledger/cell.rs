//! The place of one tenant's meter and window: which slot is charged now, and which were before it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwapOption;

use super::{
    bucket::{Bucket, Mark},
    shared::{Shared, lock},
    slot::{Slot, SlotTerms},
};
use crate::{
    domain::{
        id::{MeterId, TenantId},
        period::Window,
        rights::{Entitlement, Rights},
        time::{Monotonic, UnixMillis},
        units::Units,
    },
    ports::{BucketKey, ChargeError, SlotKey},
};

/// How long after its end a period's slot stays open for requests that arrived before it.
const GRACE: Duration = Duration::from_secs(5);

/// After so long without a charge a slot's units are returned, and its memory with them.
const IDLE: Duration = Duration::from_secs(600);

/// What a charge wants a slot for.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub rights: &'a Rights,
    pub entitlement: &'a Entitlement,
    pub limit: Option<Units>,
    pub now: UnixMillis,
}

impl Wish<'_> {
    fn is_met_by(&self, slot: &Slot) -> bool {
        slot.version == self.rights.version
            && slot.limit == self.limit
            && slot.period.contains(self.now)
            && !slot.word.is_sealed()
    }
}

#[derive(Debug)]
pub(super) struct Cell {
    window: Window,
    current: ArcSwapOption<Slot>,
    rest: Mutex<Rest>,
}

#[derive(Debug, Default)]
struct Rest {
    /// The slot of the period before the current one's.
    previous: Option<Arc<Slot>>,
    /// Every bucket of which there is an open slot, or a sealed one that is not settled.
    buckets: Vec<Arc<Bucket>>,
}

/// What this node has not recorded yet of a bucket, and the slots whose last report may or may not have been.
#[derive(Debug, Default)]
pub(super) struct Unrecorded {
    pub net: i128,
    pub mark: Mark,
    pub unsure: Vec<Arc<Slot>>,
}

impl Cell {
    pub fn new(window: Window) -> Self {
        Self { window, current: ArcSwapOption::empty(), rest: Mutex::default() }
    }

    /// The slot to charge, opened if need be.
    pub fn slot(
        &self,
        shared: &Shared,
        owner: (&TenantId, &MeterId),
        wish: Wish<'_>,
    ) -> Result<Arc<Slot>, ChargeError> {
        match &*self.current.load() {
            Some(slot) if wish.is_met_by(slot) => Ok(Arc::clone(slot)),
            _ => self.open(shared, owner, wish),
        }
    }

    fn open(
        &self,
        shared: &Shared,
        (tenant, meter): (&TenantId, &MeterId),
        wish: Wish<'_>,
    ) -> Result<Arc<Slot>, ChargeError> {
        let mut rest = lock(&self.rest);
        // Under the lock, as closing takes it for each cell after it has set the mark.
        if shared.is_closed() {
            return Err(ChargeError::Unavailable);
        }
        let in_force = shared.catalog.load().as_ref().is_none_or(|c| Arc::ptr_eq(c, &wish.rights.catalog));
        // A request that is still decided by the catalog before the present one does not bring an old limit back.
        let limit_holds = |slot: &Slot| slot.limit == wish.limit || !in_force;
        let version = wish.rights.version;
        let usable = |slot: &Slot| slot.version == version && limit_holds(slot) && !slot.word.is_sealed();
        let current = self.current.load_full();
        for slot in current.iter().chain(&rest.previous) {
            if slot.version > version {
                return Err(ChargeError::Outdated);
            }
            if usable(slot) && slot.period.contains(wish.now) {
                return Ok(Arc::clone(slot));
            }
        }
        let current = current.filter(|slot| {
            usable(slot) || {
                self.current.store(None);
                retire(shared, slot);
                false
            }
        });
        if let Some(slot) = rest.previous.take_if(|slot| !usable(slot)) {
            retire(shared, &slot);
        }
        let slot = self.make(shared, &mut rest, (tenant, meter), wish);
        let displaced = match current {
            // The request arrived before the current period began.
            Some(current) if slot.period.start < current.period.start => rest.previous.replace(slot.clone()),
            older => {
                self.current.store(Some(Arc::clone(&slot)));
                older.and_then(|older| rest.previous.replace(older))
            }
        };
        if let Some(slot) = displaced {
            retire(shared, &slot);
        }
        Ok(slot)
    }

    fn make(
        &self,
        shared: &Shared,
        rest: &mut Rest,
        (tenant, meter): (&TenantId, &MeterId),
        wish: Wish<'_>,
    ) -> Arc<Slot> {
        let period = wish.entitlement.calendar.period(self.window, wish.now);
        let key = BucketKey {
            tenant: tenant.clone(),
            meter: meter.clone(),
            window: self.window,
            start: period.start,
            epoch: wish.entitlement.epoch,
        };
        let bucket = match rest.buckets.iter().find(|bucket| bucket.key == key) {
            Some(bucket) => Arc::clone(bucket),
            None => {
                rest.buckets.push(Bucket::new(key.clone()));
                Arc::clone(&rest.buckets[rest.buckets.len() - 1])
            }
        };
        let key = SlotKey { bucket: key, incarnation: shared.world.incarnation, seq: shared.next_seq() };
        let terms = SlotTerms {
            key,
            period,
            limit: wish.limit,
            version: wish.rights.version,
            opened: shared.monotonic(),
        };
        Slot::new(terms, &bucket)
    }

    /// Seals every open slot; the next charge opens new ones. Adds those to `out` that are to be recorded.
    pub fn seal(&self, shared: &Shared, out: &mut Vec<Arc<Slot>>) {
        let mut rest = lock(&self.rest);
        let open = self.current.swap(None).into_iter().chain(rest.previous.take());
        for slot in open {
            retire(shared, &slot);
        }
        for bucket in &rest.buckets {
            out.extend(bucket.sealed().into_iter().filter(|slot| !slot.is_settled()));
        }
    }

    /// Returns the slots of ended periods and idle ones, and forgets what is settled. Whether the cell is empty then.
    pub fn sweep(&self, shared: &Shared, now: UnixMillis, monotonic: Monotonic) -> bool {
        let mut rest = lock(&self.rest);
        let over = |slot: &Slot| slot.period.end + GRACE <= now || slot.word.is_sealed();
        if let Some(slot) = rest.previous.take_if(|slot| over(slot)) {
            retire(shared, &slot);
        }
        let current = self.current.load_full();
        if let Some(slot) = current.filter(|slot| over(slot) || slot.idle(monotonic) >= IDLE) {
            self.current.store(None);
            retire(shared, &slot);
        }
        let current = self.current.load_full();
        let previous = rest.previous.clone();
        let open = |bucket: &Arc<Bucket>| {
            current.iter().chain(&previous).any(|slot| Arc::ptr_eq(&slot.bucket, bucket))
        };
        rest.buckets.retain(|bucket| !bucket.fold() || open(bucket));
        rest.buckets.is_empty()
    }

    /// What this node has not recorded yet of the bucket that starts at `key.start`.
    pub fn unrecorded(&self, key: &BucketKey) -> Unrecorded {
        let rest = lock(&self.rest);
        let Some(bucket) = rest.buckets.iter().find(|bucket| bucket.key == *key) else {
            return Unrecorded::default();
        };
        let mut answer = Unrecorded { mark: bucket.mark(), ..Unrecorded::default() };
        let open = self.current.load_full().into_iter().chain(rest.previous.clone());
        for slot in open.filter(|slot| slot.key.bucket == *key).chain(bucket.sealed()) {
            answer.net += i128::from(slot.word.totals().net()) - i128::from(slot.recorded().net());
            if slot.is_unsure() {
                answer.unsure.push(slot);
            }
        }
        answer
    }
}

/// Seals a slot that is not charged any more, and has its last totals recorded.
fn retire(shared: &Shared, slot: &Arc<Slot>) {
    slot.word.seal();
    // Also an unused one: a request may still settle above the nothing that it reserved.
    slot.bucket.keep_sealed(slot);
    if slot.concerns_database() {
        shared.soil(slot);
    }
}
