//! The place of one tenant's meter and window: which slot is charged now, and which were before it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwapOption;

use super::{
    bucket::{Bucket, Mark},
    refill,
    shared::{Shared, lock},
    slot::{Slot, SlotTerms},
};
use crate::{
    domain::{
        id::{MeterId, TenantId},
        period::{Window, Windows},
        rights::{Entitlement, Rights},
        time::{Monotonic, UnixMillis, Version},
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
    /// Of a month: the windows in which the meter is counted.
    pub counted: Windows,
    pub now: UnixMillis,
}

impl Wish<'_> {
    fn is_met_by(&self, slot: &Slot) -> bool {
        slot.version == self.rights.version
            && slot.limit == self.limit
            && slot.counted == self.counted
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
    /// The slot of the period after it, opened and granted a while before that begins.
    next: Option<Arc<Slot>>,
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
        let in_force = shared.catalog.load().as_ref().is_none_or(|c| c.stamp == wish.rights.catalog.stamp);
        // A request that is still decided by the catalog before the present one does not bring an old limit back.
        let limit_holds =
            |slot: &Slot| (slot.limit == wish.limit && slot.counted == wish.counted) || !in_force;
        let version = wish.rights.version;
        let usable = |slot: &Slot| slot.version == version && limit_holds(slot) && !slot.word.is_sealed();
        let current = self.current.load_full();
        for slot in current.iter().chain(&rest.previous).chain(&rest.next) {
            if slot.version > version {
                return Err(ChargeError::Outdated);
            }
        }
        let open = current.iter().chain(&rest.previous);
        if let Some(slot) = open.into_iter().find(|slot| usable(slot) && slot.period.contains(wish.now)) {
            return Ok(Arc::clone(slot));
        }
        let current = current.filter(|slot| {
            usable(slot) || {
                self.current.store(None);
                retire(shared, slot);
                false
            }
        });
        let unusable = [rest.previous.take_if(|slot| !usable(slot)), rest.next.take_if(|slot| !usable(slot))];
        unusable.iter().flatten().for_each(|slot| retire(shared, slot));
        let slot = match rest.next.take_if(|slot| slot.period.contains(wish.now)) {
            Some(begun) => begun,
            None => self.make(shared, &mut rest, (tenant, meter), wish)?,
        };
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
    ) -> Result<Arc<Slot>, ChargeError> {
        let calendar = &wish.entitlement.calendar;
        let period = calendar.period(self.window, wish.now);
        let key = BucketKey {
            tenant: tenant.clone(),
            meter: meter.clone(),
            window: self.window,
            start: period.start,
            epoch: wish.entitlement.epoch,
        };
        let terms = SlotTerms {
            period,
            calendar: calendar.clone(),
            limit: wish.limit,
            counted: wish.counted,
            version: wish.rights.version,
            opened: shared.monotonic(),
        };
        self.slot_of(shared, rest, key, terms)
    }

    fn slot_of(
        &self,
        shared: &Shared,
        rest: &mut Rest,
        key: BucketKey,
        terms: SlotTerms,
    ) -> Result<Arc<Slot>, ChargeError> {
        let key = SlotKey { bucket: key, incarnation: shared.world.incarnation, seq: shared.next_seq() };
        // On record before anything is granted to it: the database is never ahead of the file.
        let word = shared.record(&key, terms.period.end, terms.counted)?;
        let bucket = match rest.buckets.iter().find(|bucket| bucket.key == key.bucket) {
            Some(bucket) => Arc::clone(bucket),
            None => {
                rest.buckets.push(Bucket::new(key.bucket.clone()));
                Arc::clone(&rest.buckets[rest.buckets.len() - 1])
            }
        };
        Ok(Slot::new(key, word, terms, &bucket))
    }

    /// Opens the next period's slot a while before it begins and asks for its first units, so that not all tenants of one
    /// anchor ask at the same instant. `lead` is how long before.
    fn prepare(&self, shared: &Arc<Shared>, rest: &mut Rest, now: UnixMillis, lead: Duration) {
        let Some(current) = self.current.load_full() else { return };
        let from =
            UnixMillis(current.period.end.0.saturating_sub(i64::try_from(lead.as_millis()).unwrap_or(0)));
        let due = current.is_bounded() && from <= now && now < current.period.end && !shared.is_closed();
        if !due || rest.next.is_some() || current.word.is_sealed() {
            return;
        }
        let period = current.calendar.period(self.window, current.period.end);
        let key = BucketKey { start: period.start, ..current.key.bucket.clone() };
        let terms = SlotTerms {
            period,
            calendar: current.calendar.clone(),
            limit: current.limit,
            counted: current.counted,
            version: current.version,
            opened: shared.monotonic(),
        };
        let Ok(slot) = self.slot_of(shared, rest, key, terms) else { return };
        let expected = lock(&current.refill).last;
        rest.next = Some(Arc::clone(&slot));
        refill::ask_ahead(shared, &slot, expected);
    }

    /// Seals every open slot of an older version; the next charge opens new ones. Adds those to `out` that are to be
    /// recorded.
    pub fn seal(&self, shared: &Shared, below: Version, out: &mut Vec<Arc<Slot>>) {
        let mut rest = lock(&self.rest);
        let older = |slot: &Arc<Slot>| slot.version < below;
        let current = self.current.load_full().filter(older);
        if current.is_some() {
            self.current.store(None);
        }
        let given =
            [current, rest.previous.take_if(|slot| older(slot)), rest.next.take_if(|slot| older(slot))];
        given.iter().flatten().for_each(|slot| retire(shared, slot));
        for bucket in &rest.buckets {
            out.extend(bucket.sealed().into_iter().filter(|slot| !slot.is_settled()));
        }
    }

    /// Returns the slots of ended periods and idle ones, and forgets what is settled. Whether the cell is empty then.
    pub fn sweep(&self, shared: &Arc<Shared>, now: UnixMillis, monotonic: Monotonic, lead: Duration) -> bool {
        let mut rest = lock(&self.rest);
        self.prepare(shared, &mut rest, now, lead);
        let over = |slot: &Slot| slot.period.end + GRACE <= now || slot.word.is_sealed();
        let ended = [rest.previous.take_if(|slot| over(slot)), rest.next.take_if(|slot| over(slot))];
        ended.iter().flatten().for_each(|slot| retire(shared, slot));
        let current = self.current.load_full();
        if let Some(slot) = current.filter(|slot| over(slot) || slot.idle(monotonic) >= IDLE) {
            self.current.store(None);
            retire(shared, &slot);
        }
        if self.current.load().is_none() {
            // Also a prepared one falls idle when nobody comes.
            self.current.store(rest.next.take_if(|slot| slot.period.contains(now)));
        }
        let current = self.current.load_full();
        let others = [rest.previous.clone(), rest.next.clone()];
        let open = |bucket: &Arc<Bucket>| {
            current.iter().chain(others.iter().flatten()).any(|slot| Arc::ptr_eq(&slot.bucket, bucket))
        };
        rest.buckets.retain(|bucket| !bucket.fold() || open(bucket));
        rest.buckets.is_empty()
    }

    fn open_slots(&self, rest: &Rest) -> impl Iterator<Item = Arc<Slot>> + use<> {
        self.current.load_full().into_iter().chain(rest.previous.clone()).chain(rest.next.clone())
    }

    /// Lets go of every slot.
    pub fn forget(&self) {
        self.current.store(None);
        let rest = std::mem::take(&mut *lock(&self.rest));
        rest.buckets.iter().for_each(|bucket| bucket.forget());
    }

    /// Its sealed slots that are not forgotten yet.
    pub fn sealed(&self) -> Vec<Arc<Slot>> {
        lock(&self.rest).buckets.iter().flat_map(|bucket| bucket.sealed()).collect()
    }

    /// Others want units of a bucket: seals its open slot where it has any left. The bucket, and the slots whose totals
    /// are to be recorded at once; `None` where this node knows nothing of it.
    pub fn recall(&self, shared: &Shared, key: &BucketKey) -> Option<(Arc<Bucket>, Vec<Arc<Slot>>)> {
        let mut rest = lock(&self.rest);
        let bucket = Arc::clone(rest.buckets.iter().find(|bucket| bucket.key == *key)?);
        let unspent = |slot: &Arc<Slot>| slot.key.bucket == *key && slot.has_rest();
        let current = self.current.load_full().filter(unspent);
        if current.is_some() {
            self.current.store(None);
        }
        let given =
            [current, rest.previous.take_if(|slot| unspent(slot)), rest.next.take_if(|slot| unspent(slot))];
        given.iter().flatten().for_each(|slot| retire(shared, slot));
        let mut totals = bucket.sealed();
        totals.extend(self.open_slots(&rest).filter(|slot| slot.key.bucket == *key));
        totals.retain(|slot| slot.concerns_database() && slot.recorded() != slot.word.totals());
        Some((bucket, totals))
    }

    /// What this node has not recorded yet of the bucket that starts at `key.start`.
    pub fn unrecorded(&self, key: &BucketKey) -> Unrecorded {
        let rest = lock(&self.rest);
        let Some(bucket) = rest.buckets.iter().find(|bucket| bucket.key == *key) else {
            return Unrecorded::default();
        };
        let mut answer = Unrecorded { mark: bucket.mark(), ..Unrecorded::default() };
        for slot in self.open_slots(&rest).filter(|slot| slot.key.bucket == *key).chain(bucket.sealed()) {
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
        if slot.has_rest() {
            // Whoever asks now has it returned first.
            slot.bucket.free();
        }
    }
}
