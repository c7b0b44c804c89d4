//! What this node refused in the last minutes.

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Shared,
    openapi::ReadErrors,
    params::{NoParams, Params},
    problem::{Code, Problem},
    views::List,
};
use crate::{
    domain::denial::Denial,
    pipeline::{
        problem,
        refusals::{KEPT_FOR, Remembered, Wanted},
        request::{ForwardError, Rejection},
    },
    ports::CredentialError,
    wire::duration,
};

/// The longest id that a request can have.
const LONGEST_ID: usize = 128;

/// A refusal of the last minutes.
#[derive(Serialize, ToSchema, Default)]
#[schema(as = Refusal)]
pub(super) struct RefusalView {
    /// The request's id, as the client was told in `X-Request-Id`.
    request_id: String,
    /// When the request arrived.
    at: String,
    /// The tenant; `null`: it was refused before that was known.
    tenant: Option<String>,
    /// The tenant's plan.
    plan: Option<String>,
    /// The method; `null`: the request was forwarded before it failed.
    method: Option<String>,
    /// The path without its query, cut to 128 bytes; `null` as for the method.
    path: Option<String>,
    /// The route that covers it.
    route: Option<String>,
    /// The kind of refusal.
    code: &'static str,
    /// The HTTP status.
    status: u16,
    /// What the client was told.
    detail: String,
    /// What only operators are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The feature that the plan lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    feature: Option<String>,
    /// The meter that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    meter: Option<String>,
    /// The window that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<&'static str>,
    /// Its limit; of a rate, the units in `per`.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// The span of a rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    per: Option<String>,
    /// Units used of the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
    /// The spend cap that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    spend_cap: Option<String>,
    /// What billed overage has cost in the month.
    #[serde(skip_serializing_if = "Option::is_none")]
    spent: Option<String>,
    /// The currency of both.
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    /// When the window, or the month of the spend cap, ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    resets_at: Option<String>,
    /// The subscription's state, where that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// SHA-256 of the policies that decided.
    digest: String,
    /// The version of the tenant's facts that decided.
    version: Option<u64>,
    /// The node that refused.
    node: String,
}

impl RefusalView {
    fn of(refusal: Remembered, node: &str) -> Self {
        let mut view = Self {
            at: refusal.at.to_string(),
            code: refusal.code(),
            status: problem::status_of(&refusal.why),
            detail: problem::detail(&refusal.why),
            request_id: refusal.request_id,
            tenant: refusal.tenant,
            plan: refusal.plan,
            method: refusal.method,
            path: refusal.path,
            route: refusal.route,
            digest: refusal.digest,
            version: refusal.version.map(|version| version.0),
            node: node.to_owned(),
            ..Self::default()
        };
        match refusal.why {
            Rejection::Denied(denial) => view.add_numbers(denial),
            Rejection::Credential(CredentialError::Invalid { reason }) => {
                view.reason = Some(reason.to_owned());
            }
            Rejection::Forward(ForwardError::Unreachable { reason, .. }) => view.reason = Some(reason),
            _ => {}
        }
        view
    }

    fn add_numbers(&mut self, denial: Denial) {
        match denial {
            Denial::TenantSuspended | Denial::RouteNotCovered => {}
            Denial::SubscriptionInactive(state) => self.state = Some(state.as_str()),
            Denial::FeatureNotInPlan { feature } => self.feature = Some(feature.to_string()),
            Denial::MeterNotInPlan { meter } => self.meter = Some(meter.to_string()),
            Denial::ConditionFailed { charge, .. } => self.meter = charge.map(|meter| meter.to_string()),
            Denial::RateLimited { meter, rate, .. } => {
                self.meter = Some(meter.to_string());
                self.limit = Some(rate.limit.get());
                self.per = Some(duration::format(rate.per));
            }
            Denial::QuotaExhausted { meter, window, limit, used, period } => {
                self.meter = Some(meter.to_string());
                self.window = Some(window.as_str());
                self.limit = Some(limit.get());
                self.used = Some(used.get());
                self.resets_at = Some(period.end.to_string());
            }
            Denial::SpendCapReached { meter, currency, cap, spent, period } => {
                self.meter = Some(meter.to_string());
                self.spend_cap = Some(cap.to_string());
                self.spent = Some(spent.to_string());
                self.currency = Some(currency.to_string());
                self.resets_at = Some(period.end.to_string());
            }
        }
    }
}

/// A request's id in a path.
pub(super) struct RequestPath(String);

impl FromRequestParts<Shared> for RequestPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut http::request::Parts, state: &Shared) -> Result<Self, Problem> {
        let given = Path::<String>::from_request_parts(parts, state).await;
        let is_id = |id: &String| {
            (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
        };
        given.ok().map(|Path(id)| id).filter(is_id).map(Self).ok_or_else(|| {
            let expected = "expected a request's id, as a refusal's `X-Request-Id` and `request_id` have it";
            Problem::new(Code::PathInvalid, expected)
        })
    }
}

/// Read why a request was refused in the last minutes. Each node remembers its own refusals.
#[utoipa::path(get, path = "/v1/refusals/{request_id}", tag = "check",
    params(("request_id" = String, Path, description = "The id that the client got in `X-Request-Id`")),
    responses((status = 200, description = "The refusal", body = RefusalView), ReadErrors))]
pub(super) async fn get_refusal(
    State(shared): State<Shared>,
    RequestPath(id): RequestPath,
    _: NoParams,
) -> Result<Json<RefusalView>, Problem> {
    match shared.refusals.find(&id, shared.clock.monotonic()) {
        Some(refusal) => Ok(Json(RefusalView::of(refusal, &shared.node))),
        None => Err(not_found(&shared, &id).await),
    }
}

async fn not_found(shared: &Shared, id: &str) -> Problem {
    let minutes = KEPT_FOR.as_secs() / 60;
    let nodes = shared.nodes.nodes().await.unwrap_or_default();
    let others: Vec<String> = nodes
        .iter()
        .filter(|node| node.name != shared.node)
        .map(|node| format!("`{}`", node.name))
        .take(20)
        .collect();
    let others = match others.as_slice() {
        [] => "there is no other node to ask".to_owned(),
        names => format!("ask {}, too", names.join(", ")),
    };
    let node = &shared.node;
    Problem::new(
        Code::RefusalNotFound,
        format!(
            "node `{node}` knows of no refusal of `{id}`: each node remembers its own, for {minutes} minutes and at most \
             a few thousand; {others}"
        ),
    )
}

/// List the refusals of the last minutes, the newest first. Each node remembers its own.
#[utoipa::path(get, path = "/v1/refusals", tag = "check",
    params(("tenant" = Option<String>, Query, description = "Of this tenant alone"),
           ("code" = Option<String>, Query, description = "With this code alone, such as `quota-exhausted`"),
           ("limit" = Option<u32>, Query, description = "At most so many, 1 to 500, by default 100")),
    responses((status = 200, description = "The refusals", body = List<RefusalView>), ReadErrors))]
pub(super) async fn list_refusals(
    State(shared): State<Shared>,
    mut params: Params,
) -> Result<Json<List<RefusalView>>, Problem> {
    let (tenant, code) = (params.take("tenant"), params.take("code"));
    let limit = usize::try_from(params.limit()?).unwrap_or(usize::MAX);
    params.finish()?;
    let found = shared.refusals.recent(&Wanted { tenant, code, limit }, shared.clock.monotonic());
    let items = found.into_iter().map(|refusal| RefusalView::of(refusal, &shared.node)).collect();
    Ok(Json(List { items }))
}
