//! CORS headers on the gateway's own answers, so that a browser front end can read why it was refused (Fetch standard).

use http::{HeaderMap, HeaderValue, header};

/// The origins that may read refusals.
#[derive(Debug, Clone, Default)]
pub struct Cors {
    origins: Vec<HeaderValue>,
    any: bool,
}

impl Cors {
    /// Takes a list of origins such as `https://app.example`; `*` stands for all.
    #[must_use]
    pub fn new(origins: Vec<HeaderValue>) -> Self {
        let any = origins.iter().any(|origin| origin == "*");
        Self { origins, any }
    }

    /// Whether there is anything to do at all.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.origins.is_empty()
    }

    /// Lets the request's origin read the answer, if it is one of the list.
    pub fn allow(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if self.is_off() {
            return;
        }
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = origin else { return };
        let listed = self.origins.contains(origin);
        if !listed && !self.any {
            return;
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if listed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"),
        );
    }
}
