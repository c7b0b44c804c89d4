//! What let a request in, kept as long as its exchange goes on, and asked again from time to time: a stream that its tenant
//! would not be given any more ends.
//!
//! A request that is soon answered pays for a few words that are moved along. The first question comes after
//! two seconds, without a timer of its own: whoever has the exchange in hand polls [`Ongoing`] when it polls the
//! exchange, and wakes by [`Ongoing::next_look`] with the timer that it has anyway.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    context::{Context as RequestContext, Route, Subject},
    observe::Mode,
    parts::Parts,
    problem,
    request::Rejection,
    review::{Case, Reviewed},
};
use crate::{
    clock::coarse_millis,
    domain::{id::PlanId, identity::Identity, rights::Rights, time::Version},
    ports::{Answer, BoxFuture, CredentialError, ResolveError},
};

/// Between two looks at an exchange that goes on, in milliseconds. With what a look may wait for, a change is felt within
/// five seconds of its being in force here.
const LOOK_EVERY: u64 = 2_000;
/// What cannot be found out is asked again so soon, and so often, before the exchange is ended as a request would be
/// refused.
const AGAIN_AFTER: u64 = 400;
const TRIES: u8 = 3;

/// What let a request in.
#[derive(Clone)]
pub struct Admission {
    parts: Arc<Parts>,
    identity: Arc<Identity>,
    rights: Arc<Rights>,
    route: Route,
}

impl Admission {
    /// `None`: nothing is ever ended, as the gateway only observes.
    #[inline]
    pub(super) fn new(
        context: &RequestContext,
        identity: Arc<Identity>,
        rights: &Arc<Rights>,
    ) -> Option<Self> {
        let parts = &context.parts;
        (parts.mode == Mode::Enforce).then(|| Self {
            parts: Arc::clone(parts),
            identity,
            rights: Arc::clone(rights),
            route: context.route,
        })
    }

    /// As a case that is decided for the first time again.
    #[cfg(test)]
    pub(super) fn case(self, arrived: crate::domain::time::UnixMillis) -> Case {
        let Self { parts, identity, rights, route } = self;
        Case { identity, rights, route, verified: Version(0), arrived, started: parts.clock.monotonic() }
    }

    /// The same, to be polled.
    #[must_use]
    pub const fn ongoing(self) -> Ongoing {
        Ongoing { admission: self, verified: Version(0), next: 0, tries: 0, asking: None }
    }

    /// Waits until the tenant would not be let in any more, and says why. It may never end.
    pub async fn ended(self) -> Rejection {
        self.ongoing().ended().await
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("tenant", &self.identity.tenant).finish_non_exhaustive()
    }
}

/// An exchange that was let in and goes on.
pub struct Ongoing {
    admission: Admission,
    /// At this version the credential was last found to stand; 0: at that of the identity.
    verified: Version,
    /// When to look next, in [`coarse_millis`]; 0: it was not polled yet.
    next: u64,
    /// Looks in a row that found nothing out.
    tries: u8,
    asking: Option<BoxFuture<Result<Reviewed, Rejection>>>,
}

impl Ongoing {
    /// It goes on since then, in [`coarse_millis`]; 0: nobody knows.
    pub const fn began(&mut self, at: u64) {
        if self.next == 0 && at > 0 {
            self.next = at + LOOK_EVERY;
        }
    }

    /// Ready when the exchange is to end, with the reason. Looks when it is time; where it is not, it does nothing, and the
    /// task is to be woken at [`Ongoing::next_look`].
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Rejection> {
        if let Some(asking) = &mut self.asking {
            let Poll::Ready(answer) = asking.as_mut().poll(cx) else { return Poll::Pending };
            self.asking = None;
            return self.hear(answer);
        }
        let now = coarse_millis();
        if self.next == 0 {
            self.next = now + LOOK_EVERY;
        }
        if now < self.next { Poll::Pending } else { self.look(cx) }
    }

    /// When the next look is due, in [`coarse_millis`]; `None` while an answer is waited for, which wakes the task.
    pub const fn next_look(&self) -> Option<u64> {
        if self.asking.is_some() { None } else { Some(self.next) }
    }

    /// The same exchange, for somebody else who has a part of it in hand.
    #[must_use]
    pub fn again(&self) -> Self {
        Self { verified: self.verified, ..self.admission.clone().ongoing() }
    }

    /// Waits until the exchange is to end, and says why. It may never do.
    pub async fn ended(mut self) -> Rejection {
        loop {
            let asked = std::future::poll_fn(|cx| match self.poll_ended(cx) {
                Poll::Ready(why) => Poll::Ready(Err(why)),
                Poll::Pending => self.next_look().map_or(Poll::Pending, |next| Poll::Ready(Ok(next))),
            });
            let next = match asked.await {
                Ok(next) => next,
                Err(why) => return why,
            };
            let left = next.saturating_sub(coarse_millis()).max(1);
            tokio::time::sleep(Duration::from_millis(left)).await;
        }
    }

    #[cfg(test)]
    pub(super) fn look_now(&mut self, cx: &mut Context<'_>) -> Poll<Rejection> {
        self.look(cx)
    }

    #[cold]
    fn look(&mut self, cx: &mut Context<'_>) -> Poll<Rejection> {
        let Admission { parts, identity, rights, route } = &self.admission;
        let case = Case {
            identity: Arc::clone(identity),
            rights: Arc::clone(rights),
            route: *route,
            verified: self.verified,
            arrived: parts.clock.now(),
            started: parts.clock.monotonic(),
        };
        match parts.review.review(case) {
            Answer::Ready(answer) => self.hear(answer),
            Answer::Pending(asking) => {
                self.asking = Some(asking);
                self.poll_ended(cx)
            }
        }
    }

    fn hear(&mut self, answer: Result<Reviewed, Rejection>) -> Poll<Rejection> {
        match answer {
            Ok(Reviewed { rights, route, verified }) => {
                (self.admission.rights, self.admission.route) = (rights, route);
                (self.verified, self.tries) = (verified, 0);
                self.next = coarse_millis() + LOOK_EVERY;
                Poll::Pending
            }
            Err(why) if is_passing(&why) && self.tries < TRIES => {
                self.tries += 1;
                self.next = coarse_millis() + AGAIN_AFTER;
                Poll::Pending
            }
            Err(why) => {
                self.note(&why);
                Poll::Ready(why)
            }
        }
    }

    fn note(&self, why: &Rejection) {
        let Admission { parts, rights, route, .. } = &self.admission;
        let code = problem::code(why);
        parts.metrics.stream_ended(code);
        let subject = Subject::of(Arc::clone(rights));
        tracing::debug!(
            code,
            tenant = subject.tenant(),
            plan = subject.plan_id().map(PlanId::as_str),
            route = route.operation(&rights.catalog).map(|operation| operation.name.as_str()),
            "an exchange under way is ended, as it would be refused now: {why}"
        );
    }
}

/// Whether it says nothing of the tenant.
const fn is_passing(why: &Rejection) -> bool {
    matches!(
        why,
        Rejection::Credential(CredentialError::Unavailable) | Rejection::Resolve(ResolveError::Unavailable)
    )
}
