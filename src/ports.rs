//! What the stages and surfaces ask of the world. Adapters implement these; nothing above knows which adapter it has.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::HeaderMap;

use crate::domain::{
    catalog::{Catalog, Digest},
    command::Command,
    denial::Denial,
    id::{KeyId, MeterId, TenantId},
    identity::{ApiKey, Identity, KeyHash},
    period::{Period, Window},
    rights::Rights,
    route::Charge,
    tenant::Tenant,
    time::{UnixMillis, Version},
    units::Units,
};

/// A future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An answer that is mostly there at once: the hot path takes `Ready` without allocating or yielding.
pub enum Answer<T, E> {
    /// Known from memory.
    Ready(Result<T, E>),
    /// Must be asked for; the future owns what it needs.
    Pending(BoxFuture<Result<T, E>>),
}

// ---------------------------------------------------------------------------------------------- identity

/// Verifies credentials.
pub trait Authenticator: Send + Sync + 'static {
    /// Who the request's credentials speak for.
    fn identify(&self, headers: &HeaderMap, now: UnixMillis) -> Answer<Identity, CredentialError>;

    /// Removes what the upstream must not see: a Plangate key, wherever it was presented. A JWT stays.
    fn strip(&self, headers: &mut HeaderMap);
}

/// Why a request has no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// There is none.
    #[error("this request needs an API key or a token")]
    Missing,
    /// It does not verify. The reason is for the log; a client that guesses learns nothing from it.
    #[error("the credential is not valid")]
    Invalid {
        /// What was wrong, without the credential.
        reason: &'static str,
    },
    /// It was valid until it expired.
    #[error("the credential has expired")]
    Expired,
    /// More than one was presented.
    #[error("more than one credential was presented")]
    Ambiguous,
    /// It cannot be looked up now.
    #[error("credentials cannot be checked at the moment")]
    Unavailable,
}

/// Looks API keys up by their keyed hash.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// The key of that hash, and the version of the snapshot that the answer was read in.
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Snapshot<Option<ApiKey>>, StoreError>;

    /// The installation's secret with which keys are hashed: 32 bytes, made at first use, the same on every node.
    async fn key_secret(&self) -> Result<[u8; 32], StoreError>;
}

// ---------------------------------------------------------------------------------------------- rights

/// Finds the rights of a tenant.
pub trait Directory: Send + Sync + 'static {
    /// The tenant's rights, compiled from `catalog` and no older than the newest change that this node has applied.
    fn resolve(&self, identity: &Identity, catalog: &Arc<Catalog>) -> Answer<Arc<Rights>, ResolveError>;
}

/// Why rights are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no such tenant.
    #[error("no tenant of this name is known")]
    TenantUnknown,
    /// They cannot be read now, or this node has not heard of changes for too long.
    #[error("the account's rights cannot be read at the moment")]
    Unavailable,
}

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

    /// What was used from `from` (included) to `to` (not), one row a tenant's meter and hour, oldest first.
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
    /// The same idempotency key had already done it; nothing was done again.
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
    /// The tenant it concerns.
    pub tenant: TenantId,
    /// See [`crate::domain::command::Change::kind`].
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
    /// The tenant it concerns.
    pub tenant: TenantId,
    /// See [`crate::domain::command::Change::kind`].
    pub kind: String,
    /// What was asked, as JSON without secrets.
    pub detail: serde_json::Value,
}

/// Units used in one hour (UTC).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The meter.
    pub meter: MeterId,
    /// The hour's start, UTC.
    pub hour: UnixMillis,
    /// Units charged in it, less what was given back.
    pub units: Units,
}

// ---------------------------------------------------------------------------------------------- ledger

/// Spends units. A charge takes the rates first, then every window of every meter, all or nothing.
pub trait Ledger: Send + Sync + 'static {
    /// Takes the units of `charges`, at the instant `now`. A refusal has taken nothing.
    fn charge(&self, rights: &Arc<Rights>, charges: &[Charge], now: UnixMillis) -> Answer<Hold, ChargeError>;

    /// What a tenant has used of each of its meters, this node to the unit, the others as last flushed.
    fn usage(&self, rights: &Arc<Rights>, now: UnixMillis) -> BoxFuture<Result<Vec<MeterUsage>, StoreError>>;
}

/// Why a charge was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChargeError {
    /// A rate or quota refused it.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The ledger cannot grant units now, and holds none.
    #[error("usage cannot be recorded at the moment")]
    Unavailable,
    /// The rights are not the tenant's current ones any more: resolve them again and charge once more.
    #[error("the account's rights have changed meanwhile")]
    Outdated,
}

/// What one request has taken from the ledger. It ends in exactly one of three ways; dropped unfinished it is kept, as
/// whatever a request may have cost must count.
#[must_use]
pub struct Hold(Option<Box<dyn HoldEntry>>);

