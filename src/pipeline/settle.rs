//! Settle: forwards a metered request and ends its hold exactly once, whichever way the response's body ends.
//!
//! A reserved charge ends at the cost that the answer's head tells; one that it does not tell is what was reserved.

use std::{
    pin::Pin,
    task::{self, Poll, ready},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, Service};

use super::{
    admission::Admission,
    context::Context,
    cost::{Cost, Open},
    ratelimit,
    request::{Answered, ForwardError, Forwardable, Metered, Refused, Subject},
    shadow,
};
use crate::{domain::time::Monotonic, ports::Hold};

/// The layer of this stage.
#[derive(Debug, Clone, Copy)]
pub struct SettleLayer;

impl<F> Layer<F> for SettleLayer {
    type Service = Settle<F>;

    fn layer(&self, forward: F) -> Settle<F> {
        Settle { forward }
    }
}

/// The stage around a forwarding service.
#[derive(Clone)]
pub struct Settle<F> {
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

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Refused<B>>> {
        // Forwarding services are asked when they are called: an error here would have no request to belong to.
        Poll::Ready(Ok(()))
    }

    #[inline(always)]
    fn call(&mut self, metered: Metered<B>) -> Self::Future {
        let Metered { head, identity, rights, hold } = metered;
        let parts = &head.context.parts;
        let granted = parts.clock.monotonic();
        parts.metrics.decision.observe_between(head.context.started, granted);
        if head.context.catalog.candidate.is_some() {
            shadow::admitted(&head, &identity.tenant);
        }
        let admission = Admission::new(&head.context, identity, &rights);
        let (forwardable, context) = head.split(Some(Subject::of(rights)), admission);
        SettleFuture {
            forwarding: self.forward.call(forwardable),
            waiting: Some(Waiting { context, hold, granted }),
            request: std::marker::PhantomData,
        }
    }
}

struct Waiting {
    context: Context,
    hold: Hold,
    granted: Monotonic,
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

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.forwarding.poll(cx));
        let Some(waiting) = this.waiting.take() else { return Poll::Pending };
        let Waiting { context, hold, granted } = waiting;
        Poll::Ready(match answer {
            Ok(mut response) => {
                let parts = &context.parts;
                parts.metrics.upstream.observe_between(granted, parts.clock.monotonic());
                let cost = Cost::told(&context, response.headers());
                ratelimit::replace(response.headers_mut(), &hold, context.arrived);
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
                let limits = if seen { ratelimit::Fields::of(&hold, context.arrived) } else { None };
                if seen {
                    hold.keep()
                } else {
                    hold.refund()
                }
                Err(Refused::unanswered(error, limits, context))
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
        cx: &mut task::Context<'_>,
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
