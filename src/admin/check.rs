//! The decision on a request that nobody sends: its reasons, and nothing charged.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequest, Request, State},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    Shared, body,
    openapi::ReadErrors,
    params::NoParams,
    present::Present,
    problem::{Code, Problem},
    rights::Counts,
    steps::DecisionView,
};
use crate::{
    domain::{
        catalog::{Catalog, Unmatched},
        id::TenantId,
        path::canonicalise,
        route::Operation,
    },
    pipeline::matching::is_own,
};

/// A request to be decided.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    /// The tenant's id.
    tenant: String,
    /// The HTTP method, such as `GET`.
    method: String,
    /// The path; a query is cut off.
    path: String,
}

impl FromRequest<Shared> for Check {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        let (parts, stream) = request.into_parts();
        body::decode(&body::read(&parts.headers, stream, shared.0.body_time).await?)
    }
}

fn operation<'a>(catalog: &'a Catalog, method: &str, path: &str) -> Option<&'a Operation> {
    if is_own(path) {
        return None;
    }
    match (catalog.routes.find(method, path), &catalog.unmatched) {
        (Some(ix), _) => catalog.routes.operation(ix),
        (None, Unmatched::Allow(operation)) => Some(operation),
        (None, Unmatched::Deny) => None,
    }
}

/// Decide on a request without sending it. Nothing is charged.
#[utoipa::path(post, path = "/v1/check", tag = "check",
    request_body = Check,
    responses((status = 200, description = "The decision and its reasons", body = DecisionView), ReadErrors))]
pub(super) async fn check(
    State(shared): State<Shared>,
    _: NoParams,
    asked: Check,
) -> Result<Json<DecisionView>, Problem> {
    let tenant = TenantId::parse(&asked.tenant)
        .map_err(|error| Problem::field(Code::FieldInvalid, "/tenant", error.to_string()))?;
    let method = http::Method::from_bytes(asked.method.as_bytes())
        .map_err(|_| Problem::field(Code::FieldInvalid, "/method", "expected an HTTP method such as GET"))?;
    let mut view = DecisionView { tenant: tenant.to_string(), ..DecisionView::default() };
    if matches!(method, http::Method::TRACE | http::Method::CONNECT) {
        view.refuse("path", "request-malformed", 400, format!("{method} is never forwarded"));
        return Ok(Json(view));
    }
    let path = asked.path.split(['?', '#']).next().unwrap_or_default();
    let path = match canonicalise(path) {
        Ok(path) => path,
        Err(error) => {
            view.refuse("path", "path-ambiguous", 400, error.to_string());
            return Ok(Json(view));
        }
    };
    view.pass("path", path.as_ref());
    let catalog = Arc::clone(shared.policies.catalog().of_tenant(&tenant));
    let operation = operation(&catalog, method.as_str(), &path);
    view.route = operation.map(|operation| operation.name.clone());
    if let Some(operation) = operation.filter(|operation| operation.public) {
        view.pass("route", format!("{} is public: no identity, no charge", operation.name));
        view.allow = true;
        return Ok(Json(view));
    }
    let Some(facts) = shared.tenants.tenant(&tenant).await?.value else {
        view.refuse("tenant", "tenant-unknown", 403, format!("there is no tenant `{tenant}`"));
        return Ok(Json(view));
    };
    let present = Present::of(&facts, &catalog, shared.clock.now());
    let rights = present.rights()?;
    view.period = present.period();
    view.plan = rights.entitlement.as_ref().map(|given| given.plan.to_string());
    let counts = Counts::of(&shared, &rights, present.now).await?;
    view.decide(&rights, operation, &counts, present.now);
    Ok(Json(view))
}
