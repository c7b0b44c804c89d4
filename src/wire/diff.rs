//! What differs between two policies, and what that would do, as the admin API tells it and the command shows it.

mod of;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What differs between the policies in force and others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyDiff {
    /// The policies in force.
    pub base: Base,
    /// SHA-256 of the others' files.
    pub digest: String,
    /// What differs, by subject. Empty: nothing, but for comments and the order of files.
    pub changes: Vec<ChangeEntry>,
    /// What it would do to the tenants; `null`: it was not asked for, or nothing differs.
    pub impact: Option<ImpactView>,
}

/// The policies that others are compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Base {
    /// SHA-256 of their files.
    pub digest: String,
    /// Their place in the history: the `base` of a change that replaces them; `null`: not known, or they have none.
    pub number: Option<u64>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PolicyChange)]
pub struct ChangeEntry {
    /// `plan`, `addon`, `route`, `unmatched`, `feature`, `limit`, `meter` or `stripe`.
    pub subject: String,
    /// Which; empty for `unmatched` and `stripe`.
    pub name: String,
    /// What of it, such as `features.export`, `quotas.requests.day` or `lookup_keys.pro_monthly`; empty: all of it came or went.
    pub aspect: String,
    /// How it is; `null`: it is not.
    pub before: Option<String>,
    /// How it would be; `null`: it would not be.
    pub after: Option<String>,
    /// What that is to the tenants it concerns.
    pub bearing: Bearing,
}

/// What a difference is to the tenants it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Bearing {
    /// They may do more, or pay less.
    Gain,
    /// They may do less, or pay more.
    Loss,
    /// Neither.
    Neither,
}

/// What other policies would do to the tenants there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PolicyImpact)]
pub struct ImpactView {
    /// As of when.
    pub at: String,
    /// Tenants that were looked at.
    pub tenants: u64,
    /// Tenants that lose something.
    pub losing: u64,
    /// Tenants that gain something.
    pub gaining: u64,
    /// Plans that would be missing, and the tenants on them, who would be refused everything.
    pub missing_plans: Vec<MissingPlan>,
    /// Who gains and loses which feature.
    pub features: Vec<FeatureImpact>,
    /// Whose plan would name another meter, or one less: what is charged to a meter that it does not name is refused.
    pub meters: Vec<MeterImpact>,
    /// Who may call routes that the policies change themselves, and may not any more, or may only then.
    pub routes: Vec<RouteImpact>,
    /// Whose limits change.
    pub limits: Vec<LimitImpact>,
    /// Whose quotas change: units after which a tenant is refused.
    pub quotas: Vec<QuotaImpact>,
    /// Who would have nothing left at once, and has something now.
    pub over_now: List<Over>,
    /// Who would have run out in its last billing month, or sooner than it did, by what it used on each day.
    pub ran_out: List<RanOut>,
    /// Who would not have run out, or later.
    pub spared: List<RanOut>,
    /// What the tenants' last billing months would have cost.
    pub cost: Vec<Cost>,
    /// Whose subscriptions of Stripe would mean something else: with the next event of each, or once its events are looked
    /// at again.
    #[serde(default = "List::none")]
    pub remapped: List<Remapped>,
}

/// So many, and the first hundred of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// How many there are.
    pub total: u64,
    /// The first of them, by id.
    pub first: Vec<T>,
}

impl<T> List<T> {
    const fn none() -> Self {
        Self { total: 0, first: Vec::new() }
    }
}

/// A tenant whose subscriptions of Stripe would mean something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RemappedTenant)]
pub struct Remapped {
    /// Its id.
    pub tenant: String,
    /// What they mean, such as `plan pro, 3 of extra-seats`; `null`: nothing, the tenant stays as it is.
    pub before: Option<String>,
    /// What they would mean.
    pub after: Option<String>,
}

/// Tenants of a plan that would be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MissingPlan {
    /// The plan.
    pub plan: String,
    /// Its tenants.
    pub tenants: List<Touched>,
}

/// Who loses and gains a feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FeatureImpact {
    /// The feature.
    pub feature: String,
    /// Who loses it.
    pub lost: List<Touched>,
    /// Who gains it.
    pub gained: List<Touched>,
}

/// Who loses and gains a meter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MeterImpact {
    /// The meter.
    pub meter: String,
    /// Who loses it.
    pub lost: List<Touched>,
    /// Who gains it.
    pub gained: List<Touched>,
}

/// Routes that change alike, and who loses and gains them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteImpact {
    /// The routes.
    pub routes: List<String>,
    /// Who may call them no more.
    pub lost: List<Touched>,
    /// Who may call them only then.
    pub gained: List<Touched>,
}

/// Whose limit changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitImpact {
    /// The limit.
    pub limit: String,
    /// For whom it is lowered.
    pub lowered: List<Altered>,
    /// For whom it is raised.
    pub raised: List<Altered>,
}

/// Whose quota changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotaImpact {
    /// The meter.
    pub meter: String,
    /// `hour`, `day`, `week` or `month`.
    pub window: String,
    /// For whom it is lowered.
    pub lowered: List<Altered>,
    /// For whom it is raised.
    pub raised: List<Altered>,
}

/// A tenant that something happens to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Touched {
    /// Its id.
    pub tenant: String,
    /// When; `null`: at once.
    pub from: Option<String>,
}

/// A tenant one of whose numbers changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Altered {
    /// Its id.
    pub tenant: String,
    /// When; `null`: at once.
    pub from: Option<String>,
    /// The number that it has; `null`: unlimited.
    pub before: Option<u64>,
    /// The number that it would have; `null`: unlimited.
    pub after: Option<u64>,
}

/// A tenant with nothing left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Over {
    /// Its id.
    pub tenant: String,
    /// Of what.
    pub meter: String,
    /// `day`, `week` or `month`.
    pub window: String,
    /// Units it has used in it.
    pub used: u64,
    /// Units it could use.
    pub limit: u64,
}

/// A tenant whose last billing month would have ended otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RanOut {
    /// Its id.
    pub tenant: String,
    /// Of what.
    pub meter: String,
    /// When it ran out, as things are; `null`: it did not.
    pub before: Option<RunOut>,
    /// When it would have; `null`: it would not.
    pub after: Option<RunOut>,
}

/// The first day on which there was too little left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunOut {
    /// The day, in the tenant's zone.
    pub day: String,
    /// The window whose units were spent: `day`, `week` or `month`.
    pub window: String,
}

/// What the last billing months would have cost, in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cost {
    /// The currency.
    pub currency: String,
    /// As things are: plans, add-ons and overage of all tenants.
    pub before: String,
    /// As they would be.
    pub after: String,
    /// Who would have paid more.
    pub dearer: List<Bill>,
    /// Who would have paid less.
    pub cheaper: List<Bill>,
}

/// A tenant's bill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bill {
    /// Its id.
    pub tenant: String,
    /// As things are.
    pub before: String,
    /// As they would be.
    pub after: String,
}

impl PolicyDiff {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether somebody would lose something: by what the policies say or, where it was looked at, by what that does.
    #[must_use]
    pub fn has_loss(&self) -> bool {
        self.changes.iter().any(|change| change.bearing == Bearing::Loss)
            || self.impact.as_ref().is_some_and(|impact| impact.losing > 0)
    }
}
