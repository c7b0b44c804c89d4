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
    if let Some(fields) = Fields::of(hold, now) {
        fields.insert(headers);
    }
}

/// Sets the headers of one window, for a refusal by it.
pub fn refuse(headers: &mut HeaderMap, standing: Standing<'_>) {
    let (mut policy, mut limit) = (String::new(), String::new());
    append(&mut policy, &mut limit, standing);
    if let Some(fields) = Fields::from_texts(policy, limit) {
        fields.insert(headers);
    }
}

/// Both headers' values.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    policy: HeaderValue,
    limit: HeaderValue,
}

impl Fields {
    /// Those of a charge; `None` where no window bounds it.
    pub(crate) fn of(hold: &Hold, now: UnixMillis) -> Option<Self> {
        let (mut policy, mut limit) = (String::new(), String::new());
        hold.standings(now, |standing| append(&mut policy, &mut limit, standing));
        Self::from_texts(policy, limit)
    }

    fn from_texts(policy: String, limit: String) -> Option<Self> {
        if policy.is_empty() {
            return None;
        }
        // Meter ids, window names and numbers: all visible ASCII.
        Some(Self { policy: HeaderValue::try_from(policy).ok()?, limit: HeaderValue::try_from(limit).ok()? })
    }

    pub(crate) fn insert(&self, headers: &mut HeaderMap) {
        headers.insert(POLICY, self.policy.clone());
        headers.insert(LIMIT, self.limit.clone());
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
