//! What is known of a tenant, apart from what it used: the input from which rights are compiled.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    addon::Attached,
    attributes::Attributes,
    grant::Grant,
    id::{FeatureId, LimitId, MeterId, PlanId, TenantId},
    period::Zone,
    plan::Quota,
    rate::Rate,
    spend::SpendCap,
    subscription::Subscription,
    time::{UnixMillis, Version},
    transitions::State,
    units::Allowance,
};

/// A tenant with its subscription and overrides, as of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its name for people.
    pub name: Option<String>,
    /// Where its days and months begin.
    pub zone: Zone,
    /// Refused until resumed.
    pub suspended: bool,
    /// Its plan, if it ever had one.
    pub subscription: Option<Subscription>,
    /// Rights set for it alone.
    pub overrides: Overrides,
    /// Its add-ons, by id.
    pub addons: Vec<Attached>,
    /// Its grants that are in force, the oldest first.
    pub grants: Vec<Grant>,
    /// What tells it apart from others; `None`: nothing does, which is never an empty list.
    pub attributes: Option<Arc<Attributes>>,
    /// Plans that it has tried.
    pub tried: BTreeSet<PlanId>,
    /// The version of the last change to any of this.
    pub version: Version,
    /// When it was made.
    pub created_at: UnixMillis,
}

impl Tenant {
    /// One that has nothing yet.
    #[must_use]
    pub const fn new(id: TenantId, created_at: UnixMillis) -> Self {
        Self {
            id,
            name: None,
            zone: Zone::UTC,
            suspended: false,
            subscription: None,
            overrides: Overrides::EMPTY,
            addons: Vec::new(),
            grants: Vec::new(),
            attributes: None,
            tried: BTreeSet::new(),
            version: Version(0),
            created_at,
        }
    }

    /// The state of its subscription, as it was at its version. See [`Tenant::advance`].
    #[must_use]
    pub fn state(&self) -> State {
        self.subscription.as_ref().map_or(State::None, |subscription| subscription.state.state())
    }
}

/// Rights set for one tenant; each entry replaces the plan's whole entry of that name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    /// Features switched on or off.
    pub features: BTreeMap<FeatureId, bool>,
    /// Limits.
    pub limits: BTreeMap<LimitId, Allowance>,
    /// Quotas.
    pub quotas: BTreeMap<MeterId, Quota>,
    /// Rates; `None`: no rate.
    pub rates: BTreeMap<MeterId, Option<Rate>>,
    /// The spend cap; `None`: the plan's.
    pub spend_cap: Option<SpendCap>,
}

impl Overrides {
    /// Nothing is set.
    pub const EMPTY: Self = Self {
        features: BTreeMap::new(),
        limits: BTreeMap::new(),
        quotas: BTreeMap::new(),
        rates: BTreeMap::new(),
        spend_cap: None,
    };

    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
            && self.limits.is_empty()
            && self.quotas.is_empty()
            && self.rates.is_empty()
            && self.spend_cap.is_none()
    }
}
