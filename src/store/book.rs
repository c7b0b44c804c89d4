//! The rules of buckets and slots, without a database: the memory store keeps a book, the others load the part of theirs
//! that a transaction has locked, apply the same rules, and write it back.

use std::collections::{BTreeMap, HashMap};

use crate::{
    domain::{
        id::{MeterId, TenantId},
        period::Window,
        time::{UnixMillis, Version},
        units::Units,
    },
    ports::{BucketKey, GrantOutcome, GrantRequest, SlotKey, SlotTotals},
};

/// How long a refused grant asks the holders of a bucket to give units back.
const WANTED_MILLIS: i64 = 5_000;
const HOUR: i64 = 3_600_000;

/// A bucket's facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket {
    /// The period's end.
    pub(super) end: UnixMillis,
    /// `None`: nothing is refused.
    pub(super) limit: Option<u64>,
    /// The sum of what the slots hold.
    pub(super) allocated: u64,
    /// The sum of what the slots used, less what was given back.
    pub(super) used: u64,
    /// Somebody was refused, and would be glad of units until then.
    pub(super) wanted_until: Option<UnixMillis>,
}

impl Bucket {
    pub(super) const fn new(end: UnixMillis) -> Self {
        Self { end, limit: None, allocated: 0, used: 0, wanted_until: None }
    }
}

/// A slot's facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Slot {
    pub(super) granted: u64,
    pub(super) used: u64,
    pub(super) refunded: u64,
    pub(super) sealed: bool,
}

impl Slot {
    /// Units used, less those given back.
    pub(super) const fn net(self) -> u64 {
        self.used.saturating_sub(self.refunded)
    }

    /// Units that the slot takes from its bucket: what it was granted; once sealed, what it used. An open slot that was
    /// granted nothing (of a quota that refuses nothing) takes what it used, so that a limit set later counts it.
    pub(super) const fn held(self) -> u64 {
        let net = self.net();
        if self.sealed || net > self.granted { net } else { self.granted }
    }

    /// Units that may still be used, or may have been used unrecorded.
    pub(super) const fn open(self) -> u64 {
        if self.sealed { 0 } else { self.granted.saturating_sub(self.net()) }
    }

    /// The totals joined with another report of the same slot. They only grow: order and repetition do not matter.
    fn joined(self, totals: &SlotTotals, sealed: bool) -> Self {
        // What is left after refunds is bounded, not what they are taken from: reserves may be many times their cost.
        let refunded = totals.refunded.min(totals.used);
        let used = totals.used.min(refunded.saturating_add(Units::MAX.get())).min(i64::MAX.unsigned_abs());
        Self {
            granted: self.granted,
            used: self.used.max(used),
            refunded: self.refunded.max(refunded.min(used)),
            sealed: self.sealed || sealed,
        }
    }
}

/// A row of usage: whose, of what, in which hour.
pub(super) type UsageKey = (TenantId, MeterId, UnixMillis);

/// Buckets, their slots and the hours of usage.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    pub(super) buckets: BTreeMap<BucketKey, Bucket>,
    pub(super) slots: HashMap<SlotKey, Slot>,
    /// Signed: units charged in one hour may be given back in the next.
    pub(super) usage: BTreeMap<UsageKey, i64>,
}

/// What a grant depends on besides the book.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// The version of the tenant's facts; `None`: there is no such tenant.
    pub(super) tenant: Option<Version>,
    /// Nodes alive; at least 1.
    pub(super) live: u32,
    /// The database's clock.
    pub(super) now: UnixMillis,
}

impl Book {
    /// Records a slot's totals.
    pub(super) fn record(&mut self, totals: &SlotTotals) {
        self.join(totals, totals.sealed);
    }

    fn join(&mut self, totals: &SlotTotals, sealed: bool) {
        let key = &totals.slot.bucket;
        let bucket = self.buckets.entry(key.clone()).or_insert_with(|| Bucket::new(totals.end));
        let slot = self.slots.entry(totals.slot.clone()).or_default();
        let (before, after) = (*slot, slot.joined(totals, sealed));
        *slot = after;
        bucket.allocated = (bucket.allocated + after.held()).saturating_sub(before.held());
        bucket.used = (bucket.used + after.net()).saturating_sub(before.net());
        let difference = super::session::signed(after.net()) - super::session::signed(before.net());
        if difference != 0 && key.window == Window::Month {
            let hour = UnixMillis(totals.at.0.div_euclid(HOUR).saturating_mul(HOUR));
            *self.usage.entry((key.tenant.clone(), key.meter.clone(), hour)).or_default() += difference;
        }
    }

    /// Decides one request for units.
    pub(super) fn grant(&mut self, request: &GrantRequest, setting: Setting) -> GrantOutcome {
        self.join(&request.totals, false);
        if setting.tenant != Some(request.version) {
            return GrantOutcome::Stale;
        }
        let (Some(bucket), Some(slot)) =
            (self.buckets.get_mut(&request.totals.slot.bucket), self.slots.get_mut(&request.totals.slot))
        else {
            return GrantOutcome::Stale;
        };
        bucket.end = request.totals.end;
        bucket.limit = Some(request.limit.get());
        if slot.sealed || slot.granted != request.granted {
            return GrantOutcome::Refused { granted: slot.granted };
        }
        let left = request.limit.get().saturating_sub(bucket.allocated);
        let need = request.need.max(1);
        if left < need {
            bucket.wanted_until = Some(UnixMillis(setting.now.0.saturating_add(WANTED_MILLIS)));
            return GrantOutcome::Exhausted { left, used: bucket.used, held: 0 };
        }
        let share = left / (2 * u64::from(setting.live.max(1)));
        let units = left.min(need.max(request.want.min(share)));
        let before = slot.held();
        slot.granted += units;
        bucket.allocated = (bucket.allocated + slot.held()).saturating_sub(before);
        GrantOutcome::Granted { granted: slot.granted, used: bucket.used }
    }
}

#[cfg(test)]
mod tests;
