//! Around every request: its id, the log line, the last net under a panic, and the writing of problems.

use std::panic::AssertUnwindSafe;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Method, header};

use super::{
    Shared,
    problem::{Code, Problem},
};
use crate::domain::time::UnixMillis;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

fn request_id(now: UnixMillis) -> String {
    let millis = u64::try_from(now.0).unwrap_or(0);
    let nanos = u32::try_from(millis % 1000).unwrap_or(0) * 1_000_000;
    uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, millis / 1000, nanos)).to_string()
}

/// Runs a request and finishes its answer.
pub(super) async fn around(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let now = shared.clock.now();
    let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    finish(now, (&method, &path), outcome.ok())
}

/// Finishes the answer to a request of this instant; `None`: it met a panic.
pub(super) fn finish(
    now: UnixMillis,
    (method, path): (&Method, &str),
    outcome: Option<Response>,
) -> Response {
    let id = request_id(now);
    let mut response = outcome.unwrap_or_else(|| {
        Problem::new(Code::Internal, "this request met a defect of Plangate: see the log of this node")
            .into_response()
    });
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let status = response.status().as_u16();
        if problem.is_server_error() {
            tracing::error!(request_id = %id, %method, path, status, detail = problem.detail(), "admin request failed");
        } else {
            tracing::info!(request_id = %id, %method, path, status, detail = problem.detail(), "admin request refused");
        }
        let allow = response.headers_mut().remove(header::ALLOW);
        response = problem.render(&id);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    } else if !method.is_safe() {
        tracing::info!(request_id = %id, %method, path, status = response.status().as_u16(), "admin request");
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    // Answers hold keys and customers' names: nothing on the way may keep them.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
