//! The steps of a decision as `check` shows them: in the gateway's order, up to the one that refuses.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    grounds::{Ground, Question},
    quota_check::{QuotaCheck, RateCheck},
    rules::RuleView,
    spend::SpendCheck,
    views::PeriodView,
};
use crate::{
    domain::{catalog::Catalog, denial::Denial, rights::Entitlement, route::Operation},
    pipeline::{problem, request::Rejection},
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
    /// The refusal's HTTP status, or that of Plangate's own answer; `null` where the upstream would answer.
    pub(super) status: Option<u16>,
    /// `plangate`, where the gateway itself answers at one of its own paths; absent: the upstream would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answered_by: Option<&'static str>,
    /// Why not, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    /// The tenant's id.
    pub(super) tenant: String,
    /// The method that was asked for.
    pub(super) method: String,
    /// The path in its canonical form; as it was asked for, where it has none.
    pub(super) path: String,
    /// The subscription's state; `null`: that was not asked.
    pub(super) state: Option<&'static str>,
    /// Its plan.
    pub(super) plan: Option<String>,
    /// The plan's version.
    pub(super) plan_version: Option<u32>,
    /// The version of the tenant's facts.
    pub(super) version: Option<u64>,
    /// Its billing month.
    pub(super) period: Option<PeriodView>,
    /// The route that covers the request.
    pub(super) route: Option<String>,
    /// What it would be charged: units by meter.
    pub(super) charge: BTreeMap<String, u64>,
    /// Where that is written: at the route, or as the default.
    pub(super) charge_rule: Option<RuleView>,
    /// Which of these charges are reserves: by meter, the header of the upstream's answer that tells the true cost.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) reserved: BTreeMap<String, String>,
    /// The features that the route requires, and on what ground the tenant has them or has them not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) features: Vec<FeatureCheck>,
    /// The rates that the charge would be held against.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rates: Vec<RateCheck>,
    /// The quotas that the charge would be held against, as they stand.
    pub(super) quotas: Vec<QuotaCheck>,
    /// The spend cap that the charge would be held against, as it stands; absent where it costs nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) spend_cap: Option<SpendCheck>,
    /// The steps, up to the one that refuses.
    pub(super) steps: Vec<StepView>,
    /// Plans under which the request would pass, the cheapest first. Only for a refusal by the plan.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) plans: Vec<String>,
    /// The policies that decide for the tenant.
    pub(super) policy: DecidingPolicy,
    /// The node that answers.
    pub(super) node: String,
    /// Milliseconds since this node last asked successfully what was changed; `null`: it never did.
    pub(super) age_ms: Option<u64>,
}

/// The policies that decide for a tenant.
#[derive(Serialize, ToSchema, Default)]
pub(super) struct DecidingPolicy {
    /// The revision with which they came to decide; `null`: they are a folder's, or it cannot be read now.
    pub(super) number: Option<u64>,
    /// SHA-256 of their files.
    pub(super) digest: String,
    /// `revision`: they were applied; `folder`: this node's policy folder; `none`: there is neither.
    pub(super) source: &'static str,
    /// The tenant is among those by whom changed policies are tried.
    pub(super) trial: bool,
}

/// One step of a decision.
#[derive(Serialize, ToSchema)]
#[schema(as = Step)]
pub(super) struct StepView {
    /// `path`, `tenant`, `subscription`, `route`, `features`, `rate` or `quota`; `view` at the path of the customer's view.
    step: &'static str,
    /// Whether it lets the request through.
    ok: bool,
    /// Why.
    detail: String,
    /// What decided: the rule that refuses, or else the first that applies.
    #[serde(flatten)]
    ground: Ground,
}

/// A feature that a route requires.
#[derive(Serialize, ToSchema)]
pub(super) struct FeatureCheck {
    /// The feature.
    feature: String,
    /// Whether the tenant has it.
    ok: bool,
    /// On what ground.
    #[serde(flatten)]
    ground: Ground,
}

impl DecisionView {
    pub(super) fn pass(&mut self, step: &'static str, detail: impl Into<String>, ground: Ground) {
        self.steps.push(StepView { step, ok: true, detail: detail.into(), ground });
    }

    /// Ends the steps with a refusal: in the words, and with the code and status, of the gateway itself.
    pub(super) fn refuse(&mut self, step: &'static str, why: &Rejection, ground: Ground) {
        let detail = problem::detail(why);
        self.allow = false;
        self.code = Some(problem::code(why));
        self.status = Some(problem::status_of(why));
        self.steps.push(StepView { step, ok: false, detail: detail.clone(), ground });
        self.detail = Some(detail);
    }

    fn deny(&mut self, step: &'static str, denial: Denial, question: &Question<'_>, ground: Ground) {
        if let Some(operation) = question.operation {
            let rights = question.rights;
            let plans = denial.plans_that_allow(operation, &rights.catalog, rights.overrides.as_deref());
            // As in the gateway's refusal: a tenant's own plan is no advice, even where only an override refuses.
            let plans = plans.iter().map(ToString::to_string);
            self.plans = plans.filter(|plan| self.plan.as_ref() != Some(plan)).collect();
        }
        self.refuse(step, &Rejection::Denied(denial), ground);
    }

