//! A tenant as it is at the instant of an answer.

use std::sync::Arc;

use super::{
    problem::{Code, Problem},
    views::PeriodView,
};
use crate::domain::{
    catalog::Catalog, rights::Rights, subscription::Subscription, tenant::Tenant, time::UnixMillis,
};

/// A tenant as it is now: what has happened to it by itself has happened, also where nobody has written it down yet. One
/// instant and one catalog for the whole of an answer.
pub(super) struct Present {
    /// The tenant.
    pub(super) tenant: Tenant,
    /// By what its plans are read.
    pub(super) catalog: Arc<Catalog>,
    /// When that is.
    pub(super) now: UnixMillis,
}

impl Present {
    /// As the tenant is at `now`.
    pub(super) fn of(tenant: &Tenant, catalog: &Arc<Catalog>, now: UnixMillis) -> Self {
        let mut tenant = tenant.at(now);
        follow_version(&mut tenant, catalog, now);
        Self { tenant, catalog: Arc::clone(catalog), now }
    }

    /// The tenant's rights.
    pub(super) fn rights(&self) -> Result<Arc<Rights>, Problem> {
        Rights::compile(&self.tenant, &self.catalog, self.now)
            .map(Arc::new)
            .map_err(|error| Problem::new(Code::PlanMissing, error.to_string()))
    }

    /// The billing month that runs, if there ever was a subscription.
    pub(super) fn period(&self) -> Option<PeriodView> {
        Some(self.subscription()?.calendar(&self.tenant.zone).month(self.now).into())
    }

    /// The subscription, if there ever was one.
    pub(super) fn subscription(&self) -> Option<&Subscription> {
        self.tenant.subscription.as_ref()
    }
}

/// Brings the tenant to the version of its plan to which it has come by itself.
pub(super) fn follow_version(tenant: &mut Tenant, catalog: &Catalog, now: UnixMillis) {
    if !tenant.state().goes_on() {
        return;
    }
    let moved = catalog.moved_to(tenant, now);
    if let (Some(to), Some(subscription)) = (moved, &mut tenant.subscription) {
        subscription.plan = to;
    }
}
