//! Resolve: tenant to rights.

use std::sync::Arc;

use super::{
    request::{Entitled, Identified, Rejection},
    stage::{Check, StageLayer},
};
use crate::{
    domain::rights::Rights,
    ports::{Answer, Directory},
};

/// Asks a [`Directory`] for the tenant's rights under the request's catalog.
pub struct Resolve<D>(Arc<D>);

impl<D> Clone for Resolve<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The layer of this stage.
pub fn layer<D: Directory>(directory: Arc<D>) -> StageLayer<Resolve<D>> {
    StageLayer::new(Resolve(directory))
}

impl<D: Directory, B> Check<Identified<B>> for Resolve<D> {
    type Proof = Arc<Rights>;
    type Next = Entitled<B>;

    #[inline]
    fn check(&self, request: &mut Identified<B>) -> Answer<Arc<Rights>, Rejection> {
        let context = &request.head.context;
        match self.0.resolve(&request.identity, &context.catalog, context.started, context.arrived) {
            Answer::Ready(answer) => Answer::Ready(answer.map_err(Rejection::from)),
            Answer::Pending(pending) => {
                Answer::Pending(Box::pin(async move { pending.await.map_err(Rejection::from) }))
            }
        }
    }

    #[inline]
    fn pass(request: Identified<B>, rights: Arc<Rights>) -> Entitled<B> {
        Entitled { head: request.head, identity: request.identity, rights }
    }
}
