//! What a tenant's month costs.

use std::sync::Arc;

use async_trait::async_trait;

use super::{MeterUsage, StoreError};
use crate::domain::{cost::CostSoFar, rights::Rights, time::UnixMillis};

/// Reckons what tenants owe.
#[async_trait]
pub trait Bills: Send + Sync + 'static {
    /// What the running month costs so far, with the usage that the caller has just read. `None`: nothing is sold for
    /// money to this tenant now.
    async fn so_far(
        &self,
        rights: &Arc<Rights>,
        usage: &[MeterUsage],
        now: UnixMillis,
    ) -> Result<Option<CostSoFar>, StoreError>;
}
