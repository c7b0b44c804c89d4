//! Pro-rated quotas: the limits of a month in which a tenant had several plans.

use super::{
    catalog::Catalog,
    period::Period,
    plan::{Plan, PlanRef},
    time::UnixMillis,
    units::{Allowance, Units},
};

/// The plans of one month, for pro-rated quotas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mixture {
    /// The month. In the one after it quotas are the plan's own again.
    pub month: Period,
    /// Each plan and when it ended; the first began with the month (or stands for what was before).
    pub parts: Vec<(PlanRef, UnixMillis)>,
}

impl Mixture {
    /// Gives a plan the month's limits that are those of all parts, each for its part of the month: the sum of limit times
    /// time, divided by the month's length and rounded up once. Where one of them is unlimited, the plan's own stands; a
    /// plan that does not name the meter counts as none. Shorter windows, overage and rates are the plan's own.
    pub fn mix(&self, plan: &mut Plan, catalog: &Catalog) {
        let length = |from: UnixMillis, to: UnixMillis| u128::try_from(to.0 - from.0).unwrap_or(0);
        let whole = length(self.month.start, self.month.end).max(1);
        for (place, terms) in plan.meters.iter_mut().enumerate() {
            let Some(quota) = &mut terms.quota else { continue };
            let Some(last) = quota.month.limit() else { continue };
            let mut from = self.month.start;
            let mut sum = Some(0_u128);
            for (part, until) in &self.parts {
                let until = (*until).clamp(from, self.month.end);
                let limit = match catalog.plan_in(part).map(|plan| plan.meters.get(place)) {
                    // The policies do not have it any more.
                    None => Some(last),
                    Some(terms) => match terms.and_then(|terms| terms.quota) {
                        None => Some(Units::ZERO),
                        Some(quota) => quota.month.limit(),
                    },
                };
                sum = sum.zip(limit).map(|(sum, limit)| sum + u128::from(limit.get()) * length(from, until));
                from = until;
            }
            if let Some(sum) = sum {
                let sum = sum + u128::from(last.get()) * length(from, self.month.end);
                let mixed = u64::try_from(sum.div_ceil(whole)).unwrap_or(u64::MAX);
                quota.month = Allowance::Limited(Units::saturating(mixed));
            }
        }
    }
}
