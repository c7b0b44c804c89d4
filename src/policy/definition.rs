//! The policy files as they were written: checked one by one, not yet against each other.

use std::collections::{BTreeMap, BTreeSet};

use super::{condition::AttributeTerms, source::Place};
use crate::domain::{
    billing::Told,
    id::{AddonId, FeatureId, LimitId, MeterId, PlanId},
    money::Price,
    plan::{Changes, Existing, PlanVersion, Quota},
    rate::Rate,
    route::{Methods, Pattern},
    settlement::CostHeader,
    spend::SpendCap,
    subscription::UsageRule,
    units::{Allowance, Units},
    warning::WarnAt,
};

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A name that refers to something declared elsewhere.
pub(super) type Name = At<String>;

/// A declared feature, limit or meter.
#[derive(Debug)]
pub(super) struct Declared<I> {
    pub(super) id: I,
    pub(super) place: Place,
    pub(super) title: Option<String>,
    /// Meters only.
    pub(super) unit: Option<String>,
}

/// `features.yaml`.
#[derive(Debug, Default)]
pub(super) struct Declarations {
    /// Names that stand there with a mistake, and sections that could not be read: nothing is said about their use.
    pub(super) doubtful: BTreeSet<String>,
    pub(super) unread: BTreeSet<&'static str>,
    pub(super) features: Vec<Declared<FeatureId>>,
    pub(super) limits: Vec<Declared<LimitId>>,
    pub(super) meters: Vec<Declared<MeterId>>,
    /// By name; `None`: there is no such section, and any may be used.
    pub(super) attributes: Option<BTreeMap<String, AttributeTerms>>,
}

/// One of `plans/*.yaml`.
#[derive(Debug)]
pub(super) struct PlanFile {
    pub(super) id: PlanId,
    /// Where its name stands.
    pub(super) place: Place,
    /// Where its keys stand.
    pub(super) keys: BTreeMap<&'static str, Place>,
    pub(super) version: PlanVersion,
    pub(super) existing: Option<At<Existing>>,
    pub(super) title: Option<String>,
    pub(super) extends: Option<Name>,
    pub(super) price: Option<Price>,
    pub(super) spend_cap: Option<SpendCap>,
    pub(super) trial: Option<TrialTerms>,
    pub(super) grace_days: Option<u16>,
    pub(super) changes: Option<Changes>,
    pub(super) warn_at: Option<WarnAt>,
    pub(super) features: Vec<Name>,
    pub(super) without: Vec<Name>,
    pub(super) limits: Vec<(Name, Allowance)>,
    pub(super) quotas: Vec<(Name, Quota)>,
    /// `None`: unlimited, which takes the parent's rate away.
    pub(super) rates: Vec<(Name, Option<Rate>)>,
}

#[derive(Debug)]
pub(super) struct TrialTerms {
    pub(super) days: u16,
    /// `None`: block.
    pub(super) then: Option<Name>,
    pub(super) usage: UsageRule,
}

/// One of `addons/*.yaml`.
#[derive(Debug)]
pub(super) struct AddonFile {
    pub(super) id: AddonId,
    /// Where its name stands.
    pub(super) place: Place,
    pub(super) title: Option<String>,
    pub(super) price: Option<Price>,
    /// Empty: any.
    pub(super) plans: Vec<Name>,
    pub(super) features: Vec<Name>,
    pub(super) limits: Vec<(Name, Allowance)>,
    pub(super) quotas: Vec<(Name, Quota)>,
}

/// `stripe.yaml`.
#[derive(Debug)]
pub(super) struct StripeFile {
    pub(super) prices: Vec<(Name, Sale)>,
    pub(super) lookup_keys: Vec<(Name, Sale)>,
    pub(super) features: Vec<(Name, Name)>,
    pub(super) meters: Vec<(Name, MeterTold)>,
}

/// What a price sells.
#[derive(Debug)]
pub(super) enum Sale {
    Plan(Name),
    Addon(Name),
}

#[derive(Debug)]
pub(super) struct MeterTold {
    pub(super) event_name: Name,
    pub(super) count: Told,
}

/// `routes.yaml`.
#[derive(Debug)]
pub(super) struct RoutesFile {
    pub(super) unmatched_allowed: bool,
    /// Where `unmatched` stands.
    pub(super) unmatched: Option<Place>,
    pub(super) default_charge: Vec<(Name, ChargeTerms)>,
    pub(super) routes: Vec<RouteTerms>,
}

#[derive(Debug)]
pub(super) struct RouteTerms {
    pub(super) name: At<String>,
    pub(super) methods: Methods,
    pub(super) pattern: Pattern,
    pub(super) public: bool,
    /// It decides only where this holds.
    pub(super) when: Option<At<String>>,
    pub(super) features: Vec<Name>,
    /// `None`: the default.
    pub(super) charge: Option<Vec<(Name, ChargeTerms)>>,
}

/// What is charged of one meter.
#[derive(Debug)]
pub(super) struct ChargeTerms {
    pub(super) units: Units,
    /// The units are a reserve; this header of the answer tells the cost.
    pub(super) from: Option<CostHeader>,
    /// In the place of `units`, the units as CEL.
    pub(super) cel: Option<At<String>>,
    /// Charged only where this holds.
    pub(super) when: Option<At<String>>,
}
