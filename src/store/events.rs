//! What was told outside: read again. And what is told at an instant that is known beforehand, as trials end.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    classify::unreadable,
    engine::Lane,
    outbox, rows,
    session::{Arg, Record, Sql, signed},
    sql::SqlStore,
    tenant_row,
};
use crate::{
    domain::{
        event::EventKind,
        id::{PlanId, TenantId},
        tenant::Tenant,
        time::UnixMillis,
    },
    ports::{EventRow, EventStore, NewEvent, StoreError, WhichEvents},
};

const EVENTS: Sql = Sql {
    postgres: "SELECT number, id, kind, tenant, at_ms, body FROM outbox WHERE number > $1 \
               AND ($3 = '' OR kind = $3) ORDER BY number LIMIT $2",
    sqlite: "SELECT place, id, kind, tenant, at_ms, body FROM outbox WHERE place > $1 \
             AND ($3 = '' OR kind = $3) ORDER BY place LIMIT $2",
};
const EVENTS_OF_TENANT: Sql = Sql {
    postgres: "SELECT number, id, kind, tenant, at_ms, body FROM outbox WHERE number > $1 \
               AND ($3 = '' OR kind = $3) AND tenant = $4 ORDER BY number LIMIT $2",
    sqlite: "SELECT place, id, kind, tenant, at_ms, body FROM outbox WHERE place > $1 \
             AND ($3 = '' OR kind = $3) AND tenant = $4 ORDER BY place LIMIT $2",
};
const NOTICES: Sql =
    Sql::same("SELECT id FROM tenants WHERE notice_ms <= $1 ORDER BY notice_ms, id LIMIT $2");
// Who comes second waits here, and then finds nothing.
const LOCK: Sql = Sql {
    postgres: "SELECT notice_ms FROM tenants WHERE id = $1 AND notice_ms <= $2 FOR UPDATE",
    sqlite: "SELECT notice_ms FROM tenants WHERE id = $1 AND notice_ms <= $2",
};
const NEXT_NOTICE: Sql = Sql::same("UPDATE tenants SET notice_ms = $2 WHERE id = $1");

fn event(row: &Record) -> Result<EventRow, StoreError> {
    let body = row.text(5)?;
    let mut body: Value =
        serde_json::from_str(&body).map_err(|error| unreadable("an event's body", error))?;
    Ok(EventRow {
        cursor: row.count(0)?,
        id: row.text(1)?,
        kind: row.text(2)?,
        tenant: rows::tenant_id(row, 3)?,
        at: rows::instant(row, 4)?,
        data: body["data"].take(),
    })
}

/// What is to be done about a tenant's trial at `now`, where its notice was due: what is told, and when it is looked at it
/// next.
pub(super) fn notice(tenant: &Tenant, now: UnixMillis) -> (Option<NewEvent>, Option<UnixMillis>) {
    let Some(trial) = tenant.trial_notice().filter(|trial| trial.ends_at > now) else { return (None, None) };
    if trial.due > now {
        return (None, Some(trial.due));
    }
    let plan = tenant.plan_at(now).map(|plan| plan.id);
    let then = tenant.plan_at(trial.ends_at).map(|plan| plan.id);
    let told = NewEvent {
        name: format!(
            "{}/{}/{}/{}",
            EventKind::TrialWillEnd.as_str(),
            tenant.id,
            trial.version,
            trial.ends_at.0
        ),
        kind: EventKind::TrialWillEnd,
        tenant: tenant.id.clone(),
        at: now,
        data: json!({
            "plan": plan.as_ref().map(PlanId::as_str),
            "trial_ends_at": trial.ends_at.to_string(),
            "then": then.as_ref().map(PlanId::as_str),
        }),
    };
    (Some(told), None)
}

impl SqlStore {
    async fn tell_trial_end(&self, id: &TenantId, now: UnixMillis) -> Result<(), StoreError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        let own = Arg::Text(id.as_str());
        if session.first(LOCK, &[own, Arg::Int(now.0)]).await?.is_none() {
            return Ok(());
        }
        // A statement of its own: it sees what was committed while the lock was waited for.
        let row = session.first(tenant_row::TENANT, &[own]).await?;
        let Some(tenant) = row.as_ref().map(tenant_row::tenant).transpose()?.flatten() else { return Ok(()) };
        let (told, next) = notice(&tenant, now);
        outbox::tell(&mut session, told.as_slice()).await?;
        session.run(NEXT_NOTICE, &[own, Arg::MaybeInt(next.map(|at| at.0))]).await?;
        session.commit().await
    }
}

#[async_trait]
impl EventStore for SqlStore {
    async fn events(&self, after: u64, limit: u32, which: &WhichEvents) -> Result<Vec<EventRow>, StoreError> {
        self.call(self.number_facts()).await?;
        let kind = which.kind.map_or("", EventKind::as_str);
        let (after, limit, kind) = (Arg::Int(signed(after)), Arg::Int(i64::from(limit)), Arg::Text(kind));
        match &which.tenant {
            None => self.list(EVENTS, &[after, limit, kind], event).await,
            Some(tenant) => {
                let args = [after, limit, kind, Arg::Text(tenant.as_str())];
                self.list(EVENTS_OF_TENANT, &args, event).await
            }
        }
    }

    async fn tell_trial_ends(&self, now: UnixMillis, limit: u32) -> Result<bool, StoreError> {
        let args = [Arg::Int(now.0), Arg::Int(i64::from(limit))];
        let due = self.list(NOTICES, &args, |row| rows::tenant_id(row, 0)).await?;
        let (mut told, full) = (0, u32::try_from(due.len()).is_ok_and(|due| due >= limit));
        for id in &due {
            match self.call(self.tell_trial_end(id, now)).await {
                Ok(()) => told += 1,
                // One that cannot be read must not hold up the others.
                Err(error @ StoreError::Corrupt(_)) => {
                    tracing::error!(tenant = %id, "the end of a trial cannot be told: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(full && told > 0)
    }
}
