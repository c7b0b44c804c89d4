//! Tenants in the database, and every change to them.

use async_trait::async_trait;

use crate::domain::{
    command::Command,
    id::{GrantId, KeyId, MeterId, TenantId},
    identity::ApiKey,
    lifecycle::Refused,
    period::{Period, Window},
    tenant::Tenant,
    time::{UnixMillis, Version},
};

/// Tenants, their keys and what was changed when.
#[async_trait]
pub trait TenantStore: Send + Sync + 'static {
    /// One tenant, and the version of the snapshot it was read in.
    async fn tenant(&self, id: &TenantId) -> Result<Snapshot<Option<Tenant>>, StoreError>;

    /// Tenants after `after` by id, at most `limit`.
    async fn tenants(&self, after: Option<&TenantId>, limit: u32) -> Result<Vec<Tenant>, StoreError>;

    /// A tenant's keys, oldest first. Revoked ones are gone.
    async fn keys(&self, tenant: &TenantId) -> Result<Vec<ApiKey>, StoreError>;

    /// Carries a change out: one transaction that also bumps the version, and writes the change feed, the audit log and
    /// the idempotency record.
    async fn execute(&self, command: &Command, origin: &Origin) -> Result<Committed, ExecuteError>;

    /// Changes after a version, oldest first, at most `limit`.
    async fn changes(&self, after: Version, limit: u32) -> Result<Vec<ChangeRow>, StoreError>;

    /// The audit log after a cursor (0: from the start), oldest first, at most `limit`.
    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError>;

    /// What was used in the span, one row a meter and hour, oldest first. Of hours that were rolled up it is one row a
    /// meter and local day, for the days that begin in the span.
    async fn usage(&self, tenant: &TenantId, span: Period) -> Result<Vec<UsageRow>, StoreError>;
}

/// A value and the newest version that was committed when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot<T> {
    /// That version.
    pub version: Version,
    /// The value.
    pub value: T,
}

/// Where a command came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// When.
    pub at: UnixMillis,
    /// Who, for the audit log: a token's name or `system`.
    pub actor: String,
    /// From where: an address, or `policy`, `jwt`.
    pub source: String,
    /// What makes a repetition recognisable.
    pub idempotency: Option<Idempotency>,
}

impl Origin {
    /// The same without the key of a repetition: for what is done beside the write that the key is of.
    #[must_use]
    pub fn plain(&self) -> Self {
        Self { idempotency: None, ..self.clone() }
    }
}

/// A client's key for one write, and a digest of what it asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's `Idempotency-Key`, 1 to 255 visible characters.
    pub key: String,
    /// SHA-256 of method, path and body, hexadecimal: the same key with another fingerprint is a conflict.
    pub fingerprint: String,
}

/// A change that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its version.
    pub version: Version,
    /// What it did.
    pub effect: Effect,
    /// It was done before, under the same idempotency key or by an enrolment; nothing was done again.
    pub replayed: bool,
}

/// What a change did, as far as the answer to its caller depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Something is there that was not.
    Created,
    /// Something was changed (or already so).
    Updated,
    /// Something is gone.
    Deleted,
    /// A grant was given.
    GrantCreated(GrantId),
    /// A key was made; on a replay this is the id of the key made the first time.
    KeyCreated(KeyId),
}

/// Why a change was not carried out. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    /// No such tenant.
    #[error("no tenant `{0}`")]
    NoTenant(TenantId),
    /// The tenant has no such key.
    #[error("tenant `{0}` has no key `{1}`")]
    NoKey(TenantId, KeyId),
    /// Another key has the same hash (an import of a key that is already there).
    #[error("this key is already in use")]
    KeyTaken,
    /// The idempotency key was used for another request.
    #[error("this Idempotency-Key was used for another request")]
    IdempotencyConflict,
    /// The tenant's state forbids it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store did not answer as it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Not reachable, overloaded, or shutting down: trying later may help.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// It takes no more data.
    #[error("the database cannot store more: {0}")]
    Full(String),
    /// It holds something that this version cannot read, or refuses a statement.
    #[error("the database answered unexpectedly: {0}")]
    Corrupt(String),
}

/// One line of the change feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRow {
    /// Its version.
    pub version: Version,
    /// The tenant it concerns; `None`: all of them, as the policies were changed.
    pub tenant: Option<TenantId>,
    /// See [`crate::domain::command::Change::kind`]; `policy.` and a [`crate::domain::revision::Deploy::kind`].
    pub kind: String,
    /// When it was made.
    pub at: UnixMillis,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place, from 1.
    pub cursor: u64,
    /// The version of the change.
    pub version: Version,
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub actor: String,
    /// From where.
    pub source: String,
    /// The tenant it concerns; `None`: the installation, such as a node that was declared lost, or other policies.
    pub tenant: Option<TenantId>,
    /// See [`crate::domain::command::Change::kind`]; `node.lost`.
    pub kind: String,
    /// What was asked, as JSON without secrets.
    pub detail: serde_json::Value,
}

/// Units used in one hour (UTC), or in one day of the tenant where its hours are not known any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The meter.
    pub meter: MeterId,
    /// The hour's start, or the day's.
    pub hour: UnixMillis,
    /// `Hour`, or `Day` where the hours were rolled up.
    pub window: Window,
    /// Units charged in it, less what was given back in it: below zero where that was charged before.
    pub units: i64,
}
