//! Refusals as answers: the one place where a rejection gets its status, headers and body (RFC 9457).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Map, Value, json};

use super::{
    ratelimit,
    request::{Context, ForwardError, HeadRefusal, Rejection},
};
use crate::{
    domain::{denial::Denial, time::UnixMillis, units::Units},
    ports::{CredentialError, ResolveError, Standing},
};

/// What to wait where nothing says how long: the next try may well succeed.
const SOON: u64 = 1;
/// What to wait where waiting alone will not help (more than the burst at once).
const LATER: u64 = 3600;

/// The problem code of the contract.
#[must_use]
pub const fn code(why: &Rejection) -> &'static str {
    match why {
        Rejection::Head(HeadRefusal::TooLarge) => "head-too-large",
        Rejection::Head(HeadRefusal::Malformed(_)) | Rejection::Forward(ForwardError::ClientBody) => {
            "request-malformed"
        }
        Rejection::Head(HeadRefusal::AmbiguousPath(_)) => "path-ambiguous",
        Rejection::Credential(CredentialError::Missing) => "credential-missing",
        Rejection::Credential(CredentialError::Invalid { .. }) => "credential-invalid",
        Rejection::Credential(CredentialError::Expired) => "credential-expired",
        Rejection::Credential(CredentialError::Ambiguous) => "credential-ambiguous",
        Rejection::Credential(CredentialError::Unavailable)
        | Rejection::Resolve(ResolveError::Unavailable) => "rights-unavailable",
        Rejection::Resolve(ResolveError::TenantUnknown) => "tenant-unknown",
        Rejection::Denied(denial) => denial.code(),
        Rejection::LedgerUnavailable => "ledger-unavailable",
        Rejection::Forward(ForwardError::Unreachable { .. }) => "upstream-unreachable",
        Rejection::Forward(ForwardError::Timeout { .. }) => "upstream-timeout",
        Rejection::Forward(ForwardError::Overloaded) => "overloaded",
    }
}

/// Status and title of a code.
fn status(code: &str) -> (StatusCode, &'static str) {
    match code {
        "credential-missing" => (StatusCode::UNAUTHORIZED, "Credential missing"),
        "credential-invalid" => (StatusCode::UNAUTHORIZED, "Credential invalid"),
        "credential-expired" => (StatusCode::UNAUTHORIZED, "Credential expired"),
        "credential-ambiguous" => (StatusCode::BAD_REQUEST, "More than one credential"),
        "path-ambiguous" => (StatusCode::BAD_REQUEST, "Ambiguous path"),
        "request-malformed" => (StatusCode::BAD_REQUEST, "Malformed request"),
        "head-too-large" => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request head too large"),
        "tenant-unknown" => (StatusCode::FORBIDDEN, "Unknown account"),
        "tenant-suspended" => (StatusCode::FORBIDDEN, "Account suspended"),
        "subscription-inactive" => (StatusCode::PAYMENT_REQUIRED, "No active subscription"),
        "route-not-covered" => (StatusCode::NOT_FOUND, "Not found"),
        "feature-not-in-plan" => (StatusCode::FORBIDDEN, "Not in the plan"),
        "rate-limited" => (StatusCode::TOO_MANY_REQUESTS, "Too fast"),
        "quota-exhausted" => (StatusCode::TOO_MANY_REQUESTS, "Quota used up"),
        "ledger-unavailable" => (StatusCode::SERVICE_UNAVAILABLE, "Usage cannot be recorded"),
        "rights-unavailable" => (StatusCode::SERVICE_UNAVAILABLE, "Rights cannot be read"),
        "overloaded" => (StatusCode::SERVICE_UNAVAILABLE, "Overloaded"),
        "upstream-timeout" => (StatusCode::GATEWAY_TIMEOUT, "Upstream timed out"),
        _ => (StatusCode::BAD_GATEWAY, "Upstream unreachable"),
    }
}

