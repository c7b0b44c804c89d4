//! Routes that no request ever reaches, as others take all that they fit.
//!
//! A parameter can be anything, so what is asked of the table is a path whose parameters are a text that no route names:
//! literals then take nothing away, and whoever takes that path for a route takes every path of it.

use std::collections::BTreeSet;

use crate::domain::{
    catalog::Catalog,
    route::{Methods, OperationIx, Pattern, RouteTable, Segment},
};
use crate::policy::{
    definition::{RouteTerms, RoutesFile},
    diagnostic::Findings,
};

/// What no literal of a route can be, as no canonical path contains it.
const ANYTHING: &str = "\0";
/// Methods that clients send. `GET` covers HEAD, so it is asked for as well.
const USUAL: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// A method that no route can name, for all that there may be besides.
const UNUSUAL: [&str; 1] = ["unusual"];
/// So many of the routes in front of another are shown.
const MOST_SHOWN: usize = 3;

/// Warns of routes that are never reached.
pub(super) fn check(catalog: &Catalog, file: &RoutesFile, findings: &mut Findings<'_>) {
    let segments = file.routes.iter().map(|route| route.pattern.segments().len());
    let deepest = segments.max().unwrap_or(0) + 1;
    for (route, place) in file.routes.iter().zip(0..) {
        let mut instead = BTreeSet::new();
        let mut reached = |methods: &[&str]| {
            let own = OperationIx(place);
            reached(&catalog.routes, &route.pattern, methods, own, deepest, &mut instead)
        };
        let message = match &route.methods {
            Methods::Named(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                if reached(&names) {
                    continue;
                }
                nothing(route)
            }
            Methods::Any if reached(&USUAL) => continue,
            Methods::Any if reached(&UNUSUAL) => {
                format!(
                    "only methods that hardly anybody sends reach `{}`: other routes take the rest",
                    route.name.value
                )
            }
            Methods::Any => nothing(route),
        };
        let mut finding = findings
            .warning_at("route-hidden", route.name.place, message)
            .help("remove it, or make the other routes narrower".to_owned());
        let before = instead.iter().filter_map(|ix| file.routes.get(ix.0 as usize));
        for other in before.take(MOST_SHOWN) {
            finding = finding.related(findings.locate(other.name.place), "this one comes before it");
        }
        findings.push(finding);
    }
}

fn nothing(route: &RouteTerms) -> String {
    format!("no request reaches `{}`: more specific routes take all that it fits", route.name.value)
}

/// Whether any of the paths of a pattern leads to its own route; what they lead to instead is added to `instead`.
fn reached(
    table: &RouteTable,
    pattern: &Pattern,
    methods: &[&str],
    own: OperationIx,
    deepest: usize,
    instead: &mut BTreeSet<OperationIx>,
) -> bool {
    let (mut base, mut rest) = (String::new(), false);
    for segment in pattern.segments() {
        let text = match segment {
            Segment::Literal(text) => text.as_str(),
            Segment::Parameter(_) => ANYTHING,
            Segment::Rest(_) => {
                rest = true;
                break;
            }
        };
        base.push('/');
        base.push_str(text);
    }
    // A rest may be of any length; where it is longer than any route has segments, all lengths are alike. Those are asked
    // first, as a route that is reached at all mostly is there.
    let most = if rest { deepest } else { 0 };
    for length in (0..=most).rev() {
        let path = format!("{base}{}", format!("/{ANYTHING}").repeat(length));
        for path in [format!("{path}/"), path] {
            for method in methods {
                match table.find(method, if path.is_empty() { "/" } else { &path }) {
                    Some(found) if table.variants(found).any(|(ix, _)| ix == own) => return true,
                    Some(found) => drop(instead.insert(found)),
                    None => {}
                }
            }
        }
    }
    false
}
