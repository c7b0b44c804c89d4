//! What tenants had, what is to become of them, and what plans said: read, and of plans written.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    classify::unreadable,
    engine::Lane,
    locked::text,
    rows,
    session::{Arg, Record, Sql, bulk, signed},
    sql::SqlStore,
    tenant_row::{tenant, tenant_rows},
};
use crate::{
    domain::{
        id::{AddonId, MeterId, PlanId, TenantId},
        plan::PlanRef,
        tenant::Tenant,
        time::{UnixMillis, Version},
    },
    ports::{GrantRow, KeptPlan, LifecycleStore, PlanStore, PlanTerms, Sold, SoldTerms, StoreError},
    wire::{belongings, subscription::plan_of},
};

// Those of one number are together on one page.
const GRANTS: Sql = Sql::same(
    "SELECT id, number, meter, units, priority, since_ms, expires_ms, recurring, reason, source, ended_ms \
     FROM grants WHERE tenant = $1 AND number < $2 AND number >= (SELECT min(n.number) FROM (\
       SELECT number FROM grants WHERE tenant = $1 AND number < $2 ORDER BY number DESC LIMIT $3) AS n) \
     ORDER BY number DESC, length(id) DESC, id DESC",
);
const DUE: Sql = Sql::same("SELECT id FROM tenants WHERE due_ms <= $1 ORDER BY due_ms, id LIMIT $2");
const UPCOMING: Sql = tenant_rows!(
    "CAST(0 AS BIGINT)",
    "tenants t LEFT JOIN subscriptions s ON s.tenant = t.id \
     WHERE t.due_ms IS NOT NULL AND (t.due_ms, t.id) > ($1, $2) ORDER BY t.due_ms, t.id LIMIT $3"
);
const ON_OLDER: Sql = tenant_rows!(
    "CAST(0 AS BIGINT)",
    "subscriptions s JOIN tenants t ON t.id = s.tenant WHERE s.plan = $1 AND s.plan_version < $2 \
     AND s.tenant > $3 AND s.state NOT IN ('canceled', 'expired') ORDER BY s.tenant LIMIT $4"
);
const TO_ROLL_OVER: Sql = bulk!(
    "SELECT s.tenant FROM",
    "JOIN subscriptions s ON s.plan = v->>0 AND s.roll_ms < $2 \
     AND s.state IN ('trialing', 'active', 'past_due') ORDER BY s.roll_ms, s.tenant LIMIT $3"
);
const BY_PLAN: Sql = Sql::same(
    "SELECT plan, plan_version, count(*) FROM subscriptions WHERE state NOT IN ('canceled', 'expired') \
     GROUP BY plan, plan_version",
);
// In one order, so that nodes that start together do not wait in a circle.
const KEEP_PLANS: Sql = bulk!(
    "INSERT INTO plan_versions (id, version, terms, introduced_ms) \
     SELECT v->>0, CAST(v->>1 AS BIGINT), v->>2, CAST(v->>3 AS BIGINT) FROM",
    "WHERE true ON CONFLICT (id, version) DO UPDATE SET terms = excluded.terms \
     WHERE plan_versions.terms <> excluded.terms"
);
const KEPT_PLANS: Sql =
    Sql::same("SELECT id, version, terms, introduced_ms FROM plan_versions ORDER BY id, version");
// In one order, too.
const KEEP_SOLD: Sql = bulk!(
    "INSERT INTO sold_terms (kind, id, version, terms) \
     SELECT v->>0, v->>1, CAST(v->>2 AS BIGINT), v->>3 FROM",
    "WHERE true ON CONFLICT (kind, id, version) DO UPDATE SET terms = excluded.terms \
     WHERE sold_terms.terms <> excluded.terms"
);
const KEPT_SOLD: Sql =
    Sql::same("SELECT id, version, terms, kind FROM sold_terms ORDER BY kind, id, version");

fn grant(row: &Record) -> Result<GrantRow, StoreError> {
    let document = json!([[
        row.text(0)?,
        row.int(1)?,
        row.text(2)?,
        row.int(3)?,
        row.int(4)?,
        row.int(5)?,
        row.maybe_int(6)?,
        row.int(7)?,
        row.maybe_text(8)?,
        row.text(9)?
    ]]);
    let read = belongings::read_grants(&document).map_err(|error| unreadable("a grant", error))?;
    let grant = read.into_iter().next().ok_or_else(|| unreadable("a grant", "no row"))?;
    Ok(GrantRow { grant, ended_at: row.maybe_int(10)?.map(UnixMillis) })
}

fn plan(row: &Record) -> Result<PlanRef, StoreError> {
    plan_of(&row.text(0)?, row.int(1)?).map_err(|error| unreadable("a plan's version", error))
}

fn counted(row: &Record) -> Result<(PlanRef, u64), StoreError> {
    Ok((plan(row)?, row.count(2)?))
}

fn kept(row: &Record) -> Result<KeptPlan, StoreError> {
    let plan = plan(row)?;
    let terms: Value = serde_json::from_str(&row.text(2)?).map_err(|error| {
        unreadable(&format!("the terms of plan `{}`, version {}", plan.id, plan.version), error)
    })?;
    Ok(KeptPlan { plan: PlanTerms { plan, terms }, introduced: rows::instant(row, 3)? })
}

/// Kind, id and version of what was sold.
fn sold_key(what: &Sold) -> (&'static str, &str, u32) {
    match what {
        Sold::Addon(addon) => ("addon", addon.as_str(), 0),
        Sold::Meter(meter) => ("meter", meter.as_str(), 0),
        Sold::Plan(plan) => ("plan", plan.id.as_str(), plan.version.0),
    }
}

