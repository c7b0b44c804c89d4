//! Usage events over a book that is all in memory.

use std::collections::{BTreeSet, hash_map::Entry};

use async_trait::async_trait;

use super::{Memory, once::Outcome, state::State};
use crate::{
    domain::{id::TenantId, time::UnixMillis},
    ports::{
        EVENTS, EarlierCall, EventDigest, EventKey, EventOutcome, Idempotency, StoreError, UsageEvent,
        UsageEventStore,
    },
    store::book::{Drawn, Setting},
};

/// An event that was charged.
pub(super) struct Known {
    digest: EventDigest,
    tenant: TenantId,
    at: UnixMillis,
}

impl State {
    /// One event, and whether somebody was asked to give back what it needs.
    fn charge_event(&mut self, event: &UsageEvent, now: UnixMillis) -> (EventOutcome, bool) {
        if let Some(known) = self.events.get(&event.key) {
            let same = known.digest == event.digest;
            return (if same { EventOutcome::Duplicate } else { EventOutcome::Conflict }, false);
        }
        let tenant = self.tenants.get(&event.tenant).map(|tenant| tenant.version);
        if tenant != Some(event.version) {
            return (EventOutcome::Stale, false);
        }
        for bucket in event.buckets() {
            let uncounted = self.book.uncounted(&bucket.key, bucket.end);
            self.book.seed(&bucket.key, bucket.end, uncounted);
        }
        let setting = self.setting(now);
        let outcome = match self.book.draw(event, Setting { tenant, ..setting }) {
            Drawn::Charged => {
                let known = Known { digest: event.digest, tenant: event.tenant.clone(), at: now };
                self.events.insert(event.key.clone(), known);
                EventOutcome::Charged
            }
            Drawn::Stale => EventOutcome::Stale,
            Drawn::Withheld => EventOutcome::Withheld,
            Drawn::Short(why) => {
                let mut all = 0;
                for key in &why.buckets {
                    let held = self.held(key, now, |owner| owner != EVENTS);
                    if held > 0 {
                        self.book.want(key, now);
                    }
                    all += held;
                }
                return (EventOutcome::Exhausted(why.told(all)), all > 0);
            }
        };
        (outcome, false)
    }

    /// Tenants that events were charged to in the last two seconds.
    pub(super) fn charged_lately(&self, now: UnixMillis) -> Vec<TenantId> {
        let lately = self.events.values().filter(|known| known.at.0 > now.0 - 2_000);
        let tenants: BTreeSet<&TenantId> = lately.map(|known| &known.tenant).collect();
        tenants.into_iter().cloned().collect()
    }

    /// Forgets events that came before an instant.
    pub(super) fn forget_usage_events(&mut self, before: UnixMillis) -> u64 {
        let known = self.events.len();
        self.events.retain(|_, event| event.at >= before);
        (known - self.events.len()) as u64
    }
}

#[async_trait]
impl UsageEventStore for Memory {
    async fn known_events(&self, keys: &[EventKey]) -> Result<Vec<Option<EventDigest>>, StoreError> {
        let state = self.state()?;
        Ok(keys.iter().map(|key| state.events.get(key).map(|known| known.digest)).collect())
    }

    async fn charge_events(&self, events: &[UsageEvent]) -> Result<Vec<EventOutcome>, StoreError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        let (mut outcomes, mut wakes) = (Vec::with_capacity(events.len()), false);
        for event in events {
            let (outcome, asked) = state.charge_event(event, now);
            wakes |= asked;
            outcomes.push(outcome);
        }
        let facts = state.book.take_facts();
        state.tell(facts);
        if wakes {
            self.woken.notify_one();
        }
        Ok(outcomes)
    }

    async fn claim_call(&self, idempotency: &Idempotency, _: UnixMillis) -> Result<EarlierCall, StoreError> {
        let Idempotency { key, fingerprint } = idempotency;
        Ok(match self.state()?.idempotency.entry(key.clone()) {
            Entry::Occupied(known) if known.get().0 != *fingerprint => EarlierCall::Another,
            Entry::Occupied(known) => match &known.get().1 {
                Outcome::Call(Some(answer)) => EarlierCall::Answered(answer.clone()),
                _ => EarlierCall::Open,
            },
            Entry::Vacant(free) => {
                free.insert((fingerprint.clone(), Outcome::Call(None)));
                EarlierCall::Open
            }
        })
    }

    async fn keep_call(&self, idempotency: &Idempotency, answer: &str) -> Result<(), StoreError> {
        if let Some((_, outcome)) = self.state()?.idempotency.get_mut(&idempotency.key) {
            *outcome = Outcome::Call(Some(answer.to_owned()));
        }
        Ok(())
    }
}
