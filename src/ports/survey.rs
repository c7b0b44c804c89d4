//! What many tenants used, read at once: to reckon what other policies would do to them.

use std::collections::HashMap;

use async_trait::async_trait;

use super::StoreError;
use crate::domain::{
    catalog::Catalog,
    id::TenantId,
    impact::{DayUse, Lookback, Spent},
    stripe::StripeEvent,
    time::UnixMillis,
};

/// Usage of a page of tenants. Reads alone, of the database as it is: what a node has not recorded yet is missing.
#[async_trait]
pub trait SurveyStore: Send + Sync + 'static {
    /// What each of these tenants used before `until`, by meter and day; one statement. Tenants without usage are left out.
    async fn used_of(
        &self,
        tenants: &[Lookback],
        until: UnixMillis,
    ) -> Result<HashMap<TenantId, Vec<DayUse>>, StoreError>;

    /// What is used of the sources of units that each of these tenants can use at `now`; one statement. What is not in the
    /// answer was never used.
    async fn spent_of(
        &self,
        tenants: &[Lookback],
        now: UnixMillis,
    ) -> Result<HashMap<TenantId, Vec<Spent>>, StoreError>;

    /// What the billing system told of each of these tenants' customers, as far as it is kept; one statement. Tenants
    /// without a customer are left out.
    async fn told_of(&self, tenants: &[TenantId]) -> Result<HashMap<TenantId, Vec<StripeEvent>>, StoreError>;
}

/// Makes whole what a compiler made of files, without putting it in force.
#[async_trait]
pub trait Previews: Send + Sync + 'static {
    /// The catalog as it would be, were it put in force now: with the other versions of its plans, and with those that it
    /// brings itself introduced at this moment.
    async fn preview(&self, catalog: Catalog) -> Result<Catalog, StoreError>;
}
