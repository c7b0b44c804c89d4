//! The steps of a decision as `check` shows them: in the gateway's order, up to the one that refuses.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    rights::{Count, Counts},
    sources::{SourceCount, sum},
    views::{AllowanceView, PeriodView},
};
use crate::domain::{
    denial::Denial,
    period::{Period, Window},
    rate::RateStep,
    rights::{Entitlement, Rights},
    route::Operation,
    time::{Monotonic, UnixMillis},
    units::Units,
    variant::{Chosen, Decided},
};

/// What would become of a request.
#[derive(Serialize, ToSchema, Default)]
#[schema(as = Decision)]
pub(super) struct DecisionView {
    /// Whether it would pass.
    pub(super) allow: bool,
    /// Why not: a code of the gateway's refusals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    /// The refusal's HTTP status; `null` where the upstream would answer.
    pub(super) status: Option<u16>,
    /// Why not, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    /// The tenant's id.
    pub(super) tenant: String,
    /// Its plan.
    pub(super) plan: Option<String>,
    /// Its billing month.
    pub(super) period: Option<PeriodView>,
    /// The route that covers the request.
    pub(super) route: Option<String>,
    /// What it would be charged: units by meter.
    pub(super) charge: BTreeMap<String, u64>,
    /// Which of these charges are reserves: by meter, the header of the upstream's answer that tells the true cost.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) reserved: BTreeMap<String, String>,
    /// The quotas that the charge would be held against, as they stand.
    pub(super) quotas: Vec<QuotaCheck>,
    /// The steps, up to the one that refuses.
    pub(super) steps: Vec<StepView>,
    /// Plans under which the request would pass, the cheapest first. Only for a refusal by the plan.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) plans: Vec<String>,
}

/// One step of a decision.
#[derive(Serialize, ToSchema)]
#[schema(as = Step)]
pub(super) struct StepView {
    /// `path`, `route`, `tenant`, `subscription`, `features`, `rate` or `quota`.
    step: &'static str,
    /// Whether it lets the request through.
    ok: bool,
    /// Why.
    detail: String,
}

/// A quota that a charge would be held against.
#[derive(Serialize, ToSchema)]
pub(super) struct QuotaCheck {
    /// The meter.
    meter: String,
    /// `hour`, `day`, `week` or `month`.
    window: &'static str,
    /// Units that the request needs.
    needs: u64,
    /// Units after which it is refused (a month's with grants and the overage cap).
    limit: AllowanceView,
    /// Units that count as used.
    used: u64,
    /// When the window ends.
    resets_at: String,
}

const fn status(denial: &Denial) -> u16 {
    match denial {
        Denial::TenantSuspended
        | Denial::ConditionFailed { .. }
        | Denial::FeatureNotInPlan { .. }
        | Denial::MeterNotInPlan { .. } => 403,
        Denial::SubscriptionInactive(_) => 402,
        Denial::RouteNotCovered => 404,
        Denial::RateLimited { .. } | Denial::QuotaExhausted { .. } => 429,
    }
}

impl DecisionView {
    pub(super) fn pass(&mut self, step: &'static str, detail: impl Into<String>) {
        self.steps.push(StepView { step, ok: true, detail: detail.into() });
    }

    pub(super) fn refuse(&mut self, step: &'static str, code: &'static str, status: u16, detail: String) {
        self.allow = false;
        self.code = Some(code);
        self.status = Some(status);
        self.steps.push(StepView { step, ok: false, detail: detail.clone() });
        self.detail = Some(detail);
    }

    fn deny(&mut self, step: &'static str, denial: &Denial, operation: Option<&Operation>, rights: &Rights) {
        if let Some(operation) = operation {
            let plans = denial.plans_that_allow(operation, &rights.catalog, rights.overrides.as_deref());
            // As in the gateway's refusal: a tenant's own plan is no advice, even where only an override refuses.
            let plans = plans.iter().map(ToString::to_string);
            self.plans = plans.filter(|plan| self.plan.as_ref() != Some(plan)).collect();
        }
        self.refuse(step, denial.code(), status(denial), denial.to_string());
    }

