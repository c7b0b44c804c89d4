//! The decision: rights x operation, pure. What remains to ask is whether the units are there, and that is the ledger's.

use super::{
    denial::Denial,
    rights::{Entitlement, Rights},
    route::Operation,
};

/// Decides whether a tenant with these rights may call the operation at all. `None`: no route covers the request.
///
/// Order (contract, section 4): tenant, subscription, covered route, features.
///
/// # Errors
/// The first [`Denial`] that applies; later ones are not tried.
pub fn decide<'a>(rights: &'a Rights, operation: Option<&Operation>) -> Result<&'a Entitlement, Denial> {
    if rights.suspended {
        return Err(Denial::TenantSuspended);
    }
    let entitlement = rights.entitlement()?;
    let operation = operation.ok_or(Denial::RouteNotCovered)?;
    if let Some(missing) = entitlement.offer.features.first_missing(&operation.features)
        && let Some(feature) = rights.catalog.feature(missing)
    {
        return Err(Denial::FeatureNotInPlan { feature: feature.id.clone() });
    }
    for charge in &operation.charge {
        if !entitlement.covers(charge.meter)
            && let Some(meter) = rights.catalog.meter(charge.meter)
        {
            return Err(Denial::MeterNotInPlan { meter: meter.id.clone() });
        }
    }
    Ok(entitlement)
}
