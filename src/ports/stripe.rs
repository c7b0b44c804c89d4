//! What Stripe told, kept, and which of its customers are which tenants.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Origin, StoreError};
use crate::domain::{
    catalog::Catalog,
    id::TenantId,
    time::{UnixMillis, Version},
};

/// Keeps Stripe's events, and makes of all that are known of a customer what its tenant is.
#[async_trait]
pub trait StripeStore: Send + Sync + 'static {
    /// Keeps an event; `false`: it is kept already.
    async fn keep_stripe_event(&self, event: &NewStripeEvent) -> Result<bool, StoreError>;

    /// Makes of all events about a customer what its tenant is: one transaction, and one at a time for each customer. Of
    /// several at once all but one find nothing to do.
    async fn fold_customer(
        &self,
        customer: &str,
        catalog: &Arc<Catalog>,
        origin: &Origin,
    ) -> Result<FoldOutcome, StoreError>;

    /// One event.
    async fn stripe_event(&self, id: &str) -> Result<Option<StripeEventRow>, StoreError>;

    /// Events before a place, the newest first, at most `limit`; all, or those in a state.
    async fn stripe_events(
        &self,
        state: Option<StripeEventState>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<StripeEventRow>, StoreError>;

    /// Customers with events that were received before an instant and not looked at yet, or that wait for a tenant which
    /// is there by now.
    async fn customers_to_fold(&self, before: UnixMillis, limit: u32) -> Result<Vec<String>, StoreError>;

    /// Customers after one by id that have events in a state.
    async fn customers_with(
        &self,
        state: StripeEventState,
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError>;

    /// A tenant's customer.
    async fn customer_of(&self, tenant: &TenantId) -> Result<Option<BillingLink>, StoreError>;

    /// Makes a customer a tenant's, in the place of the one that it had.
    async fn link_customer(
        &self,
        tenant: &TenantId,
        customer: &str,
        origin: &Origin,
    ) -> Result<Linked, LinkError>;

    /// Writes down that events are looked at again, which is then to be done: one event, or those in a state.
    async fn note_replay(&self, what: &str, origin: &Origin) -> Result<Linked, LinkError>;

    /// Takes a tenant's customer away from it. Its plan stays as it is.
    async fn unlink_customer(&self, tenant: &TenantId, origin: &Origin) -> Result<Linked, LinkError>;

    /// Drops events of customers that are no tenant's, where they are too old or too many, and counts them. What is known of
    /// a tenant's customer stays.
    async fn drop_unclaimed(&self, bounds: &Unclaimed) -> Result<u64, StoreError>;

    /// How many events were ever dropped so.
    async fn dropped_events(&self) -> Result<DroppedEvents, StoreError>;
}

/// How long events of customers that are no tenant's are kept, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unclaimed {
    /// When this is.
    pub now: UnixMillis,
    /// Those that were received earlier go.
    pub before: UnixMillis,
    /// Of more that wait or are not mapped the oldest go.
    pub most: u64,
    /// So many go in one call.
    pub at_once: u64,
}

/// What was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DroppedEvents {
    /// How many events.
    pub events: u64,
    /// When the last of them were.
    pub last: Option<UnixMillis>,
}

/// An event to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStripeEvent {
    /// Stripe's id of it.
    pub id: String,
    /// Stripe's name of what happened.
    pub kind: String,
    /// When Stripe made it.
    pub created: UnixMillis,
    /// Whom it is about; empty: nobody that is gone by.
    pub customer: String,
    /// Which subscription it is about.
    pub subscription: Option<String>,
    /// What was sent.
    pub body: String,
    /// `None`: it is to be looked at.
    pub settled: Option<(StripeEventState, String)>,
    /// When it came.
    pub received: UnixMillis,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StripeEventState {
    /// Its tenant is what it says, or was until a later event.
    Applied,
    /// It waits for a tenant, for another event, or to be looked at.
    Waiting,
    /// What it says has no meaning in the policies.
    Unmapped,
    /// It changes nothing.
    Ignored,
    /// It cannot be read.
    Failed,
}

impl StripeEventState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Applied, Self::Waiting, Self::Unmapped, Self::Ignored, Self::Failed];

    /// The word used in answers and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Waiting => "waiting",
            Self::Unmapped => "unmapped",
            Self::Ignored => "ignored",
            Self::Failed => "failed",
        }
    }

    /// The state of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// An event that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StripeEventRow {
    /// Its place, from 1.
    pub place: u64,
    /// Stripe's id of it.
    pub id: String,
    /// Stripe's name of what happened.
    pub kind: String,
    /// When Stripe made it.
    pub created: UnixMillis,
    /// Whom it is about; empty: nobody that is gone by.
    pub customer: String,
    /// Which subscription it is about.
    pub subscription: Option<String>,
    /// What was sent.
    pub body: String,
    /// What became of it.
    pub state: StripeEventState,
    /// Why, where that is to be said.
    pub why: Option<String>,
    /// The tenant that it was about, or that it waits for.
    pub tenant: Option<TenantId>,
    /// When it came.
    pub received: UnixMillis,
}

/// What came of looking at a customer's events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoldOutcome {
    /// The customer's tenant.
    pub tenant: Option<TenantId>,
    /// The version at which the tenant is what the events say.
    pub version: Option<Version>,
    /// Whether the tenant was changed by this.
    pub changed: bool,
}

/// A tenant's customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillingLink {
    /// Stripe's id of it.
    pub customer: String,
    /// Since when.
    pub since: UnixMillis,
    /// Whether a call said so; else an event did.
    pub by_call: bool,
}

/// A link that was made or taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// The newest version when it was done.
    pub version: Version,
    /// It was done before, under the same idempotency key.
    pub replayed: bool,
}

/// Why a link was not made or taken away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No such tenant.
    #[error("there is no tenant `{0}`")]
    NoTenant(TenantId),
    /// It has no customer.
    #[error("tenant `{0}` has no customer")]
    NotLinked(TenantId),
    /// The customer is another tenant's.
    #[error("customer `{customer}` belongs to tenant `{tenant}`")]
    Taken {
        /// The customer.
        customer: String,
        /// Whose it is.
        tenant: TenantId,
    },
    /// The idempotency key was used for another request.
    #[error("this Idempotency-Key was used for another request")]
    IdempotencyConflict,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
