//! What will become of tenants by itself: each knows it beforehand, so it can be told beforehand.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Shared,
    openapi::ReadErrors,
    params::Params,
    present::{Present, follow_version},
    problem::Problem,
    views::Page,
};
use crate::domain::{
    catalog::Catalog, id::TenantId, lifecycle::Event, plan::PlanRef, tenant::Tenant, time::UnixMillis,
};

/// Something that will happen by itself, unless somebody changes it before.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Upcoming)]
pub(super) struct UpcomingView {
    /// When (RFC 3339).
    at: String,
    /// What, in the word by which the audit log will tell it: `trial.ended`, `grace.ended`, `subscription.changed`,
    /// `subscription.canceled`, `grant.expired`, `addon.ended`, or `plan.moved` for a newer version of the plan.
    event: &'static str,
    /// The subscription's state from then on.
    state: &'static str,
    /// The plan that begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_version: Option<u32>,
    /// The grant that ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<String>,
    /// The add-on that ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    addon: Option<String>,
}

impl UpcomingView {
    fn new(at: UnixMillis, event: &'static str, tenant: &Tenant) -> Self {
        let state = tenant.state().as_str();
        Self { at: at.to_string(), event, state, plan: None, plan_version: None, grant: None, addon: None }
    }

    fn with_plan(mut self, plan: &PlanRef) -> Self {
        self.plan = Some(plan.id.to_string());
        self.plan_version = Some(plan.version.0);
        self
    }

    /// An event, and the tenant as it is after it.
    fn of(at: UnixMillis, event: &Event, tenant: &Tenant, catalog: &Catalog) -> Self {
        let view = Self::new(at, event.kind(), tenant);
        match event {
            Event::TrialEnded(Some(plan)) | Event::PlanChanged(plan) => {
                view.with_plan(&in_force(plan, tenant, catalog, at))
            }
            Event::TrialEnded(None) | Event::GraceEnded | Event::Canceled => view,
            Event::GrantExpired(id) => Self { grant: Some(id.to_string()), ..view },
            Event::AddonEnded(id) => Self { addon: Some(id.to_string()), ..view },
        }
    }
}

/// A tenant and what will become of it.
#[derive(Serialize, ToSchema)]
pub(super) struct TenantUpcoming {
    /// The tenant's id.
    tenant: String,
    /// All that will happen to it by itself, by instant.
    upcoming: Vec<UpcomingView>,
}

/// The version of a plan that a tenant will have, who comes to it at an instant.
fn in_force(plan: &PlanRef, tenant: &Tenant, catalog: &Catalog, at: UnixMillis) -> PlanRef {
    let calendar = tenant.subscription.as_ref().map(|subscription| subscription.calendar(&tenant.zone));
    let known = calendar.and_then(|calendar| catalog.plan_at(plan, &calendar, at));
    known.map_or_else(|| plan.clone(), |(plan, _)| plan.reference())
}

/// The next move to a newer version of the tenant's plan.
fn next_move(tenant: &Tenant, catalog: &Catalog, now: UnixMillis) -> Option<(UnixMillis, PlanRef)> {
    let subscription = tenant.subscription.as_ref().filter(|_| tenant.state().goes_on())?;
    let (_, at) = catalog.plan_at(&subscription.plan, &subscription.calendar(&tenant.zone), now)?;
    let current = catalog.plan(subscription.plan.id.as_str())?;
    (at < UnixMillis::NEVER).then(|| (at, current.reference()))
}

/// All that will happen by itself, by instant: the tenant's future is lived through on a copy, so that what one event does
/// to a later one is told as it will be.
pub(super) fn forecast(present: &Present) -> Vec<UpcomingView> {
    let (mut tenant, catalog) = (present.tenant.clone(), &present.catalog);
    let (mut upcoming, mut now) = (Vec::new(), present.now);
    loop {
        let own = tenant.next_instant().filter(|at| *at < UnixMillis::NEVER);
        let moves = next_move(&tenant, catalog, now);
        now = match (own, moves) {
            (own, Some((at, plan))) if own.is_none_or(|own| at < own) => {
                follow_version(&mut tenant, catalog, at);
                upcoming.push(UpcomingView::new(at, "plan.moved", &tenant).with_plan(&plan));
                at
            }
            (Some(at), _) => {
                let happened = tenant.advance(at);
                follow_version(&mut tenant, catalog, at);
                let views = happened.iter().map(|event| UpcomingView::of(at, &event.what, &tenant, catalog));
                upcoming.extend(views);
                at
            }
            _ => return upcoming,
        };
    }
}

/// A place in the list: an instant and a tenant.
type Place = (UnixMillis, TenantId);

fn cursor((at, tenant): &Place) -> String {
    format!("{}.{tenant}", at.0)
}

fn read_cursor(text: &str) -> Option<Place> {
    let (at, tenant) = text.split_once('.')?;
    Some((UnixMillis(at.parse().ok()?), TenantId::parse(tenant).ok()?))
}

/// List what will become of tenants by itself, the tenant to whom something happens next first.
///
/// Moves to newer versions of a plan are told of the tenants that wait for something else, too; `GET /v1/plans` tells
/// which plans move whom and when.
#[utoipa::path(get, path = "/v1/upcoming", tag = "subscription",
    params(("cursor" = Option<String>, Query, description = "`next` of the page before"),
           ("limit" = Option<u32>, Query, description = "Tenants in a page, 1 to 500, by default 100")),
    responses((status = 200, description = "One page", body = Page<TenantUpcoming, String>), ReadErrors))]
pub(super) async fn list_upcoming(
    State(shared): State<Shared>,
    mut params: Params,
) -> Result<Json<Page<TenantUpcoming, String>>, Problem> {
    let limit = params.limit()?;
    let wrong = || Problem::parameter("cursor", "expected `next` of the page before");
    let after = params.take("cursor").map(|text| read_cursor(&text).ok_or_else(wrong)).transpose()?;
    params.finish()?;
    let rows = shared.lifecycle.upcoming(after.as_ref(), limit + 1).await?;
    let (catalog, now) = (shared.policies.catalog(), shared.clock.now());
    let place =
        |tenant: &Tenant| cursor(&(tenant.next_instant().unwrap_or(UnixMillis::NEVER), tenant.id.clone()));
    let page = Page::cut(rows, limit, place, |tenant| TenantUpcoming {
        tenant: tenant.id.to_string(),
        upcoming: forecast(&Present::of(&tenant, catalog.of_tenant(&tenant.id), now)),
    });
    Ok(Json(page))
}
