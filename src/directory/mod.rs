//! Tenants in memory: rights without a look-up, never older than what this node has heard of.
//!
//! Of every tenant that it knows a node keeps the facts (`table.rs`), so that new policies need no database. Rights are
//! compiled from them by the worker that needs them, which keeps its own as long as they are used ([`DirectoryFront`]).
//! Facts and rights may be used only while the version at which the facts were read is at least the tenant's word in
//! [`Freshness`]; a fill that began before a change is thereby never used after it.

mod entry;
mod front;
mod load;
mod table;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use moka::future::Cache;

use crate::{
    clock::Clock,
    domain::{
        catalog::{Catalog, Stamp},
        id::{PlanId, TenantId},
        identity::Identity,
        rights::{Rights, UnknownPlan},
        time::{Monotonic, UnixMillis, Version},
    },
    freshness::{Freshness, Knowledge},
    metrics::Metrics,
    ports::{Answer, BoxFuture, Directory, ResolveError, TenantStore, TriedRights},
};
use entry::Entry;
use table::Table;

pub use front::DirectoryFront;

/// Reads under way and tenants that do not exist, at most.
const STRANGERS: u64 = 10_000;
/// Names of plans that are kept once for all tenants, at most.
const PLANS: usize = 4096;

/// How long a request on a node that has not heard of changes waits for one poll.
const POLL_WAIT: Duration = Duration::from_millis(500);
/// How often it does, where the process stood still while it did.
const WAITS: u32 = 3;

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

/// Rights by tenant. What it answers is new each time: who asks often keeps it, as a [`DirectoryFront`] does.
#[derive(Clone)]
pub struct TenantDirectory(Arc<Shared>);

struct Shared {
    known: Table,
    /// Each tenant is read once at a time; and who is not there is remembered.
    reads: Cache<TenantId, Arc<Entry>>,
    /// Names of plans: one copy of each, instead of one for each tenant.
    plans: Mutex<BTreeSet<PlanId>>,
    missing: Mutex<Missing>,
    store: Arc<dyn TenantStore>,
    freshness: Arc<Freshness>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    settings: Settings,
}

/// Plans that a catalog does not have although tenants are on them: each is worth one line in the log, not one for each
/// request.
#[derive(Default)]
struct Missing {
    catalog: Option<Stamp>,
    plans: BTreeSet<PlanId>,
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
        Self(Arc::new(Shared {
            known: Table::new(settings.capacity),
            reads: Cache::new(STRANGERS),
            plans: Mutex::default(),
            missing: Mutex::default(),
            store,
            freshness,
            clock,
            metrics,
            settings,
        }))
    }
}

impl Shared {
    /// The entry, if one is in memory that may still be used.
    fn known(&self, tenant: &TenantId) -> Option<Arc<Entry>> {
        let entry = self.known.get(tenant)?;
        (entry.read_at >= self.freshness.min_version(tenant)).then_some(entry)
    }

    /// Whether the node was fresh at an instant.
    fn is_fresh(&self, at: Monotonic) -> bool {
        self.freshness.knowledge(at) == Knowledge::Fresh
    }

    fn is_fresh_now(&self) -> bool {
        self.is_fresh(self.clock.monotonic())
    }

    /// New rights of a known tenant.
    fn compile(
        &self,
        entry: &Entry,
        tenant: &TenantId,
        catalog: &Arc<Catalog>,
        now: UnixMillis,
    ) -> Result<Arc<Rights>, ResolveError> {
        let compiled = entry.compile(tenant, catalog, now).ok_or(ResolveError::TenantUnknown)?;
        compiled.map_err(|error| {
            self.report(&error, catalog.stamp);
            ResolveError::Unavailable
        })
    }

    /// What a known tenant's rights would be by other policies. A plan that these lack is nothing to report: the request
    /// is not decided by them.
    fn tried(&self, tenant: &TenantId, catalog: &Arc<Catalog>, now: UnixMillis) -> Option<TriedRights> {
        let entry = self.known(tenant)?;
        Some(TriedRights { rights: entry.compile(tenant, catalog, now)?, read_at: entry.read_at })
    }

