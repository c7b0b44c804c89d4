//! Revisions of the policies in the database, and what makes catalogs of them.

use async_trait::async_trait;

use super::{Origin, StoreError};
use crate::domain::{
    catalog::{Catalog, Digest},
    revision::{Deploy, DeployRefused, Deployment, PolicyFiles, Revision, RevisionNumber},
    time::Version,
};

/// Which policies decide, and which did.
#[async_trait]
pub trait RevisionStore: Send + Sync + 'static {
    /// What the database says of the policies now.
    async fn deployment(&self) -> Result<Deployment, StoreError>;

    /// The files of this digest; `None`: they were never kept.
    async fn policy_files(&self, digest: &Digest) -> Result<Option<PolicyFiles>, StoreError>;

    /// Keeps files under their digest, which is the caller's to have computed. Without effect on what a tenant may do.
    async fn keep_policy_files(&self, digest: &Digest, files: &PolicyFiles) -> Result<(), StoreError>;

    /// Changes what decides: one transaction that also bumps the version, and writes the history, the change feed, the
    /// audit log and the idempotency record. All files that it names are kept already.
    async fn deploy(&self, change: &DeployCommand, origin: &Origin) -> Result<Deployed, DeployError>;

    /// The history before `before`, the newest first, at most `limit`.
    async fn revisions(
        &self,
        before: Option<RevisionNumber>,
        limit: u32,
    ) -> Result<Vec<Revision>, StoreError>;
}

/// A change of what decides, as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployCommand {
    /// What.
    pub change: Deploy,
    /// The entry of the history that it was made for; `None`: whatever is in force.
    pub base: Option<RevisionNumber>,
    /// What each node's folder says, where nothing was ever applied: it becomes the first revision, so that there is a way
    /// back to it.
    pub folder: Option<Digest>,
    /// Why.
    pub message: Option<String>,
    /// Who.
    pub author: Option<String>,
}

/// A change of what decides that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// Its version.
    pub version: Version,
    /// Its entry of the history.
    pub number: RevisionNumber,
    /// It was done before under the same idempotency key; nothing was done again.
    pub replayed: bool,
}

/// Why what decides was not changed. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeployError {
    /// What decides now forbids it.
    #[error(transparent)]
    Refused(#[from] DeployRefused),
    /// The idempotency key was used for another request.
    #[error("this Idempotency-Key was used for another request")]
    IdempotencyConflict,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a catalog of policy files. It takes as long as the files are large: not for an async thread.
pub trait PolicyCompiler: Send + Sync + 'static {
    /// The catalog, and what is legal and probably not meant.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    fn compile(&self, files: &PolicyFiles) -> Result<(Catalog, Vec<Finding>), Vec<Finding>>;
}

/// Something that is to be said of policy files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `error` or `warning`.
    pub severity: &'static str,
    /// A stable name of the kind of finding, such as `unknown-feature`.
    pub code: &'static str,
    /// What it is.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// The file, relative to the folder; empty: the folder itself.
    pub file: String,
    /// Line and column, both from 1; `None`: the file as a whole.
    pub place: Option<(usize, usize)>,
    /// The line itself.
    pub source: Option<String>,
}
