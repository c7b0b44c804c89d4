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
    facts::Facts,
    faults::{Ambiguous, Malformed},
    language::Language,
    looking::Looking,
    parts::Parts,
    request::{
        Answered, Client, ForwardError, Forwardable, Head, HeadRefusal, Matched, Refusal, Refused, Rejection,
    },
    settle::SettledBody,
    shadow,
    view::{self, Asked, Shown, ViewRefusal, Visit},
};
use crate::{
    domain::{
        catalog::{Catalog, Unmatched},
        path::canonicalise,
        time::{Monotonic, UnixMillis},
        variant,
    },
    ports::{BoxFuture, Directory, Policies, ResolveError},
};

/// Paths below this are the gateway's own: never forwarded, never covered by a route.
const OWN: &str = "/.plangate";

/// Why some methods are refused on any path.
pub const NEVER_SERVED: HeadRefusal = HeadRefusal::Malformed(Malformed::MethodNotServed);

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
    pub(super) language: Language,
    pub(super) request_id: HeaderValue,
    pub(super) parts: Arc<Parts>,
    pub(super) arrived: UnixMillis,
    pub(super) started: Monotonic,
}

/// The stage: `protected` is the rest of the stack, `open` forwards what needs no identity.
pub struct Match<P, D, S, F> {
    policies: Arc<P>,
    directory: Arc<D>,
    protected: S,
    open: F,
}

impl<P, D, S: Clone, F: Clone> Clone for Match<P, D, S, F> {
    fn clone(&self) -> Self {
        Self {
            policies: Arc::clone(&self.policies),
            directory: Arc::clone(&self.directory),
            protected: self.protected.clone(),
            open: self.open.clone(),
        }
    }
}

impl<P, D, S, F> Match<P, D, S, F> {
    /// Matches by `policies`; on a node that has not heard of changes for a while, after `directory` has caught up: the
    /// policies may be others, too.
    pub const fn new(policies: Arc<P>, directory: Arc<D>, protected: S, open: F) -> Self {
        Self { policies, directory, protected, open }
    }
}

impl<P, D, S, F, B, R> Service<Named<B>> for Match<P, D, S, F>
where
    P: Policies,
    D: Directory,
    S: Service<Matched<B>, Response = Answered<SettledBody<R>>, Error = Refused<B>> + Clone,
    F: Service<Forwardable<B>, Response = http::Response<R>, Error = ForwardError> + Clone,
{
    type Response = Answered<SettledBody<R>>;
    type Error = Refused<B>;
    type Future = MatchFuture<P, D, S, F, B>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Refused<B>>> {
        self.protected.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, named: Named<B>) -> Self::Future {
        // A head that was found unacceptable is so by any policy.
        let decidable = self.directory.is_current(named.started) || named.refusal.is_some();
        let state = if decidable { self.pass(named) } else { self.wait(named) };
        MatchFuture { state }
    }
}

impl<P, D, S, F> Match<P, D, S, F>
where
    P: Policies,
    D: Directory,
{
    #[inline(always)]
    fn pass<B>(&mut self, named: Named<B>) -> MatchFutureState<P, D, S, F, B>
    where
        S: Service<Matched<B>>,
        F: Service<Forwardable<B>>,
    {
        let refusal = named.refusal;
        let mut head = self.head(named);
        let known = match refusal {
            Some(refusal) => Err(refusal),
            None => find(&mut head),
        };
        match known {
            Err(refusal) => {
                MatchFutureState::Refused { refused: Some(head.refuse(Rejection::Head(refusal), None)) }
            }
            Ok(Passage::Open) => {
                if head.context.catalog.candidate.is_some() {
                    shadow::open(&head);
                }
                let (forwardable, context) = head.split(None, None);
                MatchFutureState::Open { forwarding: self.open.call(forwardable), context: Some(context) }
            }
            Ok(Passage::Protected) => {
                MatchFutureState::Protected { inner: self.protected.call(Matched(head)) }
            }
            Ok(Passage::Own(visit)) => own(visit, head),
        }
    }

    #[cold]
    #[inline(never)]
    fn wait<B>(&mut self, named: Named<B>) -> MatchFutureState<P, D, S, F, B>
    where
        S: Service<Matched<B>> + Clone,
        F: Service<Forwardable<B>> + Clone,
    {
        // The one polled ready goes along with the request; its clone stays.
        let clone = self.clone();
        let service = std::mem::replace(self, clone);
        MatchFutureState::Waiting {
            news: self.directory.catch_up(),
            waiting: Some(Box::new((named, service))),
        }
    }
}

