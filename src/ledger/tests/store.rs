//! The database's side of the ledger in memory, with the documented meaning and with switches to fail.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::{
    domain::{
        id::TenantId,
        period::Windows,
        time::{UnixMillis, Version},
        units::Units,
        warning::Marks,
    },
    ports::{
        BoxFuture, BucketKey, GrantOutcome, GrantRequest, Incarnation, LedgerStore, OthersUsage, Remainder,
        SlotKey, SlotTotals, Span, StoreError, Wanted,
    },
};

#[derive(Debug, Clone, Copy, Default)]
pub struct Row {
    pub granted: u64,
    pub used: u64,
    pub refunded: u64,
    pub sealed: bool,
    /// As last reported.
    pub counting: Version,
}

impl Row {
    pub fn net(&self) -> u64 {
        self.used - self.refunded
    }

    fn debit(&self) -> u64 {
        if self.sealed { self.net() } else { self.net().max(self.granted) }
    }
}

type Slots = BTreeMap<(BucketKey, Incarnation, u64), Row>;

#[derive(Default)]
pub struct MemoryStore {
    pub slots: Mutex<Slots>,
    pub versions: Mutex<HashMap<TenantId, Version>>,
    pub away: AtomicBool,
    /// The next so many grants are carried out, and their answers lost.
    pub lose_answers: AtomicU32,
    /// A grant whose compare fails is answered by what there is, not refused.
    pub lenient: AtomicBool,
    /// Grants wait at this gate while it is shut.
    pub gate: Mutex<Option<std::sync::Arc<Semaphore>>>,
    /// What a flush, or a look at what was used, is answered waits at these while they are shut.
    pub flush_gate: Mutex<Option<std::sync::Arc<Semaphore>>>,
    pub look_gate: Mutex<Option<std::sync::Arc<Semaphore>>>,
    /// The next so many flushes are carried out, and their answers lost.
    pub lose_flushes: AtomicU32,
    /// Rows of this tenant are not taken.
    pub poison: Mutex<Option<TenantId>>,
    /// Each reading of what is used is followed by one of these, before it is answered.
    pub meanwhile: Mutex<VecDeque<BoxFuture<()>>>,
    /// Buckets of which somebody was refused units that others hold.
    pub wanted: Mutex<BTreeSet<BucketKey>>,
    pub grants: AtomicU64,
    pub looks: AtomicU64,
    pub flushes: AtomicU64,
    pub lookups: AtomicU64,
    pub nodes: AtomicU32,
    /// The limit that remainders are told of.
    pub limit: Mutex<u64>,
    /// The limits of buckets besides those of windows.
    pub limits: Mutex<HashMap<BucketKey, u64>>,
    /// What is told of buckets, as was reported last.
    pub marks: Mutex<BTreeMap<BucketKey, Option<Arc<Marks>>>>,
}

impl MemoryStore {
    fn check(&self) -> Result<(), StoreError> {
        if self.away.load(Ordering::SeqCst) { Err(StoreError::Unavailable("away".into())) } else { Ok(()) }
    }

    fn mark(&self, totals: &SlotTotals) {
        self.marks.lock().unwrap().insert(totals.slot.bucket.clone(), totals.marks.clone());
    }

    fn record(slots: &mut Slots, totals: &SlotTotals) {
        assert!(totals.refunded <= totals.used, "{totals:?}");
        let key = (totals.slot.bucket.clone(), totals.slot.incarnation, totals.slot.seq);
        let row = slots.entry(key).or_default();
        row.used = row.used.max(totals.used);
        row.refunded = row.refunded.max(totals.refunded);
        row.sealed |= totals.sealed;
        row.counting = totals.counting;
    }

    fn of<'a>(slots: &'a Slots, bucket: &'a BucketKey) -> impl Iterator<Item = &'a Row> {
        slots.iter().filter(move |((key, ..), _)| key == bucket).map(|(_, row)| row)
    }

