//! What is sold: every plan in each of its versions, and the add-ons.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Shared,
    openapi::ReadErrors,
    params::NoParams,
    problem::Problem,
    views::{AllowanceView, List, PriceView},
};
use crate::{
    domain::{
        addon::Addon,
        catalog::Catalog,
        plan::{ChangeAt, Existing, Plan, PlanRef, Trial},
    },
    wire::overrides,
};

/// A plan in one of its versions.
#[derive(Serialize, ToSchema)]
#[schema(as = Plan)]
pub(super) struct PlanView {
    /// The plan.
    plan: String,
    /// The version.
    version: u32,
    /// Whether it is the version of the policy files, to which tenants come that are put on the plan.
    current: bool,
    /// How many tenants are on it, as written down; those whose subscription is over are not counted.
    tenants: u64,
    /// What it says; `null` where neither the policies nor the database has it any more.
    #[serde(flatten)]
    terms: Option<TermsView>,
}

/// What a plan says, as far as it concerns its life.
#[derive(Serialize, ToSchema)]
#[schema(as = PlanTerms)]
pub(super) struct TermsView {
    /// Its name for people.
    title: Option<String>,
    /// What it costs a month.
    price: Option<PriceView>,
    /// The most that billed overage may cost in a month, in the price's currency; `null`: any amount.
    spend_cap: Option<String>,
    /// How it may be tried.
    trial: Option<PlanTrialView>,
    /// When tenants on it change to others, where the call does not say.
    changes: ChangesView,
    /// Days for which it still entitles after a payment failed.
    grace_days: u16,
    /// When tenants on older versions come to this one: `stay` (never by themselves), `next_period` or a date.
    existing: String,
    /// When the installation first knew of this version.
    introduced_at: Option<String>,
}

/// A plan's own trial.
#[derive(Serialize, ToSchema)]
#[schema(as = PlanTrial)]
pub(super) struct PlanTrialView {
    /// Its length.
    days: u16,
    /// The plan that follows, or `block`.
    then: String,
    /// What becomes of the units used in it: `keep`, `reset` or `prorate`.
    usage: &'static str,
}

/// When a change to another plan comes into force.
#[derive(Serialize, ToSchema)]
#[schema(as = Changes)]
pub(super) struct ChangesView {
    /// To a dearer plan: `now` or `period_end`.
    upgrade: &'static str,
    /// To a cheaper one: `now` or `period_end`.
    downgrade: &'static str,
}

/// What is sold beside a plan. Features add, quotas and limits sum.
#[derive(Serialize, ToSchema)]
#[schema(as = Addon)]
pub(super) struct AddonView {
    /// Its id.
    addon: String,
    /// Its name for people.
    title: Option<String>,
    /// What one of it costs a month.
    price: Option<PriceView>,
    /// The plans that it can be had with; empty: any.
    plans: Vec<String>,
    /// Features that it switches on, sorted.
    features: Vec<String>,
    /// Added to the plan's limits.
    limits: BTreeMap<String, AllowanceView>,
    /// Added to the plan's quotas, by meter, as in the files.
    #[schema(value_type = Object)]
    quotas: BTreeMap<String, serde_json::Value>,
}

impl From<&Trial> for PlanTrialView {
    fn from(trial: &Trial) -> Self {
        let then = trial.then.as_ref().map_or_else(|| "block".to_owned(), ToString::to_string);
        Self { days: trial.days, then, usage: trial.usage.as_str() }
    }
}

const fn word(at: ChangeAt) -> &'static str {
    match at {
        ChangeAt::Now => "now",
        ChangeAt::PeriodEnd => "period_end",
    }
}

impl From<&Plan> for TermsView {
    fn from(plan: &Plan) -> Self {
        Self {
            title: plan.title.clone(),
            price: plan.price.map(Into::into),
            spend_cap: plan.spend_cap.limit().map(|cap| cap.to_string()),
            trial: plan.trial.as_ref().map(Into::into),
            changes: ChangesView {
                upgrade: word(plan.changes.upgrade),
                downgrade: word(plan.changes.downgrade),
            },
            grace_days: plan.grace_days.unwrap_or(Plan::GRACE_DAYS),
            existing: match plan.existing {
                Existing::Stay => "stay".to_owned(),
                Existing::NextPeriod => "next_period".to_owned(),
                Existing::On(date) => date.to_string(),
            },
            introduced_at: plan.introduced.map(|at| at.to_string()),
        }
    }
}

/// Every version that the catalog has or that tenants are on, with how many they are.
fn versions(catalog: &Catalog, counts: Vec<(PlanRef, u64)>) -> BTreeMap<PlanRef, u64> {
    let current = catalog.plans.values().map(|plan| plan.reference());
    let known = current.chain(catalog.earlier.keys().cloned());
    let mut versions: BTreeMap<PlanRef, u64> = known.map(|version| (version, 0)).collect();
    versions.extend(counts);
    versions
}

/// List the plans in each of their versions, and how many tenants are on each.
#[utoipa::path(get, path = "/v1/plans", tag = "plans",
    responses((status = 200, description = "The plans, by id and version", body = List<PlanView>), ReadErrors))]
pub(super) async fn list_plans(
    State(shared): State<Shared>,
    _: NoParams,
) -> Result<Json<List<PlanView>>, Problem> {
    let counts = shared.lifecycle.tenants_by_plan().await?;
    let catalog = shared.policies.catalog();
    let view = |(version, tenants): (PlanRef, u64)| {
        let current = catalog.plan(version.id.as_str());
        // Of a version that nobody has kept, the current one's terms would be a guess.
        let terms = catalog.plan_in(&version).filter(|plan| plan.version == version.version);
        PlanView {
            plan: version.id.to_string(),
            version: version.version.0,
            current: current.is_some_and(|plan| plan.version == version.version),
            tenants,
            terms: terms.map(|plan| (&**plan).into()),
        }
    };
    Ok(Json(List { items: versions(&catalog, counts).into_iter().map(view).collect() }))
}

fn addon_view(addon: &Addon, catalog: &Catalog) -> AddonView {
    let features = addon.features.iter().filter_map(|ix| catalog.feature(ix));
    let quotas = catalog.meters.iter().zip(&addon.quotas);
    AddonView {
        addon: addon.id.to_string(),
        title: addon.title.clone(),
        price: addon.price.map(Into::into),
        plans: addon.plans.iter().map(ToString::to_string).collect(),
        features: features.map(|feature| feature.id.to_string()).collect(),
        limits: addon.limits.iter().map(|(id, limit)| (id.to_string(), (*limit).into())).collect(),
        quotas: quotas
            .filter_map(|(meter, quota)| Some((meter.id.to_string(), overrides::quota(quota.as_ref()?))))
            .collect(),
    }
}

/// List the add-ons that are sold.
#[utoipa::path(get, path = "/v1/addons", tag = "plans",
    responses((status = 200, description = "The add-ons, by id", body = List<AddonView>), ReadErrors))]
pub(super) async fn list_offered_addons(State(shared): State<Shared>, _: NoParams) -> Json<List<AddonView>> {
    let catalog = shared.policies.catalog();
    Json(List { items: catalog.addons.values().map(|addon| addon_view(addon, &catalog)).collect() })
}
