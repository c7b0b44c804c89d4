//! What policies that are tried in the shadow would have decided otherwise, as the nodes have counted it.

use async_trait::async_trait;

use super::{Incarnation, StoreError};
use crate::domain::{
    id::TenantId,
    time::{UnixMillis, Version},
    verdict::Verdict,
};

/// Keeps what the nodes have counted. A trial is named by the version of the change with which it began.
#[async_trait]
pub trait ShadowStore: Send + Sync + 'static {
    /// Records a node's totals, and forgets those of earlier trials. They only grow: a repetition, or an older report that
    /// comes late, changes nothing.
    async fn keep_shadow(&self, report: &ShadowReport) -> Result<(), StoreError>;

    /// The totals of all nodes.
    async fn shadow_totals(&self, trial: Version) -> Result<ShadowTotals, StoreError>;

    /// What was decided otherwise on all nodes, the most frequent first; `skip` and `limit` cut a page.
    async fn shadow_rows(&self, trial: Version, skip: u64, limit: u32) -> Result<Vec<ShadowRow>, StoreError>;

    /// The same, summed up by tenant or by route.
    async fn shadow_sums(
        &self,
        trial: Version,
        by: ShadowBy,
        skip: u64,
        limit: u32,
    ) -> Result<Vec<ShadowSum>, StoreError>;
}

/// What one run of a node has counted in a trial so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowReport {
    /// The trial.
    pub trial: Version,
    /// The run.
    pub incarnation: Incarnation,
    /// When.
    pub at: UnixMillis,
    /// Its totals.
    pub totals: ShadowTotals,
    /// Those rows that have grown since they were last recorded, with all that they count.
    pub rows: Vec<ShadowRow>,
}

/// Requests during a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShadowTotals {
    /// That were decided by both policies.
    pub compared: u64,
    /// Of these: that were decided otherwise.
    pub differing: u64,
    /// Of these: that were let in and would have been refused.
    pub newly_refused: u64,
    /// Of these: that were refused and would have been let in.
    pub newly_allowed: u64,
    /// That were not decided by the tried policies, as what is needed for that was not in memory, or there were too many
    /// tenants.
    pub uncompared: u64,
}

/// Who sent requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sender {
    /// Nobody was identified.
    Anonymous,
    /// Tenants that there was no room to count by themselves.
    Others,
    /// A tenant.
    Tenant(TenantId),
}

/// Requests that were decided otherwise in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowRow {
    /// Who sent them.
    pub sender: Sender,
    /// The route as the policies have it; empty: none. `*`: several that there was no room to count by themselves.
    pub route: String,
    /// How they were decided.
    pub enforced: Verdict,
    /// How they would have been.
    pub candidate: Verdict,
    /// How many.
    pub count: u64,
}

/// What rows are summed up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShadowBy {
    /// Who sent the requests.
    Tenant,
    /// Their route.
    Route,
}

/// Rows summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowSum {
    /// Of whom, or of which route.
    pub of: ShadowOf,
    /// Requests that were decided otherwise.
    pub differing: u64,
    /// Of these: that would have been refused.
    pub newly_refused: u64,
    /// Of these: that would have been let in.
    pub newly_allowed: u64,
}

/// Whose sum it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShadowOf {
    /// A sender's.
    Sender(Sender),
    /// A route's, written as in [`ShadowRow::route`].
    Route(String),
}

impl Sender {
    /// The word used in the database: a tenant's id, nothing, or `*`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Anonymous => "",
            Self::Others => "*",
            Self::Tenant(tenant) => tenant.as_str(),
        }
    }

    /// The sender of that word; `None`: there is none.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "" => Some(Self::Anonymous),
            "*" => Some(Self::Others),
            tenant => TenantId::parse(tenant).ok().map(Self::Tenant),
        }
    }
}

impl ShadowRow {
    /// Whether its requests were let in and would have been refused.
    #[must_use]
    pub fn newly_refused(&self) -> bool {
        self.enforced == Verdict::ALLOW && self.candidate.refuses()
    }

    /// Whether they were refused and would have been let in.
    #[must_use]
    pub fn newly_allowed(&self) -> bool {
        self.enforced.refuses() && self.candidate == Verdict::ALLOW
    }
}
