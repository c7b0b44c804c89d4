//! Rights set for one tenant.

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    Shared,
    answer::Written,
    openapi::WriteErrors,
    params::TenantPath,
    problem::{Code, Problem},
    tenants::TenantView,
    write::Write,
};
use crate::{
    domain::{catalog::Catalog, command::Change, tenant::Overrides},
    wire::{FieldError, overrides},
};

/// Rights set for one tenant; each entry replaces the plan's whole entry of that name. What is not named is the plan's.
#[derive(ToSchema)]
#[schema(as = Overrides)]
#[allow(dead_code, reason = "only described: the fields are read by hand, to report every error at once")]
pub(super) struct OverridesShape {
    /// Features switched on or off.
    features: Option<BTreeMap<String, bool>>,
    /// Limits: a number or `"unlimited"`.
    #[schema(value_type = Option<Object>)]
    limits: Value,
    /// Quotas as in the plan files: `{"limit": 5, "day": 2, "overage": {...}}`.
    #[schema(value_type = Option<Object>)]
    quotas: Value,
    /// Rates as in the plan files: `{"limit": 5, "per": "1s", "burst": 9}`, or `"unlimited"`.
    #[schema(value_type = Option<Object>)]
    rates: Value,
    /// The most that billed overage may cost in a billing month instead of what the plan says: a quoted decimal in the plan's
    /// currency, or `"unlimited"`.
    #[schema(example = "200.00")]
    spend_cap: Option<String>,
}

/// The first names of a list, for an error's text.
pub(super) fn some_of(names: &[&str]) -> String {
    const SHOWN: usize = 20;
    match names.len() {
        0 => "none".to_owned(),
        all if all > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), all - SHOWN),
        _ => names.join(", "),
    }
}

/// Every name must be one that the policies declare: a misspelt right would silently be without effect.
fn check_names(asked: &Overrides, catalog: &Catalog) -> Result<(), Problem> {
    let features: Vec<&str> = catalog.features.iter().map(|feature| feature.id.as_str()).collect();
    let limits: Vec<&str> = catalog.limits.iter().map(|limit| limit.id.as_str()).collect();
    let meters: Vec<&str> = catalog.meters.iter().map(|meter| meter.id.as_str()).collect();
    let mut errors = Vec::new();
    let mut check = |part: &str, what: &str, name: &str, known: &[&str]| {
        if !known.contains(&name) {
            let detail = format!("the policies have no {what} `{name}`: they have {}", some_of(known));
            errors.push(FieldError::new(format!("/{part}/{name}"), detail));
        }
    };
    asked.features.keys().for_each(|id| check("features", "feature", id.as_str(), &features));
    asked.limits.keys().for_each(|id| check("limits", "limit", id.as_str(), &limits));
    asked.quotas.keys().for_each(|id| check("quotas", "meter", id.as_str(), &meters));
    asked.rates.keys().for_each(|id| check("rates", "meter", id.as_str(), &meters));
    if errors.is_empty() { Ok(()) } else { Err(Problem::fields(Code::NameUnknown, errors)) }
}

/// Replace all of a tenant's overrides.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/overrides", tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's id")),
    request_body = OverridesShape,
    responses((status = 200, description = "The tenant", body = Written<TenantView>), WriteErrors))]
pub(super) async fn put_overrides(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    write: Write<Map<String, Value>>,
) -> Result<Response, Problem> {
    let asked = overrides::decode(&Value::Object(write.asked))
        .map_err(|errors| Problem::fields(Code::FieldInvalid, errors))?;
    check_names(&asked, shared.policies.catalog().of_tenant(&id))?;
    write.ticket.change_tenant(&shared, &id, Change::SetOverrides(asked)).await
}