/// Makes the answer to a refused request.
pub(super) fn answer(
    why: &Rejection,
    context: &Context,
    method: &Method,
    now: UnixMillis,
) -> Response<Full<Bytes>> {
    let code = code(why);
    let (status, title) = status(code);
    let retry_after = retry_after(why, status, now);
    let mut body = Map::new();
    body.insert("type".into(), json!(format!("urn:plangate:problem:{code}")));
    body.insert("title".into(), json!(title));
    body.insert("status".into(), json!(status.as_u16()));
    body.insert("detail".into(), json!(detail(why)));
    body.insert("code".into(), json!(code));
    body.insert("request_id".into(), json!(context.request_id.to_str().unwrap_or_default()));
    if let Some(subject) = &context.subject {
        body.insert("tenant".into(), json!(subject.tenant.as_str()));
        if let Some(plan) = &subject.plan {
            body.insert("plan".into(), json!(plan.as_str()));
        }
    }
    if let Rejection::Denied(denial) = why {
        describe(&mut body, denial);
        offer(&mut body, denial, context);
    }
    if let Some(seconds) = retry_after {
        body.insert("retry_after".into(), json!(seconds));
    }
    let body = if *method == Method::HEAD { String::new() } else { Value::Object(body).to_string() };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    set_headers(response.headers_mut(), why, retry_after, now);
    response
}

fn set_headers(headers: &mut HeaderMap, why: &Rejection, retry_after: Option<u64>, now: UnixMillis) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    match why {
        Rejection::Credential(CredentialError::Missing) => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"plangate\""));
        }
        Rejection::Credential(CredentialError::Invalid { .. } | CredentialError::Expired) => {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"plangate\", error=\"invalid_token\""),
            );
        }
        Rejection::Denied(denial) => {
            if let Some(standing) = standing(denial, retry_after, now) {
                ratelimit::refuse(headers, standing);
            }
        }
        _ => {}
    }
}

fn detail(why: &Rejection) -> String {
    match why {
        Rejection::Head(HeadRefusal::TooLarge) => "the request's head is larger than is accepted".to_owned(),
        Rejection::Head(HeadRefusal::Malformed(what) | HeadRefusal::AmbiguousPath(what)) => {
            (*what).to_owned()
        }
        other => other.to_string(),
    }
}

fn retry_after(why: &Rejection, status: StatusCode, now: UnixMillis) -> Option<u64> {
    match why {
        Rejection::Denied(Denial::QuotaExhausted { period, .. }) => {
            Some(now.seconds_until(period.end).max(SOON))
        }
        Rejection::Denied(Denial::RateLimited { retry_after, .. }) => {
            Some(retry_after.map_or(LATER, whole_seconds))
        }
        _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(SOON),
    }
}

fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(SOON)
}

fn describe(body: &mut Map<String, Value>, denial: &Denial) {
    match denial {
        Denial::FeatureNotInPlan { feature } => {
            body.insert("feature".into(), json!(feature.as_str()));
        }
        Denial::MeterNotInPlan { meter } => {
            body.insert("meter".into(), json!(meter.as_str()));
        }
        Denial::RateLimited { meter, rate, .. } => {
            body.insert("meter".into(), json!(meter.as_str()));
            body.insert("limit".into(), json!(rate.limit.get()));
        }
        Denial::QuotaExhausted { meter, window, limit, used, period } => {
            body.insert("meter".into(), json!(meter.as_str()));
            body.insert("window".into(), json!(window.as_str()));
            body.insert("limit".into(), json!(limit.get()));
            body.insert("used".into(), json!(used.get()));
            body.insert("resets_at".into(), json!(period.end.to_string()));
        }
        Denial::TenantSuspended | Denial::SubscriptionInactive | Denial::RouteNotCovered => {}
    }
}

/// Names the plans under which the request would pass.
fn offer(body: &mut Map<String, Value>, denial: &Denial, context: &Context) {
    let Some(operation) = context.operation() else { return };
    let own = context.plan();
    let plans: Vec<Value> = denial
        .plans_that_allow(operation, &context.catalog, context.overrides.as_deref())
        .into_iter()
        .filter(|plan| Some(plan) != own)
        .map(|plan| json!(plan.as_str()))
        .collect();
    if !matches!(denial, Denial::TenantSuspended | Denial::RouteNotCovered) {
        body.insert("plans".into(), Value::Array(plans));
    }
}

fn standing(denial: &Denial, retry_after: Option<u64>, now: UnixMillis) -> Option<Standing<'_>> {
    match denial {
        Denial::QuotaExhausted { meter, window, limit, used, period } => Some(Standing {
            meter: meter.as_str(),
            window: Some(*window),
            quota: *limit,
            seconds: period.seconds(),
            remaining: limit.saturating_sub(*used),
            resets_in: now.seconds_until(period.end),
        }),
        Denial::RateLimited { meter, rate, .. } => Some(Standing {
            meter: meter.as_str(),
            window: None,
            quota: rate.limit,
            seconds: whole_seconds(rate.per),
            remaining: Units::ZERO,
            resets_in: retry_after.unwrap_or(SOON),
        }),
        _ => None,
    }
}
