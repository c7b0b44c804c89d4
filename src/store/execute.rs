//! Carries a change out: one transaction with one version.
//!
//! Locks are taken in one order: the idempotency key, the tenant, a key's hash, the head, and with the lines of the audit
//! log their chain's head last. Who holds the head waits for nothing else, so that versions are handed out as fast as commits are, in the order in which they become visible.

use super::{
    altered::{self, Sides},
    audit::{self, Entry},
    billing, change,
    classify::unreadable,
    engine::Lane,
    epoch::{BUMP, NOTIFY},
    journal::{self, Line},
    keep, once, outbox, rollover, rows,
    session::{Arg, Session, Sql, signed},
    sql::SqlStore,
    tenant_row, told,
};
use crate::{
    domain::{
        command::{Change, Command},
        id::TenantId,
        identity::ApiKey,
        tenant::Tenant,
        time::{UnixMillis, Version},
    },
    ports::{Committed, Effect, ExecuteError, Origin, StoreError},
};

const LOCK_TENANT: Sql = Sql {
    postgres: "SELECT version FROM tenants WHERE id = $1 FOR UPDATE",
    sqlite: "SELECT version FROM tenants WHERE id = $1",
};
const INSERT_TENANT: Sql = Sql::same(
    "INSERT INTO tenants (id, zone, suspended, overrides, version, created_ms) \
     VALUES ($1, 'UTC', 0, '{}', 0, $2) ON CONFLICT (id) DO NOTHING",
);
// Subscription, grants and keys go with it.
const DELETE_TENANT: Sql = Sql::same("DELETE FROM tenants WHERE id = $1");
const INSERT_KEY: Sql = Sql::same(
    "INSERT INTO keys (id, tenant, hash, name, expires_ms, imported, created_ms) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
);
const DELETE_KEY: Sql = Sql::same(
    "DELETE FROM keys WHERE id = $1 AND tenant = $2 \
     RETURNING CAST(0 AS BIGINT), id, tenant, name, expires_ms, imported, created_ms",
);

pub(super) const INSERT_CHANGE: Sql =
    Sql::same("INSERT INTO changes (version, tenant, kind, at_ms) VALUES ($1, $2, $3, $4)");
// Always the oldest versions, so that what is left has no gap.
const PRUNE_CHANGES: Sql = Sql::same(
    "DELETE FROM changes WHERE version <= (\
     SELECT max(o.version) FROM (SELECT version, at_ms FROM changes ORDER BY version LIMIT 5000) AS o \
     WHERE o.version <= $1 OR o.at_ms < $2)",
);
const PRUNE_IDEMPOTENCY: Sql = Sql::same("DELETE FROM idempotency WHERE at_ms < $1");

/// How long changes and idempotency keys are kept.
pub(super) const KEPT_MILLIS: i64 = 7 * 86_400_000;
/// How many changes are kept at most.
pub(super) const KEPT_CHANGES: u64 = 1_000_000;
const PRUNE_EVERY: u64 = 256;
const CREATE_TRIES: u32 = 3;

impl SqlStore {
    /// See [`crate::ports::TenantStore::execute`].
    pub(super) async fn carry_out(
        &self,
        command: &Command,
        origin: &Origin,
    ) -> Result<Committed, ExecuteError> {
        let (mut done, end) = self.attempt(command, origin).await?;
        match end {
            Ok(()) => {}
            // Whether the commit took place is not known; the idempotency key's own row tells.
            Err(StoreError::Unavailable(_)) if origin.idempotency.is_some() => {
                let (mut again, end) = self.attempt(command, origin).await?;
                end?;
                if again.version == done.version && again.effect == done.effect {
                    again.replayed = false;
                }
                done = again;
            }
            Err(error) => return Err(error.into()),
        }
        if !done.replayed {
            self.after(done.version, origin.at).await;
        }
        Ok(done)
    }

