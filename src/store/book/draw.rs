//! Units that are taken from their buckets at once, without a grant: those of usage events. All buckets of an event are
//! looked at before any of them is charged.

use std::collections::BTreeMap;

use super::{Book, Bucket, Setting};
use crate::{
    domain::{
        id::MeterId,
        period::Window,
        time::{UnixMillis, Version},
        units::Units,
    },
    ports::{BucketKey, EVENTS, EventBucket, EventCharge, Shortage, SlotKey, SlotTotals, Span, UsageEvent},
};

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Drawn {
    /// All of it was taken.
    Charged,
    /// Its limits are not those of the current facts and policies.
    Stale,
    /// Nothing may be taken yet.
    Withheld,
    /// Too little is left.
    Short(Short),
}

/// What was too little, and of what more may come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Short {
    meter: MeterId,
    window: Option<Window>,
    limit: Units,
    /// Units recorded as used.
    used: u64,
    /// Units that slots debit.
    allocated: u64,
    /// What others may give back.
    pub(in crate::store) buckets: Vec<BucketKey>,
}

impl Short {
    /// What is told of it, where live nodes hold so much. Where they hold nothing, all that is debited counts as used.
    pub(in crate::store) fn told(self, held: u64) -> Shortage {
        let Self { meter, window, limit, used, allocated, .. } = self;
        let used = if held == 0 { used.max(allocated) } else { used };
        Shortage { meter, window, limit, used: Units::saturating(used), held }
    }
}

/// What an event is going to take, by bucket.
#[derive(Default)]
struct Takes<'e>(BTreeMap<&'e BucketKey, (&'e EventBucket, &'e EventCharge, u64)>);

impl<'e> Takes<'e> {
    fn of(&self, key: &BucketKey) -> u64 {
        self.0.get(key).map_or(0, |(.., units)| *units)
    }

    fn add(&mut self, bucket: &'e EventBucket, charge: &'e EventCharge, units: u64) {
        if units > 0 {
            self.0.entry(&bucket.key).or_insert((bucket, charge, 0)).2 += units;
        }
    }
}

impl Book {
    /// Decides one event, and charges it where there is room for all of it.
    pub(in crate::store) fn draw(&mut self, event: &UsageEvent, setting: Setting) -> Drawn {
        if setting.tenant != Some(event.version) || setting.policies != event.policies {
            return Drawn::Stale;
        }
        if setting.withheld {
            return Drawn::Withheld;
        }
        event.buckets().for_each(|bucket| self.stand(bucket));
        let basis = event.version.max(event.policies);
        let limits = event
            .charges
            .iter()
            .flat_map(|charge| charge.windows.iter().chain(charge.spend.as_ref().map(|spend| &spend.bucket)));
        for bucket in limits.filter(|bucket| bucket.limit.is_some()) {
            if !self.confirm(&bucket.key, basis, setting.applied) {
                return Drawn::Withheld;
            }
        }
        match self.find(event) {
            Err(short) => Drawn::Short(short),
            Ok(takes) => {
                for (bucket, charge, units) in takes.0.into_values() {
                    self.take(event, charge, bucket, units);
                }
                Drawn::Charged
            }
        }
    }

    /// Lets a bucket be as the event's rights have it.
    fn stand(&mut self, bucket: &EventBucket) {
        let known = self.buckets.entry(bucket.key.clone()).or_insert_with(|| Bucket::new(bucket.end));
        known.end = bucket.end;
        if let Some(limit) = bucket.limit {
            known.limit = Some(limit.get());
        }
    }

    /// Whether whoever still works by older facts, which may not have limited this bucket, has recorded what it used.
    fn confirm(&mut self, key: &BucketKey, basis: Version, applied: Option<Version>) -> bool {
        let Some(bucket) = self.buckets.get_mut(key) else { return true };
        if basis > bucket.confirmed && basis != key.epoch {
            if applied.is_some_and(|applied| applied < basis) {
                return false;
            }
            bucket.confirmed = basis;
        }
        true
    }

