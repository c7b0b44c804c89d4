//! A tenant's add-ons: attached, counted and detached by a call.

use axum::{Json, extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Shared,
    answer::{Written, remark},
    openapi::{ReadErrors, WriteErrors},
    overrides::some_of,
    params::{AddonPath, NoParams, TenantPath},
    present::Present,
    problem::{Code, Problem},
    views::{List, PeriodView},
    write::{Write, WriteAt},
};
use crate::{
    domain::{
        addon::{Attached, MOST_OF_AN_ADDON},
        command::Change,
        id::{AddonId, PlanId},
    },
    ports::Effect,
};

/// Attaches an add-on, or changes how many of it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutAddon {
    /// How many of it, 1 to 10000; by default 1.
    #[schema(value_type = Option<u32>)]
    quantity: Option<i128>,
}

/// An add-on that a tenant has.
#[derive(Serialize, ToSchema)]
#[schema(as = AttachedAddon)]
pub(super) struct AttachedView {
    /// Its id.
    addon: String,
    /// Its name for people.
    title: Option<String>,
    /// `attached`.
    state: &'static str,
    /// How many of it.
    quantity: u32,
    /// Since when.
    since: String,
    /// From then on no more; `null`: until it is detached.
    ends_at: Option<String>,
    /// Whether it adds to the tenant's rights now: the policies have it, and it goes with the plan.
    in_force: bool,
    /// The tenant's billing month.
    period: Option<PeriodView>,
}

/// What has become of an add-on that was detached.
#[derive(Serialize, ToSchema)]
pub(super) struct DetachedAddon {
    /// Its id.
    addon: String,
    /// `detached`; `attached` where it ends later.
    state: &'static str,
    /// When it ends; `null`: it has ended.
    ends_at: Option<String>,
}

impl Present {
    /// Whether an add-on that the tenant has adds to its rights.
    pub(super) fn is_in_force(&self, attached: &Attached) -> bool {
        let entitled = self.subscription().filter(|subscription| subscription.state.state().entitles());
        let plan = entitled.map(|subscription| &subscription.plan.id);
        let addon = self.catalog.addon(attached.addon.as_str());
        plan.zip(addon).is_some_and(|(plan, addon)| addon.goes_with(plan))
    }

    fn addon(&self, id: &AddonId) -> Option<&Attached> {
        self.tenant.addons.iter().find(|attached| attached.addon == *id)
    }

    fn addon_view(&self, attached: &Attached) -> AttachedView {
        AttachedView {
            addon: attached.addon.to_string(),
            title: self.catalog.addon(attached.addon.as_str()).and_then(|addon| addon.title.clone()),
            state: "attached",
            quantity: attached.quantity,
            since: attached.since.to_string(),
            ends_at: attached.ends_at.map(|at| at.to_string()),
            in_force: self.is_in_force(attached),
            period: self.period(),
        }
    }
}

impl PutAddon {
    fn quantity(&self) -> Result<u32, Problem> {
        let Some(quantity) = self.quantity else { return Ok(1) };
        let fits = u32::try_from(quantity).ok().filter(|fits| (1..=MOST_OF_AN_ADDON).contains(fits));
        fits.ok_or_else(|| {
            let detail = format!("`{quantity}`: expected 1 to {MOST_OF_AN_ADDON}");
            Problem::field(Code::ValueImpossible, "/quantity", detail)
        })
    }
}

