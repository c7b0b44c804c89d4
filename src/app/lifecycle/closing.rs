//! Closes billing periods that have ended: each once, however many nodes there are and whenever they die.
//!
//! Every node does all of it. That a period is closed once is by the row that says which is the next: who comes second finds
//! that it was moved on.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Lifecycle, LifecycleParts, aside::Aside};
use crate::{
    domain::{
        event::EventKind,
        id::TenantId,
        period::Period,
        rights::Source,
        statement::{Counted, Statement, Timeline, reckon},
        tenant::Tenant,
        time::UnixMillis,
    },
    freshness::Knowledge,
    ports::{Closing, ClosingRecord, NewEvent, StatementStore, StoreError},
    wire::statement::{Status, amount, encode},
};

/// How often periods are looked at.
const EACH: Duration = Duration::from_secs(30);
/// While there is more to do.
const SOON: Duration = Duration::from_millis(10);
/// So long after a period's end every node that is well has recorded what it used of it.
pub(super) const RECORDED_MILLIS: i64 = 20_000;
/// So long after it, what a node that is gone has not recorded is uncertain.
pub(super) const WAITED_MILLIS: i64 = 3_600_000;
/// How long a period is left alone that cannot be closed yet.
const WAIT: Duration = Duration::from_secs(30);
/// Further than any period reaches beyond an instant that is in it.
const AHEAD: Duration = Duration::from_secs(100 * 86_400);

/// More periods than can begin on days of one name.
const MOST_OF_A_DAY: u32 = 9;

/// The job of one node.
pub(in crate::app) struct Closer {
    lifecycle: Lifecycle,
    statements: Arc<dyn StatementStore>,
}

/// What became of a tenant's period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is closed, or was brought up to date, or somebody else has done it.
    Done,
    /// It is not over, or somebody has not recorded all that was used of it.
    Wait,
}

impl Closer {
    pub(in crate::app) fn new(parts: LifecycleParts, statements: Arc<dyn StatementStore>) -> Self {
        Self { lifecycle: Lifecycle::new(parts), statements }
    }

