//! The stack around a service in the same process, with no proxying: from a plain request to the stages, and from the last
//! stage to the service.
//!
//! [`Gateway::embed`] makes a layer for any clonable service over `http::Request`, such as an axum `Router`:
//!
//! ```
//! use std::sync::Arc;
//! use axum::{Router, body::Body, routing::get};
//! use plangate::{app::embed::Embedded, store::memory::Memory};
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let policies = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policies");
//! let plangate = Embedded::open(&policies, Arc::new(Memory::new()?)).await?;
//! let app = Router::new().route("/healthz", get(|| async { "fine" }));
//! let app = plangate.gateway().embed().layer(app);
//!
//! let request = http::Request::get("/healthz").body(Body::empty())?;
//! let response = app.oneshot(request).await?;
//! assert_eq!(response.status(), 200);
//! assert!(response.headers().contains_key("x-request-id"));
//! # plangate.finish().await;
//! # Ok(())
//! # }
//! ```
//!
//! Put it around the *whole* router, not into it with `Router::layer`: the path by which a request was decided must be the
//! path by which it is routed.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service, ServiceExt, util::Oneshot};

use super::{
    names,
    request::{Client, ForwardError, Forwardable, Inbound},
    stack::{Gateway, Stack},
};
use crate::ports::{Authenticator, Directory, Ledger, Policies};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<P, A, D, L> Gateway<P, A, D, L> {
    /// A layer for services in this process.
    #[must_use]
    pub fn embed(&self) -> EmbedLayer<P, A, D, L> {
        EmbedLayer(self.clone())
    }
}

/// Puts the whole stack around a service over `http::Request`.
pub struct EmbedLayer<P, A, D, L>(Gateway<P, A, D, L>);

impl<P, A, D, L> Clone for EmbedLayer<P, A, D, L> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P, A, D, L, S> Layer<S> for EmbedLayer<P, A, D, L>
where
    P: Policies,
    A: Authenticator,
    D: Directory,
    L: Ledger,
    S: Clone,
{
    type Service = Embed<Stack<P, A, D, L, InProcess<S>>>;

    fn layer(&self, inner: S) -> Self::Service {
        Embed(self.0.layer(InProcess(inner)))
    }
}

/// Hands plain requests to a stack. A [`Client`] among a request's extensions says who sent it; without one it is unknown.
#[derive(Debug, Clone)]
pub struct Embed<T>(T);

impl<T, B> Service<Request<B>> for Embed<T>
where
    T: Service<Inbound<B>>,
{
    type Response = T::Response;
    type Error = T::Error;
    type Future = T::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> T::Future {
        let client = request.extensions_mut().remove::<Client>().unwrap_or_default();
        self.0.call(Inbound { client, ..Inbound::from(request) })
    }
}

/// The bottom of such a stack: calls a service of this process.
///
/// It sees the canonical path, no API key, and `X-Plangate-Tenant`, `X-Plangate-Plan` and `X-Request-Id` as Plangate says
/// they are; the [`Subject`](super::request::Subject) also stands among the request's extensions. So does the
/// [`Admission`](super::admission::Admission), by which a service that streams for long learns when to end: here nobody
/// ends a body for it.
#[derive(Debug, Clone)]
pub struct InProcess<S>(S);

impl<S, B, R> Service<Forwardable<B>> for InProcess<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = ForwardError;
    type Future = InProcessFuture<Oneshot<S, Request<B>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ForwardError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Forwardable<B>) -> Self::Future {
        let admission = request.admission.take();
        let (mut request, request_id, _, subject) = request.into_parts();
        names::remove(request.headers_mut(), names::is_own);
        names::set(request.headers_mut(), request_id, subject.as_ref());
        if let Some(subject) = subject {
            request.extensions_mut().insert(subject);
        }
        if let Some(admission) = admission {
            request.extensions_mut().insert(admission);
        }
        InProcessFuture { answering: self.0.clone().oneshot(request) }
    }
}

pin_project! {
    /// The future of [`InProcess`].
    pub struct InProcessFuture<F> {
        #[pin]
        answering: F,
    }
}

impl<F, R, E> Future for InProcessFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<R>, ForwardError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A service that failed may have done its work before: the charge stays.
        let failed = |error: E| ForwardError::Unreachable { seen: true, reason: error.into().to_string() };
        Poll::Ready(ready!(self.project().answering.poll(cx)).map_err(failed))
    }
}
