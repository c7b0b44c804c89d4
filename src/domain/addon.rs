//! Add-ons: what is sold beside a plan, on top of whatever plan the tenant is on.

use std::collections::BTreeMap;

use super::{
    features::FeatureSet,
    id::{AddonId, LimitId, PlanId},
    money::Price,
    plan::{Plan, Quota},
    time::UnixMillis,
    units::Allowance,
};

/// The most of one add-on that a tenant may have.
pub const MOST_OF_AN_ADDON: u32 = 10_000;

/// What is sold beside a plan: features add, allowances and limits sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addon {
    /// Its id, the file's name.
    pub id: AddonId,
    /// Its name for people.
    pub title: Option<String>,
    /// What one of it costs a month.
    pub price: Option<Price>,
    /// The plans that it can be had with; empty: any.
    pub plans: Vec<PlanId>,
    /// Rights that are switched on.
    pub features: FeatureSet,
    /// Added to the plan's limits.
    pub limits: BTreeMap<LimitId, Allowance>,
    /// Added to the plan's quotas, window by window, by [`super::plan::MeterIx`]. A window that the plan does not limit
    /// stays so; a meter that the plan does not name is had with just these.
    pub quotas: Box<[Option<Quota>]>,
}

/// An add-on that a tenant has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Which.
    pub addon: AddonId,
    /// How many of it; at least 1.
    pub quantity: u32,
    /// Since when.
    pub since: UnixMillis,
    /// From then on no more; `None`: until it is detached.
    pub ends_at: Option<UnixMillis>,
}

impl Addon {
    /// Whether it can be had with this plan.
    #[must_use]
    pub fn goes_with(&self, plan: &PlanId) -> bool {
        self.plans.is_empty() || self.plans.contains(plan)
    }

    /// Adds so many of it to a plan.
    pub fn add_to(&self, plan: &mut Plan, quantity: u32) {
        plan.features.insert_all(&self.features);
        for (id, more) in &self.limits {
            let more = more.times(quantity);
            plan.limits.entry(id.clone()).and_modify(|limit| *limit = limit.plus(more)).or_insert(more);
        }
        for (terms, more) in plan.meters.iter_mut().zip(&self.quotas) {
            let Some(more) = more else { continue };
            let more = more.times(quantity);
            terms.quota = Some(terms.quota.map_or(more, |quota| quota.plus(&more)));
        }
    }
}

impl Quota {
    fn times(self, quantity: u32) -> Self {
        let times = |window: Option<Allowance>| window.map(|allowance| allowance.times(quantity));
        Self {
            month: self.month.times(quantity),
            hour: times(self.hour),
            day: times(self.day),
            week: times(self.week),
            ..self
        }
    }

    /// The windows of both together; the rest is this one's.
    fn plus(self, more: &Self) -> Self {
        let plus = |window: Option<Allowance>, more: Option<Allowance>| match (window, more) {
            (Some(window), Some(more)) => Some(window.plus(more)),
            (window, _) => window,
        };
        Self {
            month: self.month.plus(more.month),
            hour: plus(self.hour, more.hour),
            day: plus(self.day, more.day),
            week: plus(self.week, more.week),
            ..self
        }
    }
}
