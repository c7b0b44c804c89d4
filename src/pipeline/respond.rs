//! Respond, the outermost stage: names each request, and turns every refusal into an answer. It has no error.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, header};
use http_body_util::{Either, Full};
use tower::Service;

use super::{
    cors::Cors,
    matching::Named,
    problem,
    request::{Answered, ForwardError, Inbound, Refused, Rejection},
    request_id,
    settle::SettledBody,
};
use crate::{
    clock::Clock,
    domain::{id::PlanId, time::UnixMillis},
    metrics::Metrics,
};

/// The header that names a request, towards both sides.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The body of an answer: the upstream's, or our own.
pub type RespondBody<R> = Either<SettledBody<R>, Full<Bytes>>;

/// The stage around [`super::matching::Match`].
pub struct Respond<S> {
    pub(super) inner: S,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) cors: Arc<Cors>,
    pub(super) metrics: Arc<Metrics>,
}

impl<S: Clone> Clone for Respond<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            clock: Arc::clone(&self.clock),
            cors: Arc::clone(&self.cors),
            metrics: Arc::clone(&self.metrics),
        }
    }
}

impl<S, B, R> Service<Inbound<B>> for Respond<S>
where
    S: Service<Named<B>, Response = Answered<SettledBody<R>>, Error = Refused<B>>,
{
    type Response = Response<RespondBody<R>>;
    type Error = Infallible;
    type Future = RespondFuture<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, inbound: Inbound<B>) -> Self::Future {
        let origin =
            if self.cors.is_off() { None } else { inbound.request.headers().get(header::ORIGIN).cloned() };
        let answering = Answering {
            method: inbound.request.method().clone(),
            origin,
            clock: Arc::clone(&self.clock),
            cors: Arc::clone(&self.cors),
            metrics: Arc::clone(&self.metrics),
        };
        let request_id = name(&inbound, self.clock.now());
        RespondFuture { inner: self.inner.call(Named { inbound, request_id }), answering }
    }
}

/// Ours, unless a trusted proxy already gave one.
fn name<B>(inbound: &Inbound<B>, now: UnixMillis) -> HeaderValue {
    let given = inbound.request.headers().get(REQUEST_ID).filter(|value| {
        let bytes = value.as_bytes();
        (1..=128).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    });
    match given {
        Some(given) if inbound.client.trusted => given.clone(),
        _ => request_id::fresh(now),
    }
}

struct Answering {
    method: Method,
    origin: Option<HeaderValue>,
    clock: Arc<dyn Clock>,
    cors: Arc<Cors>,
    metrics: Arc<Metrics>,
}

impl Answering {
    fn refuse<B, R>(&self, refused: &Refused<B>) -> Response<RespondBody<R>> {
        let Refused { why, limits, context, .. } = refused;
        let mut response = problem::answer(why, context, &self.method, self.clock.now());
        if let Some(limits) = limits {
            limits.clone().insert(response.headers_mut());
        }
        self.cors.allow(self.origin.as_ref(), response.headers_mut());
        response.headers_mut().insert(REQUEST_ID, context.request_id.clone());
        let code = problem::code(why);
        let outcome = if matches!(why, Rejection::Forward(_)) { "failed" } else { "refused" };
        let plan = context.plan();
        self.metrics.request(outcome, code, plan);
        let request_id = context.request_id.to_str().unwrap_or_default();
        let tenant = context.subject.as_ref().map(|subject| subject.tenant.as_str());
        match why {
            Rejection::Forward(ForwardError::Unreachable { reason, .. }) => {
                tracing::warn!(code, request_id, tenant, reason, "the upstream did not answer");
            }
            Rejection::Credential(crate::ports::CredentialError::Invalid { reason }) => {
                tracing::debug!(code, request_id, reason, "refused");
            }
            why => {
                let plan = plan.map(PlanId::as_str);
                tracing::debug!(code, request_id, tenant, plan, "refused: {why}");
            }
        }
        response.map(Either::Right)
    }

    fn pass<R>(&self, answered: Answered<SettledBody<R>>) -> Response<RespondBody<R>> {
        let Answered { mut response, context } = answered;
        self.metrics.request("forwarded", class(response.status()), context.plan());
        response.headers_mut().insert(REQUEST_ID, context.request_id);
        response.map(Either::Left)
    }
}

fn class(status: http::StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

pin_project_lite::pin_project! {
    /// The future of [`Respond`].
    pub struct RespondFuture<F> {
        #[pin]
        inner: F,
        answering: Answering,
    }
}

impl<F, B, R> Future for RespondFuture<F>
where
    F: Future<Output = Result<Answered<SettledBody<R>>, Refused<B>>>,
{
    type Output = Result<Response<RespondBody<R>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(Ok(match ready!(this.inner.poll(cx)) {
            Ok(answered) => this.answering.pass(answered),
            Err(refused) => this.answering.refuse(&refused),
        }))
    }
}
