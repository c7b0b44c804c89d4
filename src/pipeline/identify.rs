//! Identify: credential to tenant.

use std::sync::Arc;

use http::HeaderMap;

use super::{
    context::Route,
    matching::route,
    request::{Head, Identified, Matched, Rejection},
    stage::{Check, StageLayer},
};
use crate::{
    domain::{
        identity::Identity,
        time::{Monotonic, UnixMillis},
    },
    ports::{Answer, Authenticator, Directory},
};

/// Asks an [`Authenticator`] whom the request's credentials speak for; on a node that has not heard of changes for a
/// while, only after the [`Directory`] has caught up.
pub struct Identify<A, D> {
    authenticator: Arc<A>,
    directory: Arc<D>,
}

impl<A, D> Clone for Identify<A, D> {
    fn clone(&self) -> Self {
        Self { authenticator: Arc::clone(&self.authenticator), directory: Arc::clone(&self.directory) }
    }
}

/// The layer of this stage.
pub fn layer<A: Authenticator, D: Directory>(
    authenticator: Arc<A>,
    directory: Arc<D>,
) -> StageLayer<Identify<A, D>> {
    StageLayer::new(Identify { authenticator, directory })
}

/// Where other policies are tried for this tenant, the request is decided wholly by these: its route, too.
#[cold]
#[inline(never)]
fn decide_by_own<B>(head: &mut Head<B>, identity: &Identity) {
    let own = head.context.catalog.of_tenant(&identity.tenant);
    if own.stamp == head.context.catalog.stamp {
        return;
    }
    head.context.catalog = Arc::clone(own);
    if head.context.route != Route::Own {
        head.context.route = route(&head.context.catalog, head.request.method(), head.request.uri().path());
    }
}

/// What a request brings along to say for whom it is, and when it arrived.
pub(super) struct Credentials<'r> {
    pub(super) headers: &'r HeaderMap,
    pub(super) now: UnixMillis,
    pub(super) started: Monotonic,
}

/// Whom the credentials speak for.
#[inline(always)]
pub(super) fn ask<A: Authenticator, D: Directory>(
    authenticator: &Arc<A>,
    directory: &Arc<D>,
    &Credentials { headers, now, started }: &Credentials<'_>,
) -> Answer<Arc<Identity>, Rejection> {
    match authenticator.identify(headers, now) {
        // What is no credential, whatever was changed, need not wait for news.
        Answer::Ready(Err(why)) if !why.may_change() || directory.is_current(started) => {
            Answer::Ready(Err(why.into()))
        }
        Answer::Ready(Ok(identity)) if directory.is_current(started) => Answer::Ready(Ok(identity)),
        Answer::Pending(pending) if directory.is_current(started) => {
            Answer::Pending(Box::pin(async move { pending.await.map_err(Rejection::from) }))
        }
        Answer::Ready(_) | Answer::Pending(_) => {
            let (authenticator, headers) = (Arc::clone(authenticator), headers.clone());
            let news = directory.catch_up();
            Answer::Pending(Box::pin(async move {
                news.await?;
                // Asked anew: the news may have revoked the credential.
                Ok(authenticator.identify(&headers, now).wait().await?)
            }))
        }
    }
}

impl<A: Authenticator, D: Directory, B> Check<Matched<B>> for Identify<A, D> {
    type Proof = Arc<Identity>;
    type Next = Identified<B>;

    #[inline]
    fn check(&self, request: &mut Matched<B>) -> Answer<Arc<Identity>, Rejection> {
        let head = &request.0;
        let credentials = Credentials {
            headers: head.request.headers(),
            now: head.context.arrived,
            started: head.context.started,
        };
        ask(&self.authenticator, &self.directory, &credentials)
    }

    #[inline]
    fn pass(request: Matched<B>, identity: Arc<Identity>) -> Identified<B> {
        let mut head = request.0;
        if head.context.catalog.candidate.is_some() {
            decide_by_own(&mut head, &identity);
        }
        Identified { head, identity }
    }
}
