//! What a tenant sees of itself at the data listener, for those who look after it.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Shared,
    openapi::ReadErrors,
    params::{Params, TenantPath},
    problem::Problem,
    rights::Counts,
    views::PeriodView,
};
use crate::pipeline::{language::Language, view};

/// How a tenant stands, as it is told itself: docs/customer-view.md has each member.
#[derive(Deserialize, ToSchema)]
#[schema(as = CustomerView)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "it describes: the gateway's own document is what is answered")]
struct CustomerView {
    /// The tenant's id.
    tenant: String,
    /// Its plan; after the subscription has ended, the last one.
    plan: Option<String>,
    /// The plan's name for people.
    plan_title: Option<String>,
    /// The subscription's state; `suspended` whatever that is.
    state: String,
    /// The billing month.
    #[schema(value_type = Option<PeriodView>)]
    period: Option<Value>,
    /// Each meter in each window that the plan limits, the nearest wall first.
    #[schema(value_type = Vec<Object>)]
    quotas: Vec<Value>,
    /// The nearest wall.
    #[schema(value_type = Option<Object>)]
    nearest: Option<Value>,
    /// Rates by meter.
    #[schema(value_type = Object)]
    rates: Value,
    /// When the trial is over.
    trial_ends_at: Option<String>,
    /// When the grace after a failed payment is over.
    grace_ends_at: Option<String>,
    /// A change that is not due yet.
    #[schema(value_type = Option<Object>)]
    scheduled: Option<Value>,
    /// The month's cost so far, and what it is likely to be.
    #[schema(value_type = Option<Object>)]
    cost: Option<Value>,
    /// The most that overage may cost, and what of it is spent.
    #[schema(value_type = Option<Object>)]
    spend_cap: Option<Value>,
    /// The one sentence that says most.
    message: String,
    /// When it was true.
    at: String,
}

/// See what a customer sees: the answer of `/.plangate/usage` on the data listener, without its credential and its guard.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/view", tag = "usage",
    params(("tenant" = String, Path, description = "The tenant's id"),
           ("language" = Option<String>, Query, description = "`en` or `zh`; by default what `Accept-Language` asks for")),
    responses((status = 200, description = "How it stands", body = CustomerView), ReadErrors))]
pub(super) async fn get_view(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, Problem> {
    let language = match params.take("language").as_deref() {
        None => Language::asked(&headers),
        Some("en") => Language::English,
        Some("zh") => Language::Chinese,
        Some(_) => return Err(Problem::parameter("language", "expected en or zh")),
    };
    params.finish()?;
    let present = shared.find(&id).await?;
    let rights = present.rights()?;
    let Counts(usage, spend) = Counts::of(&shared, &rights, present.now).await?;
    let cost = shared.bills.so_far(&rights, &usage, present.now).await?;
    let body = view::document(&rights, &usage, (cost, spend), language, present.now);
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CONTENT_LANGUAGE, HeaderValue::from_static(language.tag())),
        (header::VARY, HeaderValue::from_static("accept-language")),
    ];
    Ok((fields, body).into_response())
}

#[cfg(test)]
pub(super) fn is_as_described(document: &Value) -> bool {
    serde_json::from_value::<CustomerView>(document.clone()).is_ok()
}
