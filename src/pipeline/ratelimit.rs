//! The `RateLimit-Policy` and `RateLimit` headers (draft-ietf-httpapi-ratelimit-headers): structured fields, one item for
//! each quota and rate that a charge was held against.

use std::{cell::Cell, fmt::Write};

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
    if let Some(fields) = Fields::written(|texts| texts.append(standing)) {
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
        Self::written(|texts| hold.standings(now, |standing| texts.append(standing)))
    }

    fn written(write: impl FnOnce(&mut Texts)) -> Option<Self> {
        let mut texts = TEXTS.take();
        texts.policy.clear();
        texts.limit.clear();
        write(&mut texts);
        let fields = texts.fields();
        TEXTS.set(texts);
        fields
    }

    pub(crate) fn insert(self, headers: &mut HeaderMap) {
        headers.insert(POLICY, self.policy);
        headers.insert(LIMIT, self.limit);
    }
}

thread_local! {
    // Written anew for each answer: the memory stays.
    static TEXTS: Cell<Texts> = Cell::default();
}

#[derive(Default)]
struct Texts {
    policy: String,
    limit: String,
}

impl Texts {
    fn append(&mut self, standing: Standing<'_>) {
        let suffix = match standing.window {
            Some(Window::Month) => "",
            Some(Window::Week) => "-week",
            Some(Window::Day) => "-day",
            Some(Window::Hour) => "-hour",
            None => "-rate",
        };
        let comma = if self.policy.is_empty() { "" } else { ", " };
        let Standing { meter, quota, seconds, remaining, resets_in, .. } = standing;
        // Writing to a string cannot fail.
        let _ = write!(self.policy, "{comma}\"{meter}{suffix}\";q={quota};w={seconds}");
        let _ = write!(self.limit, "{comma}\"{meter}{suffix}\";r={remaining};t={resets_in}");
    }

    fn fields(&self) -> Option<Fields> {
        if self.policy.is_empty() {
            return None;
        }
        // Meter ids, window names and numbers: all visible ASCII.
        let [policy, limit] = [&self.policy, &self.limit].map(|text| HeaderValue::from_str(text));
        Some(Fields { policy: policy.ok()?, limit: limit.ok()? })
    }
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
