//! `cases/*.yaml`: examples that must hold. Their shape is told in the module on cases.

use std::collections::BTreeMap;

use super::{
    Fields, after, case_request,
    case_tenant::{Known, tenant},
    expectation, list, scalar,
};
use crate::domain::{
    catalog::Catalog,
    id::{AddonId, PlanId},
    time::UnixMillis,
};
use crate::policy::{
    case::{Case, Step},
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
        .and_then(|node| case_request::decode(node, findings));
    let at = match fields.get("at") {
        Some(node) => instant(node, findings),
        None => Some(DEFAULT_AT),
    };
    let expect = fields
        .need("expect", "`{ allow: true }` or `{ deny: CODE }`", findings)
        .and_then(|node| expectation::decode(node, catalog, findings));
    let setting = Setting { catalog, anonymous: fields.get("tenant").is_none() };
    let then = fields.get("then").map_or(Some(Vec::new()), |node| steps(node, setting, at, findings));
    let location = findings.locate(node.place);
    let Known { tenant, used } = match tenant? {
        Some(known) => known,
        None => Known { tenant: None, used: BTreeMap::new() },
    };
    Some(Case {
        name: name?,
        file: location.file,
        line: location.span.map_or(1, |span| span.line),
        tenant,
        used,
        request: request?,
        at: at?,
        expect: expect?,
        then: then?,
    })
}

/// What the steps of a case are read with.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) catalog: Option<&'a Catalog>,
    /// The case names no tenant.
    pub(super) anonymous: bool,
}

/// Steps that a case may have: more than anybody reads.
const MOST_STEPS: usize = 1000;

fn steps(
    node: &Node,
    setting: Setting<'_>,
    at: Option<UnixMillis>,
    findings: &mut Findings<'_>,
) -> Option<Vec<Step>> {
    let items = list(node, "`then`", findings);
    if items.len() > MOST_STEPS {
        findings.error("too-many-steps", node.place, format!("a case has at most {MOST_STEPS} steps"));
        return None;
    }
    // As far as it is known beforehand.
    let mut clock = at;
    let mut steps = Vec::new();
    for item in items {
        let Some(fields) = Fields::read(item, "a step", schema::Step::KEYS, findings) else { continue };
        let after = fields
            .get("after")
            .map_or(Some(Vec::new()), |node| after::decode(node, setting, &mut clock, findings));
        let request = match fields.get("request") {
            Some(node) => case_request::decode(node, findings).map(Some),
            None => Some(None),
        };
        let expect = fields
            .need("expect", "`{ allow: true }` or `{ deny: CODE }`", findings)
            .and_then(|node| expectation::decode(node, setting.catalog, findings));
        let line = findings.locate(item.place).span.map_or(1, |span| span.line);
        if let (Some(after), Some(request), Some(expect)) = (after, request, expect) {
            steps.push(Step { line, after, request, expect });
        }
    }
    // One that could not be read is an error: no case is run then.
    Some(steps)
}

/// Reads an instant.
pub(super) fn instant(node: &Node, findings: &mut Findings<'_>) -> Option<UnixMillis> {
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

/// A kind of name: how it is called, which code says that one is not known, and which there are.
struct Names {
    code: &'static str,
    kind: &'static str,
    has: fn(&Catalog, &str) -> bool,
    all: fn(&Catalog) -> Vec<&str>,
}

/// Whether a name is declared, or nothing is known of what is; says so where it is not.
fn is_known(
    names: &Names,
    name: &str,
    place: Place,
    catalog: Option<&Catalog>,
    findings: &mut Findings<'_>,
) -> bool {
    let Some(catalog) = catalog.filter(|catalog| !(names.has)(catalog, name)) else { return true };
    let shown: String = name.chars().take(80).collect();
    let help = findings.suggest(place, name, (names.all)(catalog).iter().copied());
    findings.error_help(names.code, place, format!("unknown {} `{shown}`", names.kind), help);
    false
}

pub(super) fn is_meter(name: &Name, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> bool {
    let names = Names {
        code: "unknown-meter",
        kind: "meter",
        has: |c, name| c.meter_ix(name).is_some(),
        all: |c| c.meters.iter().map(|m| m.id.as_str()).collect(),
    };
    is_known(&names, &name.value, name.place, catalog, findings)
}

pub(super) fn is_limit(name: &Name, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> bool {
    let names = Names {
        code: "unknown-limit",
        kind: "limit",
        has: Catalog::has_limit,
        all: |c| c.limits.iter().map(|l| l.id.as_str()).collect(),
    };
    is_known(&names, &name.value, name.place, catalog, findings)
}

pub(super) fn is_feature(name: &Name, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> bool {
    let names = Names {
        code: "unknown-feature",
        kind: "feature",
        has: |c, name| c.feature_ix(name).is_some(),
        all: |c| c.features.iter().map(|f| f.id.as_str()).collect(),
    };
    is_known(&names, &name.value, name.place, catalog, findings)
}

pub(super) fn is_plan(name: &Name, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> bool {
    let names = Names {
        code: "unknown-plan",
        kind: "plan",
        has: |c, name| c.plan(name).is_some(),
        all: |c| c.plans.keys().map(PlanId::as_str).collect(),
    };
    is_known(&names, &name.value, name.place, catalog, findings)
}

pub(super) fn is_addon(name: &Name, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> bool {
    let names = Names {
        code: "unknown-addon",
        kind: "add-on",
        has: |c, name| c.addon(name).is_some(),
        all: |c| c.addons.keys().map(AddonId::as_str).collect(),
    };
    is_known(&names, &name.value, name.place, catalog, findings)
}