    fn report(&self, error: &UnknownPlan, catalog: Stamp) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if missing.catalog != Some(catalog) {
            *missing = Missing { catalog: Some(catalog), plans: BTreeSet::new() };
        }
        if missing.plans.len() < PLANS && missing.plans.insert(error.plan.clone()) {
            tracing::error!("rights cannot be compiled: {error}");
        }
    }

    /// Whether this node may decide at all; waits for one poll where it has not heard of changes for a while.
    async fn may_decide(&self) -> Result<(), ResolveError> {
        let freshness = &self.freshness;
        for _ in 0..WAITS {
            let began = self.clock.monotonic();
            if self.is_fresh(began) {
                return Ok(());
            }
            if freshness.waited_in_vain(began) || freshness.is_retired() {
                break;
            }
            if freshness.wait_until(POLL_WAIT, |_| self.is_fresh_now()).await {
                return Ok(());
            }
            // Where the whole process stood still meanwhile, nothing was waited for.
            if self.clock.monotonic().since(began) < POLL_WAIT * 2 {
                freshness.wait_was_in_vain();
                break;
            }
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
        now: UnixMillis,
    ) -> Result<Arc<Rights>, ResolveError> {
        self.may_decide().await?;
        let entry = match self.known(&identity.tenant) {
            Some(entry) => {
                self.metrics.rights_hits.inc();
                entry
            }
            None => self.load(&identity.tenant).await?,
        };
        let entry = if entry.is_unknown() { self.enroll(identity, catalog).await? } else { entry };
        self.compile(&entry, &identity.tenant, catalog, now)
    }

    fn catch_up(shared: &Arc<Self>) -> BoxFuture<Result<(), ResolveError>> {
        let shared = Arc::clone(shared);
        Box::pin(async move { shared.may_decide().await })
    }

    /// The slow way: waits for news and reads, where that is needed.
    fn ask(
        shared: &Arc<Self>,
        identity: &Arc<Identity>,
        catalog: &Arc<Catalog>,
        now: UnixMillis,
    ) -> Answer<Arc<Rights>, ResolveError> {
        let (shared, identity, catalog) = (Arc::clone(shared), Arc::clone(identity), Arc::clone(catalog));
        Answer::Pending(Box::pin(async move { shared.resolve(&identity, &catalog, now).await }))
    }

    fn newer(
        shared: &Arc<Self>,
        identity: &Arc<Identity>,
        known: &Arc<Rights>,
    ) -> Answer<Arc<Rights>, ResolveError> {
        let (shared, identity, known) = (Arc::clone(shared), Arc::clone(identity), Arc::clone(known));
        Answer::Pending(Box::pin(async move {
            let version = known.version;
            let policies = known.catalog.deployed;
            let heard = |freshness: &Freshness| {
                freshness.min_version(&identity.tenant) > version || freshness.policies() > policies
            };
            // What has come by itself is known already.
            let ended = known.until <= shared.clock.now();
            if !ended && !shared.freshness.wait_until(POLL_WAIT, heard).await {
                // The change may have been heard of before these rights were looked up, or is a policy's.
                shared.forget(&identity.tenant, version);
            }
            let found = shared.resolve(&identity, &known.catalog, shared.clock.now()).await?;
            if found.version > version {
                // Also where no poll has told of it: what others still hold of the tenant is outdated.
                shared.freshness.outdate(&identity.tenant, found.version);
            }
            Ok(found)
        }))
    }

    fn forget(&self, tenant: &TenantId, version: Version) {
        if let Some(entry) = self.known(tenant)
            && entry.version() <= version
        {
            self.known.remove(tenant, entry.read_at);
        }
    }
}

impl Directory for TenantDirectory {
    fn is_current(&self, arrived: Monotonic) -> bool {
        self.0.is_fresh(arrived)
    }

    fn catch_up(&self) -> BoxFuture<Result<(), ResolveError>> {
        Shared::catch_up(&self.0)
    }

    fn resolve(
        &self,
        identity: &Arc<Identity>,
        catalog: &Arc<Catalog>,
        arrived: Monotonic,
        now: UnixMillis,
    ) -> Answer<Arc<Rights>, ResolveError> {
        if self.0.is_fresh(arrived)
            && let Some(entry) = self.0.known(&identity.tenant)
        {
            self.0.metrics.rights_hits.inc();
            return Answer::Ready(self.0.compile(&entry, &identity.tenant, catalog, now));
        }
        Shared::ask(&self.0, identity, catalog, now)
    }

    fn newer(&self, identity: &Arc<Identity>, known: &Arc<Rights>) -> Answer<Arc<Rights>, ResolveError> {
        Shared::newer(&self.0, identity, known)
    }

    fn tried(&self, tenant: &TenantId, catalog: &Arc<Catalog>, now: UnixMillis) -> Option<TriedRights> {
        self.0.tried(tenant, catalog, now)
    }
}

#[cfg(test)]
mod tests;
