//! The rules of buckets and slots, without a database: the memory store keeps a book, the others load the part of theirs
//! that a transaction has locked, apply the same rules, and write it back.

use std::collections::{BTreeMap, HashMap};

use super::{session::signed, warned::Warned};
use crate::{
    domain::{
        id::{MeterId, TenantId},
        period::{Window, Windows},
        time::{UnixMillis, Version},
        units::Units,
    },
    ports::{BucketKey, GrantOutcome, GrantRequest, NewEvent, SlotKey, SlotTotals, Span},
};

/// How long a refused grant asks the holders of a bucket to give units back.
const WANTED_MILLIS: i64 = 5_000;
const HOUR: i64 = 3_600_000;

/// The windows in which a month's charges may go uncounted; their places in [`HourUse::uncounted`].
pub(super) const SHORTER: [Window; 3] = [Window::Hour, Window::Day, Window::Week];

/// A bucket's facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket {
    /// The period's end.
    pub(super) end: UnixMillis,
    /// `None`: nothing is refused.
    pub(super) limit: Option<u64>,
    /// The sum of the slots' debits, and of a shorter window `seeded`.
    pub(super) allocated: u64,
    /// The sum of what the slots used, less what was given back, and of a shorter window `seeded`.
    pub(super) used: u64,
    /// Of a shorter window: what was used in it without being counted in it, as of the last request for a grant. Of a
    /// month: what is allocated of its overage.
    pub(super) seeded: u64,
    /// The newest version of the tenant, or of the policies, that was in force on all nodes when units were granted.
    pub(super) confirmed: Version,
    /// Somebody was refused, and would be glad of units until then.
    pub(super) wanted_until: Option<UnixMillis>,
    /// What is told of it, and what of that was.
    pub(super) warned: Warned,
}

impl Bucket {
    pub(super) const fn new(end: UnixMillis) -> Self {
        Self {
            end,
            limit: None,
            allocated: 0,
            used: 0,
            seeded: 0,
            confirmed: Version(0),
            wanted_until: None,
            warned: Warned::NOTHING,
        }
    }

    /// Units that no slot debits.
    pub(super) fn left(&self) -> u64 {
        self.limit.map_or(0, |limit| limit.saturating_sub(self.allocated))
    }

    fn wanted(&self, now: UnixMillis) -> bool {
        self.wanted_until.is_some_and(|until| until > now)
    }
}

/// A slot's facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) granted: u64,
    pub(super) used: u64,
    pub(super) refunded: u64,
    pub(super) sealed: bool,
    /// Its node was declared lost: what it was granted counts as spent for good.
    pub(super) lost: bool,
    /// The earliest report of it: nothing can have been charged much before.
    pub(super) since: UnixMillis,
    /// As last reported.
    pub(super) counted: Windows,
}

impl Slot {
    const fn new(since: UnixMillis) -> Self {
        Self {
            granted: 0,
            used: 0,
            refunded: 0,
            sealed: false,
            lost: false,
            since,
            counted: Windows::from_bits(0),
        }
    }

    /// Units used, less those given back.
    pub(super) const fn net(self) -> u64 {
        self.used.saturating_sub(self.refunded)
    }

    /// Units that the slot takes from its bucket: once sealed, what it used; before, and for ever if it is lost, what it
    /// was granted. What was used beyond (of a quota that refuses nothing, or an overrun) counts, too.
    pub(super) const fn debit(self) -> u64 {
        let net = self.net();
        if (self.sealed && !self.lost) || net > self.granted { net } else { self.granted }
    }

    /// Units that its owner may still use, or may have used unrecorded; of a lost one those that count as spent.
    pub(super) const fn unaccounted(self) -> u64 {
        if self.sealed && !self.lost { 0 } else { self.granted.saturating_sub(self.net()) }
    }

    /// Units that its owner could give back.
    pub(super) const fn spare(self) -> u64 {
        if self.lost { 0 } else { self.unaccounted() }
    }

    /// The totals joined with another report of the same slot. They only grow: order and repetition do not matter.
    fn joined(self, totals: &SlotTotals, sealed: bool) -> Self {
        // What is left after refunds is bounded, not what they are taken from: reserves may be many times their cost.
        let refunded = totals.refunded.min(totals.used);
        let used = totals.used.min(refunded.saturating_add(Units::MAX.get())).min(i64::MAX.unsigned_abs());
        let closed = self.sealed || self.lost;
        let granted = if closed { 0 } else { totals.granted.min(Units::MAX.get()) };
        Self {
            granted: self.granted.max(granted),
            used: self.used.max(used),
            refunded: self.refunded.max(refunded.min(used)),
            sealed: self.sealed || sealed,
            since: self.since.min(totals.at),
            counted: totals.counted,
            ..self
        }
    }
}

/// A row of usage: whose, of what, in which hour, in which epoch of counting.
pub(super) type UsageKey = (TenantId, MeterId, UnixMillis, Version);