fn sold(row: &Record) -> Result<SoldTerms, StoreError> {
    let (kind, id) = (row.text(3)?, row.text(0)?);
    let bad = |error: &dyn std::fmt::Display| unreadable(&format!("what was sold as {kind} `{id}`"), error);
    let what = match kind.as_str() {
        "addon" => AddonId::parse(&id).map(Sold::Addon).map_err(|error| bad(&error))?,
        "meter" => MeterId::parse(&id).map(Sold::Meter).map_err(|error| bad(&error))?,
        "plan" => Sold::Plan(plan(row)?),
        _ => return Err(bad(&"it is no kind that is known")),
    };
    let terms = serde_json::from_str(&row.text(2)?).map_err(|error| bad(&error))?;
    Ok(SoldTerms { what, terms })
}

fn id(row: &Record) -> Result<TenantId, StoreError> {
    rows::tenant_id(row, 0)
}

#[async_trait]
impl LifecycleStore for SqlStore {
    async fn grants(
        &self,
        tenant: &TenantId,
        before: Option<Version>,
        limit: u32,
    ) -> Result<Vec<GrantRow>, StoreError> {
        let before = before.map_or(i64::MAX, |before| signed(before.0));
        let args = [Arg::Text(tenant.as_str()), Arg::Int(before), Arg::Int(i64::from(limit))];
        self.list(GRANTS, &args, grant).await
    }

    async fn due(&self, now: UnixMillis, limit: u32) -> Result<Vec<TenantId>, StoreError> {
        self.list(DUE, &[Arg::Int(now.0), Arg::Int(i64::from(limit))], id).await
    }

    async fn upcoming(
        &self,
        after: Option<&(UnixMillis, TenantId)>,
        limit: u32,
    ) -> Result<Vec<Tenant>, StoreError> {
        let (at, id) = after.map_or((i64::MIN, ""), |(at, id)| (at.0, id.as_str()));
        let args = [Arg::Int(at), Arg::Text(id), Arg::Int(i64::from(limit))];
        Ok(self.list(UPCOMING, &args, tenant).await?.into_iter().flatten().collect())
    }

    async fn on_older_version(
        &self,
        plan: &PlanRef,
        after: Option<&TenantId>,
        limit: u32,
    ) -> Result<Vec<Tenant>, StoreError> {
        let mut after = after.map_or_else(String::new, ToString::to_string);
        let (id, version) = (Arg::Text(plan.id.as_str()), Arg::Int(i64::from(plan.version.0)));
        self.call(async {
            loop {
                let args = [id, version, Arg::Text(&after), Arg::Int(i64::from(limit))];
                let rows = self.engine.read(Lane::Data, ON_OLDER, &args).await?;
                let Some(last) = rows.last() else { return Ok(Vec::new()) };
                let next = last.text(1)?;
                let tenants: Vec<Tenant> = rows.iter().filter_map(readable).collect();
                if !tenants.is_empty() {
                    return Ok(tenants);
                }
                after = next;
            }
        })
        .await
    }

    async fn to_roll_over(
        &self,
        plans: &[PlanId],
        ended: UnixMillis,
        limit: u32,
    ) -> Result<Vec<TenantId>, StoreError> {
        let plans = text(plans.iter().map(|plan| json!([plan.as_str()])).collect());
        let args = [Arg::Text(&plans), Arg::Int(ended.0), Arg::Int(i64::from(limit))];
        self.list(TO_ROLL_OVER, &args, id).await
    }

    async fn tenants_by_plan(&self) -> Result<Vec<(PlanRef, u64)>, StoreError> {
        let mut counted = self.list(BY_PLAN, &[], counted).await?;
        counted.sort();
        Ok(counted)
    }
}

/// A tenant, unless its row is beyond reading: one such must not hold up the others.
fn readable(row: &Record) -> Option<Tenant> {
    tenant(row).unwrap_or_else(|error| {
        tracing::error!("a tenant is left out: {error}");
        None
    })
}

#[async_trait]
impl PlanStore for SqlStore {
    async fn keep_plans(&self, plans: &[PlanTerms], at: UnixMillis) -> Result<(), StoreError> {
        let each: BTreeMap<&PlanRef, &Value> = plans.iter().map(|one| (&one.plan, &one.terms)).collect();
        if each.is_empty() {
            return Ok(());
        }
        let row = |(plan, terms): (&PlanRef, &Value)| {
            json!([plan.id.as_str(), plan.version.0, terms.to_string(), at.0])
        };
        let rows = text(each.into_iter().map(row).collect());
        self.call(async { self.engine.write(Lane::Data, KEEP_PLANS, &[Arg::Text(&rows)]).await.map(drop) })
            .await
    }

    async fn kept_plans(&self) -> Result<Vec<KeptPlan>, StoreError> {
        self.list(KEPT_PLANS, &[], kept).await
    }

    async fn keep_sold(&self, sold: &[SoldTerms]) -> Result<(), StoreError> {
        let each: BTreeMap<&Sold, &Value> = sold.iter().map(|one| (&one.what, &one.terms)).collect();
        if each.is_empty() {
            return Ok(());
        }
        let row = |(what, terms): (&Sold, &Value)| {
            let (kind, id, version) = sold_key(what);
            json!([kind, id, version, terms.to_string()])
        };
        let rows = text(each.into_iter().map(row).collect());
        self.call(async { self.engine.write(Lane::Data, KEEP_SOLD, &[Arg::Text(&rows)]).await.map(drop) })
            .await
    }

    async fn kept_sold(&self) -> Result<Vec<SoldTerms>, StoreError> {
        self.list(KEPT_SOLD, &[], sold).await
    }
}
