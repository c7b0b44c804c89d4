//! Units: taken in memory, granted by the database.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Answer, BoxFuture, Hold, Span, StoreError};
use crate::domain::{
    denial::Denial,
    id::{MeterId, TenantId},
    money::Currency,
    period::{Period, Window, Windows},
    rights::{Rights, Source},
    route::Charge,
    spend::MoneyUnits,
    time::{Monotonic, UnixMillis, Version},
    units::Units,
    warning::Marks,
};

/// Spends units. A charge takes the rates first, then every window of every meter, all or nothing. The month's units come
/// from the tenant's sources in the order in which they are burnt.
pub trait Ledger: Send + Sync + 'static {
    /// Takes the units of `charges`, at the instant `now`. A refusal has taken nothing.
    fn charge(&self, rights: &Arc<Rights>, charges: &[Charge], now: UnixMillis) -> Answer<Hold, ChargeError>;

    /// The same, where the monotonic clock was read already, at `at`.
    fn charge_at(
        &self,
        rights: &Arc<Rights>,
        charges: &[Charge],
        now: UnixMillis,
        at: Monotonic,
    ) -> Answer<Hold, ChargeError> {
        let _ = at;
        self.charge(rights, charges, now)
    }

    /// The same as [`Ledger::charge`], for charges that are hardly ever made again just so, as they depend on the request.
    fn charge_once(
        &self,
        rights: &Arc<Rights>,
        charges: &[Charge],
        now: UnixMillis,
    ) -> Answer<Hold, ChargeError> {
        self.charge(rights, charges, now)
    }

    /// What a tenant has used of each of its meters, this node to the unit, the others as last flushed.
    fn usage(&self, rights: &Arc<Rights>, now: UnixMillis) -> BoxFuture<Result<Vec<MeterUsage>, StoreError>>;

    /// What billed overage has cost a tenant in the running month, over all nodes as [`Ledger::usage`]. `None`: no spend cap
    /// is in force.
    fn spend(
        &self,
        rights: &Arc<Rights>,
        now: UnixMillis,
    ) -> BoxFuture<Result<Option<SpendUsage>, StoreError>> {
        let _ = (rights, now);
        Box::pin(async { Ok(None) })
    }

    /// Units used of a bucket as far as this node knows without asking anybody: its own to the unit, the others' as it last
    /// heard of them. `None`: it knows nothing of the bucket.
    fn known_used(&self, bucket: &BucketKey) -> Option<Units> {
        let _ = bucket;
        None
    }
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
    /// The tenant has newer rights than those the charge came with: it is to be decided again.
    #[error("the account was changed meanwhile")]
    Outdated,
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
    /// Units used, over all nodes. Of a month: of what the plan includes, and nothing from other sources.
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
    /// Where its units come from at this time, in the order in which they are burnt. The plan's is the month's window
    /// once more.
    pub sources: Vec<SourceUsage>,
}

/// How one source of a meter's units stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceUsage {
    /// Which.
    pub source: Source,
    /// The span in which its units can be used.
    pub period: Period,
    /// How many there are; `None`: any number.
    pub limit: Option<Units>,
    /// Units used of it, over all nodes. More than the limit where that was lowered, or a request cost more than its
    /// reserve.
    pub used: Units,
    /// Units of it that crashed nodes were granted and may have used.
    pub uncertain: Units,
}

/// How a tenant's spend cap stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpendUsage {
    /// Of every amount here.
    pub currency: Currency,
    /// The most that billed overage may cost in the month.
    pub cap: MoneyUnits,
    /// What it has cost so far, each unit at the price at which it was charged, rounded up.
    pub spent: MoneyUnits,
    /// What crashed nodes were granted and may have spent.
    pub uncertain: MoneyUnits,
    /// The month.
    pub period: Period,
}

impl SpendUsage {
    /// What is left; what is uncertain counts as spent.
    #[must_use]
    pub const fn remaining(&self) -> MoneyUnits {
        self.cap.less(self.spent).less(self.uncertain)
    }
}

/// Names a bucket: one tenant's units of one meter from one source in one period.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketKey {
    /// Whose.
    pub tenant: TenantId,
    /// Of what.
    pub meter: MeterId,
    /// Over what, and from where.
    pub span: Span,
    /// The period's start.
    pub start: UnixMillis,
    /// The version at which counting began anew; a grant's own number.
    pub epoch: Version,
}

