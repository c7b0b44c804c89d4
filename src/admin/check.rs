//! The decision on a request that nobody sends: its reasons, and nothing charged.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

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
        condition::{RequestFacts, hidden},
        decision::decide,
        id::TenantId,
        path::canonicalise,
        route::{Operation, OperationIx},
        time::UnixMillis,
        variant::{self, Decided, decide_request},
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
    /// The path, with the query if there is one.
    path: String,
    /// The request's headers, as far as conditions ask for them.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The address that it comes from.
    client: Option<String>,
}

impl FromRequest<Shared> for Check {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        let (parts, stream) = request.into_parts();
        body::decode(&body::read(&parts.headers, stream, shared.0.body_time).await?)
    }
}

/// A request that nobody sends, as conditions see it.
struct Asked {
    method: http::Method,
    query: String,
    headers: Vec<(String, String)>,
    client: Option<IpAddr>,
}

impl Asked {
    fn of(asked: &Check) -> Result<Self, Problem> {
        let invalid = |pointer: &str, what: &str| Problem::field(Code::FieldInvalid, pointer, what);
        let method = http::Method::from_bytes(asked.method.as_bytes())
            .map_err(|_| invalid("/method", "expected an HTTP method such as GET"))?;
        let mut headers = Vec::new();
        for (name, value) in &asked.headers {
            let lower = name.to_ascii_lowercase();
            if http::HeaderName::from_bytes(lower.as_bytes()).is_err() {
                return Err(invalid("/headers", "a name that no header can have"));
            }
            if hidden(&lower).is_none() {
                headers.push((lower, value.clone()));
            }
        }
        let client = asked.client.as_deref().map(str::parse).transpose();
        let client = client.map_err(|_| invalid("/client", "expected an address such as 192.0.2.1"))?;
        let whole = asked.path.split('#').next().unwrap_or_default();
        let query = whole.split_once('?').map_or("", |(_, query)| query).to_owned();
        Ok(Self { method, query, headers, client })
    }

    fn facts<'a>(&'a self, path: &'a str, now: UnixMillis) -> RequestFacts<'a> {
        let Self { method, query, headers, client } = self;
        RequestFacts { method: method.as_str(), path, query, headers, client: *client, now, tenant: None }
    }
}

/// The first route of the request's methods and path, and what it is, or what the policies say of the rest.
fn found<'c>(catalog: &'c Catalog, facts: &RequestFacts<'_>) -> (Option<OperationIx>, Option<&'c Operation>) {
    if is_own(facts.path) {
        return (None, None);
    }
    match (catalog.routes.find(facts.method, facts.path), &catalog.unmatched) {
        (Some(ix), _) => {
            let open = variant::public(catalog, ix, facts, |_| {}).unwrap_or(ix);
            (Some(ix), catalog.routes.operation(open))
        }
        (None, Unmatched::Allow(operation)) => (None, Some(operation)),
        (None, Unmatched::Deny) => (None, None),
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
    let request = Asked::of(&asked)?;
    let method = &request.method;
    let mut view = DecisionView { tenant: tenant.to_string(), ..DecisionView::default() };
    if matches!(*method, http::Method::TRACE | http::Method::CONNECT) {
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
    let facts = request.facts(&path, shared.clock.now());
    let (head, operation) = found(&catalog, &facts);
    view.route = operation.map(|operation| operation.name.clone());
    if let Some(operation) = operation.filter(|operation| operation.public) {
        view.pass("route", format!("{} is public: no identity, no charge", operation.name));
        view.allow = true;
        return Ok(Json(view));
    }
    let Some(tenant) = shared.tenants.tenant(&tenant).await?.value else {
        view.refuse("tenant", "tenant-unknown", 403, format!("there is no tenant `{tenant}`"));
        return Ok(Json(view));
    };
    let present = Present::of(&tenant, &catalog, facts.now);
    let rights = present.rights()?;
    view.period = present.period();
    view.plan = rights.entitlement.as_ref().map(|given| given.plan.to_string());
    let counts = Counts::of(&shared, &rights, present.now).await?;
    let decided = if is_own(&path) {
        Decided { chosen: None, outcome: decide(&rights, None) }
    } else {
        decide_request(&rights, &catalog, head, facts)
    };
    view.decide(&rights, operation, decided, &counts, present.now);
    Ok(Json(view))
}
