//! A tenant's row, with everything that its rights depend on: read by one statement, and so as of one snapshot.

use std::sync::Arc;

use serde_json::Value;

use super::{
    classify::unreadable,
    rows::{instant, tenant_id, version},
    session::{Record, Sql},
};
use crate::{
    domain::{
        attributes::Attributes,
        id::TenantId,
        period::{AnchorDay, Zone},
        subscription::Subscription,
        tenant::Tenant,
    },
    ports::StoreError,
    wire::{
        FieldError, attributes, belongings, overrides,
        subscription::{self, Columns, plan_of},
    },
};

/// A statement whose rows [`tenant`] reads: what stands at place 0, and where `t` is the tenant and `s` its subscription.
macro_rules! tenant_rows {
    ($first:literal, $from:literal) => {
        $crate::store::session::Sql {
            postgres: concat!(
                "SELECT ",
                $first,
                $crate::store::tenant_row::own_columns!(),
                "CAST(json_agg(json_build_array(",
                $crate::store::tenant_row::grant_columns!(),
                ")) AS TEXT) FROM grants g WHERE g.tenant = t.id AND g.ended_ms IS NULL) FROM ",
                $from
            ),
            sqlite: concat!(
                "SELECT ",
                $first,
                $crate::store::tenant_row::own_columns!(),
                "json_group_array(json_array(",
                $crate::store::tenant_row::grant_columns!(),
                ")) FROM grants g WHERE g.tenant = t.id AND g.ended_ms IS NULL) FROM ",
                $from
            ),
        }
    };
}

macro_rules! own_columns {
    () => {
        ", t.id, t.name, t.zone, t.suspended, t.overrides, t.version, t.created_ms, t.addons, t.tried, \
         s.plan, s.plan_version, s.state, s.anchor_day, s.epoch, s.since_ms, s.life, t.attributes, (SELECT "
    };
}

/// As [`belongings::grant`] has them.
macro_rules! grant_columns {
    () => {
        "g.id, g.number, g.meter, g.units, g.priority, g.since_ms, g.expires_ms, g.recurring, g.reason, g.source"
    };
}
pub(super) use {grant_columns, own_columns, tenant_rows};

/// One tenant and the version of the snapshot.
pub(super) const TENANT: Sql = tenant_rows!(
    "h.version",
    "head h LEFT JOIN tenants t ON t.id = $1 LEFT JOIN subscriptions s ON s.tenant = t.id"
);

/// A tenant of a row of [`tenant_rows`]; `None` where the join found none.
pub(super) fn tenant(record: &Record) -> Result<Option<Tenant>, StoreError> {
    if record.maybe_text(1)?.is_none() {
        return Ok(None);
    }
    let id = tenant_id(record, 1)?;
    let bad = |column: &str, error: &dyn std::fmt::Display| bad(&id, column, error);
    let zone = Zone::named(&record.text(3)?).map_err(|error| bad("zone", &error))?;
    let overrides = overrides::decode(&document(record, 5, &id, "overrides")?).map_err(|errors| {
        let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
        bad("overrides", &text.join("; "))
    })?;
    let wrong = |column: &'static str| move |error: FieldError| bad(column, &error);
    Ok(Some(Tenant {
        name: record.maybe_text(2)?,
        suspended: record.flag(4)?,
        subscription: subscription(record, &id, &zone)?,
        zone,
        overrides,
        addons: belongings::read_addons(&document(record, 8, &id, "addons")?).map_err(wrong("addons"))?,
        tried: belongings::read_tried(&document(record, 9, &id, "tried")?).map_err(wrong("tried"))?,
        attributes: attributes(record, &id)?,
        grants: match record.maybe_text(18)? {
            None => Vec::new(),
            Some(_) => {
                belongings::read_grants(&document(record, 18, &id, "grants")?).map_err(wrong("grants"))?
            }
        },
        version: version(record, 6)?,
        ..Tenant::new(id.clone(), instant(record, 7)?)
    }))
}

fn attributes(record: &Record, id: &TenantId) -> Result<Option<Arc<Attributes>>, StoreError> {
    let found = attributes::decode(&document(record, 17, id, "attributes")?).map_err(|unfit| {
        let text: Vec<String> = unfit.errors.iter().map(ToString::to_string).collect();
        bad(id, "attributes", &text.join("; "))
    })?;
    Ok(found.shared())
}

fn subscription(record: &Record, id: &TenantId, zone: &Zone) -> Result<Option<Subscription>, StoreError> {
    let Some(plan) = record.maybe_text(10)? else { return Ok(None) };
    let columns = Columns {
        plan: plan_of(&plan, record.int(11)?).map_err(|error| bad(id, "plan", &error))?,
        state: record.text(12)?,
        anchor: AnchorDay::new(record.int(13)?).map_err(|error| bad(id, "anchor_day", &error))?,
        epoch: version(record, 14)?,
        since: instant(record, 15)?,
    };
    let life = document(record, 16, id, "life")?;
    subscription::decode(columns, zone, &life).map(Some).map_err(|error| bad(id, "life", &error))
}

/// A column that holds JSON.
fn document(record: &Record, place: usize, id: &TenantId, column: &str) -> Result<Value, StoreError> {
    serde_json::from_str(&record.text(place)?).map_err(|error| bad(id, column, &error))
}

fn bad(id: &TenantId, column: &str, error: &dyn std::fmt::Display) -> StoreError {
    unreadable(&format!("{column} of tenant `{id}`"), error)
}
