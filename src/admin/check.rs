//! The decision on a request that nobody sends: its reasons, and nothing charged.

use std::{borrow::Cow, sync::Arc};

use axum::{
    Json,
    extract::{FromRequest, Request, State},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    Shared, body,
    grounds::{Ground, Question},
    openapi::ReadErrors,
    params::NoParams,
    present::Present,
    problem::{Code, Problem},
    rights::Counts,
    rules::Rules,
    steps::{DecidingPolicy, DecisionView},
};
use crate::{
    domain::{
        catalog::{Catalog, Unmatched},
        id::TenantId,
        path::canonicalise,
        rights::Rights,
        route::{Operation, OperationIx},
        time::Version,
    },
    pipeline::{
        matching::{NEVER_SERVED, is_own},
        request::{HeadRefusal, Rejection},
    },
    ports::ResolveError,
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
    let in_force = shared.policies.catalog();
    let catalog = in_force.of_tenant(&tenant);
    let raw = asked.path.split(['?', '#']).next().unwrap_or_default();
    let mut view = DecisionView {
        tenant: tenant.to_string(),
        method: method.to_string(),
        path: raw.to_owned(),
        policy: deciding(&shared, &in_force, catalog).await,
        node: shared.node.clone(),
        age_ms: (shared.age)().map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        ..DecisionView::default()
    };
    let path = match target(&method, raw) {
        Ok(path) => path,
        Err(refusal) => {
            view.refuse("path", &Rejection::Head(refusal), Ground::default());
            return Ok(Json(view));
        }
    };
    view.pass("path", path.as_ref(), Ground::default());
    path.as_ref().clone_into(&mut view.path);
    let rules = Rules::of(&shared, catalog).await;
    let (route, operation) = find(catalog, method.as_str(), &path);
    view.route = operation.map(|operation| operation.name.clone());
    if let Some(operation) = operation.filter(|operation| operation.public) {
        let detail = format!("{} is public: no identity, no charge", operation.name);
        view.pass("route", detail, Ground::of_rule(rules.route(route)));
        view.allow = true;
        return Ok(Json(view));
    }
    let Some(facts) = shared.tenants.tenant(&tenant).await?.value else {
        view.refuse("tenant", &Rejection::Resolve(ResolveError::TenantUnknown), Ground::default());
        return Ok(Json(view));
    };
    let present = Present::of(&facts, catalog, shared.clock.now());
    let rights = present.rights()?;
    view.show_tenant(&present, &rights);
    let counts = Counts::of(&shared, &rights, present.now).await?;
    let question =
        Question { present: &present, rights: &rights, route, operation, counts: &counts, rules: &rules };
    view.decide(&question);
    Ok(Json(view))
}

/// The path in its canonical form.
fn target<'p>(method: &http::Method, path: &'p str) -> Result<Cow<'p, str>, HeadRefusal> {
    if matches!(*method, http::Method::TRACE | http::Method::CONNECT) {
        return Err(NEVER_SERVED);
    }
    canonicalise(path).map_err(|error| HeadRefusal::AmbiguousPath(error.reason()))
}

/// The route, and what the request is by it: what becomes of those without one may be written, too.
fn find<'a>(catalog: &'a Catalog, method: &str, path: &str) -> (Option<OperationIx>, Option<&'a Operation>) {
    if is_own(path) {
        return (None, None);
    }
    match (catalog.routes.find(method, path), &catalog.unmatched) {
        (Some(ix), _) => (Some(ix), catalog.routes.operation(ix)),
        (None, Unmatched::Allow(operation)) => (None, Some(operation)),
        (None, Unmatched::Deny) => (None, None),
    }
}

/// The policies that decide for a tenant.
async fn deciding(shared: &Shared, in_force: &Arc<Catalog>, catalog: &Arc<Catalog>) -> DecidingPolicy {
    let applied = catalog.deployed > Version(0);
    let deployment = if applied { shared.revisions.deployment().await.ok() } else { None };
    // Where this node does not decide by the last change yet, or any more, its number is not to be shown.
    let number = deployment.filter(|deployment| deployment.version == catalog.deployed);
    let source = match applied {
        true => "revision",
        false if (shared.folder)().is_some() => "folder",
        false => "none",
    };
    DecidingPolicy {
        number: number.map(|deployment| deployment.number.0),
        digest: catalog.digest.0.to_string(),
        source,
        trial: !Arc::ptr_eq(in_force, catalog),
    }
}

impl DecisionView {
    fn show_tenant(&mut self, present: &Present, rights: &Rights) {
        self.period = present.period();
        self.version = Some(rights.version.0);
        let given = rights.entitlement.as_ref();
        self.plan = given.map(|given| given.plan.to_string());
        self.plan_version = given.map(|given| given.plan_version.0);
    }
}