/// What was used in an hour. Signed: units charged in one hour may be given back in the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct HourUse {
    /// All of it.
    pub(super) units: i64,
    /// What of it was not counted in a window of each of [`SHORTER`]. What was given back is booked to the hour in which
    /// its slot began, so that it is never credited to a window in which it was not charged.
    pub(super) uncounted: [i64; 3],
}

/// Buckets, their slots and the hours of usage.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    pub(super) buckets: BTreeMap<BucketKey, Bucket>,
    pub(super) slots: HashMap<SlotKey, Slot>,
    pub(super) usage: BTreeMap<UsageKey, HourUse>,
    /// What was used of each bucket that is a source, by the hour: together always its `used`.
    pub(super) hours: BTreeMap<(BucketKey, UnixMillis), i64>,
    /// A bucket that was wanted until then has got units back, or fewer of it are held.
    freed: Option<UnixMillis>,
    /// What became true and is to be told outside.
    facts: Vec<NewEvent>,
}

/// What a grant depends on besides the book.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// The version of the tenant's facts; `None`: there is no such tenant.
    pub(super) tenant: Option<Version>,
    /// Nodes alive; at least 1.
    pub(super) live: u32,
    /// The oldest version that a live node has applied; `None`: nobody is alive.
    pub(super) applied: Option<Version>,
    /// The version of the policies in force.
    pub(super) policies: Version,
    /// After a failover: nobody is granted anything yet.
    pub(super) withheld: bool,
    /// The database's clock.
    pub(super) now: UnixMillis,
}

/// The start of the hour (UTC) in which an instant lies.
pub(super) fn hour_of(at: UnixMillis) -> UnixMillis {
    UnixMillis(at.0.div_euclid(HOUR).saturating_mul(HOUR))
}

/// The hour of a bucket from `start` to `end` to which what is reported at `at` belongs: its first begins with the bucket,
/// and what comes in after its end was used in its last.
pub(super) fn hour_within(at: UnixMillis, start: UnixMillis, end: UnixMillis) -> UnixMillis {
    let last = UnixMillis(end.0.saturating_sub(1));
    hour_of(at.min(last)).max(start)
}

impl Book {
    /// Records a slot's totals.
    pub(super) fn record(&mut self, totals: &SlotTotals) {
        self.join(totals, totals.sealed);
    }

    fn join(&mut self, totals: &SlotTotals, sealed: bool) {
        let key = &totals.slot.bucket;
        let bucket = self.buckets.entry(key.clone()).or_insert_with(|| Bucket::new(totals.end));
        let slot = self.slots.entry(totals.slot.clone()).or_insert_with(|| Slot::new(totals.at));
        let (before, after) = (*slot, slot.joined(totals, sealed));
        *slot = after;
        // What has no limit may come to any number.
        bucket.allocated = bucket.allocated.saturating_add(after.debit()).saturating_sub(before.debit());
        bucket.used = bucket.used.saturating_add(after.net()).saturating_sub(before.net());
        bucket.warned.look(totals, sealed, bucket.used, &mut self.facts);
        if after.debit() < before.debit() || after.spare() < before.spare() {
            self.freed = self.freed.max(bucket.wanted_until);
        }
        let beyond = bucket.allocated;
        if key.span == Span::Overage {
            self.tell_month(key, totals.end, beyond);
        }
        let difference = signed(after.net()) - signed(before.net());
        if difference != 0 && key.span.is_source() {
            self.add_use(totals, difference, after.since);
            let hour = (key.clone(), hour_within(totals.at, key.start, totals.end));
            *self.hours.entry(hour).or_default() += difference;
        }
    }

    /// Lets a month know what is allocated of its overage.
    fn tell_month(&mut self, overage: &BucketKey, end: UnixMillis, allocated: u64) {
        self.buckets.entry(overage.month()).or_insert_with(|| Bucket::new(end)).seeded = allocated;
    }

    fn add_use(&mut self, totals: &SlotTotals, difference: i64, since: UnixMillis) {
        self.hour(totals, totals.at).units += difference;
        let charged = self.hour(totals, if difference > 0 { totals.at } else { since });
        for (uncounted, window) in charged.uncounted.iter_mut().zip(SHORTER) {
            if !totals.counted.contains(window) {
                *uncounted += difference;
            }
        }
    }

    fn hour(&mut self, totals: &SlotTotals, at: UnixMillis) -> &mut HourUse {
        let BucketKey { tenant, meter, .. } = &totals.slot.bucket;
        self.usage.entry((tenant.clone(), meter.clone(), hour_of(at), totals.counting)).or_default()
    }

    /// What was used in a shorter window, so far, without being counted in it. Known by whole hours: a window that begins
    /// within one has all of that hour.
    pub(super) fn uncounted(&self, bucket: &BucketKey, end: UnixMillis) -> u64 {
        let Some(place) = SHORTER.into_iter().position(|window| bucket.span == window.into()) else {
            return 0;
        };
        let start = hour_of(bucket.start);
        if start >= end {
            return 0;
        }
        let at = |hour| (bucket.tenant.clone(), bucket.meter.clone(), hour, Version(0));
        let own = self.usage.range(at(start)..at(end)).filter(|((.., epoch), _)| *epoch == bucket.epoch);
        let sum: i64 = own.map(|(_, used)| used.uncounted[place]).sum();
        u64::try_from(sum).unwrap_or(0)
    }

