//! A tenant's plan: the upgrade, the downgrade and the trial.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    Shared,
    answer::Written,
    instants,
    openapi::WriteErrors,
    params::TenantPath,
    present::Present,
    problem::{Code, Problem},
    tenants::TenantView,
    write::Write,
};
use crate::domain::{
    catalog::Catalog,
    command::{Change, Subscribe, TrialOffer, When},
    id::{PlanId, TenantId},
    period::AnchorDay,
    plan::{ChangeAt, Plan},
    subscription::UsageRule,
};

/// The longest trial.
const MOST_TRIAL_DAYS: u16 = 3650;

/// Puts a tenant on a plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutSubscription {
    /// The plan.
    plan: String,
    /// When: `now`, `period_end` (the end of the billing month, or of the trial) or an instant (RFC 3339). Absent: as the
    /// plan that is left says for upgrades and downgrades, which is `now` where it says nothing.
    at: Option<String>,
    /// The day on which its months begin, 1 to 31. Absent: as it is, at first today's in the tenant's zone.
    anchor_day: Option<i64>,
    /// Or an instant (RFC 3339) whose day in the tenant's zone it is.
    anchor_at: Option<String>,
    /// Begin with a trial of so many days, up to 3650; 0: without one. Absent: the plan's own trial, for a tenant that comes
    /// to its first plan.
    #[schema(value_type = Option<i64>)]
    trial_days: Option<i128>,
    /// Also if the tenant has tried the plan before. Without `trial_days`: the plan's own trial again.
    trial_again: Option<bool>,
    /// What follows the trial: a plan, or `block`. Absent: what the plan's own trial says, without one `block`.
    then: Option<String>,
    /// What becomes of the units already used: `keep` (they count), `reset` (counting starts anew) or `prorate` (they count,
    /// and the month's limits are those of both plans, each for its part of the month). Absent: `keep`, or where this ends a
    /// trial what that says.
    usage: Option<String>,
}

fn invalid(pointer: &str, detail: impl Into<String>) -> Problem {
    Problem::field(Code::FieldInvalid, pointer, detail)
}

fn impossible(pointer: &str, detail: impl Into<String>) -> Problem {
    Problem::field(Code::ValueImpossible, pointer, detail)
}

/// The plan that a field names.
fn plan<'a>(catalog: &'a Catalog, pointer: &str, name: &str) -> Result<&'a Plan, Problem> {
    let id = PlanId::parse(name).map_err(|error| invalid(pointer, error.to_string()))?;
    if let Some(plan) = catalog.plan(id.as_str()) {
        return Ok(plan);
    }
    let known: Vec<&str> = catalog.plans.keys().map(PlanId::as_str).collect();
    let detail = format!("the policies have no plan `{id}`: they have {}", super::overrides::some_of(&known));
    Err(Problem::field(Code::NameUnknown, pointer, detail))
}

impl PutSubscription {
    fn at(&self) -> Result<Option<When>, Problem> {
        let at = self.at.as_deref().map(instants::when).transpose();
        at.map_err(|detail| invalid("/at", detail))
    }

    fn usage(&self) -> Result<Option<UsageRule>, Problem> {
        Ok(Some(match self.usage.as_deref() {
            None => return Ok(None),
            Some("keep") => UsageRule::Keep,
            Some("reset") => UsageRule::Reset,
            Some("prorate") => UsageRule::Prorate,
            Some(_) => return Err(invalid("/usage", "expected keep, reset or prorate")),
        }))
    }

    fn trial_days(&self) -> Result<Option<u16>, Problem> {
        let Some(days) = self.trial_days else { return Ok(None) };
        match u16::try_from(days) {
            Ok(days @ 0..=MOST_TRIAL_DAYS) => Ok(Some(days)),
            _ => Err(impossible("/trial_days", format!("`{days}`: expected 0 to {MOST_TRIAL_DAYS}"))),
        }
    }

    /// Whether the call asks for a trial of its own.
    fn asks_for_trial(&self) -> bool {
        self.trial_days.is_some_and(|days| days > 0) || self.trial_again == Some(true) || self.then.is_some()
    }

