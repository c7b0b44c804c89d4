//! The place of one window or source of a tenant's meter: which slot is charged now, and which were before it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    account::MeterAccount,
    bucket::{Bucket, Mark, Stir},
    refill,
    shared::{Shared, lock},
    slot::{Slot, SlotTerms},
    wish::Wish,
};
use crate::{
    domain::{
        id::TenantId,
        period::Window,
        time::{Monotonic, UnixMillis, Version},
    },
    ports::{BucketKey, ChargeError, SlotKey, Span},
};

/// How long after its end a period's slot stays open for requests that arrived before it.
const GRACE: Duration = Duration::from_secs(5);

/// After so long without a charge a slot's units are returned, and its memory with them.
const IDLE: Duration = Duration::from_secs(600);

/// Asked for a slot once for each tab, and tended by the sweep: charges go to the slot itself.
#[derive(Debug, Default)]
pub(super) struct Cell(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    current: Option<Arc<Slot>>,
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
    /// The slot to charge, opened if need be.
    pub fn slot(
        &self,
        shared: &Shared,
        owner: (&TenantId, &MeterAccount),
        wish: Wish<'_>,
    ) -> Result<Arc<Slot>, ChargeError> {
        let mut slots = lock(&self.0);
        let slot = match &slots.current {
            Some(slot) if wish.is_met_by(slot) => Arc::clone(slot),
            _ => slots.open(shared, owner, wish)?,
        };
        if wish.confirm(&slot, &owner.1.meter) && slot.concerns_database() {
            shared.soil(&slot);
        }
        Ok(slot)
    }
}

impl Slots {
    fn open(
        &mut self,
        shared: &Shared,
        owner: (&TenantId, &MeterAccount),
        wish: Wish<'_>,
    ) -> Result<Arc<Slot>, ChargeError> {
        // Under the lock, as closing takes it for each cell after it has set the mark.
        if shared.is_closed() {
            return Err(ChargeError::Unavailable);
        }
        let in_force = shared
            .catalog
            .load()
            .as_ref()
            .is_none_or(|catalog| catalog.of_tenant(owner.0).stamp == wish.rights.catalog.stamp);
        // A request that is still decided by the catalog before the present one does not bring an old limit back.
        let limit_holds = |slot: &Slot| wish.is_limited_as(slot) || !in_force;
        let version = wish.rights.version;
        let usable = |slot: &Slot| {
            slot.version == version
                && limit_holds(slot)
                && wish.is_counted_with(slot)
                && !wish.contradicts(slot)
                && !slot.word.is_sealed()
        };
        for slot in self.iter() {
            if slot.version > version {
                return Err(ChargeError::Outdated);
            }
        }
        let open = self.current.iter().chain(&self.previous);
        if let Some(slot) = open.into_iter().find(|slot| usable(slot) && wish.is_at_the_time_of(slot)) {
            return Ok(Arc::clone(slot));
        }
        // These rights have ended while the request waited. Those after them may be of the same version: what was held
        // under the former may be used up, but nothing of them comes back.
        if wish.rights.until <= shared.world.clock.now() {
            return Err(ChargeError::Outdated);
        }
        for place in self.places() {
            if let Some(unusable) = place.take_if(|slot| !usable(slot)) {
                retire(shared, &unusable);
            }
        }
        let slot = match self.next.take_if(|slot| wish.is_at_the_time_of(slot)) {
            Some(begun) => begun,
            None => {
                let (key, terms) = wish.slot(owner.0, &owner.1.meter, shared.monotonic());
                self.slot_of(shared, key, terms, &owner.1.stir)?
            }
        };
        let displaced = match &self.current {
            // The request arrived before the current period began.
            Some(current) if slot.period.start < current.period.start => self.previous.replace(slot.clone()),
            _ => {
                let older = self.current.replace(Arc::clone(&slot));
                older.and_then(|older| self.previous.replace(older))
            }
        };
        if let Some(slot) = displaced {
            retire(shared, &slot);
        }
        Ok(slot)
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.current.iter().chain(&self.previous).chain(&self.next)
    }

    fn places(&mut self) -> [&mut Option<Arc<Slot>>; 3] {
        [&mut self.current, &mut self.previous, &mut self.next]
    }

