//! Refusals as answers: the one place where a rejection gets its status, headers and body (RFC 9457).

mod body;
mod kind;
mod offer;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use self::body::Body;
pub(crate) use self::kind::Kind;
use super::{
    context::Context,
    language::Language,
    ratelimit,
    request::{Rejection, Subject},
    view::{self, ViewRefusal},
};
use crate::{
    domain::{denial::Denial, id::PlanId, time::UnixMillis, units::Units},
    ports::{CredentialError, Standing},
};

/// Headers of a refusal at the most, less those for browsers.
const HEADERS: usize = 9;

/// What to wait where nothing says how long: the next try may well succeed.
const SOON: u64 = 1;
/// What to wait where waiting alone will not help (more than the burst at once).
const LATER: u64 = 3600;

/// The problem code of the contract.
#[must_use]
pub const fn code(why: &Rejection) -> &'static str {
    Kind::of(why).code()
}

/// The status that the client gets.
#[must_use]
pub fn status_of(why: &Rejection) -> u16 {
    Kind::of(why).status().as_u16()
}

/// What the client is told, in English.
#[must_use]
pub fn detail(why: &Rejection) -> String {
    Language::English.detail(why).to_string()
}

/// Makes the answer to a refused request.
pub(super) fn answer(why: &Rejection, context: &Context) -> Response<Full<Bytes>> {
    let kind = Kind::of(why);
    let status = kind.status();
    let retry_after = retry_after(why, status, context.arrived);
    let body = if context.bodiless { Bytes::new() } else { describe(why, context, kind, retry_after) };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().reserve(HEADERS);
    set_headers(response.headers_mut(), why, retry_after, context.arrived);
    response
}

/// The problem's details.
fn describe(why: &Rejection, context: &Context, kind: Kind, retry_after: Option<u64>) -> Bytes {
    let mut body = Body::of(kind.code());
    body.text("title", context.language.title(kind));
    body.number("status", kind.status().as_u16().into());
    body.shown("detail", &context.language.detail(why));
    body.text("code", kind.code());
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
        Rejection::View(ViewRefusal::Method) => view::allow(headers),
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
        Rejection::View(ViewRefusal::TooOften(wait)) => Some(whole_seconds(*wait)),
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
