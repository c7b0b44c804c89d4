//! A subscription's state: canceled, paused, behind with paying, and each of them taken back.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    Shared,
    answer::Written,
    openapi::WriteErrors,
    params::TenantPath,
    present::Present,
    problem::{Code, Problem},
    tenants::TenantView,
    views::Nothing,
    write::{Write, WriteAt},
};
use crate::domain::{
    command::{Change, When},
    id::TenantId,
    plan::Plan,
};

/// The longest grace.
const MOST_GRACE_DAYS: u16 = 365;

/// A payment failed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PastDue {
    /// For so many days it still entitles, 0 to 365. Absent: as the plan says, which is 7 where it says nothing.
    #[schema(value_type = Option<i64>)]
    grace_days: Option<i128>,
}

impl PastDue {
    async fn grace_days(&self, shared: &Shared, id: &TenantId) -> Result<u16, Problem> {
        let Some(days) = self.grace_days else { return Ok(own_grace(&shared.find(id).await?)) };
        let fits = u16::try_from(days).ok().filter(|days| *days <= MOST_GRACE_DAYS);
        fits.ok_or_else(|| {
            let detail = format!("`{days}`: expected 0 to {MOST_GRACE_DAYS}");
            Problem::field(Code::ValueImpossible, "/grace_days", detail)
        })
    }
}

/// The grace that the tenant's plan gives.
fn own_grace(present: &Present) -> u16 {
    let plan = present.subscription().and_then(|subscription| present.catalog.plan_in(&subscription.plan));
    plan.and_then(|plan| plan.grace_days).unwrap_or(Plan::GRACE_DAYS)
}

/// Cancel a subscription, by default with the end of what is paid for: of the billing month, or of the trial.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/subscription", tag = "subscription",
    params(("tenant" = String, Path, description = "The tenant's id"),
           ("at" = Option<String>, Query, description = "`period_end` (the default), `now` or an instant (RFC 3339)")),
    responses((status = 200, description = "Canceled, or the cancellation is scheduled", body = Written<TenantView>), WriteErrors))]
pub(super) async fn cancel(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    WriteAt { at, ticket }: WriteAt,
) -> Result<Response, Problem> {
    ticket.change_tenant(&shared, &id, Change::Cancel(at.unwrap_or(When::PeriodEnd))).await
}

/// Take back the change or cancellation that is scheduled, or in the same billing month one that was made at once.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/subscription/undo", tag = "subscription",
    params(("tenant" = String, Path, description = "The tenant's id")),
    responses((status = 200, description = "Taken back", body = Written<TenantView>), WriteErrors))]
pub(super) async fn undo(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    write: Write<Nothing>,
) -> Result<Response, Problem> {
    write.ticket.change_tenant(&shared, &id, Change::Undo).await
}

/// Refuse a tenant's requests, and keep everything, until the subscription is resumed.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/subscription/pause", tag = "subscription",
    params(("tenant" = String, Path, description = "The tenant's id")),
    responses((status = 200, description = "Paused", body = Written<TenantView>), WriteErrors))]
pub(super) async fn pause(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    write: Write<Nothing>,
) -> Result<Response, Problem> {
    write.ticket.change_tenant(&shared, &id, Change::Pause).await
}

/// Take a pause back.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/subscription/resume", tag = "subscription",
    params(("tenant" = String, Path, description = "The tenant's id")),
    responses((status = 200, description = "Resumed", body = Written<TenantView>), WriteErrors))]
pub(super) async fn resume(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    write: Write<Nothing>,
) -> Result<Response, Problem> {
    write.ticket.change_tenant(&shared, &id, Change::Continue).await
}

/// A payment failed: the subscription still entitles for some days of grace, and then no more until it is paid.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/subscription/past_due", tag = "subscription",
    params(("tenant" = String, Path, description = "The tenant's id")),
    request_body = Option<PastDue>,
    responses((status = 200, description = "Past due", body = Written<TenantView>), WriteErrors))]
pub(super) async fn past_due(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    Write { asked, ticket }: Write<PastDue>,
) -> Result<Response, Problem> {
    let grace_days = asked.grace_days(&shared, &id).await?;
    ticket.change_tenant(&shared, &id, Change::PastDue { grace_days }).await
}

/// What was due is paid.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/subscription/paid", tag = "subscription",
    params(("tenant" = String, Path, description = "The tenant's id")),
    responses((status = 200, description = "Active", body = Written<TenantView>), WriteErrors))]
pub(super) async fn paid(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    write: Write<Nothing>,
) -> Result<Response, Problem> {
    write.ticket.change_tenant(&shared, &id, Change::Paid).await
}
