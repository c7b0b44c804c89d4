//! Which customer of the billing system a tenant is: said by calls, each one transaction with its line in the audit log.

use serde_json::{Value, json};

use super::{
    altered::{Altered, between},
    audit::{self, Entry},
    engine::Lane,
    once, rows,
    session::{Arg, Session, Sql},
    sql::SqlStore,
    stripe::{LINK_OF, LOCK_CUSTOMER},
};
use crate::{
    domain::id::TenantId,
    ports::{LinkError, Linked, Origin},
};

/// The audit log's words.
pub(super) const LINKED: &str = "billing.linked";
pub(super) const UNLINKED: &str = "billing.unlinked";
pub(super) const REPLAYED: &str = "billing.replayed";

const LOCK_TENANT: Sql = Sql {
    postgres: "SELECT id FROM tenants WHERE id = $1 FOR UPDATE",
    sqlite: "SELECT id FROM tenants WHERE id = $1",
};
const REMOVE: Sql =
    Sql::same("DELETE FROM billing_customers WHERE tenant = $1 AND customer <> $2 RETURNING customer");
const REMOVE_ANY: Sql = Sql::same("DELETE FROM billing_customers WHERE tenant = $1 RETURNING customer");
const PUT: Sql = Sql::same(
    "INSERT INTO billing_customers (customer, tenant, since_ms, by_call) VALUES ($1, $2, $3, 1) \
     ON CONFLICT (customer) DO UPDATE SET by_call = 1",
);

impl SqlStore {
    /// See [`crate::ports::StripeStore::link_customer`].
    pub(super) async fn link(
        &self,
        tenant: &TenantId,
        customer: &str,
        origin: &Origin,
    ) -> Result<Linked, LinkError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        if let Some(done) = claimed(&mut session, origin).await? {
            return Ok(done);
        }
        session.rows(LOCK_CUSTOMER, &[Arg::Text(customer)]).await?;
        lock(&mut session, tenant).await?;
        let mut had = None;
        if let Some(row) = session.first(LINK_OF, &[Arg::Text(customer)]).await? {
            let owner = rows::tenant_id(&row, 0)?;
            if owner != *tenant {
                return Err(LinkError::Taken { customer: customer.to_owned(), tenant: owner });
            }
            had = Some(customer.to_owned());
        }
        let others = [Arg::Text(tenant.as_str()), Arg::Text(customer)];
        if let Some(other) = session.first(REMOVE, &others).await? {
            had = Some(other.text(0)?);
        }
        let args = [Arg::Text(customer), Arg::Text(tenant.as_str()), Arg::Int(origin.at.0)];
        session.run(PUT, &args).await?;
        let altered = altered(had.as_deref(), Some(customer));
        record(session, Some(tenant), (LINKED, &detail(customer), altered), origin).await
    }

    /// See [`crate::ports::StripeStore::unlink_customer`].
    pub(super) async fn unlink(&self, tenant: &TenantId, origin: &Origin) -> Result<Linked, LinkError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        if let Some(done) = claimed(&mut session, origin).await? {
            return Ok(done);
        }
        lock(&mut session, tenant).await?;
        let removed = session.first(REMOVE_ANY, &[Arg::Text(tenant.as_str())]).await?;
        let customer = removed.ok_or_else(|| LinkError::NotLinked(tenant.clone()))?.text(0)?;
        let altered = altered(Some(&customer), None);
        record(session, Some(tenant), (UNLINKED, &detail(&customer), altered), origin).await
    }
}

impl SqlStore {
    /// See [`crate::ports::StripeStore::note_replay`].
    pub(super) async fn note(&self, what: &str, origin: &Origin) -> Result<Linked, LinkError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        if let Some(done) = claimed(&mut session, origin).await? {
            return Ok(done);
        }
        record(session, None, (REPLAYED, &json!({ "events": what }), Altered::default()), origin).await
    }
}

/// What the audit log says of it.
pub(super) fn detail(customer: &str) -> Value {
    json!({ "stripe_customer": customer })
}

/// What it alters.
pub(super) fn altered(before: Option<&str>, after: Option<&str>) -> Altered {
    let side = |customer| json!({ "stripe_customer": customer });
    between(&side(before), &side(after))
}

/// What was done under the origin's idempotency key.
async fn claimed(session: &mut Session, origin: &Origin) -> Result<Option<Linked>, LinkError> {
    let linked = |claimed: &once::Claimed| Some(Linked { version: claimed.version, replayed: true });
    once::before(session, origin, LinkError::IdempotencyConflict, linked).await
}

async fn lock(session: &mut Session, tenant: &TenantId) -> Result<(), LinkError> {
    let found = session.first(LOCK_TENANT, &[Arg::Text(tenant.as_str())]).await?;
    found.map(drop).ok_or_else(|| LinkError::NoTenant(tenant.clone()))
}

async fn record(
    mut session: Session,
    tenant: Option<&TenantId>,
    (kind, detail, altered): (&str, &Value, Altered),
    origin: &Origin,
) -> Result<Linked, LinkError> {
    let version = audit::newest(&mut session).await?;
    let entry = Entry {
        version,
        at: origin.at,
        actor: &origin.actor,
        source: &origin.source,
        tenant: tenant.map(TenantId::as_str),
        kind,
        detail,
    };
    audit::append_altered(&mut session, &entry, &altered.before, &altered.after).await?;
    once::keep(&mut session, origin, version, kind).await?;
    session.commit().await?;
    Ok(Linked { version, replayed: false })
}