/// Refuses an add-on that the policies do not have, or that cannot be had with the tenant's plan.
fn check_addon(present: &Present, id: &AddonId) -> Result<(), Problem> {
    let Some(addon) = present.catalog.addon(id.as_str()) else {
        let known: Vec<&str> = present.catalog.addons.keys().map(AddonId::as_str).collect();
        let detail = format!("the policies have no add-on `{id}`: they have {}", some_of(&known));
        return Err(Problem::new(Code::NameUnknown, detail));
    };
    let plan = present.subscription().map(|subscription| &subscription.plan.id);
    if plan.map_or(addon.plans.is_empty(), |plan| addon.goes_with(plan)) {
        return Ok(());
    }
    let plans: Vec<&str> = addon.plans.iter().map(PlanId::as_str).collect();
    let has =
        plan.map_or_else(|| "the tenant has none".to_owned(), |plan| format!("the tenant is on `{plan}`"));
    let detail = format!("add-on `{id}` goes with the plans {}: {has}", some_of(&plans));
    Err(Problem::new(Code::ValueImpossible, detail))
}

/// Attach an add-on to a tenant, or change how many of it the tenant has.
///
/// One that was to end goes on.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/addons/{addon}", tag = "addons",
    params(("tenant" = String, Path, description = "The tenant's id"),
           ("addon" = String, Path, description = "The add-on's id")),
    request_body = Option<PutAddon>,
    responses((status = 200, description = "Changed", body = Written<AttachedView>),
              (status = 201, description = "Attached", body = Written<AttachedView>), WriteErrors))]
pub(super) async fn put_addon(
    State(shared): State<Shared>,
    AddonPath(id, addon): AddonPath,
    Write { asked, ticket }: Write<PutAddon>,
) -> Result<Response, Problem> {
    let quantity = asked.quantity()?;
    check_addon(&shared.find(&id).await?, &addon)?;
    let done = ticket.commit(&shared, &id, Change::Attach { addon: addon.clone(), quantity }).await?;
    let status = if done.committed.effect == Effect::Created { StatusCode::CREATED } else { StatusCode::OK };
    let version = done.committed.version;
    let present = shared.find(&id).await.map_err(|problem| problem.after_commit(version))?;
    match present.addon(&addon) {
        Some(attached) => Ok(done.answer(&shared, status, present.addon_view(attached)).await),
        None => {
            let detail = format!("tenant `{id}` does not have the add-on `{addon}` any more");
            Err(Problem::new(Code::AddonNotFound, detail).after_commit(version))
        }
    }
}

/// Take an add-on away from a tenant, by default at once.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/addons/{addon}", tag = "addons",
    params(("tenant" = String, Path, description = "The tenant's id"),
           ("addon" = String, Path, description = "The add-on's id"),
           ("at" = Option<String>, Query, description = "`now` (the default), `period_end` or an instant (RFC 3339)")),
    responses((status = 200, description = "Detached, or its end is scheduled", body = Written<DetachedAddon>), WriteErrors))]
pub(super) async fn delete_addon(
    State(shared): State<Shared>,
    AddonPath(id, addon): AddonPath,
    WriteAt { at, ticket }: WriteAt,
) -> Result<Response, Problem> {
    let change = Change::Detach { addon: addon.clone(), at: at.unwrap_or_default() };
    let done = ticket.commit(&shared, &id, change).await?;
    let version = done.committed.version;
    let present = shared.find(&id).await.map_err(|problem| problem.after_commit(version))?;
    remark(&shared, &present).await;
    let left = present.addon(&addon);
    let answer = DetachedAddon {
        addon: addon.to_string(),
        state: if left.is_some() { "attached" } else { "detached" },
        ends_at: left.and_then(|left| left.ends_at).map(|at| at.to_string()),
    };
    Ok(done.answer(&shared, StatusCode::OK, answer).await)
}

/// List a tenant's add-ons, by id.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/addons", tag = "addons",
    params(("tenant" = String, Path, description = "The tenant's id")),
    responses((status = 200, description = "Its add-ons", body = List<AttachedView>), ReadErrors))]
pub(super) async fn list_addons(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    _: NoParams,
) -> Result<Json<List<AttachedView>>, Problem> {
    let present = shared.find(&id).await?;
    let items = present.tenant.addons.iter().map(|attached| present.addon_view(attached)).collect();
    Ok(Json(List { items }))
}
