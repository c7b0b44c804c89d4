//! The decision: rights x operation, pure. What remains to ask is whether the units are there, and that is the ledger's.

use super::{
    denial::Denial,
    rights::{Entitlement, Rights},
    route::{Charge, Operation},
};

/// Decides whether a tenant with these rights may call the operation at all. `None`: no route covers the request. Charges
/// that depend on the request are not looked at; see [`super::variant::decide_request`].
///
/// Order (contract, section 4): tenant, subscription, covered route, features.
///
/// # Errors
/// The first [`Denial`] that applies; later ones are not tried.
pub fn decide<'a>(rights: &'a Rights, operation: Option<&Operation>) -> Result<&'a Entitlement, Denial> {
    decide_charged(rights, operation, operation.map_or(&[], |operation| &operation.charge))
}

/// What a tenant is entitled to, whatever it calls.
///
/// # Errors
/// [`Denial::TenantSuspended`], [`Denial::SubscriptionInactive`].
pub fn standing(rights: &Rights) -> Result<&Entitlement, Denial> {
    if rights.suspended {
        return Err(Denial::TenantSuspended);
    }
    rights.entitlement()
}

/// The same as [`decide`], where the request is charged otherwise than the operation always is.
///
/// # Errors
/// The first [`Denial`] that applies; later ones are not tried.
pub fn decide_charged<'a>(
    rights: &'a Rights,
    operation: Option<&Operation>,
    charges: &[Charge],
) -> Result<&'a Entitlement, Denial> {
    let entitlement = standing(rights)?;
    let operation = operation.ok_or(Denial::RouteNotCovered)?;
    if let Some(missing) = entitlement.offer.features.first_missing(&operation.features)
        && let Some(feature) = rights.catalog.feature(missing)
    {
        return Err(Denial::FeatureNotInPlan { feature: feature.id.clone() });
    }
    for charge in charges {
        if !entitlement.covers(charge.meter)
            && let Some(meter) = rights.catalog.meter(charge.meter)
        {
            return Err(Denial::MeterNotInPlan { meter: meter.id.clone() });
        }
    }
    Ok(entitlement)
}
