//! Facts that are told outside: written in the transaction that makes them true, and read again.

use async_trait::async_trait;

use super::StoreError;
use crate::domain::{event::EventKind, id::TenantId, time::UnixMillis};

/// A fact that is to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// What makes it this fact and no other, such as `quota.threshold/acme/requests/month/1700000000000/0/80/1000`. Two with
    /// the same name are one fact, which is told once: the message's id is made of it.
    pub name: String,
    /// What kind.
    pub kind: EventKind,
    /// Of whom.
    pub tenant: TenantId,
    /// When it became true.
    pub at: UnixMillis,
    /// What is told, beside kind, time and tenant: an object.
    pub data: serde_json::Value,
}

/// What was told, and what is told at an instant that is known beforehand.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// The facts that were told, the oldest first, at most `limit` of those after the place `after`. They are kept for 40
    /// days. Places are given in the order in which facts can be seen first: who asks on from the last place that it was
    /// answered sees each once, however late its transaction ends.
    async fn events(&self, after: u64, limit: u32, which: &WhichEvents) -> Result<Vec<EventRow>, StoreError>;

    /// Tells of trials that are about to end, as far as somebody is to be told by `now`; of at most `limit` tenants, each in
    /// a transaction of its own. `true`: there may be more.
    async fn tell_trial_ends(&self, now: UnixMillis, limit: u32) -> Result<bool, StoreError>;
}

/// Which facts are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WhichEvents {
    /// Those of one tenant; `None`: of all.
    pub tenant: Option<TenantId>,
    /// Those of one kind; `None`: of each.
    pub kind: Option<EventKind>,
}

/// A fact that was told.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// Its place among all.
    pub cursor: u64,
    /// Its id, which the messages that tell it have.
    pub id: String,
    /// The word of its kind.
    pub kind: String,
    /// Of whom. The tenant may be gone.
    pub tenant: TenantId,
    /// When it became true.
    pub at: UnixMillis,
    /// What is told: an object.
    pub data: serde_json::Value,
}
