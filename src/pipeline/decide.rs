//! Decide: rights and operation to grant or denial. Pure; what it grants is advice until the ledger has the units.

use std::borrow::Cow;

use super::{
    context::Route,
    facts::Facts,
    request::{Entitled, Granted, Rejection},
    stage::{Check, StageLayer},
};
use crate::{
    domain::{
        decision::decide,
        denial::Denial,
        variant::{Chosen, decide_request},
    },
    ports::Answer,
};

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
    fn check(&self, request: &mut Entitled<B>) -> Answer<(), Rejection> {
        let decided = match request.head.operation() {
            Some(operation) if operation.conditions.is_some() => by_conditions(request),
            operation => decide(&request.rights, operation).map(drop),
        };
        Answer::Ready(decided.map_err(Rejection::from))
    }

    #[inline]
    fn pass(request: Entitled<B>, (): ()) -> Granted<B> {
        Granted { head: request.head, identity: request.identity, rights: request.rights }
    }
}

/// Chooses among the routes of the request's methods and path, and writes down which it was and what it charges: so that also
/// a refusal is one by that route.
#[cold]
#[inline(never)]
fn by_conditions<B>(request: &mut Entitled<B>) -> Result<(), Denial> {
    let context = &request.head.context;
    let head = if let Route::Operation(ix) = context.route { Some(ix) } else { None };
    let facts = Facts::of(&request.head);
    let decided = decide_request(&request.rights, &context.catalog, head, facts.request());
    if let Err(Denial::ConditionFailed { route, .. }) = &decided.outcome {
        context.parts.metrics.condition_failed(route);
    }
    let outcome = decided.outcome.map(drop);
    let Some(Chosen { route, operation, charges }) = decided.chosen else { return outcome };
    let route = match (route, operation) {
        (Some(ix), _) => Route::Operation(ix),
        (None, Some(_)) => Route::Unmatched,
        (None, None) => Route::Uncovered,
    };
    let charges = match charges {
        Cow::Owned(charges) => Some(charges.into_boxed_slice()),
        Cow::Borrowed(_) => None,
    };
    let context = &mut request.head.context;
    (context.route, context.charges) = (route, charges);
    outcome
}
