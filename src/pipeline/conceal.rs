//! Conceal: takes Plangate's keys off every request that is forwarded, whichever way through the stack it took.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tower::Service;

use super::request::Forwardable;
use crate::ports::Authenticator;

/// The service around a forwarding one. Public and preflight requests pass it, too: a key may be sent along with them.
pub struct Conceal<A, F> {
    authenticator: Arc<A>,
    forward: F,
}

impl<A, F: Clone> Clone for Conceal<A, F> {
    fn clone(&self) -> Self {
        Self { authenticator: Arc::clone(&self.authenticator), forward: self.forward.clone() }
    }
}

impl<A, F> Conceal<A, F> {
    /// Takes off what `authenticator` calls a key.
    pub const fn new(authenticator: Arc<A>, forward: F) -> Self {
        Self { authenticator, forward }
    }
}

impl<A: Authenticator, B, F: Service<Forwardable<B>>> Service<Forwardable<B>> for Conceal<A, F> {
    type Response = F::Response;
    type Error = F::Error;
    type Future = F::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), F::Error>> {
        self.forward.poll_ready(cx)
    }

    fn call(&mut self, mut forwardable: Forwardable<B>) -> F::Future {
        self.authenticator.strip(forwardable.request.headers_mut());
        self.forward.call(forwardable)
    }
}