    fn grant_one(&self, slots: &mut Slots, request: &GrantRequest) -> GrantOutcome {
        assert!(!request.totals.sealed && request.need > 0);
        self.mark(&request.totals);
        Self::record(slots, &request.totals);
        let slot = &request.totals.slot;
        let current = self.versions.lock().unwrap().get(&slot.bucket.tenant).copied();
        if current.is_some_and(|current| current != request.version) {
            return GrantOutcome::Stale;
        }
        let key = (slot.bucket.clone(), slot.incarnation, slot.seq);
        let row = slots[&key];
        let used: u64 = Self::of(slots, &slot.bucket).map(Row::net).sum();
        if row.sealed {
            return GrantOutcome::Refused { granted: row.granted };
        }
        if row.granted != request.granted {
            let lenient =
                self.lenient.load(Ordering::SeqCst) && row.granted >= request.granted + request.need;
            return if lenient {
                GrantOutcome::Granted { granted: row.granted, used }
            } else {
                GrantOutcome::Refused { granted: row.granted }
            };
        }
        let all: u64 = Self::of(slots, &slot.bucket).map(Row::debit).sum();
        // What the slot itself owes from an overrun is part of its need already.
        let allocated = all - row.debit() + row.granted;
        let left = request.limit.get().saturating_sub(allocated);
        if !matches!(slot.bucket.span, Span::Window(_)) {
            self.limits.lock().unwrap().insert(slot.bucket.clone(), request.limit.get());
        }
        if request.need > left {
            let held = Self::held(slots, &slot.bucket, Some(slot.incarnation));
            if held > 0 {
                self.wanted.lock().unwrap().insert(slot.bucket.clone());
            }
            return GrantOutcome::Exhausted { left, used, held };
        }
        let nodes = u64::from(self.nodes.load(Ordering::SeqCst).max(1));
        let more = if self.wanted.lock().unwrap().contains(&slot.bucket) {
            request.demand.min(left).max(request.need)
        } else {
            request.need.max(1).max(request.want.min(left / (2 * nodes)))
        };
        let row = slots.get_mut(&key).unwrap();
        row.granted += more;
        GrantOutcome::Granted { granted: row.granted, used }
    }

    /// What others than `but` hold of a bucket and have not recorded as used.
    fn held(slots: &Slots, bucket: &BucketKey, but: Option<Incarnation>) -> u64 {
        let open = slots.iter().filter(|((key, owner, _), row)| {
            key == bucket && Some(*owner) != but && !row.sealed && row.granted > row.net()
        });
        open.map(|(_, row)| row.granted - row.net()).sum()
    }

    fn remainder(
        &self,
        slots: &Slots,
        bucket: &BucketKey,
        but: Option<Incarnation>,
        limit: u64,
    ) -> Remainder {
        let limit = self.limits.lock().unwrap().get(bucket).copied().unwrap_or(limit);
        let all: u64 = Self::of(slots, bucket).map(Row::debit).sum();
        Remainder { left: limit.saturating_sub(all), held: Self::held(slots, bucket, but) }
    }

    /// What a poll would bring, where the limit of all buckets is `limit`.
    pub fn polled(&self, limit: u64) -> Vec<Wanted> {
        let slots = self.slots.lock().unwrap();
        let wanted = self.wanted.lock().unwrap();
        let row = |bucket: &BucketKey| Wanted {
            bucket: bucket.clone(),
            remainder: self.remainder(&slots, bucket, None, limit),
        };
        wanted.iter().map(row).collect()
    }

    fn flush_now(&self, totals: &[SlotTotals]) -> Result<Vec<u64>, StoreError> {
        self.check()?;
        let poison = self.poison.lock().unwrap().clone();
        if totals.iter().any(|totals| Some(&totals.slot.bucket.tenant) == poison.as_ref()) {
            return Err(StoreError::Corrupt("poison".into()));
        }
        let mut slots = self.slots.lock().unwrap();
        for totals in totals {
            self.mark(totals);
            Self::record(&mut slots, totals);
        }
        let used = |totals: &SlotTotals| Self::of(&slots, &totals.slot.bucket).map(Row::net).sum();
        Ok(totals.iter().map(used).collect())
    }

    /// What is recorded of a bucket.
    pub fn net(&self, bucket: &BucketKey) -> u64 {
        Self::of(&self.slots.lock().unwrap(), bucket).map(Row::net).sum()
    }

