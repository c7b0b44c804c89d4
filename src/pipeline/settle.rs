//! Settle: forwards a metered request and ends its hold exactly once, whichever way the response's body ends.
//!
//! A reserved charge ends at the cost that the answer's head tells; one that it does not tell is what was reserved.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, Service};

use super::{
    cost::{Cost, Open},
    ratelimit,
    request::{Answered, ForwardError, Forwardable, Metered, Refused, Rejection, Subject},
};
use crate::{
    clock::Clock,
    domain::time::{Monotonic, UnixMillis},
    metrics::Metrics,
    ports::Hold,
};

/// What the stage needs beside the request.
#[derive(Clone)]
pub struct Settling {
    /// Measures.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// The layer of this stage.
pub struct SettleLayer(Settling);

impl SettleLayer {
    /// A layer that settles with these parts.
    pub const fn new(parts: Settling) -> Self {
        Self(parts)
    }
}

impl<F> Layer<F> for SettleLayer {
    type Service = Settle<F>;

    fn layer(&self, forward: F) -> Settle<F> {
        Settle { parts: self.0.clone(), forward }
    }
}

/// The stage around a forwarding service.
#[derive(Clone)]
pub struct Settle<F> {
    parts: Settling,
    forward: F,
}

impl<F, B, R> Service<Metered<B>> for Settle<F>
where
    F: Service<Forwardable<B>, Response = http::Response<R>, Error = ForwardError>,
    R: Body,
{
    type Response = Answered<SettledBody<R>>;
    type Error = Refused<B>;
    type Future = SettleFuture<F::Future, B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused<B>>> {
        // Forwarding services are asked when they are called: an error here would have no request to belong to.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, metered: Metered<B>) -> Self::Future {
        let Metered { head, rights, hold } = metered;
        let started = self.parts.clock.monotonic();
        self.parts.metrics.decision.observe(started.since(head.started));
        let subject = Subject::of(&rights);
        let context = head.context(Some(subject.clone()));
        let now = head.arrived;
        SettleFuture {
            forwarding: self.forward.call(head.forwardable(Some(subject))),
            waiting: Some(Waiting {
                context,
                hold,
                now,
                started,
                clock: Arc::clone(&self.parts.clock),
                metrics: Arc::clone(&self.parts.metrics),
            }),
            request: std::marker::PhantomData,
        }
    }
}

struct Waiting {
    context: super::request::Context,
    hold: Hold,
    now: UnixMillis,
    started: Monotonic,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

pin_project_lite::pin_project! {
    /// The future of [`Settle`].
    pub struct SettleFuture<F, B> {
        #[pin]
        forwarding: F,
        // Dropped unfinished (the client went away), the hold in it is kept.
        waiting: Option<Waiting>,
        request: std::marker::PhantomData<fn() -> B>,
    }
}

impl<F, B, R> Future for SettleFuture<F, B>
where
    F: Future<Output = Result<http::Response<R>, ForwardError>>,
    R: Body,
{
    type Output = Result<Answered<SettledBody<R>>, Refused<B>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.forwarding.poll(cx));
        let Some(waiting) = this.waiting.take() else { return Poll::Pending };
        let Waiting { context, hold, now, started, clock, metrics } = waiting;
        Poll::Ready(match answer {
            Ok(mut response) => {
                metrics.upstream.observe(clock.monotonic().since(started));
                let cost = Cost::told(&context, response.headers(), &metrics);
                ratelimit::replace(response.headers_mut(), &hold, now);
                let mut open = Open::new(hold, cost);
                // No body follows: what a WebSocket passes on is not part of the answer.
                if response.body().is_end_stream() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    open.end();
                }
                let response = response.map(|body| SettledBody { body, open: Some(open) });
                Ok(Answered { response, context })
            }
            Err(error) => {
                let seen = error.may_be_seen();
                let limits = if seen { ratelimit::Fields::of(&hold, now) } else { None };
                if seen {
                    hold.keep()
                } else {
                    hold.refund()
                }
                Err(Refused { why: Rejection::Forward(error), request: None, limits, context })
            }
        })
    }
}

pin_project_lite::pin_project! {
    /// A response body that ends its request's hold when it ends: complete, with trailers, in an error, or dropped.
    pub struct SettledBody<R> {
        #[pin]
        body: R,
        open: Option<Open>,
    }
}

impl<R> SettledBody<R> {
    /// A body whose request took nothing.
    pub const fn unmetered(body: R) -> Self {
        Self { body, open: None }
    }
}

impl<R: Body<Data = Bytes>> Body for SettledBody<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        let over = match &frame {
            None | Some(Err(_)) => true,
            // Whoever reads a body may stop at its last byte.
            Some(Ok(frame)) => frame.is_trailers() || this.body.is_end_stream(),
        };
        if over && let Some(open) = this.open {
            open.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
