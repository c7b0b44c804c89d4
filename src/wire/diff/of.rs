//! The domain's differences and impact, in the form that is told.

use super::{
    Altered, Bearing, Bill, ChangeEntry, Cost, FeatureImpact, ImpactView, LimitImpact, List, MeterImpact,
    MissingPlan, Over, QuotaImpact, RanOut, Remapped, RouteImpact, RunOut, Touched,
};
use crate::domain::{
    diff::{self, Change},
    impact::{self, Impact},
    money::Currency,
    time::UnixMillis,
};

impl From<&Change> for ChangeEntry {
    fn from(change: &Change) -> Self {
        Self {
            subject: change.subject.kind().to_owned(),
            name: change.subject.name().to_owned(),
            aspect: change.aspect.clone(),
            before: change.before.clone(),
            after: change.after.clone(),
            bearing: match change.bearing {
                diff::Bearing::Gain => Bearing::Gain,
                diff::Bearing::Loss => Bearing::Loss,
                diff::Bearing::Neither => Bearing::Neither,
            },
        }
    }
}

impl<T, U> From<&impact::Group<T>> for List<U>
where
    for<'a> U: From<&'a T>,
{
    fn from(group: &impact::Group<T>) -> Self {
        Self { total: group.total, first: group.first.iter().map(U::from).collect() }
    }
}

fn instant(at: Option<UnixMillis>) -> Option<String> {
    at.map(|at| at.to_string())
}

impl From<&impact::Touched> for Touched {
    fn from(one: &impact::Touched) -> Self {
        Self { tenant: one.tenant.to_string(), from: instant(one.from) }
    }
}

impl From<&impact::Altered> for Altered {
    fn from(one: &impact::Altered) -> Self {
        let (before, after) = (one.before, one.after);
        Self { tenant: one.tenant.to_string(), from: instant(one.from), before, after }
    }
}

impl From<&impact::Over> for Over {
    fn from(one: &impact::Over) -> Self {
        Self {
            tenant: one.tenant.to_string(),
            meter: one.meter.clone(),
            window: one.window.to_string(),
            used: one.used,
            limit: one.limit,
        }
    }
}

impl From<&impact::Exhausted> for RunOut {
    fn from(one: &impact::Exhausted) -> Self {
        Self { day: one.date().to_string(), window: one.window.to_string() }
    }
}

impl From<&impact::RanOut> for RanOut {
    fn from(one: &impact::RanOut) -> Self {
        Self {
            tenant: one.tenant.to_string(),
            meter: one.meter.clone(),
            before: one.before.as_ref().map(RunOut::from),
            after: one.after.as_ref().map(RunOut::from),
        }
    }
}

impl From<&impact::Remapped> for Remapped {
    fn from(one: &impact::Remapped) -> Self {
        let (before, after) = (one.before.clone(), one.after.clone());
        Self { tenant: one.tenant.to_string(), before, after }
    }
}

impl From<&impact::Bill> for Bill {
    fn from(one: &impact::Bill) -> Self {
        let (before, after) = (one.before.to_string(), one.after.to_string());
        Self { tenant: one.tenant.to_string(), before, after }
    }
}

fn costs(impact: &Impact) -> Vec<Cost> {
    let cost = |(currency, cost): (&Currency, &impact::Cost)| Cost {
        currency: currency.to_string(),
        before: cost.before.to_string(),
        after: cost.after.to_string(),
        dearer: (&cost.dearer).into(),
        cheaper: (&cost.cheaper).into(),
    };
    impact.cost.iter().map(cost).collect()
}

impl From<&Impact> for ImpactView {
    fn from(impact: &Impact) -> Self {
        Self {
            at: impact.at.to_string(),
            tenants: impact.tenants,
            losing: impact.losing,
            gaining: impact.gaining,
            missing_plans: impact
                .missing
                .iter()
                .map(|(plan, tenants)| MissingPlan { plan: plan.to_string(), tenants: tenants.into() })
                .collect(),
            features: impact
                .features
                .iter()
                .map(|(feature, who)| FeatureImpact {
                    feature: feature.clone(),
                    lost: (&who.lost).into(),
                    gained: (&who.gained).into(),
                })
                .collect(),
            meters: impact
                .meters
                .iter()
                .map(|(meter, who)| MeterImpact {
                    meter: meter.clone(),
                    lost: (&who.lost).into(),
                    gained: (&who.gained).into(),
                })
                .collect(),
            routes: impact
                .routes
                .iter()
                .map(|of| RouteImpact {
                    routes: List { total: of.total, first: of.routes.clone() },
                    lost: (&of.who.lost).into(),
                    gained: (&of.who.gained).into(),
                })
                .collect(),
            limits: impact
                .limits
                .iter()
                .map(|(limit, who)| LimitImpact {
                    limit: limit.clone(),
                    lowered: (&who.lost).into(),
                    raised: (&who.gained).into(),
                })
                .collect(),
            quotas: impact
                .quotas
                .iter()
                .map(|((meter, window), who)| QuotaImpact {
                    meter: meter.clone(),
                    window: window.to_string(),
                    lowered: (&who.lost).into(),
                    raised: (&who.gained).into(),
                })
                .collect(),
            over_now: (&impact.over).into(),
            ran_out: (&impact.ran_out).into(),
            spared: (&impact.spared).into(),
            cost: costs(impact),
            remapped: (&impact.remapped).into(),
        }
    }
}
