//! `cases/*.yaml`: examples that must hold. Their shape is told in the module on cases.

use std::collections::BTreeMap;

use super::{Fields, expectation, list, named, quota, route_text, scalar};
use crate::domain::{
    catalog::Catalog,
    id::{FeatureId, LimitId, MeterId, PlanId, TenantId},
    period::{AnchorDay, Window, Zone},
    plan::{PlanRef, PlanVersion},
    subscription::Subscription,
    tenant::{Overrides, Tenant},
    time::{UnixMillis, Version},
    units::Units,
};
use crate::policy::{
    case::Case,
    definition::Name,
    diagnostic::Findings,
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
    let Some(fields) = Fields::read(root, "a file of cases", &["cases"], findings) else { return Vec::new() };
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
    let fields = Fields::read(node, "a case", &["name", "tenant", "request", "at", "expect"], findings)?;
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

type Used = BTreeMap<(String, Window), Units>;

fn tenant(node: &Node, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> Option<(Tenant, Used)> {
    let keys = ["plan", "used", "overrides", "timezone", "anchor_day", "suspended"];
    let fields = Fields::read(node, "a tenant", &keys, findings)?;
    let plan = match fields.get("plan") {
        Some(node) => plan(node, catalog, findings).map(Some),
        None => Some(None),
    };
    let used = fields.get("used").map(|node| used(node, catalog, findings)).unwrap_or_default();
    let overrides =
        fields.get("overrides").map(|node| overrides(node, catalog, findings)).unwrap_or_default();
    let zone = match fields.get("timezone") {
        Some(node) => scalar::text(node, "a time zone", findings).and_then(|text| {
            Zone::named(text).map_err(|e| findings.error("invalid-timezone", node.place, e.to_string())).ok()
        }),
        None => Some(Zone::UTC),
    };
    let anchor = match fields.get("anchor_day") {
        Some(node) => scalar::whole(node, "`anchor_day`", (1, 31), findings),
        None => Some(1),
    };
    let suspended = fields.get("suspended").and_then(|node| scalar::truth(node, "`suspended`", findings));
    let anchor = AnchorDay::new(i64::try_from(anchor?).ok()?).ok()?;
    let mut tenant = Tenant::new(TenantId::parse("case").ok()?, UnixMillis(0));
    tenant.zone = zone?;
    tenant.suspended = suspended.unwrap_or(false);
    tenant.subscription = plan?.map(|plan| Subscription::active(plan, anchor, Version(1), UnixMillis(0)));
    tenant.overrides = overrides;
    tenant.version = Version(1);
    Some((tenant, used))
}

fn plan(node: &Node, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> Option<PlanRef> {
    let text = scalar::text(node, "a plan", findings)?;
    let known = catalog.map(|c| c.plans.keys().map(PlanId::as_str).collect());
    is_known("unknown-plan", "plan", text, node.place, known, findings).then_some(())?;
    let id = PlanId::parse(text).ok()?;
    let version = catalog.and_then(|c| c.plan(text)).map_or(PlanVersion::FIRST, |plan| plan.version);
    Some(PlanRef { id, version })
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

pub(super) fn is_feature(name: &Name, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> bool {
    let known = catalog.map(|c| c.features.iter().map(|f| f.id.as_str()).collect());
    is_known("unknown-feature", "feature", &name.value, name.place, known, findings)
}

fn used(node: &Node, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> Used {
    let mut out = Used::new();
    for (name, node) in named(node, "`used`", findings) {
        if !is_meter(&name, catalog, findings) {
            continue;
        }
        if let Value::Map(_) = &node.value {
            let Some(fields) = Fields::read(node, "`used`", &["month", "week", "day", "hour"], findings)
            else {
                continue;
            };
            for window in Window::ALL {
                if let Some(units) = fields
                    .get(window.as_str())
                    .and_then(|node| scalar::units(node, "units used", 0, findings))
                {
                    out.insert((name.value.clone(), window), units);
                }
            }
        } else if let Some(units) = scalar::units(node, "units used in the month", 0, findings) {
            out.insert((name.value, Window::Month), units);
        }
    }
    out
}

fn overrides(node: &Node, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> Overrides {
    let mut out = Overrides::default();
    let keys = ["features", "limits", "quotas", "rates"];
    let Some(fields) = Fields::read(node, "`overrides`", &keys, findings) else { return out };
    let mut section = |key: &'static str| match fields.get(key) {
        Some(node) => named(node, &format!("`{key}`"), findings),
        None => Vec::new(),
    };
    let (features, limits, quotas, rates) =
        (section("features"), section("limits"), section("quotas"), section("rates"));
    for (name, node) in features {
        if is_feature(&name, catalog, findings)
            && let Some(on) = scalar::truth(node, "a feature", findings)
            && let Ok(id) = FeatureId::parse(&name.value)
        {
            out.features.insert(id, on);
        }
    }
    for (name, node) in limits {
        let known = catalog.map(|c| c.limits.iter().map(|l| l.id.as_str()).collect());
        if is_known("unknown-limit", "limit", &name.value, name.place, known, findings)
            && let Some(limit) = scalar::allowance(node, "a limit", findings)
            && let Ok(id) = LimitId::parse(&name.value)
        {
            out.limits.insert(id, limit);
        }
    }
    for (name, node) in quotas {
        if is_meter(&name, catalog, findings)
            && let Some(quota) = quota::quota(node, findings)
            && let Ok(id) = MeterId::parse(&name.value)
        {
            out.quotas.insert(id, quota);
        }
    }
    for (name, node) in rates {
        if is_meter(&name, catalog, findings)
            && let Some(rate) = quota::rate(node, findings)
            && let Ok(id) = MeterId::parse(&name.value)
        {
            out.rates.insert(id, rate);
        }
    }
    out
}