/// The ledger's side of a [`Hold`].
pub trait HoldEntry: Send + Sync {
    /// The request is over and cost what was taken.
    fn keep(self: Box<Self>);
    /// The upstream provably never saw the request: all units, and the rate's, go back to the words they came from.
    fn refund(self: Box<Self>);
    /// The request is over and cost `actual` of a reserved meter; the rest goes back. More than reserved is recorded as
    /// `overrun`.
    fn settle(self: Box<Self>, actual: &[Charge]);
    /// Shows each quota and rate that the charge was held against, as it stands now.
    fn standings(&self, now: UnixMillis, show: &mut dyn FnMut(Standing<'_>));
}

impl Hold {
    /// Wraps a ledger's entry.
    pub fn new(entry: Box<dyn HoldEntry>) -> Self {
        Self(Some(entry))
    }

    /// A hold of nothing, for operations without a charge.
    pub const fn empty() -> Self {
        Self(None)
    }

    /// See [`HoldEntry::keep`].
    pub fn keep(mut self) {
        if let Some(entry) = self.0.take() {
            entry.keep();
        }
    }

    /// See [`HoldEntry::refund`].
    pub fn refund(mut self) {
        if let Some(entry) = self.0.take() {
            entry.refund();
        }
    }

    /// See [`HoldEntry::settle`].
    pub fn settle(mut self, actual: &[Charge]) {
        if let Some(entry) = self.0.take() {
            entry.settle(actual);
        }
    }

    /// See [`HoldEntry::standings`].
    pub fn standings(&self, now: UnixMillis, mut show: impl FnMut(Standing<'_>)) {
        if let Some(entry) = &self.0 {
            entry.standings(now, &mut show);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(entry) = self.0.take() {
            entry.keep();
        }
    }
}

/// How one quota or rate stands, for the `RateLimit` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing<'a> {
    /// The meter.
    pub meter: &'a str,
    /// Which quota window; `None`: the rate.
    pub window: Option<Window>,
    /// Units in the whole window (a rate's `limit`).
    pub quota: Units,
    /// The window's length in seconds, rounded up, at least 1.
    pub seconds: u64,
    /// Units left.
    pub remaining: Units,
    /// Seconds until the window (or the rate's burst) is whole again, rounded up.
    pub resets_in: u64,
}

/// How a tenant's meter stands in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowUsage {
    /// Which window.
    pub window: Window,
    /// The current period.
    pub period: Period,
    /// The limit as the plan has it (a month's without overage cap); `None`: unlimited.
    pub limit: Option<Units>,
    /// Units used, over all nodes.
    pub used: Units,
    /// Units that crashed nodes were granted and may have used.
    pub uncertain: Units,
}

/// How a tenant's meter stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterUsage {
    /// The meter.
    pub meter: MeterId,
    /// Its windows, the shortest first, the month last.
    pub windows: Vec<WindowUsage>,
}

/// Names a bucket: one tenant's units of one meter in one period.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketKey {
    /// Whose.
    pub tenant: TenantId,
    /// Of what.
    pub meter: MeterId,
    /// Over which kind of window.
    pub window: Window,
    /// The period's start.
    pub start: UnixMillis,
    /// The version at which counting began anew.
    pub epoch: Version,
}

/// One incarnation's share of a bucket. Each word is a row of its own: a sealed slot is never opened again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SlotKey {
    /// The bucket.
    pub bucket: BucketKey,
    /// The registered incarnation of the node that owns the slot.
    pub incarnation: Incarnation,
    /// The word's number on that incarnation.
    pub seq: u64,
}

/// One run of one node: a new number at each start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub uuid::Uuid);

/// A slot's totals as its owner knows them. They only grow, so that a replay or a late arrival is harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotTotals {
    /// The slot.
    pub slot: SlotKey,
    /// The period's end.
    pub end: UnixMillis,
    /// Units charged so far.
    pub used: u64,
    /// Units given back so far; at most `used`.
    pub refunded: u64,
    /// When these totals were true: names the hour of usage to which the difference belongs.
    pub at: UnixMillis,
    /// Nothing more will be charged to this slot.
    pub sealed: bool,
}

/// Asks for more units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRequest {
    /// The slot's totals, recorded by the way. Never sealed.
    pub totals: SlotTotals,
    /// The bucket's hard limit, as compiled at `version`.
    pub limit: Units,
    /// The version of the tenant's facts from which the limit was compiled: any but the current is refused.
    pub version: Version,
    /// What the slot was granted so far, as the node knows it: the compare of the compare-and-set.
    pub granted: u64,
    /// Units below which a grant is of no use.
    pub need: u64,
    /// Units the node would like (rate x horizon, or a thousandth of the limit); the store shrinks it toward the tail.
    pub want: u64,
}

