//! Usage that others tell of: each event is charged once, however often and wherever it arrives.

use std::sync::Arc;

use async_trait::async_trait;

use super::{BucketKey, Idempotency, Incarnation, StoreError};
use crate::domain::{
    id::{MeterId, TenantId},
    period::{Window, Windows},
    time::{UnixMillis, Version},
    units::Units,
    warning::Marks,
};

/// What an event is known by: its source and, within that, its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventKey {
    /// Who tells of it.
    pub source: String,
    /// Its id there.
    pub id: String,
}

/// SHA-256 of what an event says: the same key with another digest is a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventDigest(pub [u8; 32]);

/// An event with all that it is to be charged to, worked out from the tenant's rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageEvent {
    /// What it is known by.
    pub key: EventKey,
    /// What it says.
    pub digest: EventDigest,
    /// Whose usage it is.
    pub tenant: TenantId,
    /// When that was: names the hour of usage to which it belongs.
    pub at: UnixMillis,
    /// The version of the tenant's facts from which the limits were compiled: any but the current is refused.
    pub version: Version,
    /// The version of the policies by which they were compiled (0: a folder's): any but the current is refused.
    pub policies: Version,
    /// The counting to which the usage belongs.
    pub counting: Version,
    /// What it charges, each meter once.
    pub charges: Vec<EventCharge>,
}

impl UsageEvent {
    /// Every bucket that may be touched.
    pub fn buckets(&self) -> impl Iterator<Item = &EventBucket> {
        self.charges.iter().flat_map(EventCharge::buckets)
    }
}

/// The units of one meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventCharge {
    /// Of what.
    pub meter: MeterId,
    /// How many.
    pub units: Units,
    /// Windows shorter than the month, of which each must have room for all the units; the shortest first.
    pub windows: Vec<EventBucket>,
    /// Where the month's units come from, in the order in which they are burnt; at least one.
    pub sources: Vec<EventBucket>,
    /// The windows in which the meter is counted.
    pub counted: Windows,
    /// What the month and its overage together may come to; see [`super::GrantRequest::ceiling`].
    pub ceiling: Option<Units>,
    /// Must have room for what the units of the overage cost.
    pub spend: Option<EventSpend>,
}

impl EventCharge {
    /// Every bucket that may be touched.
    pub fn buckets(&self) -> impl Iterator<Item = &EventBucket> {
        let spend = self.spend.as_ref().map(|spend| &spend.bucket);
        self.windows.iter().chain(&self.sources).chain(spend)
    }
}

/// A bucket that an event is charged to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBucket {
    /// Which.
    pub key: BucketKey,
    /// The period's end.
    pub end: UnixMillis,
    /// How many units it may come to; `None`: any number.
    pub limit: Option<Units>,
    /// What is told of it; `None`: nothing, or what was last said of it.
    pub marks: Option<Arc<Marks>>,
}

/// A spend cap that an event's overage is charged to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSpend {
    /// The bucket of money.
    pub bucket: EventBucket,
    /// What one unit of the overage takes of it.
    pub cost: Units,
}

/// What became of a [`UsageEvent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventOutcome {
    /// It was charged.
    Charged,
    /// It had been charged before. Nothing was done.
    Duplicate,
    /// Another event was charged under its key. Nothing was done.
    Conflict,
    /// Fewer units are left than it needs. Nothing was charged, and it may come again.
    Exhausted(Shortage),
    /// Its limits were compiled from facts, or by policies, that are not the current ones. Nothing was charged.
    Stale,
    /// Not now, but soon; see [`super::GrantOutcome::Withheld`]. Nothing was charged.
    Withheld,
}

/// What an event was short of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// The meter.
    pub meter: MeterId,
    /// The window; `None`: the spend cap.
    pub window: Option<Window>,
    /// What all its sources together may come to.
    pub limit: Units,
    /// Units that count as used of them.
    pub used: Units,
    /// Units that live nodes hold and have not recorded as used: they were asked to give them back. 0: there is nothing
    /// to wait for.
    pub held: u64,
}

/// The owner of the slots that events are charged to. No node has this name, so that nobody looks for these slots among
/// its own, waits for what they hold or declares them lost. They are sealed from their first day: what they debit is what
/// was charged to them.
pub const EVENTS: Incarnation = Incarnation(uuid::Uuid::from_u128(u128::MAX));

/// For how many days a charged event is known at least.
pub const EVENTS_KNOWN_DAYS: i64 = 32;

/// What came before with the idempotency key of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EarlierCall {
    /// Nothing, or the same call, which was not answered: it is to be made now.
    Open,
    /// The same call, and this is what it was answered.
    Answered(String),
    /// Another call.
    Another,
}

/// Charges events: that an event is known and that it is charged become true together or not at all.
#[async_trait]
pub trait UsageEventStore: Send + Sync + 'static {
    /// What was charged under these keys, in their order; `None`: nothing (any more).
    async fn known_events(&self, keys: &[EventKey]) -> Result<Vec<Option<EventDigest>>, StoreError>;

    /// Charges events, each wholly or not at all, and answers in their order. No key may come twice. After an error some
    /// of them may have been charged: to send them again tells which.
    async fn charge_events(&self, events: &[UsageEvent]) -> Result<Vec<EventOutcome>, StoreError>;

    /// Remembers that a call came with this idempotency key, and says what came with it before.
    async fn claim_call(&self, idempotency: &Idempotency, at: UnixMillis) -> Result<EarlierCall, StoreError>;

    /// Keeps what a call that has claimed its key is answered.
    async fn keep_call(&self, idempotency: &Idempotency, answer: &str) -> Result<(), StoreError>;
}
