//! What a tenant may do.

use std::sync::Arc;

use super::{Answer, BoxFuture};
use crate::domain::{
    catalog::Catalog,
    id::TenantId,
    identity::Identity,
    rights::{Rights, UnknownPlan},
    time::{Monotonic, UnixMillis, Version},
};

/// Finds the rights of a tenant.
pub trait Directory: Send + Sync + 'static {
    /// Whether this node, when the request arrived, had heard of changes so recently that it may decide on what it knows.
    /// On a node that had not, a credential found in memory may have been revoked. `arrived` was read after the request's
    /// head was there: then no request that came after a change was answered is decided without it.
    fn is_current(&self, arrived: Monotonic) -> bool;

    /// Waits a bounded time for news, or says that this node may go on without.
    fn catch_up(&self) -> BoxFuture<Result<(), ResolveError>>;

    /// The tenant's rights, compiled from `catalog` and no older than the newest change that this node has applied.
    /// `arrived` as for [`Directory::is_current`]; `now` is the same instant by the civil clock: what is to become of the
    /// tenant at known instants is decided by it.
    fn resolve(
        &self,
        identity: &Arc<Identity>,
        catalog: &Arc<Catalog>,
        arrived: Monotonic,
        now: UnixMillis,
    ) -> Answer<Arc<Rights>, ResolveError>;

    /// The tenant's rights once this node knows of newer ones than `known`; waits a bounded time for them.
    fn newer(&self, identity: &Arc<Identity>, known: &Arc<Rights>) -> Answer<Arc<Rights>, ResolveError>;

    /// What a tenant's rights would be by other policies, from what is in memory alone: nobody is decided by them, and what
    /// is kept for those who are stays. `None`: the tenant is not in memory.
    fn tried(&self, tenant: &TenantId, catalog: &Arc<Catalog>, now: UnixMillis) -> Option<TriedRights> {
        let _ = (tenant, catalog, now);
        None
    }
}

/// What a tenant's rights would be by other policies.
#[derive(Debug)]
pub struct TriedRights {
    /// They; or these policies do not have the tenant's plan.
    pub rights: Result<Arc<Rights>, UnknownPlan>,
    /// The newest version that was committed when the tenant was read.
    pub read_at: Version,
}

/// Why rights are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no such tenant.
    #[error("no tenant of this name is known")]
    TenantUnknown,
    /// They cannot be read now, or this node has not heard of changes for too long.
    #[error("the account's rights cannot be read at the moment")]
    Unavailable,
}
