//! Usage that is told to a billing system: in pieces that are written down before they are sent, so that each is sent under
//! one name however often it is tried, and all of them together are what was used.

use async_trait::async_trait;

use super::{Origin, StoreError};
use crate::domain::{
    billing::Told,
    id::{MeterId, TenantId},
    time::UnixMillis,
};

/// A meter whose usage is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TellMeter {
    /// Which.
    pub meter: MeterId,
    /// What the billing system calls it.
    pub event_name: String,
    /// Which of its units.
    pub count: Told,
}

/// A piece of usage, or the taking back of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterExport {
    /// Its name for good: the same in every attempt.
    pub id: String,
    /// Whose usage.
    pub tenant: TenantId,
    /// The tenant's customer at the billing system.
    pub customer: String,
    /// Of what.
    pub meter: MeterId,
    /// What the billing system calls that.
    pub event_name: String,
    /// How many units.
    pub units: u64,
    /// When they were used: within the period that they count in.
    pub at: UnixMillis,
    /// How far it has come.
    pub state: ExportState,
    /// Attempts so far.
    pub attempts: u32,
    /// When it was sent first.
    pub first_sent: Option<UnixMillis>,
    /// What was said of the last attempt that failed.
    pub error: Option<String>,
}

/// How far a piece has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportState {
    /// To be sent.
    Waiting,
    /// The billing system has it.
    Sent,
    /// The billing system does not take it: a person must look.
    Refused,
    /// It has it and is to be told to forget it: less was used in the end.
    Withdrawing,
    /// It has forgotten it, or never had it.
    Withdrawn,
    /// It was to forget it and does not: a person must look.
    Stuck,
}

impl ExportState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Sent, Self::Refused, Self::Withdrawing, Self::Withdrawn, Self::Stuck];

    /// The word used in the database and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Refused => "refused",
            Self::Withdrawing => "withdrawing",
            Self::Withdrawn => "withdrawn",
            Self::Stuck => "stuck",
        }
    }

    /// The state of a word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportOutcome {
    /// The billing system has taken it (or taken it back).
    Done,
    /// It is to be tried again at this instant.
    Again(UnixMillis, String),
    /// It will never be taken as it is.
    Refused(String),
}

/// How the pieces of a turn are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Now.
    pub now: UnixMillis,
    /// What was seen of a bucket before this instant is settled: requests that were under way then have ended since, and what
    /// they did not cost was given back.
    pub rested: UnixMillis,
    /// Buckets that ended before this are left alone: the billing system takes nothing so old.
    pub oldest: UnixMillis,
}

/// Pieces of usage that are told.
#[async_trait]
pub trait MeterExportStore: Send + Sync + 'static {
    /// Writes down what is to be told of linked tenants' buckets of these meters, a bounded number of them. All pieces of a
    /// bucket together, less those that were withdrawn, are never more than what was used of it by then. Answers whether
    /// there may be more at once.
    async fn cut_exports(&self, meters: &[TellMeter], cut: Cut) -> Result<bool, StoreError>;

    /// Takes pieces that are to be sent (or withdrawn) now, for somebody who answers by [`MeterExportStore::end_export`]
    /// before `until`: nobody else is given them sooner.
    async fn claim_exports(
        &self,
        now: UnixMillis,
        until: UnixMillis,
        limit: u32,
    ) -> Result<Vec<MeterExport>, StoreError>;

    /// Says how an attempt at a piece, as it was claimed, ended.
    async fn end_export(&self, tried: &MeterExport, outcome: &ExportOutcome) -> Result<(), StoreError>;

    /// Pieces in a state (or any), by place after `after`, at most `limit`, each with its place.
    async fn exports(
        &self,
        state: Option<ExportState>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<(u64, MeterExport)>, StoreError>;

    /// Lets a piece that was refused be sent again.
    async fn retry_export(&self, id: &str, origin: &Origin) -> Result<(), RetryError>;
}

/// Why a piece is not sent again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// There is none of this name.
    #[error("there is no export `{0}`")]
    Unknown(String),
    /// It is in another state.
    #[error("the export `{0}` was not refused: it is `{word}`", word = .1.as_str())]
    NotRefused(String, ExportState),
    /// The idempotency key was used for another request.
    #[error("this Idempotency-Key was used for another request")]
    IdempotencyConflict,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