    /// Where all units of an event are to come from: the shortest windows are asked first, then the sources in burn order.
    fn find<'e>(&self, event: &'e UsageEvent) -> Result<Takes<'e>, Short> {
        let mut takes = Takes::default();
        for window in Window::ALL {
            for charge in &event.charges {
                for bucket in charge.windows.iter().filter(|bucket| bucket.key.span == window.into()) {
                    if self.room(bucket, charge, &takes) < charge.units.get() {
                        return Err(self.short(charge, Some(window), &[bucket]));
                    }
                    takes.add(bucket, charge, charge.units.get());
                }
            }
        }
        for charge in &event.charges {
            self.find_sources(charge, &mut takes)?;
        }
        Ok(takes)
    }

    fn find_sources<'e>(&self, charge: &'e EventCharge, takes: &mut Takes<'e>) -> Result<(), Short> {
        let mut rest = charge.units.get();
        let mut capped = None;
        for source in &charge.sources {
            let mut units = rest.min(self.room(source, charge, takes));
            if let Some(spend) = charge.spend.as_ref().filter(|_| source.key.span == Span::Overage) {
                let money = self.room(&spend.bucket, charge, takes);
                let affordable = money.checked_div(spend.cost.get()).unwrap_or(u64::MAX);
                // Without a cap money is counted as far as that goes, and refuses nothing.
                if affordable < units && spend.bucket.limit.is_some() {
                    capped = Some(&spend.bucket);
                    units = affordable;
                }
                takes.add(&spend.bucket, charge, units.saturating_mul(spend.cost.get()).min(money));
            }
            takes.add(source, charge, units);
            rest -= units;
        }
        match capped {
            _ if rest == 0 => Ok(()),
            Some(spend) => Err(self.short(charge, None, &[spend])),
            None => Err(self.short(charge, Some(Window::Month), &charge.sources.iter().collect::<Vec<_>>())),
        }
    }

    /// Units of a bucket that nobody has, besides what the event takes already.
    fn room(&self, bucket: &EventBucket, charge: &EventCharge, takes: &Takes<'_>) -> u64 {
        let key = &bucket.key;
        let known = self.buckets.get(key);
        let (allocated, used) = known.map_or((0, 0), |bucket| (bucket.allocated, bucket.used));
        let taken = takes.of(key);
        let Some(limit) = bucket.limit else {
            // Nothing is refused but what cannot be counted.
            return Units::MAX.get().saturating_sub(used).saturating_sub(taken);
        };
        let left = limit.get().saturating_sub(allocated).saturating_sub(taken);
        let Some(ceiling) = charge.ceiling.filter(|_| matches!(key.span, Span::MONTH | Span::Overage)) else {
            return left;
        };
        let beside = match key.span {
            Span::Overage => self.beside(key).saturating_add(takes.of(&key.month())),
            _ => self.beside(key),
        };
        let below = ceiling.get().saturating_sub(beside).saturating_sub(allocated).saturating_sub(taken);
        left.min(below)
    }

    fn short(&self, charge: &EventCharge, window: Option<Window>, buckets: &[&EventBucket]) -> Short {
        let known = || buckets.iter().filter_map(|bucket| self.buckets.get(&bucket.key));
        let sum = |part: fn(&Bucket) -> u64| known().map(part).fold(0, u64::saturating_add);
        let limits = buckets.iter().map(|bucket| bucket.limit.unwrap_or(Units::MAX));
        Short {
            meter: charge.meter.clone(),
            window,
            limit: limits.fold(Units::ZERO, Units::saturating_add),
            used: sum(|bucket| bucket.used),
            allocated: sum(|bucket| bucket.allocated),
            buckets: buckets
                .iter()
                .filter(|bucket| bucket.limit.is_some())
                .map(|bucket| bucket.key.clone())
                .collect(),
        }
    }

    fn take(&mut self, event: &UsageEvent, charge: &EventCharge, bucket: &EventBucket, units: u64) {
        let mut totals = events_slot(bucket, event.at);
        let used = self.slots.get(&totals.slot).map_or(0, |slot| slot.used);
        totals.used = used.saturating_add(units);
        totals.counted = if bucket.key.span.is_source() { charge.counted } else { totals.counted };
        totals.counting = event.counting;
        self.record(&totals);
    }
}

/// The slot of a bucket that events are charged to, before anything was.
pub(in crate::store) fn events_slot(bucket: &EventBucket, at: UnixMillis) -> SlotTotals {
    SlotTotals {
        slot: SlotKey { bucket: bucket.key.clone(), incarnation: EVENTS, seq: 0 },
        end: bucket.end,
        granted: 0,
        used: 0,
        refunded: 0,
        at,
        sealed: true,
        counted: crate::domain::period::Windows::default(),
        counting: bucket.key.epoch,
        marks: bucket.marks.clone(),
    }
}
