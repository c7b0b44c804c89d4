//! Histories and statements in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Memory, state::State, take};
use crate::{
    domain::{
        id::TenantId,
        period::Period,
        rights::Source,
        statement::{BillingFacts, BucketUse, Counted},
        tenant::Tenant,
        time::UnixMillis,
    },
    ports::{
        BucketKey, ClosedStatement, Closing, ClosingRecord, Span, StatementHead, StatementStore, StoreError,
    },
    store::{billing::Entries, statements::event},
    wire::hex,
};

/// What is kept for bills.
#[derive(Default)]
pub(super) struct Bills {
    facts: BTreeMap<TenantId, Vec<BillingFacts>>,
    /// The period of each tenant that is to be closed next.
    next: BTreeMap<TenantId, Period>,
    closed: BTreeMap<(TenantId, UnixMillis), ClosedStatement>,
}

impl Bills {
    /// Writes down what a tenant is billed by after a change.
    pub(super) fn keep(&mut self, tenant: &TenantId, entries: Entries) {
        let Entries { first, steps, running } = entries;
        let kept = self.facts.entry(tenant.clone()).or_default();
        if kept.is_empty() {
            kept.extend(first);
        }
        for mut facts in steps {
            facts.since = kept.last().map_or(facts.since, |last| last.since.max(facts.since));
            kept.push(facts);
        }
        if let Some(running) = running {
            let next = self.next.entry(tenant.clone()).or_insert(running);
            if next.start == running.start {
                *next = running;
            }
        }
    }

    /// Forgets a tenant.
    pub(super) fn forget(&mut self, tenant: &TenantId) {
        self.facts.remove(tenant);
        self.next.remove(tenant);
        self.closed.retain(|(whose, _), _| whose != tenant);
    }

    /// Whether some of a tenant's time before an instant waits for its statement.
    pub(super) fn waits(&self, tenant: &TenantId, before: UnixMillis) -> bool {
        self.next.get(tenant).is_some_and(|next| next.start < before)
    }
}

fn is_of(key: &BucketKey, end: UnixMillis, tenant: &TenantId, period: Period) -> bool {
    key.tenant == *tenant
        && match key.span {
            Span::MONTH | Span::Overage => period.contains(key.start),
            Span::Grant => key.start < period.end && end > period.start,
            Span::Window(_) | Span::Spend => false,
        }
}

impl State {
    fn count(&self, tenant: &TenantId, period: Period, by_hour: bool, now: UnixMillis) -> Counted {
        let mut counted = Counted::default();
        let own = self.book.buckets.iter().filter(|(key, bucket)| is_of(key, bucket.end, tenant, period));
        for (key, _) in own {
            let of_grant = key.span == Span::Grant;
            let mut uncertain = 0_u64;
            for (slot, facts) in self.book.slots.iter().filter(|(slot, _)| slot.bucket == *key) {
                let alive = self.lives(slot.incarnation, now);
                if facts.lost || !alive {
                    uncertain = uncertain.saturating_add(facts.unaccounted());
                }
                let open = !of_grant && !facts.sealed && !facts.lost;
                counted.open |= open && alive;
                counted.unreturned |= open && !alive;
            }
            let hours: Vec<(UnixMillis, i64)> = self
                .book
                .hours
                .range((key.clone(), UnixMillis(i64::MIN))..=(key.clone(), UnixMillis::NEVER))
                .filter(|((_, hour), _)| !of_grant || period.contains(*hour))
                .map(|((_, hour), units)| (*hour, *units))
                .collect();
            let sum: i64 = hours.iter().map(|(_, units)| units).sum();
            counted.buckets.push(BucketUse {
                meter: key.meter.clone(),
                source: key.span.source(key.epoch).unwrap_or(Source::Plan),
                counting: key.epoch,
                grant: self.grants.get(tenant).into_iter().flatten().find_map(|row| {
                    let named = of_grant && (row.grant.number, &row.grant.meter) == (key.epoch, &key.meter);
                    named.then(|| row.grant.id.clone())
                }),
                used: u64::try_from(sum).unwrap_or(0),
                uncertain,
                hours: if by_hour { hours } else { Vec::new() },
            });
        }
        // In the order of the other stores.
        counted.buckets.sort_by(|a, b| {
            let place = |one: &BucketUse| (one.meter.clone(), one.counting, word(one.source));
            place(a).cmp(&place(b))
        });
        counted
    }

