//! What policies say of a request before anything is known of its tenant: the one place where the shadow finds a route and
//! what it charges.

use http::Method;

use crate::{
    domain::{
        catalog::Catalog,
        id::MeterId,
        route::{Charge, Operation},
        settlement::CostHeader,
    },
    pipeline::{context::Context, matching::route},
};

/// A request's route, and what it costs.
pub(super) struct Found<'a> {
    pub(super) catalog: &'a Catalog,
    /// `None`: no route covers the request.
    pub(super) operation: Option<&'a Operation>,
    /// What the operation charges.
    pub(super) charges: &'a [Charge],
}

impl<'a> Found<'a> {
    /// By the policies that have decided.
    pub(super) fn by_context(context: &'a Context) -> Self {
        Self::of(&context.catalog, context.operation())
    }

    /// By other policies. The path is canonical.
    pub(super) fn by_catalog(catalog: &'a Catalog, method: &Method, path: &str) -> Self {
        Self::of(catalog, route(catalog, method, path).operation(catalog))
    }

    fn of(catalog: &'a Catalog, operation: Option<&'a Operation>) -> Self {
        Self { catalog, operation, charges: operation.map_or(&[], |operation| &operation.charge) }
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
    pub(super) fn charge_of(&self, meter: &MeterId) -> Option<&'a Charge> {
        let ix = self.catalog.meter_ix(meter.as_str())?;
        self.charges.iter().find(|charge| charge.meter == ix)
    }

    /// Where the answer tells the true cost of a charge, which is only a reserve then.
    pub(super) fn told_by(&self, charge: &Charge) -> Option<&'a CostHeader> {
        let settle = self.operation?.settle.iter();
        settle.into_iter().find(|from| from.meter == charge.meter).map(|from| &from.header)
    }
}
