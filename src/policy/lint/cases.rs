//! Routes that no case asks for, where there are cases at all.

use std::collections::BTreeSet;

use crate::domain::{catalog::Catalog, route::OperationIx};
use crate::policy::{
    case::Case,
    definition::RoutesFile,
    diagnostic::{Diagnostic, Findings},
    source::Sources,
};

/// So many routes are told of one by one; what is beyond is counted.
const MOST: usize = 20;

/// Warns of routes without a case.
pub(in crate::policy) fn check(
    sources: &Sources,
    catalog: &Catalog,
    file: &RoutesFile,
    cases: &[Case],
) -> Vec<Diagnostic> {
    let mut findings = Findings::over(sources);
    if cases.is_empty() {
        return Vec::new();
    }
    let requests = cases.iter().flat_map(Case::requests);
    // Of several routes of the same methods and path the first is found, and all are asked.
    let asked: BTreeSet<OperationIx> = requests
        .filter_map(|(method, path)| catalog.routes.find(method, path))
        .flat_map(|first| catalog.routes.variants(first).map(|(ix, _)| ix))
        .collect();
    let missing: Vec<_> = file
        .routes
        .iter()
        .zip(0..)
        .filter(|(_, ix)| !asked.contains(&OperationIx(*ix)))
        .map(|(route, _)| route)
        .collect();
    for (route, left) in missing.iter().zip((1..=missing.len()).rev()).take(MOST) {
        let place = route.name.place;
        let others = left - 1;
        let message = match &route.name.value {
            name if missing.len() - others == MOST && others > 0 => {
                format!("no case asks for `{name}`, nor for {others} more routes")
            }
            name => format!("no case asks for `{name}`"),
        };
        let help = "add one to cases/ that says who may use it and what it costs".to_owned();
        findings.warn("route-without-case", place, message, help);
    }
    findings.finish()
}
