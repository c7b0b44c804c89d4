//! Refusals as answers: the one place where a rejection gets its status, headers and body (RFC 9457).

mod body;
mod offer;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use self::body::Body;
use super::{
    context::Context,
    ratelimit,
    request::{ForwardError, HeadRefusal, Rejection, Subject},
};
use crate::{
    domain::{denial::Denial, id::PlanId, time::UnixMillis, units::Units},
    ports::{CredentialError, ResolveError, Standing},
};

/// Headers of a refusal at the most, less those for browsers.
const HEADERS: usize = 7;

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
        Rejection::Forward(ForwardError::Withdrawn(why)) => code(why),
    }
}

/// The status that the client gets.
#[must_use]
pub fn status_of(why: &Rejection) -> u16 {
    status(code(why)).0.as_u16()
}

/// What the client is told, in words.
#[must_use]
pub fn detail(why: &Rejection) -> String {
    match why {
        Rejection::Head(refusal) => head_detail(*refusal).to_owned(),
        other => other.to_string(),
    }
}

const fn head_detail(refusal: HeadRefusal) -> &'static str {
    match refusal {
        HeadRefusal::TooLarge => "the request's head is larger than is accepted",
        HeadRefusal::Malformed(what) | HeadRefusal::AmbiguousPath(what) => what,
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
        "condition-failed" => (StatusCode::FORBIDDEN, "Condition cannot be told"),
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
pub(super) fn answer(why: &Rejection, context: &Context) -> Response<Full<Bytes>> {
    let code = code(why);
    let (status, title) = status(code);
    let retry_after = retry_after(why, status, context.arrived);
    let body = if context.bodiless {
        Bytes::new()
    } else {
        describe(why, context, (code, status, title), retry_after)
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().reserve(HEADERS);
    set_headers(response.headers_mut(), why, retry_after, context.arrived);
    response
}

/// The problem's details.
fn describe(
    why: &Rejection,
    context: &Context,
    (code, status, title): (&str, StatusCode, &str),
    retry_after: Option<u64>,
) -> Bytes {
    let mut body = Body::of(code);
    body.text("title", title);
    body.number("status", status.as_u16().into());
    match why {
        Rejection::Head(refusal) => body.text("detail", head_detail(*refusal)),
        other => body.shown("detail", other),
    }
    body.text("code", code);
    body.text("request_id", context.request_id.to_str().unwrap_or_default());
    if let Some(tenant) = context.subject.as_ref().map(Subject::tenant) {
        body.text("tenant", tenant);
        if let Some(plan) = context.plan().map(PlanId::as_str) {
            body.text("plan", plan);
        }
    }
    if let Rejection::Denied(denial) = why {
        describe_denial(&mut body, denial);
        offer::with_plans(denial, context, |plans| body.raw("plans", plans));
    }
    if let Some(seconds) = retry_after {
        body.number("retry_after", seconds);
    }
    body.end()
}

fn describe_denial(body: &mut Body, denial: &Denial) {
    match denial {
        Denial::FeatureNotInPlan { feature } => body.text("feature", feature.as_str()),
        Denial::MeterNotInPlan { meter } => body.text("meter", meter.as_str()),
        Denial::RateLimited { meter, rate, .. } => {
            body.text("meter", meter.as_str());
            body.number("limit", rate.limit.get());
        }
        Denial::QuotaExhausted { meter, window, limit, used, period } => {
            body.text("meter", meter.as_str());
            body.text("window", window.as_str());
            body.number("limit", limit.get());
            body.number("used", used.get());
            body.shown("resets_at", &period.end);
        }
        Denial::SpendCapReached { meter, currency, cap, spent, period } => {
            body.text("meter", meter.as_str());
            body.shown("spend_cap", cap);
            body.shown("spent", spent);
            body.shown("currency", currency);
            body.shown("resets_at", &period.end);
        }
        Denial::SubscriptionInactive(state) => body.text("state", state.as_str()),
        Denial::ConditionFailed { route, charge, .. } => {
            body.text("route", route);
            if let Some(meter) = charge {
                body.text("meter", meter.as_str());
            }
        }
        Denial::TenantSuspended | Denial::RouteNotCovered => {}
    }
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

fn retry_after(why: &Rejection, status: StatusCode, now: UnixMillis) -> Option<u64> {
    match why {
        Rejection::Denied(Denial::QuotaExhausted { period, .. } | Denial::SpendCapReached { period, .. }) => {
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
