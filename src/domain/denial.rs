//! Refusals by the plan: what was missing, in the tenant's own words.

use std::time::Duration;

use super::{
    catalog::Catalog,
    condition::ConditionError,
    id::{FeatureId, MeterId, PlanId},
    money::Currency,
    period::{Period, Window},
    plan::{Overage, Plan},
    rate::Rate,
    route::Operation,
    spend::{MoneyUnits, UnitCost},
    tenant::Overrides,
    transitions::State,
    units::Units,
};

/// Why a known tenant's request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The tenant was suspended.
    #[error("this account is suspended")]
    TenantSuspended,
    /// There is no subscription that entitles to anything.
    #[error("{}", inactive(*.0))]
    SubscriptionInactive(State),
    /// No route covers the request.
    #[error("no route covers this request")]
    RouteNotCovered,
    /// A condition of the route, or an amount that it charges, cannot be told for the request.
    #[error("{} cannot be told: {why}", told(route, charge.as_ref()))]
    ConditionFailed {
        /// The route.
        route: Box<str>,
        /// The meter whose charge it is; `None`: the route's own condition.
        charge: Option<MeterId>,
        /// What is wrong.
        why: ConditionError,
    },
    /// The plan lacks a feature.
    #[error("the plan does not include `{feature}`")]
    FeatureNotInPlan {
        /// The feature.
        feature: FeatureId,
    },
    /// The plan names no quota for a meter that the operation charges.
    #[error("the plan has no quota for `{meter}`")]
    MeterNotInPlan {
        /// The meter.
        meter: MeterId,
    },
    /// Too fast.
    #[error("faster than the plan's rate of {} `{meter}` per {:?}", rate.limit, rate.per)]
    RateLimited {
        /// The meter.
        meter: MeterId,
        /// The plan's rate (of the whole installation, not this node's share).
        rate: Rate,
        /// When it would pass; `None`: never at this plan.
        retry_after: Option<Duration>,
    },
    /// The quota has fewer units left than the request needs.
    #[error("the plan's {limit} `{meter}` per {window} are used up")]
    QuotaExhausted {
        /// The meter.
        meter: MeterId,
        /// Which window refused.
        window: Window,
        /// Its hard limit.
        limit: Units,
        /// Units used of it.
        used: Units,
        /// The current period; it resets at its end.
        period: Period,
    },
    /// The request needs units beyond what is included, and less is left of the spend cap than they cost.
    #[error(
        "the spend cap of {cap} {currency} a month is reached, with {spent} {currency} spent: more than is included of \
         `{meter}` can be used again from {}, or once the cap is raised", period.end
    )]
    SpendCapReached {
        /// The meter that would have been charged.
        meter: MeterId,
        /// The currency of both amounts.
        currency: Currency,
        /// The most that billed overage may cost in the month.
        cap: MoneyUnits,
        /// What it has cost in this month, over all meters.
        spent: MoneyUnits,
        /// The current month; it resets at its end.
        period: Period,
    },
}

/// What cannot be told of a route.
fn told(route: &str, charge: Option<&MeterId>) -> String {
    match charge {
        None => format!("the condition of `{route}`"),
        Some(meter) => format!("what `{route}` charges of `{meter}`"),
    }
}

/// Why a subscription in this state does not entitle, and how that ends.
const fn inactive(state: State) -> &'static str {
    match state {
        State::Paused => "the subscription is paused, until it is resumed",
        State::Unpaid => {
            "the subscription is not paid, and its days of grace are over: it goes on once it is paid"
        }
        State::Expired => "the trial has ended: a plan is to be chosen",
        State::Canceled => "the subscription was canceled: a plan is to be chosen",
        State::None | State::Trialing | State::Active | State::PastDue => {
            "there is no subscription: a plan is to be chosen"
        }
    }
}

