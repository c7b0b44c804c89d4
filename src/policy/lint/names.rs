//! Names that are declared and not used, or used by one side only.

use std::collections::BTreeSet;

use super::operations;
use crate::domain::{catalog::Catalog, features::FeatureSet};
use crate::policy::{compile::Read, diagnostic::Findings, inherit};

/// Warns of names that nothing uses. A feature that routes require and nobody has is told with the routes.
pub(super) fn check(catalog: &Catalog, read: &Read, findings: &mut Findings<'_>) {
    let Some(declarations) = &read.declarations else { return };
    let mut required = FeatureSet::empty(catalog.features.len());
    let mut meters = BTreeSet::new();
    for operation in operations(catalog) {
        required.insert_all(&operation.features);
        meters.extend(operation.meters());
    }
    let plans = read.plans.values().flatten();
    let sold = plans.clone().flat_map(|p| &p.features).chain(read.addons.iter().flat_map(|a| &a.features));
    let named: BTreeSet<&str> = sold.map(|name| name.value.as_str()).collect();
    let set = plans.flat_map(|p| &p.limits).chain(read.addons.iter().flat_map(|a| &a.limits));
    let limits: BTreeSet<&str> = set.map(|(name, _)| name.value.as_str()).collect();
    for declared in &declarations.features {
        let id = declared.id.as_str();
        if inherit::feature_ix(declarations, id).is_some_and(|ix| required.contains(ix)) {
            continue;
        }
        let (code, message, help) = if named.contains(id) {
            (
                "feature-without-route",
                format!("no route requires `{id}`: having it or not refuses nothing"),
                "name it in the `features` of a route; it is well as it is if your application asks for it itself",
            )
        } else {
            let help = "give it to a plan and require it in a route, or remove it";
            ("unused-feature", format!("no plan and no route uses `{id}`"), help)
        };
        findings.warn(code, declared.place, message, help.to_owned());
    }
    for declared in &declarations.limits {
        if !limits.contains(declared.id.as_str()) {
            let message = format!("no plan sets the limit `{}`", declared.id);
            findings.warn(
                "unused-limit",
                declared.place,
                message,
                "set it in a plan, or remove it".to_owned(),
            );
        }
    }
    for declared in &declarations.meters {
        if !inherit::meter_ix(declarations, declared.id.as_str()).is_some_and(|ix| meters.contains(&ix)) {
            let message = format!("no route charges `{}`", declared.id);
            let help = "name it in the `charge` of a route, or remove it".to_owned();
            findings.warn("unused-meter", declared.place, message, help);
        }
    }
}