    /// Shows how a tenant whose rights are known was decided. Nothing is charged. `head`: what the request's methods and path
    /// lead to, where it was not asked which route it is.
    pub(super) fn decide(
        &mut self,
        rights: &Rights,
        head: Option<&Operation>,
        Decided { chosen, outcome: decision }: Decided<'_, '_>,
        counts: &Counts,
        now: UnixMillis,
    ) {
        let charged = match chosen {
            None => head.map(Cow::Borrowed),
            Some(Chosen { operation, charges, .. }) => operation.map(|operation| match charges {
                Cow::Borrowed(_) => Cow::Borrowed(operation),
                Cow::Owned(charges) => Cow::Owned(operation.charged(&charges)),
            }),
        };
        let operation = charged.as_deref();
        self.route = operation.map(|operation| operation.name.clone());
        let catalog = &rights.catalog;
        let charge = operation.map_or(&[][..], |operation| &operation.charge);
        let charge =
            charge.iter().filter_map(|c| Some((catalog.meter(c.meter)?.id.to_string(), c.units.get())));
        self.charge = charge.collect();
        let reserved = operation.map_or(&[][..], |operation| &operation.settle);
        let reserved = reserved
            .iter()
            .filter_map(|from| Some((catalog.meter(from.meter)?.id.to_string(), from.header.to_string())));
        self.reserved = reserved.collect();
        // The order of the decision: what comes before the refusing step has let the request through.
        let refusing = match &decision {
            Ok(_) => 4,
            Err(Denial::TenantSuspended) => 0,
            Err(Denial::SubscriptionInactive(_)) => 1,
            Err(Denial::RouteNotCovered | Denial::ConditionFailed { .. }) => 2,
            Err(_) => 3,
        };
        let given = rights.entitlement.as_ref();
        let plan = given.map_or_else(String::new, |given| given.plan.to_string());
        let state = given.map_or("none", |given| given.state.as_str());
        let passed = [
            ("tenant", "known and not suspended".to_owned()),
            ("subscription", format!("{state}, plan `{plan}`")),
            ("route", operation.map_or_else(String::new, |operation| operation.name.clone())),
            ("features", "the plan has all that the route requires".to_owned()),
        ];
        for (place, (step, detail)) in passed.into_iter().enumerate() {
            if place < refusing {
                self.pass(step, detail);
            } else if let Err(denial) = &decision {
                return self.deny(step, denial, operation, rights);
            }
        }
        if let (Ok(given), Some(operation)) = (decision, operation) {
            self.check_units(rights, given, operation, counts, now);
        }
    }

    fn check_units(
        &mut self,
        rights: &Rights,
        given: &Entitlement,
        operation: &Operation,
        counts: &Counts,
        now: UnixMillis,
    ) {
        let exhausted = self.check_quotas(rights, given, operation, counts, now);
        if let Some(denial) = too_much_at_once(rights, given, operation) {
            return self.deny("rate", &denial, Some(operation), rights);
        }
        self.pass("rate", "the rate's burst would do; how much of it is left changes by the moment");
        match exhausted {
            Some(denial) => self.deny("quota", &denial, Some(operation), rights),
            None => {
                self.pass("quota", "enough units are left in every window");
                self.allow = true;
            }
        }
    }

    /// Lists the quotas that apply, and returns the first refusal.
    fn check_quotas(
        &mut self,
        rights: &Rights,
        given: &Entitlement,
        operation: &Operation,
        counts: &Counts,
        now: UnixMillis,
    ) -> Option<Denial> {
        let mut refusal = None;
        for charge in &operation.charge {
            let (Some(meter), Some(quota)) =
                (rights.catalog.meter(charge.meter), given.terms(charge.meter).quota)
            else {
                continue;
            };
            for window in Window::ALL.into_iter().filter(|window| quota.counts(*window)) {
                let standing = if window == Window::Month {
                    let sources = counts.sources(given, &rights.catalog, &meter.id, now);
                    Standing::of_month(&sources, given.calendar.month(now))
                } else {
                    let limit = quota.hard_limit(window);
                    Standing::of_window(limit, counts.window(given, &meter.id, window, now))
                };
                self.quotas.push(QuotaCheck {
                    meter: meter.id.to_string(),
                    window: window.as_str(),
                    needs: charge.units.get(),
                    limit: standing.limit.into(),
                    used: standing.used.get(),
                    resets_at: standing.period.end.to_string(),
                });
                if refusal.is_none() && standing.left.is_some_and(|left| charge.units > left) {
                    refusal = Some(Denial::QuotaExhausted {
                        meter: meter.id.clone(),
                        window,
                        limit: standing.limit.unwrap_or_default(),
                        used: standing.used,
                        period: standing.period,
                    });
                }
            }
        }
        refusal
    }
}

/// How a window stands against its limit.
struct Standing {
    /// `None`: there is none.
    limit: Option<Units>,
    /// Units that count as used.
    used: Units,
    /// `None`: any number.
    left: Option<Units>,
    period: Period,
}

impl Standing {
    fn of_window(limit: Option<Units>, count: Count) -> Self {
        let used = count.counted();
        Self { limit, used, left: limit.map(|limit| limit.saturating_sub(used)), period: count.period }
    }

    /// What the plan includes, grants and overage together. What is used of one source beyond its limit takes nothing from
    /// another.
    fn of_month(sources: &[SourceCount], period: Period) -> Self {
        Self {
            limit: sum(sources.iter().map(|source| source.terms.limit)),
            used: sources.iter().map(SourceCount::counted).fold(Units::ZERO, Units::saturating_add),
            left: sum(sources.iter().map(SourceCount::left)),
            period,
        }
    }
}

/// A charge above the burst never passes; whether a smaller one does depends on the moment.
fn too_much_at_once(rights: &Rights, given: &Entitlement, operation: &Operation) -> Option<Denial> {
    operation.charge.iter().find_map(|charge| {
        let rate = given.terms(charge.meter).rate?;
        let full = Monotonic::default();
        match rate.step(full, full, charge.units) {
            RateStep::Allowed(_) => None,
            RateStep::Refused(wait) => Some(Denial::RateLimited {
                meter: rights.catalog.meter(charge.meter)?.id.clone(),
                rate,
                retry_after: wait.filter(|wait| *wait < Duration::from_secs(366 * 86_400)),
            }),
        }
    })
}