    fn close_one(&mut self, closing: &Closing) -> bool {
        let current = self.tenants.get(&closing.tenant).map(|tenant: &Tenant| tenant.version);
        if current != Some(closing.version) || self.bills.next.get(&closing.tenant).copied() != closing.period
        {
            return false;
        }
        if let Some(record) = &closing.record
            && !self.insert(&closing.tenant, record)
        {
            return false;
        }
        match closing.next {
            Some(next) => self.bills.next.insert(closing.tenant.clone(), next),
            None => self.bills.next.remove(&closing.tenant),
        };
        true
    }

    fn insert(&mut self, tenant: &TenantId, record: &ClosingRecord) -> bool {
        let own =
            self.book.buckets.iter().filter(|(key, bucket)| {
                key.span != Span::Grant && is_of(key, bucket.end, tenant, record.period)
            });
        if own.map(|(_, bucket)| bucket.used).sum::<u64>() != record.units {
            return false;
        }
        let place = (tenant.clone(), record.period.start);
        if self.bills.closed.contains_key(&place) {
            return true;
        }
        let digest = hex::sha256(record.body.as_bytes());
        self.tell(vec![event(record, &digest)]);
        let head = StatementHead {
            name: record.name.clone(),
            period: record.period,
            currency: record.currency.clone(),
            total: record.total.clone(),
            closed_at: record.at,
            digest,
        };
        self.bills.closed.insert(place, ClosedStatement { head, body: record.body.clone() });
        true
    }
}

/// As the databases sort them.
const fn word(source: Source) -> &'static str {
    match source {
        Source::Plan => "month",
        Source::Grant(_) => "grant",
        Source::Overage => "overage",
    }
}

#[async_trait]
impl StatementStore for Memory {
    async fn billing_facts(&self, tenant: &TenantId, span: Period) -> Result<Vec<BillingFacts>, StoreError> {
        let state = self.state()?;
        let all = state.bills.facts.get(tenant).map_or(&[][..], Vec::as_slice);
        let first = all.iter().map(|entry| entry.since).filter(|since| *since <= span.start).max();
        let from = first.unwrap_or(span.start);
        let own = all.iter().filter(|entry| from <= entry.since && entry.since < span.end);
        Ok(own.cloned().collect())
    }

    async fn counted(&self, tenant: &TenantId, period: Period, by_hour: bool) -> Result<Counted, StoreError> {
        let now = self.clock.now();
        Ok(self.state()?.count(tenant, period, by_hour, now))
    }

    async fn to_close(
        &self,
        ended: UnixMillis,
        limit: u32,
    ) -> Result<Vec<(TenantId, Option<Period>)>, StoreError> {
        let state = self.state()?;
        let mut due: Vec<_> = state.bills.next.iter().filter(|(_, next)| next.end < ended).collect();
        due.sort_by_key(|(tenant, next)| (next.end, (*tenant).clone()));
        Ok(take(limit, due.into_iter().map(|(tenant, next)| (tenant.clone(), Some(*next)))))
    }

    async fn next_to_close(&self, tenant: &TenantId) -> Result<Option<Period>, StoreError> {
        Ok(self.state()?.bills.next.get(tenant).copied())
    }

    async fn close_period(&self, closing: &Closing) -> Result<bool, StoreError> {
        Ok(self.state()?.close_one(closing))
    }

    async fn closed_statement(
        &self,
        tenant: &TenantId,
        name: &str,
    ) -> Result<Option<ClosedStatement>, StoreError> {
        let state = self.state()?;
        let mut own = state.bills.closed.iter().filter(|((whose, _), _)| whose == tenant);
        Ok(own.find(|(_, one)| one.head.name.starts_with(name)).map(|(_, one)| one.clone()))
    }

    async fn closed_statements(
        &self,
        tenant: &TenantId,
        before: Option<UnixMillis>,
        limit: u32,
    ) -> Result<Vec<StatementHead>, StoreError> {
        let state = self.state()?;
        let own = state
            .bills
            .closed
            .iter()
            .rev()
            .filter(|((whose, start), _)| whose == tenant && before.is_none_or(|before| *start < before));
        Ok(take(limit, own.map(|(_, one)| one.head.clone())))
    }
}

#[cfg(test)]
impl Memory {
    /// What was told outside of a kind, the oldest first.
    pub(crate) fn told(&self, kind: &str) -> Vec<crate::ports::NewEvent> {
        let state = self.state().expect("the store is open");
        let own = state.outbox.iter().filter(|(_, event)| event.kind.as_str() == kind);
        own.map(|(_, event)| event.clone()).collect()
    }
}
