//! Reading tenants: one read at a time for each tenant, however many requests wait for it.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{Entry, PLANS, Shared, UnknownTenants};
use crate::{
    domain::{
        catalog::Catalog,
        command::{Change, Command},
        facts::Facts,
        id::{PlanId, TenantId},
        identity::{Credential, Identity},
        plan::{PlanRef, PlanVersion},
        tenant::Tenant,
        time::Version,
    },
    ports::{ExecuteError, Origin, ResolveError, StoreError},
};

/// How long a request waits for the database.
const READ_WAIT: Duration = Duration::from_secs(3);

impl Shared {
    /// Reads a tenant, and keeps it unless it changed meanwhile.
    pub(super) async fn load(&self, tenant: &TenantId) -> Result<Arc<Entry>, ResolveError> {
        self.metrics.rights_misses.inc();
        for _ in 0..3 {
            // An entry that may not be used any more must not answer the single flight.
            if self.reads.get(tenant).await.is_some_and(|known| !self.may_use(&known, tenant)) {
                self.reads.invalidate(tenant).await;
            }
            let reading = self.reads.try_get_with_by_ref(tenant, self.read(tenant));
            let entry = match tokio::time::timeout(READ_WAIT, reading).await {
                Ok(Ok(entry)) => entry,
                Ok(Err(error)) => {
                    tracing::warn!(tenant = tenant.as_str(), "rights cannot be read: {error}");
                    return Err(ResolveError::Unavailable);
                }
                Err(_) => return Err(ResolveError::Unavailable),
            };
            // Another request's read may have begun before a change that this request must obey.
            if self.may_use(&entry, tenant) {
                self.keep(&entry, tenant).await;
                return Ok(entry);
            }
        }
        Err(ResolveError::Unavailable)
    }

    fn may_use(&self, entry: &Entry, tenant: &TenantId) -> bool {
        entry.read_at >= self.freshness.min_version(tenant)
    }

    /// Puts what was read where it belongs: tenants into the table, those that do not exist stay where reads are.
    async fn keep(&self, entry: &Arc<Entry>, tenant: &TenantId) {
        if entry.is_unknown() {
            self.known.remove(tenant, entry.read_at);
        } else {
            self.known.put(entry);
            self.reads.invalidate(tenant).await;
        }
    }

    async fn read(&self, tenant: &TenantId) -> Result<Arc<Entry>, StoreError> {
        let snapshot = self.store.tenant(tenant).await?;
        Ok(Arc::new(match snapshot.value {
            Some(found) => Entry::known(tenant, snapshot.version, self.facts(&found)),
            None => Entry::unknown(tenant, snapshot.version),
        }))
    }

    /// The facts, with the plan's name shared by all tenants on it.
    fn facts(&self, tenant: &Tenant) -> Facts {
        let mut facts = Facts::from(tenant);
        if let Some(plan) = &mut facts.plan {
            let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
            match plans.get(plan) {
                Some(known) => *plan = known.clone(),
                None if plans.len() < PLANS => drop(plans.insert(plan.clone())),
                None => {}
            }
        }
        facts
    }

    /// Makes a tenant that first appears with a valid token, where the configuration wants that.
    pub(super) async fn enroll(
        &self,
        identity: &Identity,
        catalog: &Catalog,
    ) -> Result<Arc<Entry>, ResolveError> {
        match &self.settings.unknown {
            UnknownTenants::Enroll(plan) if identity.credential == Credential::Jwt => {
                let version = self.make(&identity.tenant, plan, catalog).await.map_err(|error| {
                    tracing::warn!(tenant = identity.tenant.as_str(), "cannot be enrolled: {error}");
                    ResolveError::Unavailable
                })?;
                self.freshness.outdate(&identity.tenant, version);
                self.load(&identity.tenant).await
            }
            _ => Err(ResolveError::TenantUnknown),
        }
    }

    async fn make(
        &self,
        tenant: &TenantId,
        plan: &PlanId,
        catalog: &Catalog,
    ) -> Result<Version, ExecuteError> {
        let version = catalog.plan(plan.as_str()).map_or(PlanVersion::FIRST, |plan| plan.version);
        let plan = PlanRef { id: plan.clone(), version };
        let command = Command { tenant: tenant.clone(), change: Change::Enroll { plan } };
        let origin = Origin {
            at: self.clock.now(),
            actor: "system".to_owned(),
            source: "jwt".to_owned(),
            idempotency: None,
        };
        Ok(self.store.execute(&command, &origin).await?.version)
    }
}