impl<P: Policies, D, S, F> Match<P, D, S, F> {
    fn head<B>(&self, named: Named<B>) -> Head<B> {
        let Named { request, client, language, request_id, parts, arrived, started, .. } = named;
        let context = Context {
            parts,
            catalog: self.policies.catalog(),
            request_id,
            subject: None,
            arrived,
            started,
            route: Route::Uncovered,
            charges: None,
            client,
            bodiless: request.method() == Method::HEAD,
            language,
        };
        Head { request, context }
    }
}

enum Passage {
    Open,
    Protected,
    /// The gateway itself answers.
    Own(Visit),
}

/// Makes the request's path canonical and finds its route.
fn find<B>(head: &mut Head<B>) -> Result<Passage, HeadRefusal> {
    if matches!(*head.request.method(), Method::TRACE | Method::CONNECT) {
        return Err(NEVER_SERVED);
    }
    if let Cow::Owned(path) =
        canonicalise(head.request.uri().path()).map_err(|e| HeadRefusal::AmbiguousPath(e.into()))?
    {
        let uri = with_path(head.request.uri(), &path)
            .ok_or(HeadRefusal::AmbiguousPath(Ambiguous::NoCanonicalForm))?;
        *head.request.uri_mut() = uri;
    }
    let path = head.request.uri().path();
    if is_own(path) {
        head.context.route = Route::Own;
        let visit = Visit::of(&head.request, !head.context.parts.cors.is_off());
        return Ok(visit.map_or(Passage::Protected, Passage::Own));
    }
    head.context.route = route(&head.context.catalog, head.request.method(), path);
    let public = match head.operation() {
        Some(operation) if operation.conditions.is_some() => is_open(head),
        operation => operation.is_some_and(|operation| operation.public),
    };
    if public || (is_preflight(&head.request) && is_covered(head)) {
        return Ok(Passage::Open);
    }
    Ok(Passage::Protected)
}

/// Whether one of the routes of the request's methods and path is public and its condition holds: it is the one then.
#[cold]
#[inline(never)]
fn is_open<B>(head: &mut Head<B>) -> bool {
    let Route::Operation(ix) = head.context.route else { return false };
    let (facts, metrics) = (Facts::of(head), &head.context.parts.metrics);
    let failed = |route: &str| metrics.condition_failed(route);
    let Some(open) = variant::public(&head.context.catalog, ix, &facts.request(), failed) else {
        return false;
    };
    head.context.route = Route::Operation(open);
    true
}

