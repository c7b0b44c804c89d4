//! What is known of a tenant, apart from what it used: the input from which rights are compiled.

use std::collections::BTreeMap;

use super::{
    id::{FeatureId, LimitId, MeterId, PlanId, TenantId},
    period::{AnchorDay, Zone},
    plan::Quota,
    rate::Rate,
    time::{UnixMillis, Version},
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
    /// Its plan, if it has one.
    pub subscription: Option<Subscription>,
    /// Rights set for it alone.
    pub overrides: Overrides,
    /// The version of the last change to any of this.
    pub version: Version,
    /// When it was made.
    pub created_at: UnixMillis,
}

/// A tenant's plan and its billing anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The plan.
    pub plan: PlanId,
    /// Whether it entitles to anything.
    pub state: SubscriptionState,
    /// The day on which months begin.
    pub anchor: AnchorDay,
    /// The version at which counting began anew (first subscription, or `usage: reset`): part of each bucket's name.
    pub epoch: Version,
    /// When the tenant came to this plan.
    pub since: UnixMillis,
}

/// Whether a subscription entitles to anything. More states come with the plan's whole life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionState {
    /// It does.
    Active,
}

impl SubscriptionState {
    /// The word used in answers and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
        }
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
}

impl Overrides {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.features.is_empty() && self.limits.is_empty() && self.quotas.is_empty() && self.rates.is_empty()
    }
}