impl Denial {
    /// The problem code of the contract.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TenantSuspended => "tenant-suspended",
            Self::SubscriptionInactive(_) => "subscription-inactive",
            Self::RouteNotCovered => "route-not-covered",
            Self::ConditionFailed { .. } => "condition-failed",
            Self::FeatureNotInPlan { .. } | Self::MeterNotInPlan { .. } => "feature-not-in-plan",
            Self::RateLimited { .. } => "rate-limited",
            Self::QuotaExhausted { .. } | Self::SpendCapReached { .. } => "quota-exhausted",
        }
    }

    /// The plans under which the same request would pass, cheapest first as far as prices are known. A tenant's overrides
    /// stay with it whatever its plan.
    #[must_use]
    pub fn plans_that_allow(
        &self,
        operation: &Operation,
        catalog: &Catalog,
        overrides: Option<&Overrides>,
    ) -> Vec<PlanId> {
        let allows = |plan: &Plan| plan.admits(operation) && self.is_lifted_by(plan, operation, catalog);
        let mut plans: Vec<&Plan> = catalog
            .plans
            .values()
            .map(|plan| &**plan)
            .filter(|plan| match overrides {
                Some(overrides) => allows(&plan.with(overrides, catalog)),
                None => allows(plan),
            })
            .collect();
        plans.sort_by(|a, b| match (a.price, b.price) {
            (Some(a), Some(b)) => a.amount.compare(b.amount),
            (a, b) => a.is_none().cmp(&b.is_none()),
        });
        plans.into_iter().map(|plan| plan.id.clone()).collect()
    }

    fn is_lifted_by(&self, plan: &Plan, operation: &Operation, catalog: &Catalog) -> bool {
        let needs = |meter: &MeterId| {
            let ix = catalog.meter_ix(meter.as_str())?;
            let charge = operation.charge.iter().find(|charge| charge.meter == ix)?;
            Some((plan.meters.get(usize::from(ix.0))?, charge.units))
        };
        match self {
            Self::TenantSuspended | Self::RouteNotCovered | Self::ConditionFailed { .. } => false,
            // Who has paused, or is behind with paying, stays so on any plan.
            Self::SubscriptionInactive(state) => !matches!(state, State::Paused | State::Unpaid),
            Self::FeatureNotInPlan { .. } | Self::MeterNotInPlan { .. } => true,
            Self::RateLimited { meter, rate, .. } => needs(meter).is_some_and(|(terms, units)| {
                terms.rate.is_none_or(|other| {
                    other.burst >= units
                        && u128::from(other.limit.get()) * rate.per.as_nanos()
                            > u128::from(rate.limit.get()) * other.per.as_nanos()
                })
            }),
            Self::QuotaExhausted { meter, window, used, .. } => needs(meter).is_some_and(|(terms, units)| {
                terms.quota.is_some_and(|quota| {
                    let fits = |limit| used.saturating_add(units) <= limit;
                    // What is used of a window is used of each that it lies in, too.
                    let mut around = Window::ALL.into_iter().filter(|other| window.lies_in(*other));
                    around.all(|window| quota.hard_limit(window).is_none_or(fits))
                })
            }),
            Self::SpendCapReached { meter, currency, spent, .. } => {
                needs(meter).is_some_and(|(terms, units)| {
                    let Some(quota) = terms.quota else { return false };
                    // What was used is not known here: a plan that lets any number through helps for sure.
                    match (quota.month.limit(), quota.overage) {
                        (None, _) | (_, Overage::Allow { cap: None }) => true,
                        (_, Overage::Bill { cap: None, price, per }) => {
                            let cost = UnitCost::of(price, per).money.times(units);
                            let terms = plan.spend().filter(|terms| terms.currency == *currency);
                            terms.and_then(|terms| terms.cap).is_none_or(|cap| spent.plus(cost) <= cap)
                        }
                        _ => false,
                    }
                })
            }
        }
    }
}

impl Plan {
    /// Whether the plan has every feature and a usable quota for every meter of the operation.
    #[must_use]
    pub fn admits(&self, operation: &Operation) -> bool {
        self.features.first_missing(&operation.features).is_none()
            && operation.charge.iter().all(|charge| {
                self.meters.get(usize::from(charge.meter.0)).and_then(|terms| terms.quota).is_some_and(
                    |quota| {
                        Window::ALL
                            .into_iter()
                            .all(|window| quota.hard_limit(window).is_none_or(|limit| charge.units <= limit))
                    },
                )
            })
    }
}