    fn slot_of(
        &mut self,
        shared: &Shared,
        key: BucketKey,
        terms: SlotTerms,
        stir: &Arc<Stir>,
    ) -> Result<Arc<Slot>, ChargeError> {
        let seq = shared.next_seq();
        let named = SlotKey { bucket: key, incarnation: shared.world.incarnation, seq };
        // On record before anything is granted to it: the database is never ahead of the file.
        let word = shared.record(&named, terms.period.end, terms.booking())?;
        let bucket = match self.buckets.iter().find(|bucket| bucket.key == named.bucket) {
            Some(bucket) => Arc::clone(bucket),
            None => {
                let bucket = Bucket::new(named.bucket, stir);
                self.buckets.reserve_exact(1);
                self.buckets.push(Arc::clone(&bucket));
                bucket
            }
        };
        Ok(Slot::new(seq, word, terms, &bucket))
    }

    /// Opens the next period's slot a while before it begins and asks for its first units, so that not all tenants of one
    /// anchor ask at the same instant. `lead` is how long before.
    fn prepare(&mut self, shared: &Arc<Shared>, now: UnixMillis, lead: Duration) {
        let Some(current) = self.current.clone() else { return };
        let from =
            UnixMillis(current.period.end.0.saturating_sub(i64::try_from(lead.as_millis()).unwrap_or(0)));
        let due = current.is_bounded() && from <= now && now < current.period.end && !shared.is_closed();
        if !due || self.next.is_some() || current.word.is_sealed() {
            return;
        }
        let window = match current.bucket.key.span {
            Span::Window(window) => window,
            Span::Overage | Span::Spend => Window::Month,
            // Most go on, and what one gives anew in each month begins with the first charge.
            Span::Grant => return,
        };
        let period = current.calendar.period(window, current.period.end);
        let key = BucketKey { start: period.start, ..current.bucket.key.clone() };
        let terms = SlotTerms {
            period,
            calendar: current.calendar.clone(),
            limit: current.limit(),
            ceiling: current.ceiling(),
            counted: current.counted,
            counting: current.counting,
            version: current.version,
            policies: current.policies(),
            opened: shared.monotonic(),
        };
        let Ok(slot) = self.slot_of(shared, key, terms, current.bucket.stir()) else { return };
        let expected = lock(&current.refill).last;
        self.next = Some(Arc::clone(&slot));
        refill::ask_ahead(shared, &slot, expected);
    }
}

impl Cell {
    /// Seals every open slot of an older version; the next charge opens new ones. Adds those to `out` that are to be
    /// recorded.
    pub fn seal(&self, shared: &Shared, below: Version, out: &mut Vec<Arc<Slot>>) {
        let mut slots = lock(&self.0);
        for place in slots.places() {
            if let Some(older) = place.take_if(|slot| slot.version < below) {
                retire(shared, &older);
            }
        }
        for bucket in &slots.buckets {
            out.extend(bucket.sealed().into_iter().filter(|slot| !slot.is_settled()));
        }
    }

    /// Returns the slots of ended periods and idle ones, and prepares those of the next.
    pub fn sweep(&self, shared: &Arc<Shared>, now: UnixMillis, monotonic: Monotonic, lead: Duration) {
        let mut slots = lock(&self.0);
        slots.prepare(shared, now, lead);
        let over = |slot: &Slot| slot.period.end + GRACE <= now || slot.word.is_sealed();
        let ended = [
            slots.previous.take_if(|slot| over(slot)),
            slots.next.take_if(|slot| over(slot)),
            slots.current.take_if(|slot| over(slot) || slot.idle(monotonic) >= IDLE),
        ];
        ended.iter().flatten().for_each(|slot| retire(shared, slot));
        if slots.current.is_none() {
            // Also a prepared one falls idle when nobody comes.
            slots.current = slots.next.take_if(|slot| slot.period.contains(now));
        }
    }

    /// Forgets what is settled. Whether the cell is empty then.
    pub fn fold(&self) -> bool {
        let mut slots = lock(&self.0);
        let mut buckets = std::mem::take(&mut slots.buckets);
        let open = |bucket: &Arc<Bucket>| slots.iter().any(|slot| Arc::ptr_eq(&slot.bucket, bucket));
        buckets.retain(|bucket| !bucket.fold() || open(bucket));
        slots.buckets = buckets;
        slots.buckets.is_empty()
    }

    /// Lets go of every slot.
    pub fn forget(&self) {
        let slots = std::mem::take(&mut *lock(&self.0));
        slots.buckets.iter().for_each(|bucket| bucket.forget());
    }

    /// Its sealed slots that are not forgotten yet.
    pub fn sealed(&self) -> Vec<Arc<Slot>> {
        lock(&self.0).buckets.iter().flat_map(|bucket| bucket.sealed()).collect()
    }

