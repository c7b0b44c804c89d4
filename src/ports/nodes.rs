//! The nodes of an installation, and how each hears of changes.

use std::time::Duration;

use async_trait::async_trait;

use uuid::Uuid;

use super::{BucketKey, ChangeRow, Incarnation, Origin, Remainder, StoreError};
use crate::domain::{
    catalog::Digest,
    id::TenantId,
    time::{Epoch, UnixMillis, Version},
};

/// The registry of nodes and the feed of changes.
#[async_trait]
pub trait NodeStore: Send + Sync + 'static {
    /// Registers this run of the node. Refused while another incarnation of the name has a heartbeat under 5 s old.
    async fn register(&self, node: &Registration) -> Result<Registered, RegisterError>;

    /// Commits a heartbeat with what this node has applied, and reads the changes after it. A store of one process may
    /// leave out heartbeats that say nothing new, for a second at most.
    async fn poll(&self, beat: &Heartbeat) -> Result<PollAnswer, StoreError>;

    /// Removes this run from the registry.
    async fn deregister(&self, incarnation: Incarnation) -> Result<(), StoreError>;

    /// Declares a node lost: it is not registered any more, and what its runs were granted and did not return counts as
    /// spent for good, whether they come back or not.
    async fn declare_lost(&self, name: &str, origin: &Origin) -> Result<Lost, LostError>;

    /// What earlier runs of a name were granted in periods that still go on and did not return, or lost: it counts as
    /// spent.
    async fn left_behind(&self, name: &str, but: Incarnation) -> Result<Lost, StoreError>;

    /// Records that a ledger file is opened for the `opens`th time. The highest count recorded before: 0 for an unknown
    /// file.
    async fn open_file(&self, file: Uuid, opens: u64) -> Result<u64, StoreError>;

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
    /// The ledger file that this run has locked: another run with the same file is over, and its place is taken at once,
    /// however fresh its heartbeat.
    pub file: Uuid,
    /// The policies it runs.
    pub digest: Digest,
}

/// What a node begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// The newest version.
    pub version: Version,
    /// The database's epoch.
    pub epoch: Epoch,
}

/// What declaring a node lost has written off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Slots that were not returned.
    pub slots: u64,
    /// Units in them that were granted and not recorded as used; they count as spent.
    pub units: u64,
}

/// Why a node was not declared lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LostError {
    /// No node of this name was ever registered here, or everything of it was returned.
    #[error("no node `{0}` is registered, and none of this name left anything behind")]
    Unknown(String),
    /// The idempotency key was used for another request.
    #[error("this Idempotency-Key was used for another request")]
    IdempotencyConflict,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
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
    /// Everything this node has spent is recorded in this epoch, and nothing granted before is held any more.
    pub reasserted: Epoch,
}

/// A bucket of which some node was refused units that others hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The bucket.
    pub bucket: BucketKey,
    /// What is left of it; `held` is by all live nodes, the one that polls included.
    pub remainder: Remainder,
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
    /// This incarnation is not registered any more: another took its name.
    pub superseded: bool,
    /// This incarnation is not registered any more, and nobody took its name: it was declared lost, or a failover has
    /// forgotten it. It is to return what it holds and to register again.
    pub forgotten: bool,
    /// The database's epoch.
    pub epoch: Epoch,
    /// Who keeps grants back in this epoch: nodes that have not recorded their slots again. Empty: nobody.
    pub awaited: Vec<String>,
    /// Buckets that are wanted at this moment; at most some thousand.
    pub wanted: Vec<Wanted>,
    /// Tenants that usage events were charged to in the last seconds; at most some thousand.
    pub charged: Vec<TenantId>,
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
    /// That heartbeat, by the database's clock: tells one from the next, whatever the clock does meanwhile.
    pub beat: UnixMillis,
}
