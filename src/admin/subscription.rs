//! A tenant's plan: the upgrade and the downgrade.

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    Shared,
    answer::Written,
    instants,
    openapi::WriteErrors,
    params::TenantPath,
    problem::{Code, Problem},
    tenants::TenantView,
    write::Write,
};
use crate::domain::{
    command::{Change, Subscribe},
    id::{PlanId, TenantId},
    period::AnchorDay,
    plan::PlanRef,
    subscription::UsageRule,
};

/// Puts a tenant on a plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutSubscription {
    /// The plan.
    plan: String,
    /// When: `now`, the default and so far the only choice.
    at: Option<String>,
    /// The day on which its months begin, 1 to 31. Absent: as it is, at first today's in the tenant's zone.
    anchor_day: Option<i64>,
    /// Or an instant (RFC 3339) whose day in the tenant's zone it is.
    anchor_at: Option<String>,
    /// Not available yet.
    trial_days: Option<i64>,
    /// What becomes of the units already used: `keep` (the default) or `reset`.
    usage: Option<String>,
}

impl PutSubscription {
    fn refuse_what_is_to_come(&self) -> Result<(), Problem> {
        match self.at.as_deref() {
            None | Some("now") => {}
            Some(at) if at == "period_end" || instants::instant(at).is_ok() => {
                return Err(Problem::field(
                    Code::NotAvailable,
                    "/at",
                    "scheduled changes are not available yet: leave `at` out, or say now",
                ));
            }
            Some(_) => {
                return Err(Problem::field(
                    Code::FieldInvalid,
                    "/at",
                    "expected now, period_end or an RFC 3339 instant",
                ));
            }
        }
        if self.trial_days.is_some() {
            return Err(Problem::field(
                Code::NotAvailable,
                "/trial_days",
                "trials are not available yet: leave `trial_days` out",
            ));
        }
        Ok(())
    }

    fn usage(&self) -> Result<UsageRule, Problem> {
        match self.usage.as_deref() {
            None | Some("keep") => Ok(UsageRule::Keep),
            Some("reset") => Ok(UsageRule::Reset),
            Some("prorate") => Err(Problem::field(
                Code::NotAvailable,
                "/usage",
                "prorating is not available yet: choose keep or reset",
            )),
            Some(_) => Err(Problem::field(Code::FieldInvalid, "/usage", "expected keep or reset")),
        }
    }

    async fn anchor(&self, shared: &Shared, id: &TenantId) -> Result<Option<AnchorDay>, Problem> {
        let wrong = |pointer: &str, detail: String| Problem::field(Code::FieldInvalid, pointer, detail);
        match (self.anchor_day, self.anchor_at.as_deref()) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => {
                Err(wrong("/anchor_at", "give anchor_day or anchor_at, not both".to_owned()))
            }
            (Some(day), None) => {
                AnchorDay::new(day).map(Some).map_err(|error| wrong("/anchor_day", error.to_string()))
            }
            (None, Some(text)) => {
                let at = instants::instant(text).map_err(|detail| wrong("/anchor_at", detail))?;
                Ok(Some(AnchorDay::of(at, &shared.find(id).await?.zone)))
            }
        }
    }

    fn plan(&self, shared: &Shared) -> Result<PlanRef, Problem> {
        let plan = PlanId::parse(&self.plan)
            .map_err(|error| Problem::field(Code::FieldInvalid, "/plan", error.to_string()))?;
        let catalog = shared.policies.catalog();
        if let Some(plan) = catalog.plan(plan.as_str()) {
            return Ok(plan.reference());
        }
        let known: Vec<&str> = catalog.plans.keys().map(PlanId::as_str).collect();
        let detail =
            format!("the policies have no plan `{plan}`: they have {}", super::overrides::some_of(&known));
        Err(Problem::field(Code::NameUnknown, "/plan", detail))
    }
}

/// Put a tenant on a plan, now.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/subscription", tag = "subscription",
    params(("tenant" = String, Path, description = "The tenant's id")),
    request_body = PutSubscription,
    responses((status = 200, description = "The tenant on its plan", body = Written<TenantView>), WriteErrors))]
pub(super) async fn put_subscription(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    Write { asked, ticket }: Write<PutSubscription>,
) -> Result<Response, Problem> {
    asked.refuse_what_is_to_come()?;
    let usage = asked.usage()?;
    let plan = asked.plan(&shared)?;
    let anchor = asked.anchor(&shared, &id).await?;
    let done = ticket
        .commit(
            &shared,
            &id,
            Change::Subscribe(Subscribe { anchor, usage: Some(usage), ..Subscribe::to(plan) }),
        )
        .await?;
    done.answer_tenant(&shared, &id, StatusCode::OK).await
}