    /// One transaction, and how its commit ended.
    async fn attempt(
        &self,
        command: &Command,
        origin: &Origin,
    ) -> Result<(Committed, Result<(), StoreError>), ExecuteError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        let before = once::before(&mut session, origin, ExecuteError::IdempotencyConflict, |claimed| {
            let effect = change::decode_effect(&claimed.effect)?;
            Some(Committed { version: claimed.version, effect, replayed: true })
        });
        if let Some(earlier) = before.await? {
            return Ok((earlier, Ok(())));
        }
        match self.change(&mut session, command, origin).await? {
            Step::Made(done) => Ok((done, session.commit().await)),
            Step::There(there, false) => Ok((there, Ok(()))),
            Step::There(there, true) => Ok((there, session.commit().await)),
            // Nothing of it happened: facts that were read before a failover are read again.
            Step::FailedOver => {
                drop(session);
                Err(self.failed_over().await?.into())
            }
        }
    }

    /// Makes a change in a transaction, which is then to be committed.
    pub(super) async fn change(
        &self,
        session: &mut Session,
        command: &Command,
        origin: &Origin,
    ) -> Result<Step, ExecuteError> {
        let created = lock_tenant(session, command, origin.at).await?;
        let before = read_tenant(session, &command.tenant).await?;
        if let Some(there) = change::already(&before, created, &command.change, origin.at)? {
            let rolls = matches!(command.change, Change::RollOver { .. });
            let corrected = rolls && keep::correct_roll(session, &before).await?;
            return Ok(Step::There(there, corrected));
        }
        let revoked = change_keys(session, command, origin.at).await?;
        let unused = rollover::read(session, command, &before, origin.at).await?;

        let Some(row) = session.first(BUMP, &[]).await? else { return Ok(Step::FailedOver) };
        let version = rows::version(&row, 0)?;
        let effect = change::effect(&before.at(origin.at), created, &command.change, version);
        let made = change::make(&before, &command.change, &unused, origin.at, version)?;
        if let Some((after, happened)) = &made {
            keep::write(session, &before, after, origin.at).await?;
            let told = told::of_change(&before, after, happened, origin.at, version);
            outbox::tell(session, &told).await?;
            if let Some(entries) = billing::Entries::of(&before, after, happened, origin.at) {
                billing::write(session, &before.id, &entries).await?;
            }
        }
        let mut lines = journal::lines(&command.change, origin, made.as_ref());
        let (made, revoked) = (made.as_ref(), revoked.as_ref());
        altered::tell(
            &mut lines,
            &command.change,
            &Sides { before: &before, created, made, revoked, at: origin.at },
        );
        record(session, command, origin, version, &lines, &effect).await?;
        if self.engine.notifies() {
            session.run(NOTIFY, &[Arg::Text(&version.to_string())]).await?;
        }
        Ok(Step::Made(Committed { version, effect, replayed: false }))
    }

    /// Takes a failover in, after a transaction that met it was given up; what to say to its caller.
    pub(super) async fn failed_over(&self) -> Result<StoreError, StoreError> {
        self.advance_epoch().await?;
        Ok(StoreError::Unavailable("the database has just failed over".into()))
    }

    /// What is to be done after a change is durable.
    pub(super) async fn after(&self, version: Version, at: UnixMillis) {
        self.wake();
        if version.0.is_multiple_of(PRUNE_EVERY) {
            self.prune(version, at).await;
        }
    }

    /// Forgets what is too old. A failure costs nothing but space, until the next time.
    async fn prune(&self, version: Version, at: UnixMillis) {
        let oldest = Arg::Int(at.0.saturating_sub(KEPT_MILLIS));
        let last = Arg::Int(signed(version.0.saturating_sub(KEPT_CHANGES)));
        for (sql, args) in [(PRUNE_CHANGES, &[last, oldest][..]), (PRUNE_IDEMPOTENCY, &[oldest][..])] {
            if let Err(error) = self.engine.write(Lane::Data, sql, args).await {
                tracing::warn!(%error, "old changes could not be pruned");
            }
        }
    }
}

