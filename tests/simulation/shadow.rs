//! What the harness counts itself, apart from the ledger and the store: admissions as the callers saw them, and what each
//! slot holds as it was seen on the wire.

use std::collections::{BTreeMap, BTreeSet};

use plangate::{
    domain::{period::Windows, time::UnixMillis},
    ports::{BucketKey, GrantOutcome, GrantRequest, Incarnation, SlotKey, SlotTotals},
};

/// What callers were let do in one bucket.
#[derive(Debug, Clone, Copy, Default)]
pub struct Admitted {
    /// Units let through.
    pub charged: u64,
    /// Units given back.
    pub refunded: u64,
    /// Units above what was reserved: they count, and no limit promises anything about them.
    pub overrun: u64,
    /// What may have been admitted already when a lower limit was answered.
    pub floor: u64,
}

impl Admitted {
    /// Units admitted under the promise of the limit.
    pub fn promised(&self) -> u64 {
        self.charged - self.refunded
    }

    /// Units that must be recorded in the end.
    pub fn all(&self) -> u64 {
        self.promised() + self.overrun
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    granted: u64,
    used: u64,
    refunded: u64,
    sealed: bool,
    /// Its node was declared lost before it was returned.
    lost: bool,
}

impl Seen {
    fn net(&self) -> u64 {
        self.used - self.refunded
    }

    fn held(&self) -> u64 {
        if self.sealed && !self.lost { self.net() } else { self.granted.max(self.net()) }
    }
}

#[derive(Default)]
pub struct Shadow {
    pub admitted: BTreeMap<BucketKey, Admitted>,
    slots: BTreeMap<BucketKey, BTreeMap<(Incarnation, u64), Seen>>,
}

impl Shadow {
    fn slot(&mut self, slot: &SlotKey) -> &mut Seen {
        self.slots.entry(slot.bucket.clone()).or_default().entry((slot.incarnation, slot.seq)).or_default()
    }

    pub fn recorded(&mut self, totals: &SlotTotals) {
        assert!(totals.refunded <= totals.used, "more given back than taken: {totals:?}");
        let seen = self.slot(&totals.slot);
        seen.used = seen.used.max(totals.used);
        seen.refunded = seen.refunded.max(totals.refunded);
        seen.sealed |= totals.sealed;
    }

    pub fn granted(&mut self, request: &GrantRequest, outcome: &GrantOutcome) {
        self.recorded(&SlotTotals { sealed: false, ..request.totals.clone() });
        if let GrantOutcome::Granted { granted, .. } = outcome {
            let seen = self.slot(&request.totals.slot);
            assert!(!seen.sealed, "units for a sealed slot: {request:?}");
            seen.granted = seen.granted.max(*granted);
        }
    }

    fn of<'a>(&'a self, bucket: &'a BucketKey) -> impl Iterator<Item = &'a Seen> {
        self.slots.get(bucket).into_iter().flat_map(BTreeMap::values)
    }

    /// What the runs of these incarnations have not returned counts as spent for good.
    pub fn declare_lost(&mut self, whose: impl Fn(Incarnation) -> bool) {
        let slots = self.slots.values_mut().flatten().filter(|((incarnation, _), _)| whose(*incarnation));
        slots.for_each(|(_, seen)| seen.lost |= !seen.sealed);
    }

    /// The last totals of each open slot, with a seal that its owner has not set.
    pub fn open(&self) -> Vec<SlotTotals> {
        let all = self.slots.iter().flat_map(|(bucket, slots)| slots.iter().map(move |slot| (bucket, slot)));
        let open = all.filter(|(_, (_, seen))| !seen.sealed && !seen.lost && seen.granted > seen.used);
        open.map(|(bucket, ((incarnation, seq), seen))| SlotTotals {
            slot: SlotKey { bucket: bucket.clone(), incarnation: *incarnation, seq: *seq },
            end: UnixMillis(i64::MAX),
            granted: 0,
            used: seen.used,
            refunded: seen.refunded,
            at: bucket.start,
            sealed: true,
            counted: Windows::default(),
            counting: bucket.epoch,
            marks: None,
        })
        .collect()
    }

    /// Units debited to the bucket.
    pub fn held(&self, bucket: &BucketKey) -> u64 {
        self.of(bucket).map(Seen::held).sum()
    }

    /// Units recorded as used.
    pub fn net(&self, bucket: &BucketKey) -> u64 {
        self.of(bucket).map(Seen::net).sum()
    }

    pub fn buckets(&self) -> BTreeSet<BucketKey> {
        self.slots.keys().chain(self.admitted.keys()).cloned().collect()
    }
}
