//! Housekeeping in memory.

use super::state::State;
use crate::{
    domain::{
        period::Zone,
        time::{UnixMillis, Version},
    },
    ports::Unclaimed,
    store::tidy::{AT_ONCE, Cutoffs, Tidied, day_of},
};

impl State {
    /// See [`crate::store::Store::tidy`].
    pub(super) fn tidy(&mut self, now: UnixMillis, old: Cutoffs) -> Tidied {
        let (hours, buckets) = (self.roll_up(old), self.delete_buckets(old));
        let days = self.days.len();
        self.days.retain(|(_, _, day), _| *day >= old.days);
        let audit = self.audit.tidy(old.audit);
        let files = self.files.len();
        for node in self.nodes.values() {
            self.files.entry(node.file).and_modify(|file| file.used = now);
        }
        self.files.retain(|_, file| file.used >= old.buckets);
        let events = self.forget_events(old.events, AT_ONCE);
        let running = self.revisions.last().map_or(Version(0), |last| last.version);
        Tidied {
            hours,
            days: (days - self.days.len()) as u64,
            buckets,
            audit,
            files: (files - self.files.len()) as u64,
            stripe: self.told.forget(old.stripe),
            stripe_unclaimed: self.told.drop_unclaimed(&Unclaimed::at(now, AT_ONCE)),
            shadow: self.shadow.forget(|trial| trial != running),
            messages: self.forget_messages(now),
            events,
            more: hours == AT_ONCE || events == AT_ONCE,
            usage_events: self.forget_usage_events(old.usage_events),
        }
    }

    fn roll_up(&mut self, old: Cutoffs) -> u64 {
        let mut gone: Vec<_> =
            self.book.usage.keys().filter(|(_, _, hour, _)| *hour < old.hours).cloned().collect();
        gone.sort_by_key(|(_, _, hour, _)| *hour);
        gone.truncate(usize::try_from(AT_ONCE).unwrap_or(usize::MAX));
        for key in &gone {
            let used = self.book.usage.remove(key).unwrap_or_default();
            let (tenant, meter, hour, _) = key;
            let zone = self.tenants.get(tenant).map_or(Zone::UTC, |tenant| tenant.zone.clone());
            let day = (tenant.clone(), meter.clone(), day_of(&zone, *hour));
            *self.days.entry(day).or_default() += used.units;
        }
        gone.len() as u64
    }

    fn delete_buckets(&mut self, old: Cutoffs) -> u64 {
        let before = self.book.buckets.len();
        let (slots, bills) = (&self.book.slots, &self.bills);
        self.book.buckets.retain(|key, bucket| {
            bucket.end >= old.buckets
                || bills.waits(&key.tenant, bucket.end)
                || slots.iter().any(|(slot, facts)| slot.bucket == *key && !facts.sealed && !facts.lost)
        });
        let buckets = &self.book.buckets;
        self.book.slots.retain(|slot, _| buckets.contains_key(&slot.bucket));
        self.book.hours.retain(|(bucket, _), _| buckets.contains_key(bucket));
        (before - self.book.buckets.len()) as u64
    }
}
