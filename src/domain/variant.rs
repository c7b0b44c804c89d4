//! Which of several routes of one methods-and-path decides a request, and what that costs: pure.

use std::borrow::Cow;

use super::{
    catalog::{Catalog, Unmatched},
    condition::{ConditionError, RequestFacts},
    decision::{decide_charged, standing},
    denial::Denial,
    rights::{Entitlement, Rights},
    route::{Charge, Operation, OperationIx},
};

/// The route that decides a request, and what it charges.
#[derive(Debug, Clone)]
pub struct Chosen<'c> {
    /// Its place; `None`: no route decides it, but what the policies say of the rest may.
    pub route: Option<OperationIx>,
    /// The route, or what the policies say of the rest; `None`: they refuse it.
    pub operation: Option<&'c Operation>,
    /// Its charges, in meter order, none of zero units.
    pub charges: Cow<'c, [Charge]>,
}

/// A request as it was decided.
#[derive(Debug)]
pub struct Decided<'r, 'c> {
    /// By which route; `None`: that was never asked, as the tenant may do nothing.
    pub chosen: Option<Chosen<'c>>,
    /// What the tenant is entitled to, or why the request is refused.
    pub outcome: Result<&'r Entitlement, Denial>,
}

/// The public route among those that begin at `head` which lets the request through, without its tenant being known. A
/// condition that cannot be told does not hold; `failed` is shown its route.
pub fn public<'c>(
    catalog: &'c Catalog,
    head: OperationIx,
    facts: &RequestFacts<'_>,
    mut failed: impl FnMut(&'c str),
) -> Option<OperationIx> {
    let mut all = catalog.routes.variants(head).filter(|(_, operation)| operation.public);
    let found = all.find(|(_, operation)| match operation.when().map(|when| when.holds(facts)) {
        None | Some(Ok(true)) => true,
        Some(Ok(false)) => false,
        Some(Err(_)) => {
            failed(&operation.name);
            false
        }
    });
    found.map(|(ix, _)| ix)
}

/// Chooses among the routes that begin at `head` and need an identity: the first whose condition holds. Where none does, no
/// route covers the request, whatever others its path fits.
///
/// # Errors
/// [`Denial::ConditionFailed`] where a condition or an amount that was asked cannot be told.
pub fn choose<'c>(
    catalog: &'c Catalog,
    head: Option<OperationIx>,
    facts: &RequestFacts<'_>,
) -> Result<Chosen<'c>, Denial> {
    let mut route = None;
    for (ix, operation) in head.into_iter().flat_map(|head| catalog.routes.variants(head)) {
        if operation.public {
            continue;
        }
        let holds = match operation.when() {
            None => true,
            Some(when) => when.holds(facts).map_err(|why| failed(operation, None, why))?,
        };
        if holds {
            route = Some((ix, operation));
            break;
        }
    }
    let operation = match (route, &catalog.unmatched) {
        (Some((_, operation)), _) | (None, Unmatched::Allow(operation)) => operation,
        (None, Unmatched::Deny) => {
            return Ok(Chosen { route: None, operation: None, charges: Cow::Borrowed(&[]) });
        }
    };
    let charges = charges(catalog, operation, facts)?;
    Ok(Chosen { route: route.map(|(ix, _)| ix), operation: Some(operation), charges })
}

/// What a request to the operation is charged.
///
/// # Errors
/// [`Denial::ConditionFailed`] where that cannot be told.
pub fn charges<'c>(
    catalog: &Catalog,
    operation: &'c Operation,
    facts: &RequestFacts<'_>,
) -> Result<Cow<'c, [Charge]>, Denial> {
    let rules = operation.conditions.as_ref().map_or(&[][..], |conditions| &conditions.charges);
    if rules.is_empty() {
        return Ok(Cow::Borrowed(&operation.charge));
    }
    let mut charges = operation.charge.to_vec();
    for rule in rules {
        let units = rule.units(facts).map_err(|why| {
            let meter = catalog.meter(rule.meter).map(|meter| meter.id.clone());
            failed(operation, meter, why)
        })?;
        charges.extend(units.map(|units| Charge { meter: rule.meter, units }));
    }
    charges.sort_by_key(|charge| charge.meter);
    Ok(Cow::Owned(charges))
}

fn failed(operation: &Operation, charge: Option<super::id::MeterId>, why: ConditionError) -> Denial {
    Denial::ConditionFailed { route: operation.name.as_str().into(), charge, why }
}

/// Decides a request whole, as far as units are there: tenant, subscription, covered route, features, meters (contract,
/// section 4). `head` is what the catalog's table found; what it finds public is decided by [`public`] before.
#[must_use]
pub fn decide_request<'r, 'c>(
    rights: &'r Rights,
    catalog: &'c Catalog,
    head: Option<OperationIx>,
    facts: RequestFacts<'_>,
) -> Decided<'r, 'c> {
    let entitlement = match standing(rights) {
        Ok(entitlement) => entitlement,
        Err(denial) => return Decided { chosen: None, outcome: Err(denial) },
    };
    match choose(catalog, head, &facts.of(rights, entitlement)) {
        Err(denial) => Decided { chosen: None, outcome: Err(denial) },
        Ok(chosen) => {
            let outcome = decide_charged(rights, chosen.operation, &chosen.charges);
            Decided { chosen: Some(chosen), outcome }
        }
    }
}
