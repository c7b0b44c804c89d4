//! Strip: whatever way a request takes to the upstream, a Plangate key does not go along.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::request::Forwardable;
use crate::ports::Authenticator;

/// A forwarding service that takes the tenant's key off each request.
pub struct Strip<A, F> {
    authenticator: Arc<A>,
    forward: F,
}

impl<A, F> Strip<A, F> {
    /// Strips what `authenticator` would take as a key.
    pub const fn new(authenticator: Arc<A>, forward: F) -> Self {
        Self { authenticator, forward }
    }
}

impl<A, F: Clone> Clone for Strip<A, F> {
    fn clone(&self) -> Self {
        Self { authenticator: Arc::clone(&self.authenticator), forward: self.forward.clone() }
    }
}

impl<A, F, B> Service<Forwardable<B>> for Strip<A, F>
where
    A: Authenticator,
    F: Service<Forwardable<B>>,
{
    type Response = F::Response;
    type Error = F::Error;
    type Future = F::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), F::Error>> {
        self.forward.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: Forwardable<B>) -> F::Future {
        let headers = request.request.headers_mut();
        if request.foreign_key {
            self.authenticator.strip_own(headers);
        } else {
            self.authenticator.strip(headers);
        }
        self.forward.call(request)
    }
}
