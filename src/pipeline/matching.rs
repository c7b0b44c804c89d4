//! Match: the canonical path, then the route. Public routes and CORS preflights go straight to Forward.

use std::{
    borrow::Cow,
    pin::Pin,
    sync::Arc,
    task::{self, Poll, ready},
};

use http::{HeaderValue, Method, Request, Uri, header, uri::PathAndQuery};
use tower::Service;

use super::{
    context::{Context, Route},
    parts::Parts,
    request::{Answered, Client, ForwardError, Forwardable, Head, HeadRefusal, Matched, Refused, Rejection},
    settle::SettledBody,
};
use crate::{
    domain::{
        catalog::Unmatched,
        path::canonicalise,
        time::{Monotonic, UnixMillis},
    },
    ports::Policies,
};

/// Paths below this are the gateway's own: never forwarded, never covered by a route.
const OWN: &str = "/.plangate";

/// Whether a canonical path is one of the gateway's own, which no route can cover.
#[must_use]
pub fn is_own(path: &str) -> bool {
    path.strip_prefix(OWN).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A request with the id that it was given.
pub struct Named<B> {
    pub(super) request: Request<B>,
    pub(super) client: Client,
    pub(super) refusal: Option<HeadRefusal>,
    pub(super) request_id: HeaderValue,
    pub(super) parts: Arc<Parts>,
    pub(super) arrived: UnixMillis,
    pub(super) started: Monotonic,
}

/// The stage: `protected` is the rest of the stack, `open` forwards what needs no identity.
pub struct Match<P, S, F> {
    policies: Arc<P>,
    protected: S,
    open: F,
}

impl<P, S: Clone, F: Clone> Clone for Match<P, S, F> {
    fn clone(&self) -> Self {
        Self {
            policies: Arc::clone(&self.policies),
            protected: self.protected.clone(),
            open: self.open.clone(),
        }
    }
}

impl<P, S, F> Match<P, S, F> {
    /// Matches by `policies`.
    pub const fn new(policies: Arc<P>, protected: S, open: F) -> Self {
        Self { policies, protected, open }
    }
}

impl<P, S, F, B, R> Service<Named<B>> for Match<P, S, F>
where
    P: Policies,
    S: Service<Matched<B>, Response = Answered<SettledBody<R>>, Error = Refused<B>>,
    F: Service<Forwardable<B>, Response = http::Response<R>, Error = ForwardError>,
{
    type Response = Answered<SettledBody<R>>;
    type Error = Refused<B>;
    type Future = MatchFuture<S::Future, F::Future, B>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Refused<B>>> {
        self.protected.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, named: Named<B>) -> Self::Future {
        let refusal = named.refusal;
        let mut head = self.head(named);
        let known = match refusal {
            Some(refusal) => Err(refusal),
            None => find(&mut head),
        };
        let state = match known {
            Err(refusal) => {
                MatchFutureState::Refused { refused: Some(head.refuse(Rejection::Head(refusal), None)) }
            }
            Ok(Passage::Open) => {
                let (forwardable, context) = head.split(None);
                MatchFutureState::Open { forwarding: self.open.call(forwardable), context: Some(context) }
            }
            Ok(Passage::Protected) => {
                MatchFutureState::Protected { inner: self.protected.call(Matched(head)) }
            }
        };
        MatchFuture { state }
    }
}

impl<P: Policies, S, F> Match<P, S, F> {
    fn head<B>(&self, named: Named<B>) -> Head<B> {
        let Named { request, client, request_id, parts, arrived, started, .. } = named;
        let context = Context {
            parts,
            catalog: self.policies.catalog(),
            request_id,
            subject: None,
            arrived,
            started,
            route: Route::Uncovered,
            client,
            bodiless: request.method() == Method::HEAD,
        };
        Head { request, context }
    }
}

enum Passage {
    Open,
    Protected,
}

/// Makes the request's path canonical and finds its route.
fn find<B>(head: &mut Head<B>) -> Result<Passage, HeadRefusal> {
    if matches!(*head.request.method(), Method::TRACE | Method::CONNECT) {
        return Err(HeadRefusal::Malformed("TRACE and CONNECT are not served"));
    }
    if let Cow::Owned(path) =
        canonicalise(head.request.uri().path()).map_err(|e| HeadRefusal::AmbiguousPath(e.reason()))?
    {
        let uri = with_path(head.request.uri(), &path)
            .ok_or(HeadRefusal::AmbiguousPath("the path has no canonical form"))?;
        *head.request.uri_mut() = uri;
    }
    let path = head.request.uri().path();
    if is_own(path) {
        head.context.route = Route::Own;
        return Ok(Passage::Protected);
    }
    head.context.route = match head.context.catalog.routes.find(head.request.method().as_str(), path) {
        Some(ix) => Route::Operation(ix),
        None if matches!(head.context.catalog.unmatched, Unmatched::Allow(_)) => Route::Unmatched,
        None => Route::Uncovered,
    };
    let public = head.operation().is_some_and(|operation| operation.public);
    if public || (is_preflight(&head.request) && is_covered(head)) {
        return Ok(Passage::Open);
    }
    Ok(Passage::Protected)
}

fn is_covered<B>(head: &Head<B>) -> bool {
    match head.context.route {
        Route::Operation(_) | Route::Unmatched => true,
        Route::Uncovered => head.context.catalog.routes.covers(head.request.uri().path()),
        Route::Own => false,
    }
}

/// A browser's question before a cross-origin request (Fetch standard, section 4.8).
fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let path_and_query = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.ok()?);
    Uri::from_parts(parts).ok()
}

pin_project_lite::pin_project! {
    /// The future of [`Match`].
    pub struct MatchFuture<S, F, B> {
        #[pin]
        state: MatchFutureState<S, F, B>,
    }
}

pin_project_lite::pin_project! {
    #[project = MatchProjection]
    enum MatchFutureState<S, F, B> {
        Protected {
            #[pin]
            inner: S,
        },
        Open {
            #[pin]
            forwarding: F,
            context: Option<Context>,
        },
        Refused {
            refused: Option<Refused<B>>,
        },
    }
}

impl<S, F, B, R> Future for MatchFuture<S, F, B>
where
    S: Future<Output = Result<Answered<SettledBody<R>>, Refused<B>>>,
    F: Future<Output = Result<http::Response<R>, ForwardError>>,
{
    type Output = Result<Answered<SettledBody<R>>, Refused<B>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            MatchProjection::Protected { inner } => inner.poll(cx),
            MatchProjection::Refused { refused } => {
                refused.take().map_or(Poll::Pending, |refused| Poll::Ready(Err(refused)))
            }
            MatchProjection::Open { forwarding, context } => {
                let answer = ready!(forwarding.poll(cx));
                let Some(context) = context.take() else { return Poll::Pending };
                Poll::Ready(match answer {
                    Ok(response) => Ok(Answered { response: response.map(SettledBody::unmetered), context }),
                    Err(error) => Err(Refused::unanswered(error, None, context)),
                })
            }
        }
    }
}
