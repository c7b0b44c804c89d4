//! The load balancers' question whether this node wants traffic.

use ::http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use bytes::Bytes;
use http_body_util::Full;

use super::settings::Settings;
use crate::ports::Readiness;

/// Whether the request asks for readiness: exactly the probe's path, without a query.
pub(super) fn is_asked<B>(request: &Request<B>, settings: &Settings) -> bool {
    let Some(path) = settings.probe.as_deref().filter(|path| !path.is_empty()) else { return false };
    request.uri().path() == path
        && request.uri().query().is_none()
        && matches!(*request.method(), Method::GET | Method::HEAD)
}

/// The answer.
pub(super) fn answer(readiness: &Readiness) -> Response<Full<Bytes>> {
    let (status, body) = if readiness.ready {
        (StatusCode::OK, serde_json::json!({ "status": "ready" }))
    } else {
        let reason = readiness.reasons.join("; ");
        (StatusCode::SERVICE_UNAVAILABLE, serde_json::json!({ "status": "not-ready", "reason": reason }))
    };
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
