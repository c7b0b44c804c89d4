//! The frame that the checking stages share: look at a request, prove something about it, hand on what was proven.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tower::{Layer, Service};

use super::request::{Refuse, Refused, Rejection};
use crate::ports::Answer;

/// What one stage checks. `R` is the form of the request before, `Next` the form after.
pub trait Check<R> {
    /// What the check finds out.
    type Proof;
    /// The request together with what was found out.
    type Next;

    /// Looks at the request, and may write down what it finds even if it refuses it. `Ready` is the hot path; the future of
    /// `Pending` owns what it needs, and the request waits.
    fn check(&self, request: &mut R) -> Answer<Self::Proof, Rejection>;

    /// Makes the next form.
    fn pass(request: R, proof: Self::Proof) -> Self::Next;
}

/// A [`Check`] in front of the rest of the stack.
#[derive(Debug, Clone)]
pub struct Stage<C, S> {
    check: C,
    inner: S,
}

/// Puts a [`Check`] in front of a service.
#[derive(Debug, Clone)]
pub struct StageLayer<C>(C);

impl<C> StageLayer<C> {
    pub(super) const fn new(check: C) -> Self {
        Self(check)
    }
}

impl<C: Clone, S> Layer<S> for StageLayer<C> {
    type Service = Stage<C, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Stage { check: self.0.clone(), inner }
    }
}

impl<C, S, R, B> Service<R> for Stage<C, S>
where
    C: Check<R>,
    R: Refuse<B>,
    S: Service<C::Next, Error = Refused<B>> + Clone,
{
    type Response = S::Response;
    type Error = Refused<B>;
    type Future = StageFuture<C, S, R, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    // Always: the stages call each other without waiting, and are one straight piece of code then.
    #[inline(always)]
    fn call(&mut self, mut request: R) -> Self::Future {
        let state = match self.check.check(&mut request) {
            Answer::Ready(Ok(proof)) => {
                StageFutureState::Inner { inner: self.inner.call(C::pass(request, proof)) }
            }
            Answer::Ready(Err(why)) => StageFutureState::Refused { refused: Some(request.refuse(why)) },
            Answer::Pending(pending) => {
                // The one polled ready goes along with the request; its clone stays.
                let clone = self.inner.clone();
                let service = std::mem::replace(&mut self.inner, clone);
                StageFutureState::Waiting { pending, waiting: Some(Box::new((request, service))) }
            }
        };
        StageFuture { state }
    }
}

pin_project_lite::pin_project! {
    /// The future of a [`Stage`].
    pub struct StageFuture<C, S, R, B>
    where
        C: Check<R>,
        S: Service<C::Next>,
    {
        #[pin]
        state: StageFutureState<C, S, R, B>,
    }
}

pin_project_lite::pin_project! {
    #[project = StageProjection]
    enum StageFutureState<C, S, R, B>
    where
        C: Check<R>,
        S: Service<C::Next>,
    {
        Inner {
            #[pin]
            inner: S::Future,
        },
        Waiting {
            pending: crate::ports::BoxFuture<Result<C::Proof, Rejection>>,
            // In a box, so that requests which need not wait make no room for it.
            waiting: Option<Box<(R, S)>>,
        },
        Refused {
            refused: Option<Refused<B>>,
        },
    }
}

/// Goes on after a wait: out of the way of the requests that need none.
#[cold]
#[inline(never)]
fn late<S: Service<R>, R>(service: &mut S, request: R) -> S::Future {
    service.call(request)
}

impl<C, S, R, B> Future for StageFuture<C, S, R, B>
where
    C: Check<R>,
    R: Refuse<B>,
    S: Service<C::Next, Error = Refused<B>>,
{
    type Output = Result<S::Response, Refused<B>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StageProjection::Inner { inner } => return inner.poll(cx),
                StageProjection::Refused { refused } => match refused.take() {
                    Some(refused) => return Poll::Ready(Err(refused)),
                    None => return Poll::Pending,
                },
                StageProjection::Waiting { pending, waiting } => {
                    if let Some(waiting) = waiting.as_mut() {
                        ready!(waiting.1.poll_ready(cx))?;
                    }
                    let proof = ready!(pending.as_mut().poll(cx));
                    let Some(waiting) = waiting.take() else { return Poll::Pending };
                    let (request, mut service) = *waiting;
                    match proof {
                        Ok(proof) => {
                            StageFutureState::Inner { inner: late(&mut service, C::pass(request, proof)) }
                        }
                        Err(why) => StageFutureState::Refused { refused: Some(request.refuse(why)) },
                    }
                }
            };
            state.set(next);
        }
    }
}