/// How far a change has come in its transaction.
pub(super) enum Step {
    /// It is made.
    Made(Committed),
    /// There is nothing to do; whether something was written down all the same.
    There(Committed, bool),
    /// The database has failed over meanwhile, and nothing is to be committed.
    FailedOver,
}

/// Locks the tenant's row; answers whether it was made for this.
async fn lock_tenant(session: &mut Session, command: &Command, at: UnixMillis) -> Result<bool, ExecuteError> {
    let id = Arg::Text(command.tenant.as_str());
    for _ in 0..CREATE_TRIES {
        if session.first(LOCK_TENANT, &[id]).await?.is_some() {
            return Ok(false);
        }
        if !matches!(command.change, Change::PutTenant { .. } | Change::Enroll { .. }) {
            return Err(ExecuteError::NoTenant(command.tenant.clone()));
        }
        if session.run(INSERT_TENANT, &[id, Arg::Int(at.0)]).await? > 0 {
            return Ok(true);
        }
    }
    Err(StoreError::Unavailable(format!("tenant `{}` is created and deleted all the time", command.tenant))
        .into())
}

async fn read_tenant(session: &mut Session, id: &TenantId) -> Result<Tenant, StoreError> {
    // A statement of its own: it sees what was committed while the lock was waited for.
    let row = session.first(tenant_row::TENANT, &[Arg::Text(id.as_str())]).await?;
    let tenant = row.as_ref().map(tenant_row::tenant).transpose()?.flatten();
    tenant.ok_or_else(|| unreadable("tenants", format!("`{id}` vanished while it was locked")))
}

/// What a change does besides the tenant's facts, as far as it needs no version: before the head is locked.
/// Answers the key that was taken away.
async fn change_keys(
    session: &mut Session,
    command: &Command,
    at: UnixMillis,
) -> Result<Option<ApiKey>, ExecuteError> {
    let tenant = Arg::Text(command.tenant.as_str());
    match &command.change {
        Change::CreateKey { id, hash, name, expires_at, imported } => {
            let args = [
                Arg::Text(id.as_str()),
                tenant,
                Arg::Bytes(&hash.0),
                Arg::MaybeText(name.as_deref()),
                Arg::MaybeInt(expires_at.map(|at| at.0)),
                Arg::Int(i64::from(*imported)),
                Arg::Int(at.0),
            ];
            if session.run(INSERT_KEY, &args).await? == 0 {
                return Err(ExecuteError::KeyTaken);
            }
        }
        Change::RevokeKey(id) => {
            let removed = session.first(DELETE_KEY, &[Arg::Text(id.as_str()), tenant]).await?;
            let removed = removed.as_ref().map(rows::key).transpose()?.flatten();
            let none = || ExecuteError::NoKey(command.tenant.clone(), id.clone());
            return removed.ok_or_else(none).map(Some);
        }
        Change::DeleteTenant => {
            session.run(DELETE_TENANT, &[tenant]).await?;
        }
        _ => {}
    }
    Ok(None)
}

/// Writes the feed, the audit log and the idempotency record.
async fn record(
    session: &mut Session,
    command: &Command,
    origin: &Origin,
    version: Version,
    lines: &[Line],
    effect: &Effect,
) -> Result<(), StoreError> {
    let tenant = Arg::Text(command.tenant.as_str());
    let (at, number) = (Arg::Int(origin.at.0), Arg::Int(signed(version.0)));
    for kind in journal::kinds(lines) {
        session.run(INSERT_CHANGE, &[number, tenant, Arg::Text(kind), at]).await?;
    }
    once::keep(session, origin, version, &change::encode_effect(effect)).await?;
    for Line { actor, source, kind, detail, altered } in lines {
        let entry = Entry {
            version,
            at: origin.at,
            actor,
            source,
            tenant: Some(command.tenant.as_str()),
            kind,
            detail,
        };
        audit::append_altered(session, &entry, &altered.before, &altered.after).await?;
    }
    Ok(())
}
