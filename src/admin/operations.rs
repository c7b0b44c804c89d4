//! What probes, scrapers and lost clients ask.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode, Uri, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Shared,
    openapi::ReadErrors,
    params::NoParams,
    problem::{Code, Problem},
};

/// Whether this node can take requests.
#[derive(Serialize, ToSchema)]
#[schema(as = Readiness)]
pub(super) struct ReadinessView {
    /// It can.
    ready: bool,
    /// Why it cannot.
    reasons: Vec<String>,
}

/// The process is alive. Needs no token.
#[utoipa::path(get, path = "/healthz", tag = "operations", security(()),
    responses((status = 200, description = "Alive", body = String, content_type = "text/plain")))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether this node can take requests. Needs no token.
#[utoipa::path(get, path = "/readyz", tag = "operations", security(()),
    responses((status = 200, description = "It can", body = ReadinessView),
              (status = 503, description = "It cannot, and why", body = ReadinessView)))]
pub(super) async fn readyz(State(shared): State<Shared>) -> Response {
    let readiness = (shared.readiness)();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ReadinessView { ready: readiness.ready, reasons: readiness.reasons })).into_response()
}

/// Metrics for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"), ReadErrors))]
pub(super) async fn metrics(State(shared): State<Shared>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], (shared.metrics)()).into_response()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "operations",
    responses((status = 200, description = "The OpenAPI document", body = Object), ReadErrors))]
pub(super) async fn openapi_json(_: NoParams) -> Response {
    Json(super::openapi::document()).into_response()
}

/// Answers where there is nothing.
pub(super) async fn no_such_path(uri: Uri) -> Problem {
    Problem::new(
        Code::PathNotFound,
        format!("there is nothing at `{}`: /openapi.json lists what there is", uri.path()),
    )
}

/// Answers where the path is right and the method is not.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(Code::MethodNotAllowed, format!("`{}` has no method {method}", uri.path()))
}
