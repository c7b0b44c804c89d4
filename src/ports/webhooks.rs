//! Endpoints that facts are told to, and what has become of each message.

use std::time::Duration;

use async_trait::async_trait;

use super::{Incarnation, Origin, StoreError};
use crate::domain::{
    event::EventKind,
    id::{TenantId, WebhookId},
    time::UnixMillis,
    webhook::{DeliveryState, Endpoint, MOST_ENDPOINTS, TooManySecrets, WebhookSecret},
};

/// Endpoints and deliveries. A delivery is written with the fact itself, for each endpoint that takes its kind.
#[async_trait]
pub trait WebhookStore: Send + Sync + 'static {
    /// All endpoints, the oldest first.
    async fn webhooks(&self) -> Result<Vec<Endpoint>, StoreError>;

    /// One of them.
    async fn webhook(&self, id: &WebhookId) -> Result<Option<Endpoint>, StoreError>;

    /// Carries a change out, with its line in the audit log and its idempotency record.
    async fn change_webhook(
        &self,
        command: &WebhookCommand,
        origin: &Origin,
    ) -> Result<WebhookDone, WebhookError>;

    /// Deliveries to an endpoint before a place, the newest first, at most `limit`.
    async fn deliveries(
        &self,
        id: &WebhookId,
        state: Option<DeliveryState>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError>;

    /// What there is to deliver.
    async fn outlook(&self) -> Result<Outlook, StoreError>;

    /// Takes deliveries that are due, each for this node alone until the claim is over.
    async fn claim_deliveries(&self, claim: &Claim) -> Result<Vec<Due>, StoreError>;

    /// Writes down what a try has led to.
    async fn settle_delivery(&self, tried: &Tried) -> Result<(), StoreError>;

    /// Waits until there may be something new to deliver that was written on this node.
    async fn told(&self);
}

/// A change of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookCommand {
    /// Which.
    pub id: WebhookId,
    /// What.
    pub change: WebhookChange,
}

/// What is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookChange {
    /// A new endpoint.
    Create {
        /// Where messages are sent.
        url: String,
        /// For people.
        description: String,
        /// The kinds that it takes; none: all of them.
        events: Vec<EventKind>,
        /// What messages are signed with.
        secret: String,
    },
    /// What is given is changed.
    Update {
        /// Where messages are sent.
        url: Option<String>,
        /// For people.
        description: Option<String>,
        /// The kinds that it takes.
        events: Option<Vec<EventKind>>,
        /// Whether it is told.
        enabled: Option<bool>,
    },
    /// It goes, with its deliveries.
    Delete,
    /// Another secret.
    Rotate {
        /// The new one.
        secret: String,
        /// Until when the old ones stay valid.
        old_until: UnixMillis,
    },
    /// What was told before is told again.
    Replay(Replay),
}

impl WebhookChange {
    /// The audit log's word for it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Create { .. } => "webhook.created",
            Self::Update { .. } => "webhook.updated",
            Self::Delete => "webhook.deleted",
            Self::Rotate { .. } => "webhook.rotated",
            Self::Replay(_) => "webhook.replayed",
        }
    }
}

/// What is told again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// One event, whatever has become of it.
    One(String),
    /// What has failed or was discarded, of the events told since then; at most [`MOST_REPLAYED`].
    Since(UnixMillis),
}

/// Deliveries that one call replays.
pub const MOST_REPLAYED: u32 = 1_000;
/// Tries of a delivery that are remembered.
pub const TRIES_KEPT: u32 = 20;
/// Bytes of an answer that are remembered.
pub const ANSWER_KEPT: usize = 1_024;

/// A change that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookDone {
    /// The endpoint; on a replay of the call the one that was made the first time.
    pub id: WebhookId,
    /// Deliveries that are told again, or were discarded.
    pub deliveries: u64,
    /// It was done before, under the same idempotency key.
    pub replayed: bool,
}

/// Why a change was not carried out. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// No such endpoint.
    #[error("there is no webhook `{0}`")]
    Unknown(WebhookId),
    /// The endpoint was never told of it, or that is too long ago.
    #[error("webhook `{0}` has no delivery of `{1}`")]
    NoDelivery(WebhookId, String),
    /// There are as many as there may be.
    #[error("there are {MOST_ENDPOINTS} webhooks, which is the most: delete one that is not needed")]
    Full,
    /// Another secret would be one too many.
    #[error(transparent)]
    Secrets(#[from] TooManySecrets),
    /// It is disabled.
    #[error("webhook `{0}` is disabled: enable it first")]
    Disabled(WebhookId),
    /// The idempotency key was used for another request.
    #[error("this Idempotency-Key was used for another request")]
    IdempotencyConflict,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A message to an endpoint, and what has become of it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryRow {
    /// Its place in the list of all.
    pub place: u64,
    /// The event's id, which is the message's.
    pub event: String,
    /// What kind.
    pub kind: String,
    /// Of whom.
    pub tenant: TenantId,
    /// What has become of it.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u64,
    /// When it was told.
    pub created_at: UnixMillis,
    /// When it is tried next; `None`: never.
    pub next_at: Option<UnixMillis>,
    /// When it came to its state; `None`: it is pending.
    pub ended_at: Option<UnixMillis>,
    /// The last tries, the newest first.
    pub tries: Vec<AttemptRow>,
}

/// One try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// The how many-th.
    pub attempt: u64,
    /// When it began.
    pub at: UnixMillis,
    /// The answer's status.
    pub status: Option<u16>,
    /// Why there was no answer, or why it did not count.
    pub error: Option<String>,
    /// How long it took.
    pub duration: Duration,
    /// The beginning of the answer's body.
    pub answer: String,
}

/// What there is to deliver, over all endpoints that are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outlook {
    /// Endpoints that are told.
    pub endpoints: u64,
    /// Deliveries that wait.
    pub waiting: u64,
    /// How long ago the oldest of them was told.
    pub oldest: Duration,
    /// How soon one is due; zero: now; `None`: none waits.
    pub next: Option<Duration>,
}

/// What a node takes upon itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub by: Incarnation,
    /// For how long nobody else tries them.
    pub lease: Duration,
    /// At most so many.
    pub most: u32,
    /// Of one endpoint at most so many.
    pub each: u32,
    /// None of these endpoints.
    pub but: Vec<WebhookId>,
}

/// A delivery that is to be tried now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The event's id, which is the message's.
    pub event: String,
    /// What kind.
    pub kind: String,
    /// To whom.
    pub webhook: WebhookId,
    /// Where that is.
    pub url: String,
    /// What it is signed with.
    pub secrets: Vec<WebhookSecret>,
    /// What is sent.
    pub body: String,
    /// The how many-th try this is.
    pub attempt: u64,
    /// The how many-th since it was told, or told again.
    pub tries: u32,
    /// Since when it is tried.
    pub since: UnixMillis,
}

/// A try that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The event.
    pub event: String,
    /// The endpoint.
    pub webhook: WebhookId,
    /// Where that was.
    pub url: String,
    /// What came of the try itself.
    pub row: AttemptRow,
    /// What comes of it.
    pub then: Then,
}

/// What comes of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// The endpoint has it.
    Delivered,
    /// It is tried again after this.
    Again(Duration),
    /// It was tried for long enough.
    Failed,
    /// The endpoint wants no more messages.
    Disable(String),
}
