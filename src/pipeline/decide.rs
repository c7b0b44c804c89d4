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
        catalog::Catalog,
        decision::decide,
        denial::Denial,
        rights::Rights,
        route::Charge,
        variant::{self, Chosen, decide_request},
    },
    metrics::Metrics,
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
            // Public by policies that are tried for this tenant alone, which were known with its identity.
            Some(operation) if operation.public => Ok(()),
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
    let facts = Facts::of(&request.head);
    let Asked { route, charges, outcome } =
        ask(&context.parts.metrics, &context.catalog, &request.rights, context.route, &facts);
    let context = &mut request.head.context;
    (context.route, context.charges) = (route, charges);
    outcome
}

/// What conditions say of a request.
pub(super) struct Asked {
    /// The route that decides it; where that cannot be told, the one that was asked first.
    pub(super) route: Route,
    /// What it charges, where that depends on the request.
    pub(super) charges: Option<Box<[Charge]>>,
    pub(super) outcome: Result<(), Denial>,
}

/// Asks the routes of a request's methods and path, the first of which is `head`. What cannot be told is counted.
pub(super) fn ask(
    metrics: &Metrics,
    catalog: &Catalog,
    rights: &Rights,
    head: Route,
    facts: &Facts<'_>,
) -> Asked {
    let first = if let Route::Operation(ix) = head { Some(ix) } else { None };
    // Public by policies that are tried for this tenant alone, or by others than those by which the request was matched.
    if let Some(open) = first.and_then(|first| variant::public(catalog, first, &facts.request(), |_| {})) {
        return Asked { route: Route::Operation(open), charges: None, outcome: Ok(()) };
    }
    let decided = decide_request(rights, catalog, first, facts.request());
    let outcome = decided.outcome.map(drop);
    if let Err(Denial::ConditionFailed { route, .. }) = &outcome {
        metrics.condition_failed(route);
    }
    let Some(Chosen { route, operation, charges }) = decided.chosen else {
        return Asked { route: head, charges: None, outcome };
    };
    let route = match (route, operation) {
        (Some(ix), _) => Route::Operation(ix),
        (None, Some(_)) => Route::Unmatched,
        (None, None) => Route::Uncovered,
    };
    let charges = match charges {
        Cow::Owned(charges) => Some(charges.into_boxed_slice()),
        Cow::Borrowed(_) => None,
    };
    Asked { route, charges, outcome }
}
