//! The customer's own view: how a tenant stands, told to whoever holds its credential, at a path of the gateway's own.
//!
//! The view goes a way of its own beside the stages (`desk`): the same identity and the same rights as a request, but no
//! route, no decision and no charge. `figures` are what is shown, without language; `document` writes them. What keeps it
//! cheap is in `shelf`.

mod desk;
mod document;
mod figures;
mod gauge;
mod message;
mod refusal;
mod shelf;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;

use self::figures::Figures;
pub(super) use self::{desk::Desk, gauge::Gauge, message::Message};
pub use self::{refusal::ViewRefusal, shelf::guard};
use super::{
    context::{Context, Subject},
    language::Language,
    request::Rejection,
};
use crate::{
    domain::{
        catalog::Catalog,
        cost::CostSoFar,
        rights::Rights,
        time::{Monotonic, UnixMillis},
    },
    ports::{BoxFuture, MeterUsage, SpendUsage},
};

/// Where it is found.
pub const PATH: &str = "/.plangate/usage";
/// The methods by which it is read.
const METHODS: &str = "GET, HEAD";
/// Browsers need not ask again so soon, in seconds.
const PREFLIGHT_HOLDS: &str = "600";

/// Who asks for the view: a request less its body.
pub(crate) struct Asked {
    pub(crate) headers: HeaderMap,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) arrived: UnixMillis,
    pub(crate) started: Monotonic,
}

/// What is to be shown, and whose it is as far as that was found out.
pub(crate) struct Shown {
    pub(crate) subject: Option<Subject>,
    pub(crate) outcome: Result<Arc<Figures>, Rejection>,
}

/// Shows how a tenant stands.
pub(crate) trait View: Send + Sync {
    /// What the credentials of the request may see.
    fn show(&self, asked: Asked) -> BoxFuture<Shown>;
}

/// The view as a tenant with these rights sees it that has used so much: for those who may see it without its credential.
#[must_use]
pub fn document(
    rights: &Arc<Rights>,
    usage: &[MeterUsage],
    (cost, spend): (Option<CostSoFar>, Option<SpendUsage>),
    language: Language,
    now: UnixMillis,
) -> Bytes {
    document::write(&Figures::of(rights, usage, (cost, spend), now), language, now)
}

/// Whether a request of this method for this canonical path is answered by the view; `None`: it is for something else.
#[must_use]
pub fn answers(method: &Method, path: &str) -> Option<Result<(), ViewRefusal>> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    (path == PATH).then_some(if reads { Ok(()) } else { Err(ViewRefusal::Method) })
}

/// What is done with a request for the view, before anybody is asked.
pub(super) enum Visit {
    /// It is to be shown.
    Look,
    /// A browser's question whether it may ask.
    Preflight,
    /// By another method.
    Refused,
}

impl Visit {
    /// `None`: the request is not for the view. Its path is canonical.
    pub(super) fn of<B>(request: &Request<B>, with_cors: bool) -> Option<Self> {
        if request.uri().path() != PATH {
            return None;
        }
        let asks = |name| request.headers().contains_key(name);
        Some(match *request.method() {
            Method::GET | Method::HEAD => Self::Look,
            Method::OPTIONS
                if with_cors && asks(header::ORIGIN) && asks(header::ACCESS_CONTROL_REQUEST_METHOD) =>
            {
                Self::Preflight
            }
            _ => Self::Refused,
        })
    }
}

/// The answer to a browser's question: which origins may ask is said with all answers.
pub(super) fn preflight(asked: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_HOLDS));
    headers.insert(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    response
}

/// What may be asked here, for the refusal of anything else.
pub(super) fn allow(headers: &mut HeaderMap) {
    headers.insert(header::ALLOW, HeaderValue::from_static(METHODS));
}

/// The view as an answer.
pub(super) fn answer(figures: &Figures, context: &Context) -> Response<Full<Bytes>> {
    let body = if context.bodiless {
        Bytes::new()
    } else {
        document::write(figures, context.language, context.arrived)
    };
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    context.language.tell(headers);
    response
}