    /// Lets a shorter window's bucket count what was used without being counted in it.
    pub(super) fn seed(&mut self, bucket: &BucketKey, end: UnixMillis, uncounted: u64) {
        if !bucket.span.is_shorter() {
            return;
        }
        let bucket = self.buckets.entry(bucket.clone()).or_insert_with(|| Bucket::new(end));
        bucket.allocated = (bucket.allocated + uncounted).saturating_sub(bucket.seeded);
        bucket.used = (bucket.used + uncounted).saturating_sub(bucket.seeded);
        bucket.seeded = uncounted;
    }

    /// Decides one request for units. What others hold is not looked at: see [`Book::want`].
    pub(super) fn grant(&mut self, request: &GrantRequest, setting: Setting) -> GrantOutcome {
        self.join(&request.totals, false);
        if setting.tenant != Some(request.version) || setting.policies != request.policies {
            return GrantOutcome::Stale;
        }
        let key = &request.totals.slot.bucket;
        let beside = self.beside(key);
        let (Some(bucket), Some(slot)) =
            (self.buckets.get_mut(key), self.slots.get_mut(&request.totals.slot))
        else {
            return GrantOutcome::Stale;
        };
        if setting.withheld {
            return GrantOutcome::Withheld;
        }
        if slot.sealed || slot.lost || slot.granted != request.granted {
            return GrantOutcome::Refused { granted: slot.granted };
        }
        // Under an older version the window may not have been limited: whoever still works by that one may have used units
        // that are not recorded yet. Not where counting began with this very version.
        let basis = request.version.max(request.policies);
        if !key.span.is_source() && basis > bucket.confirmed && basis != key.epoch {
            if setting.applied.is_some_and(|applied| applied < basis) {
                return GrantOutcome::Withheld;
            }
            bucket.confirmed = basis;
        }
        bucket.end = request.totals.end;
        bucket.limit = Some(request.limit.get());
        let others = bucket.allocated.saturating_sub(slot.debit());
        let left = request.limit.get().saturating_sub(others).saturating_sub(slot.granted);
        let left = request.ceiling.map_or(left, |ceiling| {
            left.min(ceiling.get().saturating_sub(beside).saturating_sub(others).saturating_sub(slot.granted))
        });
        let need = request.need.max(1);
        if left < need {
            return GrantOutcome::Exhausted { left, used: bucket.used, held: 0 };
        }
        let share = left / (2 * u64::from(setting.live.max(1)));
        let fair = if bucket.wanted(setting.now) { request.demand } else { request.want.min(share) };
        let units = left.min(need.max(fair));
        let before = slot.debit();
        slot.granted += units;
        bucket.allocated = (bucket.allocated + slot.debit()).saturating_sub(before);
        let outcome = GrantOutcome::Granted { granted: slot.granted, used: bucket.used };
        let allocated = bucket.allocated;
        if key.span == Span::Overage {
            self.tell_month(key, request.totals.end, allocated);
        }
        outcome
    }

    /// What is allocated of a month's overage, and of an overage's month. (Who locks an overage has its month locked, too.)
    fn beside(&self, key: &BucketKey) -> u64 {
        match key.span {
            Span::MONTH => self.buckets.get(key).map_or(0, |bucket| bucket.seeded),
            Span::Overage => self.buckets.get(&key.month()).map_or(0, |bucket| bucket.allocated),
            Span::Window(_) | Span::Grant | Span::Spend => 0,
        }
    }

    /// Asks those who hold units of a bucket to give them back, for a while.
    pub(super) fn want(&mut self, bucket: &BucketKey, now: UnixMillis) {
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            bucket.wanted_until = Some(UnixMillis(now.0.saturating_add(WANTED_MILLIS)));
        }
    }

    /// Notes that a request was refused, and that nobody holds units of its bucket who could give them back.
    pub(super) fn refuse(&mut self, request: &GrantRequest) {
        if let Some(bucket) = self.buckets.get_mut(&request.totals.slot.bucket) {
            bucket.warned.refuse(request, bucket.used, &mut self.facts);
        }
    }

    /// What is used of a bucket, as far as recorded.
    pub(super) fn used(&self, bucket: &BucketKey) -> u64 {
        self.buckets.get(bucket).map_or(0, |bucket| bucket.used)
    }

    /// What became true since the last call and is to be told outside.
    pub(super) fn take_facts(&mut self) -> Vec<NewEvent> {
        std::mem::take(&mut self.facts)
    }

    /// The latest instant until which a bucket is wanted of which something has come back since the last call.
    pub(super) const fn take_freed(&mut self) -> Option<UnixMillis> {
        self.freed.take()
    }

    /// Forgets wishes that are over.
    pub(super) fn forget_wishes(&mut self, now: UnixMillis) {
        for bucket in self.buckets.values_mut() {
            if !bucket.wanted(now) {
                bucket.wanted_until = None;
            }
        }
    }
}

mod draw;

pub(super) use draw::{Drawn, events_slot};

#[cfg(test)]
mod tests;
