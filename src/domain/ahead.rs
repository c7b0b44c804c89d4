//! What is to become of a subscription at instants that are known: kept with the rights, to be shown to the customer.

use super::{
    subscription::{Scheduled, Standing, Subscription},
    tenant::Tenant,
    time::UnixMillis,
};

/// What is ahead of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// The running trial's end.
    pub trial_ends_at: Option<UnixMillis>,
    /// Until when it still entitles after a payment failed.
    pub grace_ends_at: Option<UnixMillis>,
    /// A change that was asked for and is not due yet.
    pub scheduled: Option<Scheduled>,
}

impl Ahead {
    /// What is ahead of a tenant; `None`: nothing, as for most.
    #[must_use]
    pub fn of(tenant: &Tenant) -> Option<Box<Self>> {
        let Subscription { state, scheduled, .. } = tenant.subscription.as_ref()?;
        let trial = if let Standing::Trialing(trial) = state { Some(trial.ends_at) } else { None };
        let grace = if let Standing::PastDue { grace_ends_at } = state { Some(*grace_ends_at) } else { None };
        let is_any = trial.is_some() || grace.is_some() || scheduled.is_some();
        is_any.then(|| {
            let scheduled = scheduled.clone();
            Box::new(Self { trial_ends_at: trial, grace_ends_at: grace, scheduled })
        })
    }
}