/// The route of a request that is not for the gateway itself, its path canonical.
#[inline]
pub(super) fn route(catalog: &Catalog, method: &Method, path: &str) -> Route {
    match catalog.routes.find(method.as_str(), path) {
        Some(ix) => Route::Operation(ix),
        None if matches!(catalog.unmatched, Unmatched::Allow(_)) => Route::Unmatched,
        None => Route::Uncovered,
    }
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

/// Has the gateway itself answer.
#[cold]
#[inline(never)]
fn own<P, D, S, F, B>(visit: Visit, head: Head<B>) -> MatchFutureState<P, D, S, F, B>
where
    S: Service<Matched<B>>,
    F: Service<Forwardable<B>>,
{
    let Head { request, context } = head;
    let (head, _) = request.into_parts();
    let refused = match visit {
        Visit::Look => {
            let (catalog, view) = (Arc::clone(&context.catalog), Arc::clone(&context.parts.view));
            let (arrived, started) = (context.arrived, context.started);
            let showing = view.show(Asked { headers: head.headers, catalog, arrived, started });
            let looking = Looking { context, asked: (head.method, head.uri) };
            return MatchFutureState::Own { showing, looking: Some(Box::new(looking)) };
        }
        Visit::Preflight => Refused::answered(view::preflight(&head.headers), context),
        Visit::Refused => {
            let (why, asked) = (ViewRefusal::Method.into(), Some((head.method, head.uri)));
            Refused::away(Refusal { why, request: None, asked, limits: None, context })
        }
    };
    MatchFutureState::Refused { refused: Some(refused) }
}

pin_project_lite::pin_project! {
    /// The future of [`Match`].
    pub struct MatchFuture<P, D, S, F, B>
    where
        S: Service<Matched<B>>,
        F: Service<Forwardable<B>>,
    {
        #[pin]
        state: MatchFutureState<P, D, S, F, B>,
    }
}

pin_project_lite::pin_project! {
    #[project = MatchProjection]
    enum MatchFutureState<P, D, S, F, B>
    where
        S: Service<Matched<B>>,
        F: Service<Forwardable<B>>,
    {
        Protected {
            #[pin]
            inner: S::Future,
        },
        Open {
            #[pin]
            forwarding: F::Future,
            context: Option<Context>,
        },
        Refused {
            refused: Option<Refused<B>>,
        },
        Own {
            showing: BoxFuture<Shown>,
            looking: Option<Box<Looking>>,
        },
        Waiting {
            news: BoxFuture<Result<(), ResolveError>>,
            waiting: Option<Box<(Named<B>, Match<P, D, S, F>)>>,
        },
    }
}

impl<P, D, S, F, B, R> Future for MatchFuture<P, D, S, F, B>
where
    P: Policies,
    D: Directory,
    S: Service<Matched<B>, Response = Answered<SettledBody<R>>, Error = Refused<B>>,
    F: Service<Forwardable<B>, Response = http::Response<R>, Error = ForwardError>,
{
    type Output = Result<Answered<SettledBody<R>>, Refused<B>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                MatchProjection::Protected { inner } => return inner.poll(cx),
                MatchProjection::Refused { refused } => {
                    return refused.take().map_or(Poll::Pending, |refused| Poll::Ready(Err(refused)));
                }
                MatchProjection::Own { showing, looking } => {
                    let shown = ready!(showing.as_mut().poll(cx));
                    let Some(looking) = looking.take() else { return Poll::Pending };
                    return Poll::Ready(Err(looking.answer(shown)));
                }
                MatchProjection::Open { forwarding, context } => {
                    let answer = ready!(forwarding.poll(cx));
                    let Some(context) = context.take() else { return Poll::Pending };
                    return Poll::Ready(match answer {
                        Ok(response) => {
                            Ok(Answered { response: response.map(SettledBody::unmetered), context })
                        }
                        Err(error) => Err(Refused::unanswered(error, None, context)),
                    });
                }
                MatchProjection::Waiting { news, waiting } => {
                    if let Some(waiting) = waiting.as_mut() {
                        ready!(waiting.1.protected.poll_ready(cx))?;
                    }
                    // Where none came, those stages say so that need them: what is public goes on.
                    let _ = ready!(news.as_mut().poll(cx));
                    let Some(waiting) = waiting.take() else { return Poll::Pending };
                    let (named, mut service) = *waiting;
                    late(&mut service, named)
                }
            };
            state.set(next);
        }
    }
}

/// Goes on after a wait: out of the way of the requests that need none.
#[cold]
#[inline(never)]
fn late<P, D, S, F, B>(service: &mut Match<P, D, S, F>, named: Named<B>) -> MatchFutureState<P, D, S, F, B>
where
    P: Policies,
    D: Directory,
    S: Service<Matched<B>>,
    F: Service<Forwardable<B>>,
{
    service.pass(named)
}
