//! What a node keeps of each tenant that it knows: just what rights are compiled from.

use std::sync::Arc;

use super::{
    attributes::Attributes,
    catalog::Catalog,
    id::{PlanId, TenantId},
    period::{AnchorDay, Zone},
    plan::{PlanRef, PlanVersion},
    rights::{Rights, UnknownPlan},
    subscription::Subscription,
    tenant::Tenant,
    time::{UnixMillis, Version},
};

/// Of a tenant what its rights are compiled from, and nothing else: small, as a node keeps it for each tenant it knows.
/// Most tenants are on a plan and nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The version of the last change to the tenant.
    pub version: Version,
    /// Where its days and months begin.
    zone: Zone,
    /// Its plan; `None`: there is no subscription, and the fields after this one say nothing.
    pub plan: Option<PlanId>,
    /// Which of the plan's versions; beside it, as both together would take more room.
    plan_version: PlanVersion,
    /// The version at which counting began anew.
    epoch: Version,
    /// The day on which months begin.
    anchor: AnchorDay,
    /// Refused until resumed.
    suspended: bool,
    /// Of a tenant of which there is more to say, that.
    more: Option<Arc<More>>,
}

/// What there is more to say of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
enum More {
    /// Only its attributes, as of many where regions are sold apart.
    Attributes(Arc<Attributes>),
    /// Everything.
    Whole(Box<Tenant>),
}

impl From<&Tenant> for Facts {
    fn from(tenant: &Tenant) -> Self {
        let subscription = tenant.subscription.as_ref();
        let plain = subscription.is_none_or(Subscription::is_plain)
            && tenant.overrides.is_empty()
            && tenant.addons.is_empty()
            && tenant.grants.is_empty();
        Self {
            version: tenant.version,
            zone: tenant.zone.clone(),
            plan: subscription.map(|subscription| subscription.plan.id.clone()),
            plan_version: subscription.map_or(PlanVersion::FIRST, |subscription| subscription.plan.version),
            epoch: subscription.map_or(tenant.version, |subscription| subscription.epoch),
            anchor: subscription.map_or(AnchorDay::FIRST, |subscription| subscription.anchor),
            suspended: tenant.suspended,
            more: if plain {
                tenant.attributes.clone().map(|attributes| Arc::new(More::Attributes(attributes)))
            } else {
                Some(Arc::new(More::Whole(Box::new(tenant.clone()))))
            },
        }
    }
}

impl Facts {
    /// Compiles these facts of a tenant, as they are at `now`, against a catalog. Overrides, grants and add-ons of names
    /// that the catalog does not have are without effect.
    ///
    /// # Errors
    /// [`UnknownPlan`] where the catalog does not have the subscription's plan.
    pub fn compile(
        &self,
        tenant: &TenantId,
        catalog: &Arc<Catalog>,
        now: UnixMillis,
    ) -> Result<Rights, UnknownPlan> {
        let attributes = match self.more.as_deref() {
            Some(More::Whole(whole)) => return Rights::compile(whole, catalog, now),
            Some(More::Attributes(attributes)) => Some(Arc::clone(attributes)),
            None => None,
        };
        let mut plain = Tenant::new(tenant.clone(), UnixMillis(0));
        plain.zone = self.zone.clone();
        plain.suspended = self.suspended;
        plain.version = self.version;
        plain.attributes = attributes;
        plain.subscription = self.plan.clone().map(|id| {
            let plan = PlanRef { id, version: self.plan_version };
            Subscription::active(plan, self.anchor, self.epoch, UnixMillis(0))
        });
        Rights::compile(&plain, catalog, now)
    }
}
