//! What tenants are billed by, and the statements that were closed.

use async_trait::async_trait;

use super::{NewEvent, StoreError};
use crate::domain::{
    id::TenantId,
    period::Period,
    statement::{BillingFacts, Counted, Timeline},
    tenant::Tenant,
    time::{UnixMillis, Version},
};

/// The history that bills are made of, and the bills.
#[async_trait]
pub trait StatementStore: Send + Sync + 'static {
    /// What a tenant was billed by in a span of time, in its order: what was in force at its start, and each change before
    /// its end. Empty: nothing is kept of that time, or the tenant never had a plan.
    async fn billing_facts(&self, tenant: &TenantId, span: Period) -> Result<Vec<BillingFacts>, StoreError>;

    /// What was used in a billing period, as far as recorded; by the hour where that is asked for.
    async fn counted(&self, tenant: &TenantId, period: Period, by_hour: bool) -> Result<Counted, StoreError>;

    /// Tenants with a period that ended before an instant and is not closed, the longest ended first, at most `limit`. The
    /// period is `None` where it has never been known which is the first to be closed.
    async fn to_close(
        &self,
        ended: UnixMillis,
        limit: u32,
    ) -> Result<Vec<(TenantId, Option<Period>)>, StoreError>;

    /// The period of a tenant that is to be closed next, as it was last written down.
    async fn next_to_close(&self, tenant: &TenantId) -> Result<Option<Period>, StoreError>;

    /// Closes a period, once: `false` where it was closed by somebody else, or what it was reckoned from has changed since.
    /// Then nothing is done.
    async fn close_period(&self, closing: &Closing) -> Result<bool, StoreError>;

    /// The first closed statement whose name begins so: a whole date, or a month as `2026-11-`.
    async fn closed_statement(
        &self,
        tenant: &TenantId,
        name: &str,
    ) -> Result<Option<ClosedStatement>, StoreError>;

    /// Closed statements, the newest first, at most `limit` of those that begin before an instant.
    async fn closed_statements(
        &self,
        tenant: &TenantId,
        before: Option<UnixMillis>,
        limit: u32,
    ) -> Result<Vec<StatementHead>, StoreError>;

    /// A tenant's history over a span of time, with what will become of it by itself until the span's end; `None`: it never
    /// had a plan.
    async fn timeline(&self, tenant: &Tenant, span: Period) -> Result<Option<Timeline>, StoreError> {
        if tenant.subscription.is_none() {
            return Ok(None);
        }
        let kept = self.billing_facts(&tenant.id, span).await?;
        Ok(Timeline::new(kept, tenant, span.end))
    }
}

/// A period that is to be closed, or to be known as the next.
#[derive(Debug, Clone, PartialEq)]
pub struct Closing {
    /// Whose.
    pub tenant: TenantId,
    /// The version of the tenant's facts that it was reckoned from.
    pub version: Version,
    /// The period, as [`StatementStore::to_close`] said it.
    pub period: Option<Period>,
    /// The statement; `None`: nothing is closed, only the next period is said.
    pub record: Option<ClosingRecord>,
    /// The period to be closed next; `None`: the subscription is over.
    pub next: Option<Period>,
}

/// A statement that is to be kept for good.
#[derive(Debug, Clone, PartialEq)]
pub struct ClosingRecord {
    /// Its period: where that ended earlier or later than was written down, as it did.
    pub period: Period,
    /// Its name.
    pub name: String,
    /// Units of what plans include and let through beyond, all together, that it was reckoned from.
    pub units: u64,
    /// In which currency; empty: nothing has a price.
    pub currency: Option<String>,
    /// What it comes to.
    pub total: String,
    /// When.
    pub at: UnixMillis,
    /// The statement itself, byte for byte.
    pub body: String,
    /// What is told; the digest is added to its data.
    pub event: NewEvent,
}

/// What a list says of a closed statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementHead {
    /// The period's first day in the tenant's zone of that time.
    pub name: String,
    /// The period.
    pub period: Period,
    /// In which currency; `None`: nothing had a price.
    pub currency: Option<String>,
    /// What it comes to.
    pub total: String,
    /// When it was closed.
    pub closed_at: UnixMillis,
    /// SHA-256 of the body, in lower-case hexadecimal.
    pub digest: String,
}

/// A closed statement: it never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedStatement {
    /// What a list says of it.
    pub head: StatementHead,
    /// It, byte for byte.
    pub body: String,
}
