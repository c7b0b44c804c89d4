//! What a billing system's names mean here: which price is which plan or add-on, and which meter is sold as what.

use std::collections::BTreeMap;

use super::id::{AddonId, FeatureId, MeterId, PlanId};

/// What Stripe's names mean, as `stripe.yaml` says it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StripeMap {
    /// Prices, by their id.
    pub prices: BTreeMap<String, Sold>,
    /// Prices, by their lookup key: where the id is not listed.
    pub lookup_keys: BTreeMap<String, Sold>,
    /// Features of Stripe's entitlements by their lookup key.
    pub features: BTreeMap<String, FeatureId>,
    /// Meters whose usage is told to Stripe.
    pub meters: BTreeMap<MeterId, ToldMeter>,
}

/// What a price sells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sold {
    /// A plan.
    Plan(PlanId),
    /// An add-on, as many as the quantity says.
    Addon(AddonId),
}

/// How a meter's usage is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldMeter {
    /// The `event_name` of Stripe's meter.
    pub event_name: String,
    /// Which units.
    pub count: Told,
}

/// Which units of a meter are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Told {
    /// Those that a plan bills: beyond what it includes.
    #[default]
    Overage,
    /// All that were used, whatever they came from.
    All,
}
