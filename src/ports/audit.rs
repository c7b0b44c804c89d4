//! The audit log as a chain: each line carries the hash of the one before it.

use async_trait::async_trait;
use serde_json::Value;

use super::StoreError;
use crate::domain::time::UnixMillis;

/// The audit log.
#[async_trait]
pub trait AuditStore: Send + Sync + 'static {
    /// Lines after a cursor (0: from the oldest), oldest first, at most `limit`.
    async fn audit_lines(
        &self,
        after: u64,
        limit: u32,
        only: &AuditFilter,
    ) -> Result<Vec<AuditLine>, StoreError>;

    /// Where the chain begins and ends.
    async fn audit_head(&self) -> Result<AuditHead, StoreError>;
}

/// Which lines are wanted; what is `None` does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// Those that concern this tenant.
    pub tenant: Option<String>,
    /// Those of this actor.
    pub actor: Option<String>,
    /// Those of this kind.
    pub kind: Option<String>,
    /// Those not older than this.
    pub since: Option<UnixMillis>,
}

/// A line of the audit log as it is kept, whatever has become of it: that it is as it was written is for the chain to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// Its place, from 1, without gaps.
    pub cursor: u64,
    /// The version of the change; of what is no change of rights: the newest.
    pub version: u64,
    /// When.
    pub at: UnixMillis,
    /// Who: a token's name, `admin` or `system`.
    pub actor: String,
    /// From where.
    pub source: String,
    /// The tenant it concerns; `None`: the installation.
    pub tenant: Option<String>,
    /// What it was.
    pub kind: String,
    /// What was asked, without secrets.
    pub detail: Value,
    /// What the change altered, as it was; null: nothing, or it was not there.
    pub before: Value,
    /// What the change altered, as it was afterwards.
    pub after: Value,
    /// The hash of the line before it; `None`: it is older than the chain.
    pub previous: Option<String>,
    /// Its own hash; `None`: it is older than the chain.
    pub hash: Option<String>,
}

/// A line and its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLink {
    /// The line's place.
    pub cursor: u64,
    /// Its hash: 64 hexadecimal digits.
    pub hash: String,
}

/// Where the chain begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// Its last line. Before there is any: the anchor.
    pub head: AuditLink,
    /// When that was written; `None`: there is none yet.
    pub at: Option<UnixMillis>,
    /// Lines up to this place are older than the chain and have no hashes.
    pub start: u64,
    /// The last line that was tidied away, which the oldest line kept follows; at first `start` with a hash of zeros.
    pub anchor: AuditLink,
}
