//! The decision on a request that nobody sends: its reasons, and nothing charged.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, sync::Arc};

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
        condition::{RequestFacts, hidden},
        decision::decide,
        id::TenantId,
        path::canonicalise,
        rights::Rights,
        route::{Operation, OperationIx},
        time::{UnixMillis, Version},
        variant::{self, Chosen, Decided, decide_request},
    },
    pipeline::{
        matching::{NEVER_SERVED, is_own},
        request::{HeadRefusal, Rejection},
        view::{self as customer_view, ViewRefusal},
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
    let path = match target(method, raw) {
        Ok(path) => path,
        Err(refusal) => {
            view.refuse("path", &Rejection::Head(refusal), Ground::default());
            return Ok(Json(view));
        }
    };
    view.pass("path", path.as_ref(), Ground::default());
    path.as_ref().clone_into(&mut view.path);
    if let Some(answered) = customer_view::answers(method, &path) {
        show_own(&shared, &tenant, answered, &mut view).await?;
        return Ok(Json(view));
    }
    let rules = Rules::of(&shared, catalog).await;
    let facts = request.facts(&path, shared.clock.now());
    let (route, operation) = find(catalog, &facts);
    view.route = operation.map(|operation| operation.name.clone());
    if let Some(operation) = operation.filter(|operation| operation.public) {
        let detail = format!("{} is public: no identity, no charge", operation.name);
        view.pass("route", detail, Ground::of_rule(rules.route(route)));
        view.allow = true;
        return Ok(Json(view));
    }
    let Some(found) = shared.tenants.tenant(&tenant).await?.value else {
        view.refuse("tenant", &Rejection::Resolve(ResolveError::TenantUnknown), Ground::default());
        return Ok(Json(view));
    };
    let present = Present::of(&found, catalog, facts.now);
    let rights = present.rights()?;
    view.show_tenant(&present, &rights);
    let counts = Counts::of(&shared, &rights, present.now).await?;
    let decided = match is_own(&path) {
        true => Decided { chosen: None, outcome: decide(&rights, None) },
        false => decide_request(&rights, catalog, route, facts),
    };
    let (route, charged) = charged(decided.chosen, route, operation);
    view.route = charged.as_ref().map(|operation| operation.name.clone());
    let question = Question {
        present: &present,
        rights: &rights,
        route,
        operation: charged.as_deref(),
        outcome: decided.outcome.map(drop),
        counts: &counts,
        rules: &rules,
    };
    view.decide(&question);
    Ok(Json(view))
}

/// A request for the customer's own view: Plangate answers it, whatever the tenant's plan and its routes say.
async fn show_own(
    shared: &Shared,
    tenant: &TenantId,
    answered: Result<(), ViewRefusal>,
    view: &mut DecisionView,
) -> Result<(), Problem> {
    view.answered_by = Some("plangate");
    if let Err(why) = answered {
        view.refuse("view", &Rejection::View(why), Ground::default());
        return Ok(());
    }
    let Some(found) = shared.tenants.tenant(tenant).await?.value else {
        view.refuse("tenant", &Rejection::Resolve(ResolveError::TenantUnknown), Ground::default());
        return Ok(());
    };
    let catalog = shared.policies.catalog();
    let present = Present::of(&found, catalog.of_tenant(tenant), shared.clock.now());
    let rights = present.rights()?;
    view.show_tenant(&present, &rights);
    view.pass("tenant", "known, whatever its state", Ground::default());
    let detail = format!(
        "how the tenant stands, told by Plangate itself: nothing is counted, charged or forwarded; {}",
        customer_view::guard()
    );
    view.pass("view", detail, Ground::default());
    (view.allow, view.status) = (true, Some(200));
    Ok(())
}

/// The path in its canonical form.
fn target<'p>(method: &http::Method, path: &'p str) -> Result<Cow<'p, str>, HeadRefusal> {
    if matches!(*method, http::Method::TRACE | http::Method::CONNECT) {
        return Err(NEVER_SERVED);
    }
    canonicalise(path).map_err(|error| HeadRefusal::AmbiguousPath(error.into()))
}

/// The first route of the request's methods and path, and what the request is by it, where it is public: what becomes of
/// those without one may be written, too.
fn find<'c>(catalog: &'c Catalog, facts: &RequestFacts<'_>) -> (Option<OperationIx>, Option<&'c Operation>) {
    if is_own(facts.path) {
        return (None, None);
    }
    match (catalog.routes.find(facts.method, facts.path), &catalog.unmatched) {
        (Some(ix), _) => match variant::public(catalog, ix, facts, |_| {}) {
            Some(open) => (Some(open), catalog.routes.operation(open)),
            None => {
                let first = catalog.routes.variants(ix).find(|(_, operation)| !operation.public);
                first.map_or((Some(ix), None), |(ix, operation)| (Some(ix), Some(operation)))
            }
        },
        (None, Unmatched::Allow(operation)) => (None, Some(operation)),
        (None, Unmatched::Deny) => (None, None),
    }
}

/// The route that decides the request, with its charges as they are for it. Where that was not asked, the first.
fn charged<'c>(
    chosen: Option<Chosen<'c>>,
    first: Option<OperationIx>,
    operation: Option<&'c Operation>,
) -> (Option<OperationIx>, Option<Cow<'c, Operation>>) {
    let Some(Chosen { route, operation, charges }) = chosen else {
        return (first, operation.map(Cow::Borrowed));
    };
    let operation = operation.map(|operation| match charges {
        Cow::Borrowed(_) => Cow::Borrowed(operation),
        Cow::Owned(charges) => Cow::Owned(operation.charged(&charges)),
    });
    (route, operation)
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
        self.state = Some(present.tenant.state().as_str());
        let given = rights.entitlement.as_ref();
        self.plan = given.map(|given| given.plan.to_string());
        self.plan_version = given.map(|given| given.plan_version.0);
    }
}
