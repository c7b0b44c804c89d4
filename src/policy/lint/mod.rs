//! What is legal and probably not meant. Only asked of policies without errors.

pub(super) mod cases;
mod hidden;
mod names;
mod nobody;
mod plans;
mod prices;
mod reach;
mod sold;
mod spend;

use super::{compile::Read, diagnostic::Findings, extras};
use crate::domain::{
    catalog::{Catalog, Unmatched},
    route::Operation,
};

/// Adds the warnings about a catalog.
pub(super) fn check(catalog: &Catalog, read: &Read, findings: &mut Findings<'_>) {
    names::check(catalog, read, findings);
    plans::check(catalog, read, findings);
    prices::check(catalog, read, findings);
    spend::check(catalog, read, findings);
    reach::check(read, catalog, findings);
    sold::check(catalog, read, findings);
    extras::check(catalog, read, findings);
    if let Some(file) = &read.routes {
        nobody::check(catalog, read, file, findings);
        hidden::check(catalog, file, findings);
    }
}

/// Everything that requests can be decided by.
fn operations(catalog: &Catalog) -> impl Iterator<Item = &Operation> {
    let rest = match &catalog.unmatched {
        Unmatched::Allow(operation) => Some(operation),
        Unmatched::Deny => None,
    };
    catalog.routes.operations().iter().chain(rest)
}