    /// Turn after turn until `end`.
    pub(in crate::app) async fn run(mut self, end: CancellationToken) {
        let share = u32::try_from(self.lifecycle.parts.run.0.as_u64_pair().1 % 1_000).unwrap_or(0);
        let mut pause = EACH * share / 1_000;
        let mut well = true;
        while end.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            // A turn that is broken off has closed whole periods, or nothing.
            let Some(answer) = end.run_until_cancelled(self.turn()).await else { return };
            pause = if matches!(answer, Ok(true)) { SOON } else { EACH };
            if let (Err(error), true) = (&answer, well) {
                tracing::warn!("statements could not be closed, tried again: {error}");
            }
            well = answer.is_ok();
        }
    }

    fn aside(&mut self) -> &mut Aside {
        &mut self.lifecycle.aside
    }

    /// Closes some of the periods that have ended; `true`: there is more.
    pub(in crate::app) async fn turn(&mut self) -> Result<bool, StoreError> {
        let parts = &self.lifecycle.parts;
        let monotonic = parts.clock.monotonic();
        if !matches!(parts.freshness.knowledge(monotonic), Knowledge::Fresh) {
            return Ok(false);
        }
        let now = parts.clock.now();
        self.aside().turn(monotonic);
        let ended = UnixMillis(now.0.saturating_sub(RECORDED_MILLIS));
        let due = self.statements.to_close(ended, self.lifecycle.page()).await?;
        let (tenants, more) = self.lifecycle.choose(due.iter().map(|(tenant, _)| tenant.clone()).collect());
        for id in tenants {
            let Some((_, period)) = due.iter().find(|(tenant, _)| *tenant == id) else { continue };
            match self.close(&id, *period, now).await {
                Ok(Outcome::Done) => self.aside().succeeded(&id),
                Ok(Outcome::Wait) => self.aside().wait(&id, WAIT),
                Err(error) => self.aside().failed(&id, "statement.closed", error.into())?,
            }
        }
        Ok(more)
    }

    async fn close(
        &self,
        id: &TenantId,
        period: Option<Period>,
        now: UnixMillis,
    ) -> Result<Outcome, StoreError> {
        let parts = &self.lifecycle.parts;
        let Some(tenant) = parts.tenants.tenant(id).await?.value else { return Ok(Outcome::Done) };
        let from = period.map_or(now, |period| period.start);
        let span = Period { start: from, end: now + AHEAD };
        let Some(timeline) = self.statements.timeline(&tenant, span).await? else { return Ok(Outcome::Done) };
        let mut closing =
            Closing { tenant: id.clone(), version: tenant.version, period, record: None, next: None };
        let Some(begun) = period else {
            // Nobody knows what was before.
            closing.next = timeline.period_at(now).filter(|_| timeline.goes_on_at(now));
            self.statements.close_period(&closing).await?;
            return Ok(Outcome::Done);
        };
        let Some(period) = timeline.period_from(begun.start) else { return Ok(Outcome::Done) };
        if period.end.0.saturating_add(RECORDED_MILLIS) > now.0 {
            // It turned out to be longer.
            closing.next = Some(period);
            self.statements.close_period(&closing).await?;
            return Ok(Outcome::Wait);
        }
        let counted = self.statements.counted(id, period, true).await?;
        let waited = period.end.0.saturating_add(WAITED_MILLIS) <= now.0;
        if counted.open || (counted.unreturned && !waited) {
            return Ok(Outcome::Wait);
        }
        let catalog = parts.policies.catalog();
        let Some(mut statement) = reckon(&timeline, catalog.of_tenant(id), period, &counted.buckets) else {
            return Ok(Outcome::Done);
        };
        statement.name = self.free_name(id, &statement).await?;
        closing.next = next(&timeline, period);
        closing.record = Some(record(&tenant, &statement, &counted, now));
        if self.statements.close_period(&closing).await? {
            tracing::debug!(tenant = %id, statement = statement.name, "closed");
            for lost in &statement.unpriced {
                let (kind, reason) = (lost.kind(), lost.reason());
                tracing::warn!(tenant = %id, statement = statement.name, kind, "not billed: {reason}");
            }
        }
        Ok(Outcome::Done)
    }
}

impl Closer {
    /// A name that no other period has. Where the zone changes, two may begin on days of one name: `2026-01-16`, and
    /// `2026-01-16.2`.
    async fn free_name(&self, id: &TenantId, statement: &Statement) -> Result<String, StoreError> {
        let mut name = statement.name.clone();
        for number in 2..=MOST_OF_A_DAY {
            let found = self.statements.closed_statement(id, &name).await?;
            if found.is_none_or(|found| {
                found.head.name != name || found.head.period.start == statement.period.start
            }) {
                break;
            }
            name = format!("{}.{number}", statement.name);
        }
        Ok(name)
    }
}

/// The period after one, where the subscription went on after it, or does again.
fn next(timeline: &Timeline, period: Period) -> Option<Period> {
    timeline.period_from(period.end).filter(|_| timeline.goes_on_at(period.end))
}

fn record(tenant: &Tenant, statement: &Statement, counted: &Counted, at: UnixMillis) -> ClosingRecord {
    let of_plan = counted.buckets.iter().filter(|bucket| !matches!(bucket.source, Source::Grant(_)));
    let currency = statement.currency.map(|currency| currency.to_string());
    let total = amount(statement.total(), statement.currency);
    let period = statement.period;
    // A tenant that was deleted and made again is another one.
    let name = format!("statement.closed/{}/{}/{}", tenant.id, tenant.created_at.0, period.start.0);
    let data = json!({
        "statement": statement.name,
        "period": { "start": period.start.to_string(), "end": period.end.to_string() },
        "currency": currency,
        "total": total,
    });
    ClosingRecord {
        period,
        name: statement.name.clone(),
        units: of_plan.map(|bucket| bucket.used).fold(0, u64::saturating_add),
        currency,
        total,
        at,
        body: encode(statement, Status::Closed(at)).to_string(),
        event: NewEvent { name, kind: EventKind::StatementClosed, tenant: tenant.id.clone(), at, data },
    }
}

#[cfg(test)]
mod tests;
