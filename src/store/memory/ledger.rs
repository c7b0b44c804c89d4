//! The ledger's rules over a book that is all in memory.

use async_trait::async_trait;

use super::{Memory, state::State};
use crate::{
    domain::{time::UnixMillis, units::Units},
    ports::{
        BucketKey, GrantOutcome, GrantRequest, Incarnation, LedgerStore, OthersUsage, Remainder, SlotTotals,
        StoreError,
    },
    store::{book::Setting, epoch::GRACE_MILLIS},
};

impl State {
    pub(super) fn setting(&self, now: UnixMillis) -> Setting {
        let young = now.0.saturating_sub(self.epoch_since.0) < GRACE_MILLIS;
        let alive = self.nodes.values().filter(|node| node.alive(now));
        Setting {
            tenant: None,
            live: self.live(now),
            applied: alive.map(|node| node.applied).min(),
            withheld: self.epoch.0 > 0 && (young || !self.awaited().is_empty()),
            policies: self.revisions.last().map_or_else(Default::default, |last| last.version),
            now,
        }
    }

    fn grant_all(&mut self, requests: &[GrantRequest], now: UnixMillis) -> (Vec<GrantOutcome>, bool) {
        let setting = self.setting(now);
        let mut order: Vec<usize> = (0..requests.len()).collect();
        order.sort_by(|a, b| requests[*a].totals.slot.bucket.cmp(&requests[*b].totals.slot.bucket));
        for totals in requests.iter().map(|request| &request.totals) {
            let uncounted = self.book.uncounted(&totals.slot.bucket, totals.end);
            self.book.seed(&totals.slot.bucket, totals.end, uncounted);
        }
        let mut outcomes = vec![GrantOutcome::Stale; requests.len()];
        for place in order {
            let request = &requests[place];
            let tenant = self.tenants.get(&request.totals.slot.bucket.tenant).map(|tenant| tenant.version);
            outcomes[place] = self.book.grant(request, Setting { tenant, ..setting });
        }
        let mut wakes = self.book.take_freed().is_some_and(|until| until > now);
        for (request, outcome) in requests.iter().zip(&mut outcomes) {
            if let GrantOutcome::Exhausted { held, .. } = outcome {
                let slot = &request.totals.slot;
                *held = self.held(&slot.bucket, now, |owner| owner != slot.incarnation);
                if *held > 0 {
                    self.book.want(&slot.bucket, now);
                    wakes = true;
                } else {
                    self.book.refuse(request);
                }
            }
        }
        let facts = self.book.take_facts();
        self.tell(facts);
        (outcomes, wakes)
    }

    /// What live nodes hold of a bucket, of those whom `counts` names.
    pub(super) fn held(
        &self,
        bucket: &BucketKey,
        now: UnixMillis,
        counts: impl Fn(Incarnation) -> bool,
    ) -> u64 {
        let own = self.book.slots.iter().filter(|(key, _)| key.bucket == *bucket && counts(key.incarnation));
        own.filter(|(key, _)| self.lives(key.incarnation, now)).map(|(_, slot)| slot.spare()).sum()
    }

    fn others_of(&self, incarnation: Incarnation, key: &BucketKey, now: UnixMillis) -> OthersUsage {
        let Some(bucket) = self.book.buckets.get(key) else { return OthersUsage::default() };
        let (mut used, mut uncertain) = (self.book.uncounted(key, bucket.end), 0u64);
        for (slot, facts) in &self.book.slots {
            if slot.bucket == *key && slot.incarnation != incarnation {
                used = used.saturating_add(facts.net());
                if facts.lost || !self.lives(slot.incarnation, now) {
                    uncertain = uncertain.saturating_add(facts.unaccounted());
                }
            }
        }
        OthersUsage { used: Units::saturating(used), uncertain: Units::saturating(uncertain) }
    }
}

#[cfg(test)]
impl Memory {
    /// What is recorded of each bucket.
    pub(crate) fn recorded(&self) -> Vec<(BucketKey, u64)> {
        let state = self.state().unwrap();
        state.book.buckets.iter().map(|(key, bucket)| (key.clone(), bucket.used)).collect()
    }
}

#[async_trait]
impl LedgerStore for Memory {
    async fn grant(&self, requests: &[GrantRequest]) -> Result<Vec<GrantOutcome>, StoreError> {
        let now = self.clock.now();
        let (outcomes, wakes) = self.state()?.grant_all(requests, now);
        if wakes {
            self.woken.notify_one();
        }
        Ok(outcomes)
    }

    async fn flush(&self, totals: &[SlotTotals]) -> Result<Vec<u64>, StoreError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        totals.iter().for_each(|one| state.book.record(one));
        let facts = state.book.take_facts();
        state.tell(facts);
        if state.book.take_freed().is_some_and(|until| until > now) {
            self.woken.notify_one();
        }
        Ok(totals.iter().map(|one| state.book.used(&one.slot.bucket)).collect())
    }

    async fn recorded(&self, buckets: &[BucketKey]) -> Result<Vec<u64>, StoreError> {
        let state = self.state()?;
        Ok(buckets.iter().map(|bucket| state.book.used(bucket)).collect())
    }

    async fn remainders(
        &self,
        incarnation: Incarnation,
        buckets: &[BucketKey],
    ) -> Result<Vec<Remainder>, StoreError> {
        let now = self.clock.now();
        let state = self.state()?;
        let remainder = |key: &BucketKey| match state.book.buckets.get(key) {
            None => Remainder::default(),
            Some(bucket) => {
                Remainder { left: bucket.left(), held: state.held(key, now, |owner| owner != incarnation) }
            }
        };
        Ok(buckets.iter().map(remainder).collect())
    }

    async fn open_slots(&self, incarnations: &[Incarnation]) -> Result<Vec<SlotTotals>, StoreError> {
        let state = self.state()?;
        let mut open: Vec<SlotTotals> = Vec::new();
        for (key, slot) in &state.book.slots {
            if incarnations.contains(&key.incarnation) && !slot.sealed && !slot.lost {
                open.push(SlotTotals {
                    slot: key.clone(),
                    end: state.book.buckets.get(&key.bucket).map_or(UnixMillis(0), |bucket| bucket.end),
                    granted: slot.granted,
                    used: slot.used,
                    refunded: slot.refunded,
                    at: slot.since,
                    sealed: false,
                    counted: slot.counted,
                    counting: key.bucket.epoch,
                    marks: None,
                });
            }
        }
        let place = |one: &SlotTotals| (one.slot.incarnation, one.slot.bucket.clone(), one.slot.seq);
        open.sort_by_key(place);
        Ok(open)
    }

    async fn others(
        &self,
        incarnation: Incarnation,
        buckets: &[BucketKey],
    ) -> Result<Vec<OthersUsage>, StoreError> {
        let now = self.clock.now();
        let state = self.state()?;
        Ok(buckets.iter().map(|bucket| state.others_of(incarnation, bucket, now)).collect())
    }
}
