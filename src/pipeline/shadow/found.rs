//! What policies say of a request: the one place where the shadow finds a route and what it charges.

use std::borrow::Cow;

use crate::{
    domain::{
        catalog::Catalog,
        denial::Denial,
        id::MeterId,
        rights::Rights,
        route::{Charge, Operation, OperationIx},
        settlement::CostHeader,
        variant::{self, decide_request},
    },
    pipeline::{
        context::{Context, Route},
        facts::Facts,
        matching::route,
    },
};

/// A request's route, and what it costs.
pub(super) struct Found<'a> {
    pub(super) catalog: &'a Catalog,
    /// `None`: no route covers the request.
    pub(super) operation: Option<&'a Operation>,
    /// What the request is charged by it.
    pub(super) charges: Cow<'a, [Charge]>,
    /// The first of the routes of its methods and path.
    head: Option<OperationIx>,
}

impl<'a> Found<'a> {
    /// By the policies that have decided.
    pub(super) fn by_context(context: &'a Context) -> Self {
        Self {
            catalog: &context.catalog,
            operation: context.operation(),
            charges: Cow::Borrowed(context.charges()),
            head: None,
        }
    }

    /// By other policies, before anything is known of the tenant.
    pub(super) fn by_catalog(catalog: &'a Catalog, facts: &Facts<'_>) -> Self {
        let route = route(catalog, facts.method(), facts.path());
        let head = if let Route::Operation(ix) = route { Some(ix) } else { None };
        let public = head.and_then(|head| variant::public(catalog, head, &facts.request(), |_| {}));
        let operation = match public {
            Some(public) => catalog.routes.operation(public),
            None => route.operation(catalog),
        };
        let charges = Cow::Borrowed(operation.map_or(&[][..], |operation| &*operation.charge));
        Self { catalog, operation, charges, head }
    }

    /// Whether the tenant and its request say which route it is, and what that costs.
    pub(super) fn depends(&self) -> bool {
        self.operation.is_some_and(|operation| operation.conditions.is_some() && !operation.public)
    }

    /// The same where that is asked, and the decision as far as units are there.
    pub(super) fn decided(&self, rights: &Rights, facts: &Facts<'_>) -> (Self, Result<(), Denial>) {
        let decided = decide_request(rights, self.catalog, self.head, facts.request());
        let outcome = decided.outcome.map(drop);
        let (operation, charges) = match decided.chosen {
            Some(chosen) => (chosen.operation, chosen.charges),
            None => (self.operation, Cow::Borrowed(&[][..])),
        };
        (Self { operation, charges, ..*self }, outcome)
    }

    pub(super) fn is_public(&self) -> bool {
        self.operation.is_some_and(|operation| operation.public)
    }

    /// The route as the policies have it.
    pub(super) fn name(&self) -> Option<&'a str> {
        self.operation.map(|operation| operation.name.as_str())
    }

    pub(super) fn meter(&self, charge: &Charge) -> Option<&'a MeterId> {
        self.catalog.meter(charge.meter).map(|meter| &meter.id)
    }

    /// What is charged of a meter.
    pub(super) fn charge_of(&self, meter: &MeterId) -> Option<&Charge> {
        let ix = self.catalog.meter_ix(meter.as_str())?;
        self.charges.iter().find(|charge| charge.meter == ix)
    }

    /// Where the answer tells the true cost of a charge, which is only a reserve then.
    pub(super) fn told_by(&self, charge: &Charge) -> Option<&'a CostHeader> {
        let settle = self.operation?.settle.iter();
        settle.into_iter().find(|from| from.meter == charge.meter).map(|from| &from.header)
    }
}
