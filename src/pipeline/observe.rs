//! Observe: in `mode: observe`, a request that would be refused is counted, logged and forwarded all the same.

use std::{
    pin::Pin,
    task::{self, Poll, ready},
};

use tower::Service;

use super::{
    context::{Context, Route},
    problem,
    request::{Answered, ForwardError, Forwardable, Matched, Refusal, Refused, Rejection, Subject, Turned},
    settle::SettledBody,
};
use crate::{
    domain::id::PlanId,
    metrics::{Code, Outcome},
    ports::CredentialError,
};

/// Whether refusals are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// They are.
    #[default]
    Enforce,
    /// They are counted and logged, and the request goes on.
    Observe,
}

/// The stage around the checking ones.
#[derive(Clone)]
pub struct Observe<S, F> {
    pub(super) checked: S,
    pub(super) forward: F,
}

impl<S, F, B, R> Service<Matched<B>> for Observe<S, F>
where
    S: Service<Matched<B>, Response = Answered<SettledBody<R>>, Error = Refused<B>>,
    F: Service<Forwardable<B>, Response = http::Response<R>, Error = ForwardError> + Clone,
{
    type Response = Answered<SettledBody<R>>;
    type Error = Refused<B>;
    type Future = ObserveFuture<S::Future, F, F::Future>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Refused<B>>> {
        self.checked.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, request: Matched<B>) -> Self::Future {
        let observing = request.0.context.parts.mode == Mode::Observe;
        let observer = observing.then(|| Observer { forward: self.forward.clone() });
        ObserveFuture {
            state: ObserveFutureState::Checking { checking: self.checked.call(request), observer },
        }
    }
}

/// What lets a refused request pass.
pub struct Observer<F> {
    forward: F,
}

pin_project_lite::pin_project! {
    /// The future of [`Observe`].
    pub struct ObserveFuture<S, F, FF> {
        #[pin]
        state: ObserveFutureState<S, F, FF>,
    }
}

pin_project_lite::pin_project! {
    #[project = ObserveProjection]
    enum ObserveFutureState<S, F, FF> {
        Checking {
            #[pin]
            checking: S,
            observer: Option<Observer<F>>,
        },
        Passing {
            #[pin]
            forwarding: FF,
            context: Option<Context>,
        },
    }
}

impl<S, F, B, R> Future for ObserveFuture<S, F, F::Future>
where
    S: Future<Output = Result<Answered<SettledBody<R>>, Refused<B>>>,
    F: Service<Forwardable<B>, Response = http::Response<R>, Error = ForwardError>,
{
    type Output = Result<Answered<SettledBody<R>>, Refused<B>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                ObserveProjection::Checking { checking, observer } => {
                    let refused = match ready!(checking.poll(cx)) {
                        Err(refused) => refused,
                        answered => return Poll::Ready(answered),
                    };
                    let observed = match observer.as_mut() {
                        Some(observer) => observer.pass(refused),
                        None => Err(refused),
                    };
                    match observed {
                        Ok((forwarding, context)) => {
                            ObserveFutureState::Passing { forwarding, context: Some(context) }
                        }
                        Err(refused) => return Poll::Ready(Err(refused)),
                    }
                }
                ObserveProjection::Passing { forwarding, context } => {
                    let answer = ready!(forwarding.poll(cx));
                    let Some(context) = context.take() else { return Poll::Pending };
                    return Poll::Ready(match answer {
                        Ok(response) => {
                            Ok(Answered { response: response.map(SettledBody::unmetered), context })
                        }
                        Err(error) => Err(Refused::unanswered(error, None, context)),
                    });
                }
            };
            state.set(next);
        }
    }
}

impl<F> Observer<F> {
    /// Forwards a refused request that is still whole; what is none of the plan's business stays refused.
    fn pass<B>(&mut self, refused: Refused<B>) -> Result<(F::Future, Context), Refused<B>>
    where
        F: Service<Forwardable<B>>,
    {
        let mut refusal = match refused {
            Refused(Turned::Away(refusal)) => refusal,
            answered @ Refused(Turned::Answered(_)) => return Err(answered),
        };
        if refusal.context.route == Route::Own {
            return Err(Refused(Turned::Away(refusal)));
        }
        let Some(request) = refusal.request.take() else { return Err(Refused(Turned::Away(refusal))) };
        let Refusal { why, context, .. } = *refusal;
        note(&why, &context);
        let forwardable = Forwardable {
            request,
            request_id: context.request_id.clone(),
            client: context.client,
            subject: context.subject.clone(),
            // Customers' keys that were not imported yet work on while Plangate only watches.
            admission: None,
            foreign_key: matches!(why, Rejection::Credential(CredentialError::Invalid { .. })),
        };
        Ok((self.forward.call(forwardable), context))
    }
}

fn note(why: &Rejection, context: &Context) {
    let code = problem::code(why);
    context.parts.metrics.request(Outcome::Observed, Code::of_problem(code), context.plan());
    tracing::info!(
        code,
        request_id = context.request_id.to_str().unwrap_or_default(),
        tenant = context.subject.as_ref().map(Subject::tenant),
        plan = context.plan().map(PlanId::as_str),
        "would have been refused: {why}"
    );
}
