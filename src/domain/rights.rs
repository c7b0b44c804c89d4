//! Everything a tenant may do now, compiled from its plan and its own facts against one catalog.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

use super::{
    catalog::Catalog,
    id::{PlanId, TenantId},
    period::{AnchorDay, BillingCalendar, Zone},
    plan::{MeterIx, MeterTerms, Plan},
    tenant::{Overrides, SubscriptionState, Tenant},
    time::Version,
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
    /// Features, limits and meters, overrides included: the catalog's own plan, shared by all its tenants, or where
    /// something is overridden a copy of it for this tenant.
    pub offer: Arc<Plan>,
}

impl Entitlement {
    /// What may be used of a meter.
    #[must_use]
    pub fn terms(&self, meter: MeterIx) -> MeterTerms {
        self.offer.meters.get(usize::from(meter.0)).copied().unwrap_or_default()
    }

    /// Whether the plan names a quota of the meter: what it does not name may not be charged.
    #[must_use]
    pub fn covers(&self, meter: MeterIx) -> bool {
        self.offer.meters.get(usize::from(meter.0)).is_some_and(|terms| terms.quota.is_some())
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

/// Of a tenant what its rights are compiled from, and nothing else: small, as a node keeps it for each tenant it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The version of the last change to the tenant.
    pub version: Version,
    /// Where its days and months begin.
    pub zone: Zone,
    /// Rights set for it alone; `None`: nothing.
    pub overrides: Option<Arc<Overrides>>,
    /// Its plan; `None`: there is no subscription, and the fields after this one say nothing.
    pub plan: Option<PlanId>,
    /// The version at which counting began anew.
    pub epoch: Version,
    /// Whether the subscription entitles to anything.
    pub state: SubscriptionState,
    /// The day on which months begin.
    pub anchor: AnchorDay,
    /// Refused until resumed.
    pub suspended: bool,
}

impl From<&Tenant> for Facts {
    fn from(tenant: &Tenant) -> Self {
        let subscription = tenant.subscription.as_ref();
        Self {
            version: tenant.version,
            zone: tenant.zone.clone(),
            overrides: (!tenant.overrides.is_empty()).then(|| Arc::new(tenant.overrides.clone())),
            plan: subscription.map(|subscription| subscription.plan.clone()),
            epoch: subscription.map_or(tenant.version, |subscription| subscription.epoch),
            state: subscription.map_or(SubscriptionState::Active, |subscription| subscription.state),
            anchor: subscription.map_or(AnchorDay::FIRST, |subscription| subscription.anchor),
            suspended: tenant.suspended,
        }
    }
}

impl Facts {
    /// Compiles these facts of a tenant against a catalog. Overrides of names that the catalog does not have are without
    /// effect.
    ///
    /// # Errors
    /// [`UnknownPlan`] where the catalog does not have the subscription's plan.
    pub fn compile(&self, tenant: &TenantId, catalog: &Arc<Catalog>) -> Result<Rights, UnknownPlan> {
        let entitlement = match &self.plan {
            None => None,
            Some(name) => {
                let plan = catalog
                    .plan(name.as_str())
                    .ok_or_else(|| UnknownPlan { tenant: tenant.clone(), plan: name.clone() })?;
                let offer = match &self.overrides {
                    None => Arc::clone(plan),
                    Some(overrides) => Arc::new(plan.with(overrides, catalog)),
                };
                Some(Entitlement {
                    plan: plan.id.clone(),
                    state: self.state,
                    calendar: BillingCalendar { zone: self.zone.clone(), anchor: self.anchor },
                    epoch: self.epoch,
                    offer,
                })
            }
        };
        Ok(Rights {
            tenant: tenant.clone(),
            version: self.version,
            catalog: Arc::clone(catalog),
            suspended: self.suspended,
            entitlement,
            overrides: self.overrides.clone(),
            account: AccountSlot::default(),
        })
    }
}

impl Rights {
    /// Compiles a tenant's facts against a catalog, see [`Facts::compile`].
    ///
    /// # Errors
    /// [`UnknownPlan`] where the catalog does not have the subscription's plan.
    pub fn compile(tenant: &Tenant, catalog: &Arc<Catalog>) -> Result<Self, UnknownPlan> {
        Facts::from(tenant).compile(&tenant.id, catalog)
    }
}

impl Plan {
    /// The plan as a tenant with these overrides has it: what is set there stands in the place of what the plan says.
    #[must_use]
    pub fn with(&self, overrides: &Overrides, catalog: &Catalog) -> Self {
        let mut plan = self.clone();
        for (id, on) in &overrides.features {
            if let Some(ix) = catalog.feature_ix(id.as_str()) {
                if *on { plan.features.insert(ix) } else { plan.features.remove(ix) }
            }
        }
        for (id, allowance) in &overrides.limits {
            if catalog.has_limit(id.as_str()) {
                plan.limits.insert(id.clone(), *allowance);
            }
        }
        for (id, quota) in &overrides.quotas {
            if let Some(ix) = catalog.meter_ix(id.as_str()) {
                plan.meters[usize::from(ix.0)].quota = Some(*quota);
            }
        }
        for (id, rate) in &overrides.rates {
            if let Some(ix) = catalog.meter_ix(id.as_str()) {
                plan.meters[usize::from(ix.0)].rate = *rate;
            }
        }
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
