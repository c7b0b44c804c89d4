//! `cases/*.yaml`: examples that must hold. Their shape is told in the module on cases.

use std::collections::BTreeMap;

use super::{Fields, case_tenant::tenant, expectation, list, route_text, scalar};
use crate::domain::{catalog::Catalog, time::UnixMillis};
use crate::policy::{
    case::Case,
    definition::Name,
    diagnostic::Findings,
    schema,
    source::Place,
    tree::{Node, Value},
};

/// 2026-01-15T12:00:00Z: the instant of a case that names none.
const DEFAULT_AT: UnixMillis = UnixMillis(1_768_478_400_000);

/// Reads a file of cases.
pub(in crate::policy) fn decode(
    root: &Node,
    catalog: Option<&Catalog>,
    findings: &mut Findings<'_>,
) -> Vec<Case> {
    let Some(fields) = Fields::read(root, "a file of cases", schema::Cases::KEYS, findings) else {
        return Vec::new();
    };
    let Some(node) = fields.need("cases", "a list of cases", findings) else { return Vec::new() };
    let items = list(node, "`cases`", findings);
    let mut names: BTreeMap<String, Place> = BTreeMap::new();
    let mut cases = Vec::new();
    for item in items {
        if let Some(case) = self::case(item, catalog, findings) {
            if let Some(first) = names.insert(case.name.clone(), item.place) {
                let help =
                    format!("the first is in line {}", findings.locate(first).span.map_or(1, |s| s.line));
                findings.warn("duplicate-name", item.place, format!("a second case `{}`", case.name), help);
            }
            cases.push(case);
        }
    }
    cases
}

fn case(node: &Node, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> Option<Case> {
    let fields = Fields::read(node, "a case", schema::Case::KEYS, findings)?;
    let name = fields
        .need("name", "what the case shows", findings)
        .and_then(|node| scalar::line(node, "the name", findings));
    let tenant = match fields.get("tenant") {
        Some(node) => tenant(node, catalog, findings).map(Some),
        None => Some(None),
    };
    let request = fields
        .need("request", "a method and a path such as `GET /v1/messages/1`", findings)
        .and_then(|node| request(node, findings));
    let at = match fields.get("at") {
        Some(node) => at(node, findings),
        None => Some(DEFAULT_AT),
    };
    let expect = fields
        .need("expect", "`{ allow: true }` or `{ deny: CODE }`", findings)
        .and_then(|node| expectation::decode(node, catalog, findings));
    let location = findings.locate(node.place);
    let (tenant, used) = tenant?.map_or((None, BTreeMap::new()), |(tenant, used)| (Some(tenant), used));
    let (method, path) = request?;
    Some(Case {
        name: name?,
        file: location.file,
        line: location.span.map_or(1, |span| span.line),
        tenant,
        used,
        method,
        path,
        at: at?,
        expect: expect?,
    })
}

fn request(node: &Node, findings: &mut Findings<'_>) -> Option<(String, Option<String>)> {
    let text = scalar::text(node, "a method and a path for `request`", findings)?;
    let mut parts = text.split_ascii_whitespace();
    let (Some(method), Some(target), None) = (parts.next(), parts.next(), parts.next()) else {
        let message = format!("expected a method, a space and a path, found {}", node.describe());
        findings.error("invalid-request", node.place, message);
        return None;
    };
    if !method.bytes().all(|b| b.is_ascii_uppercase() || matches!(b, b'-' | b'_')) {
        let help = format!("write `{}`", method.to_ascii_uppercase());
        findings.error_help(
            "invalid-request",
            node.place,
            format!("`{method}` is not one upper-case method"),
            help,
        );
        return None;
    }
    let path = target.split(['?', '#']).next().unwrap_or_default();
    Some((method.to_owned(), route_text::canonical(path).ok()))
}

fn at(node: &Node, findings: &mut Findings<'_>) -> Option<UnixMillis> {
    let text = match &node.value {
        Value::Scalar { text, .. } => text.as_str(),
        _ => "",
    };
    let parsed = text.parse::<jiff::Timestamp>().ok();
    if parsed.is_none() {
        let message =
            format!("expected an instant such as `2026-03-31T23:59:59+08:00`, found {}", node.describe());
        findings.error("invalid-instant", node.place, message);
    }
    parsed.map(UnixMillis::from)
}

/// Whether a name is declared, or nothing is known of what is; says so where it is not.
pub(super) fn is_known(
    code: &'static str,
    kind: &str,
    name: &str,
    place: Place,
    known: Option<Vec<&str>>,
    findings: &mut Findings<'_>,
) -> bool {
    let Some(known) = known else { return true };
    if known.contains(&name) {
        return true;
    }
    let shown: String = name.chars().take(80).collect();
    let help = findings.suggest(place, name, known.iter().copied());
    findings.error_help(code, place, format!("unknown {kind} `{shown}`"), help);
    false
}

pub(super) fn is_meter(name: &Name, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> bool {
    let known = catalog.map(|c| c.meters.iter().map(|m| m.id.as_str()).collect());
    is_known("unknown-meter", "meter", &name.value, name.place, known, findings)
}

pub(super) fn is_limit(name: &Name, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> bool {
    let known = catalog.map(|c| c.limits.iter().map(|l| l.id.as_str()).collect());
    is_known("unknown-limit", "limit", &name.value, name.place, known, findings)
}

pub(super) fn is_feature(name: &Name, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> bool {
    let known = catalog.map(|c| c.features.iter().map(|f| f.id.as_str()).collect());
    is_known("unknown-feature", "feature", &name.value, name.place, known, findings)
}
