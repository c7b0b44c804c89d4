//! Identify: credential to tenant.

use std::sync::Arc;

use super::{
    request::{Identified, Matched, Rejection},
    stage::{Check, StageLayer},
};
use crate::{
    domain::identity::Identity,
    ports::{Answer, Authenticator},
};

/// Asks an [`Authenticator`] whom the request's credentials speak for.
pub struct Identify<A>(Arc<A>);

impl<A> Clone for Identify<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The layer of this stage.
pub fn layer<A: Authenticator>(authenticator: Arc<A>) -> StageLayer<Identify<A>> {
    StageLayer::new(Identify(authenticator))
}

impl<A: Authenticator, B> Check<Matched<B>> for Identify<A> {
    type Proof = Identity;
    type Next = Identified<B>;

    fn check(&self, request: &Matched<B>) -> Answer<Identity, Rejection> {
        let head = &request.0;
        match self.0.identify(head.request.headers(), head.arrived) {
            Answer::Ready(answer) => Answer::Ready(answer.map_err(Rejection::from)),
            Answer::Pending(pending) => {
                Answer::Pending(Box::pin(async move { pending.await.map_err(Rejection::from) }))
            }
        }
    }

    fn pass(request: Matched<B>, identity: Identity) -> Identified<B> {
        Identified { head: request.0, identity }
    }
}
