//! Writes down what a tenant is billed by, in the transaction that changes it, and which of its periods is to be closed.

use super::{
    classify::unreadable,
    rows,
    session::{Arg, Record, Session, Sql, signed},
};
use crate::{
    domain::{
        id::TenantId,
        lifecycle::Happened,
        period::Period,
        statement::{BillingFacts, steps},
        tenant::Tenant,
        time::UnixMillis,
    },
    ports::StoreError,
    wire::billing_facts,
};

// Never before what is there: clocks of nodes differ a little, the order of versions is that of the changes.
const INSERT: Sql = Sql::same(
    "INSERT INTO billing_facts (tenant, version, step, since_ms, facts) \
     SELECT $1, $2, $3, CASE WHEN last.at_ms > $4 THEN last.at_ms ELSE $4 END, $5 \
     FROM (SELECT max(since_ms) AS at_ms FROM billing_facts WHERE tenant = $1) AS last \
     WHERE true ON CONFLICT (tenant, version, step) DO NOTHING",
);
const INSERT_FIRST: Sql = Sql::same(
    "INSERT INTO billing_facts (tenant, version, step, since_ms, facts) SELECT $1, $2, $3, $4, $5 \
     WHERE NOT EXISTS (SELECT 1 FROM billing_facts WHERE tenant = $1) \
     ON CONFLICT (tenant, version, step) DO NOTHING",
);
// A period that has ended and waits for its statement stays the next.
const PERIOD: Sql = Sql::same(
    "UPDATE subscriptions SET bills_from_ms = $2, bills_until_ms = $3 WHERE tenant = $1 \
     AND (bills_until_ms IS NULL OR bills_until_ms = 0 OR bills_from_ms = $2)",
);

/// What is written beside a change.
pub(super) struct Entries {
    /// What the tenant was billed by before, where it had a plan: to be written only where nothing is kept of it yet.
    pub(super) first: Option<BillingFacts>,
    /// What it is billed by from each instant on.
    pub(super) steps: Vec<BillingFacts>,
    /// The period that runs after the change, which is to be closed once it has ended.
    pub(super) running: Option<Period>,
}

impl Entries {
    /// Those of a change at `at`; `None`: nothing that is billed has changed.
    pub(super) fn of(before: &Tenant, after: &Tenant, happened: &[Happened], at: UnixMillis) -> Option<Self> {
        let steps = steps(before, after, happened, at);
        if steps.is_empty() {
            return None;
        }
        let since = before.subscription.as_ref().map(|subscription| subscription.since);
        let running = after.subscription.as_ref().filter(|_| after.state().goes_on());
        Some(Self {
            first: since.map(|since| BillingFacts::of(before, since)),
            steps,
            running: running.map(|subscription| subscription.calendar(&after.zone).month(at)),
        })
    }
}

/// Writes them.
pub(super) async fn write(
    session: &mut Session,
    tenant: &TenantId,
    entries: &Entries,
) -> Result<(), StoreError> {
    if let Some(first) = &entries.first {
        insert(session, INSERT_FIRST, tenant, first, 0).await?;
    }
    for (facts, step) in entries.steps.iter().zip(1..) {
        insert(session, INSERT, tenant, facts, step).await?;
    }
    if let Some(running) = entries.running {
        let args = [Arg::Text(tenant.as_str()), Arg::Int(running.start.0), Arg::Int(running.end.0)];
        session.run(PERIOD, &args).await?;
    }
    Ok(())
}

async fn insert(
    session: &mut Session,
    sql: Sql,
    tenant: &TenantId,
    facts: &BillingFacts,
    step: i64,
) -> Result<(), StoreError> {
    let text = billing_facts::encode(facts).to_string();
    let args = [
        Arg::Text(tenant.as_str()),
        Arg::Int(signed(facts.tenant.version.0)),
        Arg::Int(step),
        Arg::Int(facts.since.0),
        Arg::Text(&text),
    ];
    session.run(sql, &args).await.map(drop)
}

/// Reads an entry: tenant, version, since, facts.
pub(super) fn entry(row: &Record) -> Result<BillingFacts, StoreError> {
    let tenant = rows::tenant_id(row, 0)?;
    let bad =
        |error: &dyn std::fmt::Display| unreadable(&format!("billing facts of tenant `{tenant}`"), error);
    let document = serde_json::from_str(&row.text(3)?).map_err(|error| bad(&error))?;
    billing_facts::decode(&tenant, rows::version(row, 1)?, rows::instant(row, 2)?, &document)
        .map_err(|error| bad(&error))
}
