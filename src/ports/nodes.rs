//! The nodes of an installation, and how each hears of changes.

use std::time::Duration;

use async_trait::async_trait;

use super::{ChangeRow, Incarnation, StoreError};
use crate::domain::{
    catalog::Digest,
    time::{UnixMillis, Version},
};

/// The registry of nodes and the feed of changes.
#[async_trait]
pub trait NodeStore: Send + Sync + 'static {
    /// Registers this run of the node. Refused while another incarnation of the name has a heartbeat under 5 s old.
    async fn register(&self, node: &Registration) -> Result<Version, RegisterError>;

    /// Commits a heartbeat with what this node has applied, and reads the changes after it. A store of one process may
    /// leave out heartbeats that say nothing new, for a second at most.
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
    /// The run before, where it is known to be over: its place is taken at once, however fresh its heartbeat.
    pub replaces: Option<Incarnation>,
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