/// What became of a [`GrantRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantOutcome {
    /// The slot's new total. It may be what an earlier request with an unknown end had already been granted.
    Granted {
        /// Units granted to the slot so far, this grant included.
        granted: u64,
        /// Units used by all slots of the bucket, as far as flushed, this one's totals included.
        used: u64,
    },
    /// Fewer than `need` units are left to grant. Nothing was granted.
    Exhausted {
        /// Units not allocated to any slot.
        left: u64,
        /// Units used by all slots of the bucket, as far as flushed.
        used: u64,
    },
    /// The limit was compiled from facts that are not the current ones.
    Stale,
    /// The slot is sealed, or not at the total that the node believes; `granted` is what it has.
    Refused {
        /// Units granted to the slot so far.
        granted: u64,
    },
}

/// Units used of a bucket by others than one incarnation, as far as flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OthersUsage {
    /// Units used, less those given back.
    pub used: Units,
    /// Units granted to unsealed slots of incarnations that are gone, less what they recorded as used.
    pub uncertain: Units,
}

/// The database's side of the ledger.
///
/// What a slot debits to its bucket: a sealed one what it used less what was given back, an open one what it was granted
/// or, where that is more (a quota without a limit, an overrun), what it used. The debits of a bucket's other slots, what
/// the asking slot was granted (its need includes what it owes) and a new grant together never exceed the limit. A flush may name a slot that was never granted anything, or not be the last of a sealed one.
#[async_trait]
pub trait LedgerStore: Send + Sync + 'static {
    /// Grants units, all requests in one transaction, each by itself; answers in the order of the requests.
    async fn grant(&self, requests: &[GrantRequest]) -> Result<Vec<GrantOutcome>, StoreError>;

    /// Records totals. Those with `sealed` also return what was granted and not used: the database computes it.
    async fn flush(&self, totals: &[SlotTotals]) -> Result<(), StoreError>;

    /// What others than `incarnation` have used of each bucket, in the order asked. Of one that nobody has, the answer's
    /// `used` is everybody's.
    async fn others(
        &self,
        incarnation: Incarnation,
        buckets: &[BucketKey],
    ) -> Result<Vec<OthersUsage>, StoreError>;
}

// ---------------------------------------------------------------------------------------------- nodes

/// The registry of nodes and the feed of changes.
#[async_trait]
pub trait NodeStore: Send + Sync + 'static {
    /// Registers this run of the node. Refused while another incarnation of the name has a heartbeat under 5 s old.
    async fn register(&self, node: &Registration) -> Result<Version, RegisterError>;

    /// Commits a heartbeat with what this node has applied, and reads the changes after it.
    async fn poll(&self, beat: &Heartbeat) -> Result<PollAnswer, StoreError>;

    /// Removes this run from the registry.
    async fn deregister(&self, incarnation: Incarnation) -> Result<(), StoreError>;

    /// All registered nodes, by name.
    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError>;

    /// Waits until somebody may have committed a change. May also return for no reason, or miss one: it only saves time.
    async fn changed(&self);
}

/// A node's entry in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The node's stable name.
    pub name: String,
    /// This run of it.
    pub incarnation: Incarnation,
    /// The policies it runs.
    pub digest: Digest,
}

/// Why a node may not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// Another process runs under the same name.
    #[error(
        "another node named `{name}` was alive {age:?} ago: give each node its own `node` name, or stop the other first"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Since its last heartbeat.
        age: Duration,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a node reports with each poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Which run.
    pub incarnation: Incarnation,
    /// Everything up to this version is in force on the node.
    pub applied: Version,
    /// The policies it runs.
    pub digest: Digest,
}

/// What a poll brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollAnswer {
    /// Changes after the reported version, oldest first; at most some thousand, the rest with the next poll.
    pub changes: Vec<ChangeRow>,
    /// The newest version whose changes are all in `changes`.
    pub upto: Version,
    /// Changes after the reported version were pruned: everything cached must go.
    pub gap: bool,
    /// Nodes with a heartbeat under 5 s old, this one included.
    pub live_nodes: u32,
    /// The database's clock.
    pub database_now: UnixMillis,
    /// This incarnation is not registered any more: another took its place.
    pub superseded: bool,
}

/// A registered node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Its name.
    pub name: String,
    /// Its run.
    pub incarnation: Incarnation,
    /// What it has applied.
    pub applied: Version,
    /// The policies it runs.
    pub digest: Digest,
    /// Since its last heartbeat, by the database's clock.
    pub beat_age: Duration,
}

// ---------------------------------------------------------------------------------------------- policies

/// The catalog in force.
pub trait Policies: Send + Sync + 'static {
    /// The catalog in force now. A request takes it once and is decided wholly by it.
    fn catalog(&self) -> Arc<Catalog>;
}
