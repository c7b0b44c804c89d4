//! Decide: rights and operation to grant or denial. Pure; what it grants is advice until the ledger has the units.

use super::{
    request::{Entitled, Granted, Rejection},
    stage::{Check, StageLayer},
};
use crate::{domain::decision::decide, ports::Answer};

/// Asks the domain.
#[derive(Debug, Clone, Copy)]
pub struct Decide;

/// The layer of this stage.
#[must_use]
pub const fn layer() -> StageLayer<Decide> {
    StageLayer::new(Decide)
}

impl<B> Check<Entitled<B>> for Decide {
    type Proof = ();
    type Next = Granted<B>;

    #[inline]
    fn check(&self, request: &Entitled<B>) -> Answer<(), Rejection> {
        let operation = request.head.operation();
        if operation.is_some_and(|operation| operation.public) {
            // Public by policies that are tried for this tenant alone, which were known with its identity.
            return Answer::Ready(Ok(()));
        }
        let decided = decide(&request.rights, operation);
        Answer::Ready(decided.map(drop).map_err(Rejection::from))
    }

    #[inline]
    fn pass(request: Entitled<B>, (): ()) -> Granted<B> {
        Granted { head: request.head, identity: request.identity, rights: request.rights }
    }
}
