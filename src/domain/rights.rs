//! Everything a tenant may do now, compiled from its plan and its own facts against one catalog.

use std::{
    any::Any,
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use super::{
    catalog::Catalog,
    features::FeatureSet,
    id::{LimitId, PlanId, TenantId},
    period::BillingCalendar,
    plan::{MeterIx, MeterTerms, Plan},
    tenant::{Overrides, SubscriptionState, Tenant},
    time::Version,
    units::Allowance,
};

/// A tenant's rights: immutable; a change makes new ones.
#[derive(Debug)]
pub struct Rights {
    /// Whose.
    pub tenant: TenantId,
    /// The version of the facts they were compiled from.
    pub version: Version,
    /// The catalog they were compiled from. A request is decided wholly by one catalog.
    pub catalog: Arc<Catalog>,
    /// Whether the tenant was suspended.
    pub suspended: bool,
    /// What the subscription gives; `None`: there is none.
    pub entitlement: Option<Entitlement>,
    /// What was set for this tenant, whatever its plan; `None`: nothing.
    pub overrides: Option<Arc<Overrides>>,
    /// The ledger's own place for this tenant, found once and then reached directly.
    pub account: AccountSlot,
}

/// What a subscription gives.
#[derive(Debug)]
pub struct Entitlement {
    /// The plan's id.
    pub plan: PlanId,
    /// The subscription's state.
    pub state: SubscriptionState,
    /// Where its periods begin.
    pub calendar: BillingCalendar,
    /// The version at which counting began anew.
    pub epoch: Version,
    /// Features, overrides included.
    pub features: FeatureSet,
    /// Limits, overrides included.
    pub limits: BTreeMap<LimitId, Allowance>,
    /// Terms of each meter, overrides included, by [`MeterIx`].
    pub meters: Box<[MeterTerms]>,
}

impl Entitlement {
    /// What may be used of a meter.
    #[must_use]
    pub fn terms(&self, meter: MeterIx) -> MeterTerms {
        self.meters.get(usize::from(meter.0)).copied().unwrap_or_default()
    }
}

/// The tenant is on a plan that the policies do not (any more) have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant `{tenant}` is on plan `{plan}`, which the policies do not have")]
pub struct UnknownPlan {
    /// The tenant.
    pub tenant: TenantId,
    /// The plan that is missing.
    pub plan: PlanId,
}

impl Rights {
    /// Compiles a tenant's facts against a catalog. Overrides of names that the catalog does not have are without effect.
    ///
    /// # Errors
    /// [`UnknownPlan`] where the catalog does not have the subscription's plan.
    pub fn compile(tenant: &Tenant, catalog: &Arc<Catalog>) -> Result<Self, UnknownPlan> {
        let entitlement = match &tenant.subscription {
            None => None,
            Some(subscription) => {
                let plan = catalog.plan(subscription.plan.as_str()).ok_or_else(|| UnknownPlan {
                    tenant: tenant.id.clone(),
                    plan: subscription.plan.clone(),
                })?;
                let mut entitlement = Entitlement {
                    plan: plan.id.clone(),
                    state: subscription.state,
                    calendar: BillingCalendar { zone: tenant.zone.clone(), anchor: subscription.anchor },
                    epoch: subscription.epoch,
                    features: plan.features.clone(),
                    limits: plan.limits.clone(),
                    meters: plan.meters.clone(),
                };
                let Entitlement { features, limits, meters, .. } = &mut entitlement;
                tenant.overrides.apply(catalog, features, limits, meters);
                Some(entitlement)
            }
        };
        Ok(Self {
            tenant: tenant.id.clone(),
            version: tenant.version,
            catalog: Arc::clone(catalog),
            suspended: tenant.suspended,
            entitlement,
            overrides: (!tenant.overrides.is_empty()).then(|| Arc::new(tenant.overrides.clone())),
            account: AccountSlot::default(),
        })
    }
}

impl Overrides {
    /// Sets what is set here in the place of what a plan says.
    fn apply(
        &self,
        catalog: &Catalog,
        features: &mut FeatureSet,
        limits: &mut BTreeMap<LimitId, Allowance>,
        meters: &mut [MeterTerms],
    ) {
        for (id, on) in &self.features {
            if let Some(ix) = catalog.feature_ix(id.as_str()) {
                if *on { features.insert(ix) } else { features.remove(ix) }
            }
        }
        for (id, allowance) in &self.limits {
            if catalog.has_limit(id.as_str()) {
                limits.insert(id.clone(), *allowance);
            }
        }
        for (id, quota) in &self.quotas {
            if let Some(ix) = catalog.meter_ix(id.as_str()) {
                meters[usize::from(ix.0)].quota = Some(*quota);
            }
        }
        for (id, rate) in &self.rates {
            if let Some(ix) = catalog.meter_ix(id.as_str()) {
                meters[usize::from(ix.0)].rate = *rate;
            }
        }
    }
}

impl Plan {
    /// The plan as a tenant with these overrides would have it.
    #[must_use]
    pub fn with(&self, overrides: &Overrides, catalog: &Catalog) -> Self {
        let mut plan = self.clone();
        overrides.apply(catalog, &mut plan.features, &mut plan.limits, &mut plan.meters);
        plan
    }
}

/// A place that the ledger fills at first use with its own per-tenant state.
#[derive(Default)]
pub struct AccountSlot(OnceLock<Arc<dyn Any + Send + Sync>>);

impl AccountSlot {
    /// The state, made by `open` at first use. `None` where somebody filled the place with another type.
    pub fn get_or_open<T: Any + Send + Sync>(&self, open: impl FnOnce() -> Arc<T>) -> Option<&T> {
        self.0.get_or_init(|| open() as Arc<dyn Any + Send + Sync>).downcast_ref()
    }
}

impl std::fmt::Debug for AccountSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.get().is_some() { "AccountSlot(open)" } else { "AccountSlot" })
    }
}
