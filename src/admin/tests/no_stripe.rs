//! A store that Stripe never told anything: what the other calls need of one.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    domain::{catalog::Catalog, id::TenantId, time::UnixMillis},
    ports::{
        BillingLink, DroppedEvents, FoldOutcome, LinkError, Linked, NewStripeEvent, Origin, StoreError,
        StripeEventRow, StripeEventState, StripeStore, Unclaimed,
    },
};

pub struct NoStripe;

#[async_trait]
impl StripeStore for NoStripe {
    async fn keep_stripe_event(&self, _: &NewStripeEvent) -> Result<bool, StoreError> {
        Err(StoreError::Full("no events are kept".to_owned()))
    }
    async fn fold_customer(&self, _: &str, _: &Arc<Catalog>, _: &Origin) -> Result<FoldOutcome, StoreError> {
        Ok(FoldOutcome::default())
    }
    async fn stripe_event(&self, _: &str) -> Result<Option<StripeEventRow>, StoreError> {
        Ok(None)
    }
    async fn stripe_events(
        &self,
        _: Option<StripeEventState>,
        _: Option<u64>,
        _: u32,
    ) -> Result<Vec<StripeEventRow>, StoreError> {
        Ok(Vec::new())
    }
    async fn customers_to_fold(&self, _: UnixMillis, _: u32) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
    async fn customers_with(&self, _: StripeEventState, _: &str, _: u32) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
    async fn customer_of(&self, _: &TenantId) -> Result<Option<BillingLink>, StoreError> {
        Ok(None)
    }
    async fn link_customer(&self, tenant: &TenantId, _: &str, _: &Origin) -> Result<Linked, LinkError> {
        Err(LinkError::NoTenant(tenant.clone()))
    }
    async fn note_replay(&self, _: &str, _: &Origin) -> Result<Linked, LinkError> {
        Err(StoreError::Full("nothing is written down".to_owned()).into())
    }
    async fn unlink_customer(&self, tenant: &TenantId, _: &Origin) -> Result<Linked, LinkError> {
        Err(LinkError::NotLinked(tenant.clone()))
    }
    async fn drop_unclaimed(&self, _: &Unclaimed) -> Result<u64, StoreError> {
        Ok(0)
    }
    async fn dropped_events(&self) -> Result<DroppedEvents, StoreError> {
        Ok(DroppedEvents::default())
    }
}
