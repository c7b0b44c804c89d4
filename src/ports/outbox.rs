//! Facts that are told outside: written in the transaction that makes them true.

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
