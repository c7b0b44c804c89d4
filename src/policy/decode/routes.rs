//! `routes.yaml`: which requests there are, what they need and what they cost.

use super::{Fields, list, named, names, reserve, route_text, scalar};
use crate::domain::{
    route::{Pattern, Segment},
    units::Units,
};
use crate::policy::{
    definition::{At, ChargeTerms, Name, RouteTerms, RoutesFile},
    diagnostic::Findings,
    schema, suggest,
    tree::{Node, Value},
};

/// Reads the file. `None` where it is not even a map.
pub(in crate::policy) fn decode(root: &Node, findings: &mut Findings<'_>) -> Option<RoutesFile> {
    let fields = Fields::read(root, "routes.yaml", schema::Routes::KEYS, findings)?;
    let unmatched_allowed = fields.get("unmatched").is_some_and(|node| unmatched(node, findings));
    let default_charge = fields
        .get("defaults")
        .and_then(|node| Fields::read(node, "`defaults`", schema::Defaults::KEYS, findings))
        .and_then(|defaults| defaults.get("charge"))
        .map(|node| charge(node, findings))
        .unwrap_or_default();
    let routes = match fields.need("routes", "a list of routes", findings) {
        Some(node) => {
            list(node, "`routes`", findings).iter().filter_map(|node| route(node, findings)).collect()
        }
        None => Vec::new(),
    };
    let unmatched = fields.key_place("unmatched");
    Some(RoutesFile { unmatched_allowed, unmatched, default_charge, routes })
}

fn unmatched(node: &Node, findings: &mut Findings<'_>) -> bool {
    match scalar::text(node, "`deny` or `allow` for `unmatched`", findings) {
        Some("allow") => true,
        Some("deny") | None => false,
        Some(text) => {
            let message = format!("expected `deny` or `allow` for `unmatched`, found {}", node.describe());
            findings.error_help(
                "invalid-unmatched",
                node.place,
                message,
                suggest::help(text, ["deny", "allow"]),
            );
            false
        }
    }
}

fn route(node: &Node, findings: &mut Findings<'_>) -> Option<RouteTerms> {
    let fields = Fields::read(node, "a route", schema::Route::KEYS, findings)?;
    let matches = fields.need("match", "methods and a path such as \"GET /v1/messages\"", findings);
    let parsed = matches.and_then(|node| {
        let text = scalar::text(node, "methods and a path for `match`", findings)?;
        match route_text::parse(text) {
            Ok((methods, pattern)) => {
                Some((At { value: text.to_owned(), place: node.place }, methods, pattern))
            }
            Err(wrong) => {
                findings.error_help(wrong.code, node.place, wrong.message, wrong.help);
                None
            }
        }
    });
    let public =
        fields.get("public").and_then(|node| scalar::truth(node, "`public`", findings)).unwrap_or(false);
    let when = fields.get("when").and_then(|node| cel(node, "a CEL condition for `when`", findings));
    let features = fields.get("features").map(|node| names(node, "`features`", findings)).unwrap_or_default();
    let charge = fields.get("charge").map(|node| charge(node, findings));
    if public {
        for key in ["features", "charge"] {
            if let Some(place) = fields.key_place(key) {
                let message = format!("a public route has no identity: it cannot have `{key}`");
                let help = "remove it, or `public`".to_owned();
                findings.error_help("public-route", place, message, help);
            }
        }
    }
    let (name, methods, pattern) = parsed?;
    warn_of_look_alikes(&name, &pattern, findings);
    Some(RouteTerms { name, methods, pattern, public, when, features, charge })
}

/// Notations of other routers are legal literals here, and hardly ever meant as such.
fn warn_of_look_alikes(name: &Name, pattern: &Pattern, findings: &mut Findings<'_>) {
    for segment in pattern.segments() {
        let Segment::Literal(text) = segment else { continue };
        let meant = match (text.strip_prefix(':'), text.as_str()) {
            (Some(parameter), _) if !parameter.is_empty() => format!("{{{parameter}}}"),
            (_, "*") => "{name}".to_owned(),
            (_, "**") => "{*rest}".to_owned(),
            _ => continue,
        };
        let message = format!("`{text}` in a path matches only itself");
        findings.warn("literal-look-alike", name.place, message, format!("did you mean `{meant}`?"));
    }
}

fn charge(node: &Node, findings: &mut Findings<'_>) -> Vec<(Name, ChargeTerms)> {
    let mut out = Vec::new();
    for (name, node) in named(node, "`charge`", findings) {
        let terms = match &node.value {
            Value::Map(_) => reserve::decode(&name, node, findings),
            _ => fixed(&name, node, findings),
        };
        out.extend(terms.map(|terms| (name, terms)));
    }
    out
}

/// An expression in CEL, as it is written.
pub(super) fn cel(node: &Node, what: &str, findings: &mut Findings<'_>) -> Option<At<String>> {
    let text = scalar::text(node, what, findings)?;
    Some(At { value: text.to_owned(), place: node.place })
}

/// A number of units, known beforehand.
pub(super) fn fixed(name: &Name, node: &Node, findings: &mut Findings<'_>) -> Option<ChargeTerms> {
    let units = scalar::units(node, "a charge", 0, findings)?;
    if units == Units::ZERO {
        let help = "remove it; `charge: {}` costs nothing at all".to_owned();
        let message = format!("0 of `{}` charges nothing", name.value);
        findings.warn("charge-of-nothing", node.place, message, help);
    }
    Some(ChargeTerms { units, from: None, cel: None, when: None })
}
