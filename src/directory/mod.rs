//! Tenants in memory: compiled rights, found without a lock, never older than what this node has heard of.
//!
//! An entry keeps the tenant's facts beside the compiled rights, so that new policies recompile without the database.
//! It may be used only while the version at which it was read is at least the tenant's word in
//! [`Freshness`]; a fill that began before a change is thereby never used after it.

mod entry;
mod load;

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use moka::future::Cache;

use crate::{
    clock::Clock,
    domain::{
        catalog::Catalog,
        id::{PlanId, TenantId},
        identity::Identity,
        rights::Rights,
        time::Version,
    },
    freshness::{Freshness, Knowledge},
    metrics::Metrics,
    ports::{Answer, BoxFuture, Directory, ResolveError, TenantStore},
};
use entry::Entry;

/// How long a request on a node that has not heard of changes waits for one poll.
const POLL_WAIT: Duration = Duration::from_millis(500);

/// What becomes of a tenant that nobody has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnknownTenants {
    /// It is refused.
    Deny,
    /// Its first valid token makes it, on this plan.
    Enroll(PlanId),
}

/// How the directory behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Tenants kept in memory.
    pub capacity: u64,
    /// How long a node that hears nothing goes on with what it knows.
    pub serve_stale: Duration,
    /// What becomes of unknown tenants.
    pub unknown: UnknownTenants,
}

/// Rights by tenant.
#[derive(Clone)]
pub struct TenantDirectory(Arc<Shared>);

struct Shared {
    cache: Cache<TenantId, Arc<Entry>>,
    store: Arc<dyn TenantStore>,
    freshness: Arc<Freshness>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    settings: Settings,
}

impl TenantDirectory {
    /// A directory over a store.
    #[must_use]
    pub fn new(
        store: Arc<dyn TenantStore>,
        freshness: Arc<Freshness>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        settings: Settings,
    ) -> Self {
        let cache = Cache::new(settings.capacity);
        Self(Arc::new(Shared { cache, store, freshness, clock, metrics, settings }))
    }
}

impl Shared {
    /// The entry, if one is in memory that may still be used.
    fn known(&self, tenant: &TenantId) -> Option<Arc<Entry>> {
        let entry = self.cache.get(tenant).now_or_never().flatten()?;
        (entry.read_at >= self.freshness.min_version(tenant)).then_some(entry)
    }

    fn is_fresh(&self) -> bool {
        self.freshness.knowledge(self.clock.monotonic()) == Knowledge::Fresh
    }

    /// Whether this node may decide at all; waits for one poll where it has not heard of changes for a while.
    async fn may_decide(&self) -> Result<(), ResolveError> {
        if self.is_fresh() {
            return Ok(());
        }
        let freshness = &self.freshness;
        if !freshness.waited_in_vain() && !freshness.is_retired() {
            if freshness.wait_until(POLL_WAIT, |_| self.is_fresh()).await {
                return Ok(());
            }
            freshness.wait_was_in_vain();
        }
        match freshness.knowledge(self.clock.monotonic()) {
            Knowledge::Fresh => Ok(()),
            Knowledge::Stale(age) if age <= self.settings.serve_stale => Ok(()),
            Knowledge::Stale(_) => Err(ResolveError::Unavailable),
        }
    }

    async fn resolve(
        &self,
        identity: &Identity,
        catalog: &Arc<Catalog>,
    ) -> Result<Arc<Rights>, ResolveError> {
        self.may_decide().await?;
        let entry = match self.known(&identity.tenant) {
            Some(entry) => {
                self.metrics.rights_hits.inc();
                entry
            }
            None => self.load(&identity.tenant).await?,
        };
        let entry = if entry.is_unknown() { self.enroll(identity).await? } else { entry };
        entry.rights(catalog)
    }
}

impl Directory for TenantDirectory {
    fn is_current(&self) -> bool {
        self.0.is_fresh()
    }

    fn catch_up(&self) -> BoxFuture<Result<(), ResolveError>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.may_decide().await })
    }

    fn resolve(&self, identity: &Arc<Identity>, catalog: &Arc<Catalog>) -> Answer<Arc<Rights>, ResolveError> {
        if self.0.is_fresh()
            && let Some(entry) = self.0.known(&identity.tenant)
            && !entry.is_unknown()
        {
            self.0.metrics.rights_hits.inc();
            return Answer::Ready(entry.rights(catalog));
        }
        let (shared, identity, catalog) = (Arc::clone(&self.0), Arc::clone(identity), Arc::clone(catalog));
        Answer::Pending(Box::pin(async move { shared.resolve(&identity, &catalog).await }))
    }

    fn newer(&self, identity: &Arc<Identity>, known: &Arc<Rights>) -> Answer<Arc<Rights>, ResolveError> {
        let (shared, identity, known) = (Arc::clone(&self.0), Arc::clone(identity), Arc::clone(known));
        Answer::Pending(Box::pin(async move {
            let version = known.version;
            let heard = |freshness: &Freshness| freshness.min_version(&identity.tenant) > version;
            if !shared.freshness.wait_until(POLL_WAIT, heard).await {
                // The change may have been heard of before these rights were looked up, or is a policy's.
                shared.forget(&identity.tenant, version).await;
            }
            shared.resolve(&identity, &known.catalog).await
        }))
    }
}

impl Shared {
    async fn forget(&self, tenant: &TenantId, version: Version) {
        if let Some(entry) = self.known(tenant)
            && entry.version() <= version
        {
            self.cache.invalidate(tenant).await;
        }
    }
}

#[cfg(test)]
mod tests;