    /// What the operation charges, by name.
    fn show_charge(&mut self, operation: &Operation, catalog: &Catalog) {
        let charge = operation.charge.iter();
        self.charge =
            charge.filter_map(|c| Some((catalog.meter(c.meter)?.id.to_string(), c.units.get()))).collect();
        let reserved = operation.settle.iter();
        let reserved = reserved
            .filter_map(|from| Some((catalog.meter(from.meter)?.id.to_string(), from.header.to_string())));
        self.reserved = reserved.collect();
    }

    /// Decides for a tenant whose rights are known. Nothing is charged.
    pub(super) fn decide(&mut self, question: &Question<'_>) {
        let rights = question.rights;
        if let Some(operation) = question.operation {
            self.show_charge(operation, &rights.catalog);
            self.charge_rule = question.rules.charge(question.route);
        }
        // The order of the decision: what comes before the refusing step has let the request through.
        let decision = question.outcome.clone();
        if let Err(denial @ Denial::TenantSuspended) = decision {
            return self.deny("tenant", denial, question, Ground::default());
        }
        self.pass("tenant", "known and not suspended", Ground::default());
        let ground = question.subscription();
        if let Err(denial @ Denial::SubscriptionInactive(_)) = decision {
            return self.deny("subscription", denial, question, ground);
        }
        let Some(given) = &rights.entitlement else { return };
        let (state, plan) = (given.state.as_str(), &given.plan);
        self.pass("subscription", format!("{state}, plan `{plan}`"), ground);
        let ground = Ground::of_rule(question.rules.route(question.route));
        let operation = match (decision, question.operation) {
            (Err(denial @ (Denial::RouteNotCovered | Denial::ConditionFailed { .. })), _) => {
                return self.deny("route", denial, question, ground);
            }
            (Err(denial), _) => {
                self.pass_route(question, ground);
                return self.deny_features(denial, question, given);
            }
            (Ok(_), Some(operation)) => operation,
            (Ok(_), None) => return,
        };
        self.pass_route(question, ground);
        self.pass_features(operation, question, given);
        self.check_units(question, given);
    }

    fn pass_route(&mut self, question: &Question<'_>, ground: Ground) {
        let name = question.operation.map_or_else(String::new, |operation| operation.name.clone());
        self.pass("route", name, ground);
    }

    fn show_features(&mut self, question: &Question<'_>, given: &Entitlement) {
        let required = question.operation.iter().flat_map(|operation| operation.features.iter());
        let check = required.filter_map(|ix| {
            let feature = question.rights.catalog.feature(ix)?.id.to_string();
            let ok = given.offer.features.contains(ix);
            Some(FeatureCheck { feature, ok, ground: question.feature(given, ix) })
        });
        self.features = check.collect();
    }

    fn pass_features(&mut self, operation: &Operation, question: &Question<'_>, given: &Entitlement) {
        self.show_features(question, given);
        let first = operation.features.iter().next();
        let (detail, ground) = match first {
            Some(ix) => ("the plan has all that the route requires", question.feature(given, ix)),
            None => ("the route requires none", Ground::default()),
        };
        self.pass("features", detail, ground);
    }

    /// A feature is missing, or a quota of a meter that the route charges.
    fn deny_features(&mut self, denial: Denial, question: &Question<'_>, given: &Entitlement) {
        self.show_features(question, given);
        let missing = match &denial {
            Denial::FeatureNotInPlan { feature } => question.rights.catalog.feature_ix(feature.as_str()),
            _ => None,
        };
        let ground = missing.map_or_else(|| question.plan(given), |ix| question.feature(given, ix));
        self.deny("features", denial, question, ground);
    }

    fn check_units(&mut self, question: &Question<'_>, given: &Entitlement) {
        let (quotas, exhausted) = question.quotas(given);
        let (rates, too_fast) = question.rates(given);
        // The rule that refuses, or else the first.
        let rate = rates.iter().find(|rate| !rate.ok).or(rates.first());
        let rate = rate.map_or_else(Ground::default, |rate| rate.ground.clone());
        let quota = quotas.iter().find(|quota| !quota.ok).or(quotas.first());
        let quota = quota.map_or_else(Ground::default, |quota| quota.ground.clone());
        let limited = !rates.is_empty();
        (self.quotas, self.rates) = (quotas, rates);
        if let Some(denial) = too_fast {
            return self.deny("rate", denial, question, rate);
        }
        let detail = match limited {
            true => "the rate's burst would do; how much of it is left changes by the moment",
            false => "the plan sets none for what the request costs",
        };
        self.pass("rate", detail, rate);
        if let Some(denial) = exhausted {
            return self.deny("quota", denial, question, quota);
        }
        if let Some((check, reached)) = question.spend(given) {
            let ground = check.ground.clone();
            self.spend_cap = Some(check);
            if let Some(denial) = reached {
                return self.deny("quota", denial, question, ground);
            }
        }
        let detail = match self.charge.is_empty() {
            true => "the request costs nothing",
            false => "enough units are left in every window",
        };
        self.pass("quota", detail, quota);
        self.allow = true;
    }
}
