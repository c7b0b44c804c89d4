//! The `RateLimit-Policy` and `RateLimit` headers (draft-ietf-httpapi-ratelimit-headers): structured fields, one item for
//! each quota and rate that a charge was held against.

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    domain::{period::Window, time::UnixMillis},
    ports::{Hold, Standing},
};

/// The policies: what the whole of each window is.
pub const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The state: what is left of each window.
pub const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Replaces the upstream's own headers by those of the charge.
pub fn replace(headers: &mut HeaderMap, hold: &Hold, now: UnixMillis) {
    headers.remove(POLICY);
    headers.remove(LIMIT);
    let (mut policy, mut limit) = (String::new(), String::new());
    hold.standings(now, |standing| append(&mut policy, &mut limit, standing));
    insert(headers, policy, limit);
}

/// Sets the headers of one window, for a refusal by it.
pub fn refuse(headers: &mut HeaderMap, standing: Standing<'_>) {
    let (mut policy, mut limit) = (String::new(), String::new());
    append(&mut policy, &mut limit, standing);
    insert(headers, policy, limit);
}

fn insert(headers: &mut HeaderMap, policy: String, limit: String) {
    if policy.is_empty() {
        return;
    }
    // Meter ids, window names and numbers: all visible ASCII.
    if let (Ok(policy), Ok(limit)) = (HeaderValue::try_from(policy), HeaderValue::try_from(limit)) {
        headers.insert(POLICY, policy);
        headers.insert(LIMIT, limit);
    }
}

fn append(policy: &mut String, limit: &mut String, standing: Standing<'_>) {
    let suffix = match standing.window {
        Some(Window::Month) => "",
        Some(Window::Week) => "-week",
        Some(Window::Day) => "-day",
        Some(Window::Hour) => "-hour",
        None => "-rate",
    };
    let comma = if policy.is_empty() { "" } else { ", " };
    let Standing { meter, quota, seconds, remaining, resets_in, .. } = standing;
    // Writing to a string cannot fail.
    let _ = write!(policy, "{comma}\"{meter}{suffix}\";q={quota};w={seconds}");
    let _ = write!(limit, "{comma}\"{meter}{suffix}\";r={remaining};t={resets_in}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::units::Units;

    #[test]
    fn items_are_structured_fields() {
        let mut headers = HeaderMap::new();
        let standing = Standing {
            meter: "requests",
            window: Some(Window::Day),
            quota: Units::saturating(5000),
            seconds: 86_400,
            remaining: Units::saturating(812),
            resets_in: 90,
        };
        refuse(&mut headers, standing);
        assert_eq!(headers[POLICY], "\"requests-day\";q=5000;w=86400");
        assert_eq!(headers[LIMIT], "\"requests-day\";r=812;t=90");
    }
}