    /// The trial that a tenant which is put on the plan at once begins with.
    fn trial(&self, catalog: &Catalog, to: &Plan) -> Result<Option<TrialOffer>, Problem> {
        let (own, again) = (catalog.own_trial(to), self.trial_again == Some(true));
        let offer = match (self.trial_days()?, own) {
            (None, Some(own)) if again => TrialOffer { asked: true, again, ..own },
            (None, None) if again => {
                let detail = format!("plan `{}` has no trial of its own: say `trial_days`, too", to.id);
                return Err(impossible("/trial_again", detail));
            }
            (None, own) if self.then.is_none() => return Ok(own),
            (None | Some(0), _) if self.then.is_some() => {
                return Err(impossible(
                    "/then",
                    "only a trial is followed by something: say `trial_days`, too",
                ));
            }
            (None | Some(0), _) => return Ok(None),
            (Some(days), own) => {
                let usage = own.as_ref().map_or(UsageRule::Keep, |own| own.usage);
                TrialOffer { days, then: own.and_then(|own| own.then), usage, asked: true, again }
            }
        };
        let then = match self.then.as_deref() {
            None => offer.then,
            Some("block") => None,
            Some(name) => Some(plan(catalog, "/then", name)?.reference()),
        };
        Ok(Some(TrialOffer { then, ..offer }))
    }

    async fn anchor(&self, shared: &Shared, id: &TenantId) -> Result<Option<AnchorDay>, Problem> {
        match (self.anchor_day, self.anchor_at.as_deref()) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(invalid("/anchor_at", "give anchor_day or anchor_at, not both")),
            (Some(day), None) => {
                AnchorDay::new(day).map(Some).map_err(|error| invalid("/anchor_day", error.to_string()))
            }
            (None, Some(text)) => {
                let at = instants::instant(text).map_err(|detail| invalid("/anchor_at", detail))?;
                Ok(Some(AnchorDay::of(at, &shared.find(id).await?.tenant.zone)))
            }
        }
    }

    async fn command(&self, shared: &Shared, id: &TenantId) -> Result<Subscribe, Problem> {
        let (at, usage) = (self.at()?, self.usage()?);
        self.trial_days()?;
        let catalog = shared.policies.catalog();
        let catalog = catalog.of_tenant(id);
        let to = plan(catalog, "/plan", &self.plan)?;
        let anchor = self.anchor(shared, id).await?;
        let at = match at {
            Some(at) => at,
            None if self.asks_for_trial() => When::Now,
            None => when_it_suits(&shared.find(id).await?, to),
        };
        let trial = match at {
            When::Now => self.trial(catalog, to)?,
            When::PeriodEnd | When::At(_) if self.asks_for_trial() => {
                let detail = "a trial begins at once: leave `at` out, or say now";
                return Err(impossible("/trial_days", detail));
            }
            When::PeriodEnd | When::At(_) => None,
        };
        Ok(Subscribe { plan: to.reference(), at, anchor, usage, trial })
    }
}

/// When a change to a plan comes into force, where the call does not say. Only who may use something now can keep it for a
/// while.
fn when_it_suits(present: &Present, to: &Plan) -> When {
    let left = present.subscription().filter(|left| left.state.state().entitles());
    match left.map_or(ChangeAt::Now, |left| present.catalog.change_at(&left.plan, to)) {
        ChangeAt::Now => When::Now,
        ChangeAt::PeriodEnd => When::PeriodEnd,
    }
}

/// Put a tenant on a plan, now or later.
///
/// A later change takes the place of one that was scheduled before; `GET` shows it as `scheduled`.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/subscription", tag = "subscription",
    params(("tenant" = String, Path, description = "The tenant's id")),
    request_body = PutSubscription,
    responses((status = 200, description = "The tenant, on its plan or with the change scheduled", body = Written<TenantView>), WriteErrors))]
pub(super) async fn put_subscription(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    Write { asked, ticket }: Write<PutSubscription>,
) -> Result<Response, Problem> {
    let change = Change::Subscribe(asked.command(&shared, &id).await?);
    ticket.change_tenant(&shared, &id, change).await
}