    /// Others want units of a bucket: seals its open slot where it has any left. The bucket, and the slots whose totals
    /// are to be recorded at once; `None` where this node knows nothing of it.
    pub fn recall(&self, shared: &Shared, key: &BucketKey) -> Option<(Arc<Bucket>, Vec<Arc<Slot>>)> {
        let mut slots = lock(&self.0);
        let bucket = Arc::clone(slots.buckets.iter().find(|bucket| bucket.key == *key)?);
        for place in slots.places() {
            if let Some(unspent) = place.take_if(|slot| slot.bucket.key == *key && slot.has_rest()) {
                retire(shared, &unspent);
            }
        }
        let mut totals = bucket.sealed();
        totals.extend(slots.iter().filter(|slot| slot.bucket.key == *key).cloned());
        totals.retain(|slot| slot.concerns_database() && slot.recorded() != slot.word.totals());
        Some((bucket, totals))
    }

    /// The slot that is charged now, if there is one.
    pub fn current(&self) -> Option<Arc<Slot>> {
        lock(&self.0).current.clone()
    }

    /// The open slot of the bucket that a sealed one is of.
    pub fn open_of(&self, sealed: &Slot) -> Option<Arc<Slot>> {
        let slots = lock(&self.0);
        let open = slots.iter().find(|slot| Arc::ptr_eq(&slot.bucket, &sealed.bucket));
        open.filter(|slot| !slot.word.is_sealed()).cloned()
    }

    /// Units used of a bucket, as far as this node knows; `None`: it knows nothing of it.
    pub fn used(&self, key: &BucketKey) -> Option<u64> {
        let slots = lock(&self.0);
        if let Some(slot) = slots.iter().find(|slot| slot.bucket.key == *key) {
            return Some(slot.used());
        }
        slots.buckets.iter().find(|bucket| bucket.key == *key).map(|bucket| bucket.used_when_sealed())
    }

    /// The buckets that are charged here.
    pub fn charged(&self) -> Vec<BucketKey> {
        let slots = lock(&self.0);
        let open = slots.iter().filter(|slot| !slot.word.is_sealed());
        open.map(|slot| slot.bucket.key.clone()).collect()
    }

    /// Whether what others use of a bucket is of interest to the answers of this node: not without an open word of it, nor
    /// where the next request is refused as all is used up.
    pub fn is_watched(&self, bucket: &Arc<Bucket>, now: Monotonic) -> bool {
        let slots = lock(&self.0);
        let open = slots.iter().find(|slot| Arc::ptr_eq(&slot.bucket, bucket) && !slot.word.is_sealed());
        open.is_some_and(|slot| slot.is_bounded() && (slot.has_rest() || slot.counted_out(now) == 0))
    }

    /// What this node knows of a bucket; `None`: nothing.
    pub fn bucket(&self, key: &BucketKey) -> Option<Arc<Bucket>> {
        let slots = lock(&self.0);
        slots.buckets.iter().find(|bucket| bucket.key == *key).cloned()
    }

    /// Learns what everybody has used of a bucket, as the database had it when the bucket's mark was `at`. Whether that can
    /// be told: not while something of this node is on its way there, or may have arrived without an answer. Where the
    /// bucket was forgotten meanwhile, and perhaps is known anew, the mark says nothing, and nothing is learnt.
    pub fn learn(&self, bucket: &Arc<Bucket>, used: u64, at: Mark, now: Monotonic) -> bool {
        let slots = lock(&self.0);
        if !slots.buckets.iter().any(|known| Arc::ptr_eq(known, bucket)) {
            return true;
        }
        let open = slots.iter().filter(|slot| Arc::ptr_eq(&slot.bucket, bucket)).cloned();
        let own: Vec<Arc<Slot>> = open.chain(bucket.sealed()).collect();
        if own.iter().any(|slot| slot.is_unsure()) {
            return false;
        }
        let recorded = own.iter().fold(0, |sum: u64, slot| sum.saturating_add(slot.recorded().net()));
        let elsewhere = used.saturating_sub(recorded);
        bucket.learn_elsewhere(elsewhere, now, || at.is_quiet() && bucket.mark() == at)
    }

    /// What this node has not recorded yet of the bucket that starts at `key.start`.
    pub fn unrecorded(&self, key: &BucketKey) -> Unrecorded {
        let slots = lock(&self.0);
        let Some(bucket) = slots.buckets.iter().find(|bucket| bucket.key == *key) else {
            return Unrecorded::default();
        };
        let mut answer = Unrecorded { mark: bucket.mark(), ..Unrecorded::default() };
        let open = slots.iter().filter(|slot| slot.bucket.key == *key).cloned();
        for slot in open.chain(bucket.sealed()) {
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