impl BucketKey {
    /// What the plan includes in the month of an overage.
    #[must_use]
    pub fn month(&self) -> Self {
        Self { span: Span::MONTH, ..self.clone() }
    }
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
    /// Units that the owner knows to be granted: raises the store's own figure where that is less, as after a failover to
    /// a standby that had not heard of a grant. 0 says nothing.
    pub granted: u64,
    /// Units charged so far.
    pub used: u64,
    /// Units given back so far; at most `used`.
    pub refunded: u64,
    /// When these totals were true: names the hour of usage to which the difference belongs.
    pub at: UnixMillis,
    /// Nothing more will be charged to this slot.
    pub sealed: bool,
    /// Of a source's slot: the windows in which its charges were counted, too. Those of a window that a plan began to limit
    /// later are counted by the store.
    pub counted: Windows,
    /// The counting to which its charges belong: the bucket's `epoch`, but of a grant, which goes on where counting begins
    /// anew. The store does not keep it.
    pub counting: Version,
    /// What is told outside while the bucket is used up; `None`: its owner does not know. The bucket keeps what was reported
    /// last, and which of it was told.
    pub marks: Option<Arc<Marks>>,
}

/// Asks for more units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRequest {
    /// The slot's totals, recorded by the way. Never sealed.
    pub totals: SlotTotals,
    /// The bucket's hard limit, as compiled at `version`.
    pub limit: Units,
    /// Of a month and of its overage: what both together may come to, where that is bounded. Says nothing while either
    /// keeps its limit; where one was lowered below what is used of it, the other is not granted that once more.
    pub ceiling: Option<Units>,
    /// The version of the tenant's facts from which the limit was compiled: any but the current is refused.
    pub version: Version,
    /// The version of the policies by which the limit was compiled (0: a folder's): any but the current is refused.
    pub policies: Version,
    /// What the slot was granted so far, as the node knows it: the compare of the compare-and-set.
    pub granted: u64,
    /// Units below which a grant is of no use.
    pub need: u64,
    /// Units that requests are waiting for at this moment, all together; at least `need`. While somebody else wants units
    /// of the bucket, nobody gets more than this.
    pub demand: u64,
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
        /// Units that other live nodes hold and have not recorded as used: they were asked to give them back. 0: there is
        /// nothing to wait for.
        held: u64,
    },
    /// Not now, but soon: after a failover some node has not recorded its slots again, or a node has yet to apply the
    /// version that brought this window. Nothing was granted.
    Withheld,
    /// The limit was compiled from facts, or by policies, that are not the current ones.
    Stale,
    /// The slot is sealed (or declared lost), or not at the total that the node believes; `granted` is what it has.
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
    /// Units granted to slots whose owner is not alive or was declared lost, less what was recorded as used: the owner may
    /// have used them.
    pub uncertain: Units,
}

/// What is left of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Remainder {
    /// Units not allocated to any slot.
    pub left: u64,
    /// Units that other live nodes hold and have not recorded as used.
    pub held: u64,
}

/// The database's side of the ledger.
///
/// What a slot debits to its bucket: a sealed one what it used less what was given back, an open or a lost one what it was
/// granted or, where that is more (a quota without a limit, an overrun), what it used. The debits of a bucket's other slots, what
/// the asking slot was granted (its need includes what it owes) and a new grant together never exceed the limit. A flush may name a slot that was never granted anything, or not be the last of a sealed one.
#[async_trait]
pub trait LedgerStore: Send + Sync + 'static {
    /// Grants units, all requests in one transaction, each by itself; answers in the order of the requests.
    async fn grant(&self, requests: &[GrantRequest]) -> Result<Vec<GrantOutcome>, StoreError>;

    /// Records totals. Those with `sealed` also return what was granted and not used: the database computes it. Answers, in
    /// their order, how many units are used by all slots of the bucket of each, as far as flushed, these totals included.
    async fn flush(&self, totals: &[SlotTotals]) -> Result<Vec<u64>, StoreError>;

    /// Units used by all slots of each bucket, as far as flushed, in the order asked; of a bucket that nobody has made yet
    /// none. One statement.
    async fn recorded(&self, buckets: &[BucketKey]) -> Result<Vec<u64>, StoreError>;

    /// What is left of each bucket, in the order asked; a bucket that nobody has made yet has nothing left and nothing
    /// held. One statement.
    async fn remainders(
        &self,
        incarnation: Incarnation,
        buckets: &[BucketKey],
    ) -> Result<Vec<Remainder>, StoreError>;

    /// The slots of these runs that are neither sealed nor lost, as recorded: a run that holds the ledger file of an
    /// earlier one compares them with its words.
    async fn open_slots(&self, incarnations: &[Incarnation]) -> Result<Vec<SlotTotals>, StoreError>;

    /// What others than `incarnation` have used of each bucket, in the order asked. Of one that nobody has, the answer's
    /// `used` is everybody's.
    async fn others(
        &self,
        incarnation: Incarnation,
        buckets: &[BucketKey],
    ) -> Result<Vec<OthersUsage>, StoreError>;
}
