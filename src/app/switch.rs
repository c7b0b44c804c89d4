//! The admin listener answers from the first moment on; this switches it over once the node is ready.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use axum::{Json, Router, body::Body, response::IntoResponse, routing::get};
use http::{Request, Response, StatusCode, header};
use serde_json::json;
use tower::Service;

use super::readiness::ReadinessBoard;
use crate::ports::BoxFuture;

/// A service that hands requests to the router of the moment.
#[derive(Clone)]
pub struct Switch(Arc<ArcSwap<Router>>);

impl Switch {
    /// Answers the probes, and everything else with 503.
    pub(super) fn starting(board: Arc<ReadinessBoard>) -> Self {
        let readyz = move || {
            let reasons = board.read().reasons;
            async move {
                let body = json!({ "ready": false, "reasons": reasons });
                (StatusCode::SERVICE_UNAVAILABLE, Json(body))
            }
        };
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .fallback(starting);
        Self(Arc::new(ArcSwap::from_pointee(router)))
    }

    /// Hands requests to the real router from now on.
    pub(super) fn ready(&self, router: Router) {
        self.0.store(Arc::new(router));
    }
}

async fn starting() -> Response<Body> {
    let body = json!({
        "type": "urn:plangate:problem:starting",
        "title": "Starting",
        "status": 503,
        "detail": "this node is not ready yet; /readyz says why",
        "code": "starting",
    });
    let headers = [(header::CONTENT_TYPE, "application/problem+json"), (header::RETRY_AFTER, "1")];
    (StatusCode::SERVICE_UNAVAILABLE, headers, body.to_string()).into_response()
}

impl Service<Request<Body>> for Switch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut router = Router::clone(&self.0.load());
        Box::pin(async move { router.call(request).await })
    }
}
