//! What a billing system's names mean here: which price is which plan or add-on, and which meter is sold as what.

use std::{collections::BTreeMap, fmt};

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

/// `plan pro`
impl fmt::Display for Sold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(plan) => write!(f, "plan {plan}"),
            Self::Addon(addon) => write!(f, "add-on {addon}"),
        }
    }
}

/// How a meter's usage is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldMeter {
    /// The `event_name` of Stripe's meter.
    pub event_name: String,
    /// Which units.
    pub count: Told,
}

/// `told as ai_tokens, what is beyond the quota`
impl fmt::Display for ToldMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = match self.count {
            Told::Overage => "what is beyond the quota",
            Told::All => "all units",
        };
        write!(f, "told as {}, {count}", self.event_name)
    }
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
