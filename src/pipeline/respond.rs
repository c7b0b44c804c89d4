//! Respond, the outermost stage: names each request, and turns every refusal into an answer. It has no error.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{self, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header};
use http_body_util::{Either, Full};
use tower::Service;

use super::{
    matching::Named,
    parts::Parts,
    problem,
    request::{Answered, ForwardError, Inbound, OwnAnswer, Refusal, Refused, Rejection, Subject, Turned},
    request_id,
    settle::SettledBody,
};
use crate::{
    domain::{id::PlanId, time::UnixMillis},
    metrics::{Code, Outcome},
    ports::CredentialError,
};

/// The header that names a request, towards both sides.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The body of an answer: the upstream's, or our own.
pub type RespondBody<R> = Either<SettledBody<R>, Full<Bytes>>;

/// The stage around [`super::matching::Match`].
#[derive(Clone)]
pub struct Respond<S> {
    pub(super) inner: S,
    pub(super) parts: Arc<Parts>,
}

impl<S, B, R> Service<Inbound<B>> for Respond<S>
where
    S: Service<Named<B>, Response = Answered<SettledBody<R>>, Error = Refused<B>>,
{
    type Response = Response<RespondBody<R>>;
    type Error = Infallible;
    type Future = RespondFuture<S::Future>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, inbound: Inbound<B>) -> Self::Future {
        let Inbound { request, client, refusal, language } = inbound;
        let parts = Arc::clone(&self.parts);
        let origin = if parts.cors.is_off() { None } else { request.headers().get(header::ORIGIN).cloned() };
        let (arrived, started) = (parts.clock.now(), parts.clock.monotonic());
        let request_id = name(&request, client.trusted, arrived);
        let named = Named { request, client, refusal, language, request_id, parts, arrived, started };
        RespondFuture { inner: self.inner.call(named), origin }
    }
}

/// Ours, unless a trusted proxy already gave one.
fn name<B>(request: &Request<B>, trusted: bool, now: UnixMillis) -> HeaderValue {
    let given = trusted.then(|| request.headers().get(REQUEST_ID)).flatten().filter(|value| {
        let bytes = value.as_bytes();
        (1..=128).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    });
    given.map_or_else(|| request_id::fresh(now), HeaderValue::clone)
}

/// Answers in the gateway's own words.
fn turn<B, R>(refused: Refused<B>, origin: Option<&HeaderValue>) -> Response<RespondBody<R>> {
    let OwnAnswer { mut response, context } = match refused.0 {
        Turned::Away(refusal) => return refuse(*refusal, origin),
        Turned::Answered(answer) => *answer,
    };
    let headers = response.headers_mut();
    context.parts.cors.allow(origin, headers);
    headers.insert(REQUEST_ID, context.request_id);
    response.map(Either::Right)
}

fn refuse<B, R>(refusal: Refusal<B>, origin: Option<&HeaderValue>) -> Response<RespondBody<R>> {
    let Refusal { why, request, asked, limits, context } = refusal;
    let mut response = problem::answer(&why, &context);
    let headers = response.headers_mut();
    if let Some(limits) = limits {
        limits.insert(headers);
    }
    let parts = &context.parts;
    parts.cors.allow(origin, headers);
    context.language.tell(headers);
    let code = problem::code(&why);
    let outcome = if matches!(why, Rejection::Forward(_)) { Outcome::Failed } else { Outcome::Refused };
    parts.metrics.request(outcome, Code::of_problem(code), context.plan());
    let request_id = context.request_id.to_str().unwrap_or_default();
    let tenant = context.subject.as_ref().map(Subject::tenant);
    match &why {
        Rejection::Forward(ForwardError::Unreachable { reason, .. }) => {
            tracing::warn!(code, request_id, tenant, reason, "the upstream did not answer");
        }
        Rejection::Credential(CredentialError::Invalid { reason }) => {
            tracing::debug!(code, request_id, reason, "refused");
        }
        why => {
            let plan = context.plan().map(PlanId::as_str);
            tracing::debug!(code, request_id, tenant, plan, "refused: {why}");
        }
    }
    let whole = || request.as_ref().map(|request| (request.method().clone(), request.uri().clone()));
    parts.refusals.keep(why, &context, asked.or_else(whole).as_ref());
    headers.insert(REQUEST_ID, context.request_id);
    response.map(Either::Right)
}

#[inline]
fn pass<R>(answered: Answered<SettledBody<R>>) -> Response<RespondBody<R>> {
    let Answered { mut response, context } = answered;
    let code = Code::of_status(response.status().as_u16());
    context.parts.metrics.request(Outcome::Forwarded, Some(code), context.plan());
    response.headers_mut().insert(REQUEST_ID, context.request_id);
    response.map(Either::Left)
}

pin_project_lite::pin_project! {
    /// The future of [`Respond`].
    pub struct RespondFuture<F> {
        #[pin]
        inner: F,
        // Of a request from a browser, where CORS is on.
        origin: Option<HeaderValue>,
    }
}

impl<F, B, R> Future for RespondFuture<F>
where
    F: Future<Output = Result<Answered<SettledBody<R>>, Refused<B>>>,
{
    type Output = Result<Response<RespondBody<R>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(Ok(match ready!(this.inner.poll(cx)) {
            Ok(answered) => pass(answered),
            Err(refused) => turn(refused, this.origin.as_ref()),
        }))
    }
}
