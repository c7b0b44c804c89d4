//! Keyless: whatever way a request takes to the upstream, Plangate's keys are taken off it just before.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::request::Forwardable;
use crate::ports::Authenticator;

/// A forwarding service that no key reaches.
pub struct Keyless<A, F> {
    pub(super) authenticator: Arc<A>,
    pub(super) forward: F,
}

impl<A, F: Clone> Clone for Keyless<A, F> {
    fn clone(&self) -> Self {
        Self { authenticator: Arc::clone(&self.authenticator), forward: self.forward.clone() }
    }
}

impl<A, F, B> Service<Forwardable<B>> for Keyless<A, F>
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

    fn call(&mut self, mut forwardable: Forwardable<B>) -> F::Future {
        let headers = forwardable.request.headers_mut();
        if forwardable.foreign_key {
            self.authenticator.strip_own(headers);
        } else {
            self.authenticator.strip(headers);
        }
        self.forward.call(forwardable)
    }
}
