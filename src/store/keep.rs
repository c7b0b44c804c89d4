//! Writes a tenant down as it is after a change: what is not as it was before.

use serde_json::json;

use super::{
    locked::text,
    session::{Arg, Session, Sql, bulk, signed},
};
use crate::{
    domain::{grant::Grant, id::TenantId, subscription::Subscription, tenant::Tenant, time::UnixMillis},
    ports::StoreError,
    wire::{attributes, belongings, overrides, subscription},
};

const UPDATE_TENANT: Sql = Sql::same(
    "UPDATE tenants SET name = $2, zone = $3, suspended = $4, overrides = $5, version = $6, addons = $7, \
     tried = $8, due_ms = $9, attributes = $10, \
     notice_ms = CASE WHEN CAST($11 AS BIGINT) = 1 THEN CAST($12 AS BIGINT) ELSE notice_ms END WHERE id = $1",
);
const PUT_SUBSCRIPTION: Sql = Sql::same(
    "INSERT INTO subscriptions (tenant, plan, plan_version, state, anchor_day, epoch, since_ms, life, roll_ms) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (tenant) DO UPDATE SET \
     plan = excluded.plan, plan_version = excluded.plan_version, state = excluded.state, \
     anchor_day = excluded.anchor_day, epoch = excluded.epoch, since_ms = excluded.since_ms, \
     life = excluded.life, roll_ms = excluded.roll_ms",
);
// Rows of an older version of this schema have none; it only says where to look, so it needs no version.
const CORRECT_ROLL: Sql =
    Sql::same("UPDATE subscriptions SET roll_ms = $2 WHERE tenant = $1 AND roll_ms <> $2");
const INSERT_GRANTS: Sql = bulk!(
    "INSERT INTO grants (tenant, id, number, meter, units, priority, since_ms, expires_ms, recurring, reason, \
     source) SELECT $2, v->>0, CAST(v->>1 AS BIGINT), v->>2, CAST(v->>3 AS BIGINT), CAST(v->>4 AS BIGINT), \
     CAST(v->>5 AS BIGINT), CAST(v->>6 AS BIGINT), CAST(v->>7 AS BIGINT), v->>8, v->>9 FROM",
    ""
);
const END_GRANTS: Sql = bulk!(
    "UPDATE grants SET ended_ms = $3 WHERE tenant = $2 AND ended_ms IS NULL AND id IN (SELECT v->>0 FROM",
    ")"
);

/// Writes `after`, where `before` is what the database has, at the instant `at`.
pub(super) async fn write(
    session: &mut Session,
    before: &Tenant,
    after: &Tenant,
    at: UnixMillis,
) -> Result<(), StoreError> {
    let overrides = overrides::encode(&after.overrides).to_string();
    let addons = belongings::addons(&after.addons).to_string();
    let tried = belongings::tried(&after.tried).to_string();
    let attributes = after.attributes.as_deref().map_or_else(|| json!({}), attributes::encode).to_string();
    // What was told of a trial is not told again with each change of something else.
    let trial = after.trial_notice();
    let args = [
        Arg::Text(after.id.as_str()),
        Arg::MaybeText(after.name.as_deref()),
        Arg::Text(after.zone.name()),
        Arg::Int(i64::from(after.suspended)),
        Arg::Text(&overrides),
        Arg::Int(signed(after.version.0)),
        Arg::Text(&addons),
        Arg::Text(&tried),
        Arg::MaybeInt(after.next_instant().map(|at| at.0)),
        Arg::Text(&attributes),
        Arg::Int(i64::from(trial != before.trial_notice())),
        Arg::MaybeInt(trial.map(|trial| trial.due.0)),
    ];
    session.run(UPDATE_TENANT, &args).await?;
    if let Some(subscription) =
        after.subscription.as_ref().filter(|_| after.subscription != before.subscription)
    {
        put_subscription(session, &after.id, subscription).await?;
    }
    let id = Arg::Text(after.id.as_str());
    let ended: Vec<&Grant> = missing(&before.grants, &after.grants);
    if !ended.is_empty() {
        let ids = text(ended.into_iter().map(|grant| json!([grant.id.as_str()])).collect());
        session.run(END_GRANTS, &[Arg::Text(&ids), id, Arg::Int(at.0)]).await?;
    }
    let given: Vec<&Grant> = missing(&after.grants, &before.grants);
    if !given.is_empty() {
        let rows = text(given.into_iter().map(belongings::grant).collect());
        session.run(INSERT_GRANTS, &[Arg::Text(&rows), id]).await?;
    }
    Ok(())
}

/// Those of `some` that are not in `others`.
fn missing<'a>(some: &'a [Grant], others: &[Grant]) -> Vec<&'a Grant> {
    some.iter().filter(|grant| others.iter().all(|other| other.id != grant.id)).collect()
}

async fn put_subscription(
    session: &mut Session,
    tenant: &TenantId,
    subscription: &Subscription,
) -> Result<(), StoreError> {
    let Subscription { plan, state, anchor, epoch, since, rolls_at, .. } = subscription;
    let life = subscription::encode(subscription).to_string();
    let args = [
        Arg::Text(tenant.as_str()),
        Arg::Text(plan.id.as_str()),
        Arg::Int(i64::from(plan.version.0)),
        Arg::Text(state.state().as_str()),
        Arg::Int(anchor.get()),
        Arg::Int(signed(epoch.0)),
        Arg::Int(since.0),
        Arg::Text(&life),
        Arg::Int(rolls_at.0),
    ];
    session.run(PUT_SUBSCRIPTION, &args).await.map(drop)
}

/// Lets the tenant be found no sooner than its month is to be rolled over; answers whether that was to be corrected.
pub(super) async fn correct_roll(session: &mut Session, tenant: &Tenant) -> Result<bool, StoreError> {
    let Some(subscription) = &tenant.subscription else { return Ok(false) };
    let args = [Arg::Text(tenant.id.as_str()), Arg::Int(subscription.rolls_at.0)];
    Ok(session.run(CORRECT_ROLL, &args).await? > 0)
}