    /// The countings to which the uses of a bucket belong, the oldest word first.
    pub fn countings(&self, bucket: &BucketKey) -> Vec<Version> {
        Self::of(&self.slots.lock().unwrap(), bucket)
            .filter(|row| row.net() > 0)
            .map(|row| row.counting)
            .collect()
    }

    /// What is debited to a bucket.
    pub fn allocated(&self, bucket: &BucketKey) -> u64 {
        Self::of(&self.slots.lock().unwrap(), bucket).map(Row::debit).sum()
    }

    pub fn rows(&self) -> Vec<(BucketKey, u64, Row)> {
        self.slots.lock().unwrap().iter().map(|((key, _, seq), row)| (key.clone(), *seq, *row)).collect()
    }
}

#[async_trait]
impl LedgerStore for MemoryStore {
    async fn grant(&self, requests: &[GrantRequest]) -> Result<Vec<GrantOutcome>, StoreError> {
        self.grants.fetch_add(1, Ordering::SeqCst);
        let gate = self.gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        self.check()?;
        let outcomes = {
            let mut slots = self.slots.lock().unwrap();
            requests.iter().map(|request| self.grant_one(&mut slots, request)).collect()
        };
        let lose = |n: u32| n.checked_sub(1);
        if self.lose_answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose).is_ok() {
            return Err(StoreError::Unavailable("the answer was lost".into()));
        }
        Ok(outcomes)
    }

    async fn flush(&self, totals: &[SlotTotals]) -> Result<Vec<u64>, StoreError> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        let answer = self.flush_now(totals);
        let gate = self.flush_gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        let lose = |n: u32| n.checked_sub(1);
        if self.lose_flushes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose).is_ok() {
            return Err(StoreError::Unavailable("the answer was lost".into()));
        }
        answer
    }

    async fn recorded(&self, buckets: &[BucketKey]) -> Result<Vec<u64>, StoreError> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        self.check()?;
        let answer = buckets.iter().map(|bucket| self.net(bucket)).collect();
        let gate = self.look_gate.lock().unwrap().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        Ok(answer)
    }

    async fn remainders(
        &self,
        own: Incarnation,
        buckets: &[BucketKey],
    ) -> Result<Vec<Remainder>, StoreError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.check()?;
        let slots = self.slots.lock().unwrap();
        let limit = *self.limit.lock().unwrap();
        Ok(buckets.iter().map(|bucket| self.remainder(&slots, bucket, Some(own), limit)).collect())
    }

    async fn open_slots(&self, runs: &[Incarnation]) -> Result<Vec<SlotTotals>, StoreError> {
        self.check()?;
        let slots = self.slots.lock().unwrap();
        let open = slots.iter().filter(|((_, owner, _), row)| runs.contains(owner) && !row.sealed);
        let totals = |((bucket, owner, seq), row): (&(BucketKey, Incarnation, u64), &Row)| SlotTotals {
            slot: SlotKey { bucket: bucket.clone(), incarnation: *owner, seq: *seq },
            end: UnixMillis(i64::MAX),
            granted: row.granted,
            used: row.used,
            refunded: row.refunded,
            at: UnixMillis(0),
            sealed: false,
            counted: Windows::default(),
            counting: bucket.epoch,
            marks: None,
        };
        Ok(open.map(totals).collect())
    }

    async fn others(
        &self,
        incarnation: Incarnation,
        buckets: &[BucketKey],
    ) -> Result<Vec<OthersUsage>, StoreError> {
        self.check()?;
        let answer = {
            let slots = self.slots.lock().unwrap();
            let used = |bucket: &BucketKey| {
                slots
                    .iter()
                    .filter(|((key, owner, _), _)| key == bucket && *owner != incarnation)
                    .map(|(_, row)| row.net())
                    .sum()
            };
            let row = |bucket| OthersUsage { used: Units::saturating(used(bucket)), uncertain: Units::ZERO };
            buckets.iter().map(row).collect()
        };
        let meanwhile = self.meanwhile.lock().unwrap().pop_front();
        if let Some(meanwhile) = meanwhile {
            meanwhile.await;
        }
        Ok(answer)
    }
}
