//! Tenants: make, change, read, list, remove, suspend and resume.

use axum::{Json, extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Shared,
    answer::Written,
    openapi::{ReadErrors, WriteErrors},
    params::{NoParams, Params, TenantPath},
    present::Present,
    problem::{Code, Problem},
    subscription_view::SubscriptionView,
    views::{Nothing, Page},
    write::Write,
};
use crate::{
    domain::{attributes::Attributes, command::Change, id::TenantId, period::Zone, tenant::Tenant},
    ports::Effect,
    wire::{FieldError, attributes, overrides},
};

/// Creates a tenant, or changes what is given of it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutTenant {
    /// Its name for people, 1 to 200 characters. Absent: as it is.
    name: Option<String>,
    /// Its time zone, where its days and months begin: an IANA name. Absent: as it is, at first UTC.
    timezone: Option<String>,
    /// All its attributes: strings, whole numbers, `true` or `false`, by name. Absent: as they are; `null` or `{}`: none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Object>)]
    attributes: Option<Value>,
}

/// A field that is there, be it null.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// A tenant.
#[derive(Serialize, ToSchema)]
#[schema(as = Tenant)]
pub(super) struct TenantView {
    /// Its id.
    tenant: String,
    /// Its name for people.
    name: Option<String>,
    /// Its time zone.
    timezone: String,
    /// `active` or `suspended`.
    state: &'static str,
    /// What tells it apart from others, in the form of the call that sets it.
    #[schema(value_type = Object)]
    attributes: Value,
    /// Its plan, if it has one.
    subscription: Option<SubscriptionView>,
    /// Rights set for it alone, in the form of the call that sets them.
    #[schema(value_type = Object)]
    overrides: Value,
    /// When it was made.
    created_at: String,
}

/// A tenant with the version of the last change to it.
#[derive(Serialize, ToSchema)]
#[schema(as = TenantAtVersion)]
pub(super) struct Versioned {
    /// The version of the last change to it.
    version: u64,
    #[serde(flatten)]
    tenant: TenantView,
}

/// What is left of a tenant that was removed.
#[derive(Serialize, ToSchema)]
pub(super) struct DeletedTenant {
    /// Its id.
    tenant: String,
    /// `deleted`.
    state: &'static str,
}

impl From<&Present> for TenantView {
    fn from(present: &Present) -> Self {
        let tenant = &present.tenant;
        Self {
            tenant: tenant.id.to_string(),
            name: tenant.name.clone(),
            timezone: tenant.zone.name().to_owned(),
            state: if tenant.suspended { "suspended" } else { "active" },
            attributes: tenant.attributes.as_deref().map_or_else(|| json!({}), attributes::encode),
            subscription: SubscriptionView::of(present),
            overrides: overrides::encode(&tenant.overrides),
            created_at: tenant.created_at.to_string(),
        }
    }
}

impl From<Present> for Versioned {
    fn from(present: Present) -> Self {
        Self { version: present.tenant.version.0, tenant: (&present).into() }
    }
}

/// A name for people: it is shown in terminals and tables.
pub(super) fn check_name(name: &Option<String>) -> Result<(), Problem> {
    match name {
        Some(name) if !(1..=200).contains(&name.chars().count()) || name.chars().any(char::is_control) => {
            Err(Problem::field(
                Code::FieldInvalid,
                "/name",
                "expected 1 to 200 characters without control characters",
            ))
        }
        _ => Ok(()),
    }
}

fn read_attributes(document: &Value) -> Result<Attributes, Problem> {
    attributes::decode(document).map_err(|unfit| {
        let code = if unfit.only_bounds { Code::ValueImpossible } else { Code::FieldInvalid };
        let within =
            |error: FieldError| FieldError::new(format!("/attributes{}", error.pointer), error.detail);
        Problem::fields(code, unfit.errors.into_iter().map(within).collect())
    })
}

