//! What obeys the change feed: the ledger, whose leases were granted under limits that may be others now.

use async_trait::async_trait;

use crate::{
    domain::{id::TenantId, time::Version},
    ledger::EscrowLedger,
    ports::Wanted,
    sync::Subscriber,
};

/// Seals and returns a changed tenant's leases.
pub struct LedgerObeys(pub EscrowLedger);

#[async_trait]
impl Subscriber for LedgerObeys {
    async fn changed(&self, tenant: &TenantId, version: Version) {
        // Sealing is done at once; what could not be recorded is recorded by the next flush.
        if let Err(error) = self.0.apply(tenant, version).await {
            tracing::warn!(tenant = tenant.as_str(), "leases are returned later: {error}");
        }
    }

    async fn all_changed(&self) {
        if let Err(error) = self.0.apply_everything().await {
            tracing::warn!("leases are returned later: {error}");
        }
    }

    fn wanted(&self, wanted: &[Wanted]) {
        self.0.recall(wanted);
    }

    fn charged(&self, tenants: &[TenantId]) {
        self.0.heed(tenants);
    }

    async fn returned(&self) -> bool {
        match self.0.reassert().await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!("not everything is returned yet: {error}");
                false
            }
        }
    }
}
