//! What a case expects: `{ allow: true, charge: {..} }` or `{ deny: CODE, .. }`.

use std::collections::BTreeMap;

use super::{
    Fields,
    after_value::window,
    case::{is_feature, is_limit, is_meter},
    named, scalar,
};
use crate::domain::{
    catalog::Catalog,
    units::{Allowance, Units},
};
use crate::policy::{
    definition::Name,
    diagnostic::Findings,
    outcome::{CODES, Expect, status},
    schema, suggest,
    tree::Node,
};

/// Codes of answers that depend on more than the policies.
const BEYOND: [&str; 12] = [
    "credential-invalid",
    "credential-expired",
    "credential-ambiguous",
    "request-malformed",
    "head-too-large",
    "tenant-unknown",
    "ledger-unavailable",
    "rights-unavailable",
    "overloaded",
    "upstream-unreachable",
    "upstream-timeout",
    "internal-error",
];

/// Reads an expectation.
pub(super) fn decode(node: &Node, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> Option<Expect> {
    let fields = Fields::read(node, "an expectation", schema::Expectation::KEYS, findings)?;
    match (fields.get("allow"), fields.get("deny")) {
        (Some(allow), None) => {
            for key in ["status", "meter", "feature", "window"] {
                if let Some(place) = fields.key_place(key) {
                    findings.error(
                        "contradiction",
                        place,
                        format!("`{key}` goes with `deny`, not with `allow`"),
                    );
                }
            }
            if !scalar::truth(allow, "`allow`", findings)? {
                let help = "write `deny: CODE`".to_owned();
                findings.error_help("contradiction", allow.place, "`allow: false` does not say why", help);
                return None;
            }
            let charge = fields.get("charge").map(|node| charge(node, catalog, findings));
            let limits = fields.get("limits").map(|node| limits(node, catalog, findings));
            Some(Expect::Allow { charge, limits })
        }
        (None, Some(deny)) => {
            if let Some(place) = fields.key_place("charge") {
                findings.error("contradiction", place, "a refused request is not charged");
            }
            if let Some(place) = fields.key_place("limits") {
                findings.error("contradiction", place, "`limits` goes with `allow`, not with `deny`");
            }
            self::deny(deny, &fields, catalog, findings)
        }
        (Some(_), Some(deny)) => {
            findings.error("contradiction", deny.place, "both `allow` and `deny`");
            None
        }
        (None, None) => {
            findings.error("missing-key", fields.place, "an expectation lacks `allow: true` or `deny: CODE`");
            None
        }
    }
}

fn charge(node: &Node, catalog: Option<&Catalog>, findings: &mut Findings<'_>) -> BTreeMap<String, Units> {
    let mut out = BTreeMap::new();
    for (name, node) in named(node, "`charge`", findings) {
        if is_meter(&name, catalog, findings)
            && let Some(units) = scalar::units(node, "a charge", 0, findings)
        {
            out.insert(name.value, units);
        }
    }
    out
}

fn limits(
    node: &Node,
    catalog: Option<&Catalog>,
    findings: &mut Findings<'_>,
) -> BTreeMap<String, Allowance> {
    let mut out = BTreeMap::new();
    for (name, node) in named(node, "`limits`", findings) {
        if is_limit(&name, catalog, findings)
            && let Some(limit) = scalar::allowance(node, "a limit", findings)
        {
            out.insert(name.value, limit);
        }
    }
    out
}

fn deny(
    node: &Node,
    fields: &Fields<'_>,
    catalog: Option<&Catalog>,
    findings: &mut Findings<'_>,
) -> Option<Expect> {
    let text = scalar::text(node, "a code for `deny`", findings)?;
    let code = CODES.iter().map(|(code, _)| *code).find(|code| *code == text);
    if code.is_none() {
        if BEYOND.contains(&text) {
            let message = format!("`{text}` depends on more than the policies: no case can lead to it");
            findings.error("unknown-code", node.place, message);
        } else {
            let help = suggest::help(text, CODES.map(|(code, _)| code));
            findings.error_help(
                "unknown-code",
                node.place,
                format!("unknown code {}", node.describe()),
                help,
            );
        }
    }
    let wanted = fields
        .get("status")
        .and_then(|node| Some((node.place, scalar::whole(node, "`status`", (400, 599), findings)?)));
    if let (Some(code), Some((place, wanted))) = (code, wanted)
        && wanted != u64::from(status(code))
    {
        let help = format!("write {}", status(code));
        findings.error_help(
            "contradiction",
            place,
            format!("`{code}` is never answered with {wanted}"),
            help,
        );
    }
    let mut name = |key: &str, check: fn(&Name, Option<&Catalog>, &mut Findings<'_>) -> bool| {
        let node = fields.get(key)?;
        let value = scalar::text(node, "a name", findings)?.to_owned();
        let name = Name { value, place: node.place };
        check(&name, catalog, findings).then_some(name.value)
    };
    let (meter, feature) = (name("meter", is_meter), name("feature", is_feature));
    let window = fields.get("window").and_then(|node| window(node, "a window", findings));
    let status = wanted.and_then(|(_, wanted)| u16::try_from(wanted).ok());
    Some(Expect::Deny { code: code?, status, meter, feature, window })
}