/// Create a tenant, or change its name, time zone or attributes.
#[utoipa::path(put, path = "/v1/tenants/{tenant}", tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's id: `[a-z0-9][a-z0-9._-]{0,62}`")),
    request_body = PutTenant,
    responses((status = 200, description = "Changed", body = Written<TenantView>),
              (status = 201, description = "Created", body = Written<TenantView>), WriteErrors))]
pub(super) async fn put_tenant(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    write: Write<PutTenant>,
) -> Result<Response, Problem> {
    check_name(&write.asked.name)?;
    let zone = match &write.asked.timezone {
        None => None,
        Some(name) => Some(
            Zone::named(name)
                .map_err(|error| Problem::field(Code::FieldInvalid, "/timezone", error.to_string()))?,
        ),
    };
    let attributes = write.asked.attributes.as_ref().map(read_attributes).transpose()?;
    let change = Change::PutTenant { name: write.asked.name, zone, attributes };
    let done = write.ticket.commit(&shared, &id, change).await?;
    let status = if done.committed.effect == Effect::Created { StatusCode::CREATED } else { StatusCode::OK };
    done.answer_tenant(&shared, &id, status).await
}

/// Read a tenant.
#[utoipa::path(get, path = "/v1/tenants/{tenant}", tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's id")),
    responses((status = 200, description = "The tenant", body = Versioned), ReadErrors))]
pub(super) async fn get_tenant(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    _: NoParams,
) -> Result<Json<Versioned>, Problem> {
    Ok(Json(shared.find(&id).await?.into()))
}

/// List tenants, by id.
#[utoipa::path(get, path = "/v1/tenants", tag = "tenants",
    params(("cursor" = Option<String>, Query, description = "`next` of the page before"),
           ("limit" = Option<u32>, Query, description = "Items in a page, 1 to 500, by default 100")),
    responses((status = 200, description = "One page", body = Page<Versioned, String>), ReadErrors))]
pub(super) async fn list_tenants(
    State(shared): State<Shared>,
    mut params: Params,
) -> Result<Json<Page<Versioned, String>>, Problem> {
    let limit = params.limit()?;
    let after = match params.take("cursor") {
        None => None,
        Some(text) => {
            let wrong = |_| Problem::parameter("cursor", "expected `next` of the page before");
            Some(TenantId::parse(&text).map_err(wrong)?)
        }
    };
    params.finish()?;
    let rows = shared.tenants.tenants(after.as_ref(), limit + 1).await?;
    let (catalog, now) = (shared.policies.catalog(), shared.clock.now());
    let place = |tenant: &Tenant| tenant.id.to_string();
    Ok(Json(Page::cut(rows, limit, place, |tenant| {
        Present::of(&tenant, catalog.of_tenant(&tenant.id), now).into()
    })))
}

/// Remove a tenant with its subscription and keys. Its recorded usage stays.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}", tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's id")),
    responses((status = 200, description = "Removed", body = Written<DeletedTenant>), WriteErrors))]
pub(super) async fn delete_tenant(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    write: Write<Nothing>,
) -> Result<Response, Problem> {
    let done = write.ticket.commit(&shared, &id, Change::DeleteTenant).await?;
    let gone = DeletedTenant { tenant: id.to_string(), state: "deleted" };
    Ok(done.answer(&shared, StatusCode::OK, gone).await)
}

/// Refuse a tenant's requests until it is resumed.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/suspend", tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's id")),
    responses((status = 200, description = "Suspended", body = Written<TenantView>), WriteErrors))]
pub(super) async fn suspend_tenant(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    write: Write<Nothing>,
) -> Result<Response, Problem> {
    write.ticket.change_tenant(&shared, &id, Change::Suspend).await
}

/// Take a suspension back.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/resume", tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's id")),
    responses((status = 200, description = "Resumed", body = Written<TenantView>), WriteErrors))]
pub(super) async fn resume_tenant(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    write: Write<Nothing>,
) -> Result<Response, Problem> {
    write.ticket.change_tenant(&shared, &id, Change::Resume).await
}
