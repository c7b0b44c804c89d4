//! `plans/*.yaml`: one plan a file.

use std::collections::BTreeMap;

use super::{Fields, life, named, names, own_name, price::price, quota, rate, scalar, spend};
use crate::domain::{id::PlanId, plan::PlanVersion};
use crate::policy::{
    definition::{At, Name, PlanFile},
    diagnostic::Findings,
    schema,
    source::{FileIx, Place},
    tree::{Node, Value},
};

const PLAN: own_name::Naming<PlanId> =
    own_name::Naming { key: "plan", whose: "the plan", mismatch: "plan-name-mismatch", parse: PlanId::parse };

/// Reads a plan. `None` where not even its name is clear.
pub(in crate::policy) fn decode(
    file: FileIx,
    name: &str,
    root: &Node,
    findings: &mut Findings<'_>,
) -> Option<PlanFile> {
    let fields = Fields::read(root, "a plan", schema::Plan::KEYS, findings)?;
    let id = own_name::read(file, name, &fields, &PLAN, findings);
    if id.as_ref().is_some_and(|id| id.as_str() == life::BLOCK) {
        let top = fields.key_place("plan").unwrap_or(Place::new(file, 0, 0));
        findings.error("invalid-id", top, "no plan may be named `block`: a trial's `then: block` means none");
    }
    let title = fields.get("title").and_then(|node| scalar::line(node, "the title", findings));
    let extends = fields.get("extends").and_then(|node| parent(node, findings));
    let price = fields.get("price").and_then(|node| price(node, findings));
    let spend_cap = fields.get("spend_cap").and_then(|node| spend::spend_cap(node, findings));
    let version = fields.get("version").and_then(|node| life::version(node, findings));
    let existing = fields.get("existing").and_then(|node| life::existing(node, findings));
    let trial = fields.get("trial").and_then(|node| life::trial(node, findings));
    let grace_days = fields.get("grace").and_then(|node| life::grace(node, findings));
    let changes = fields.get("changes").and_then(|node| life::changes(node, findings));
    let warn_at = fields.get("warn_at").and_then(|node| life::warn_at(node, findings));
    let mut list = |key: &'static str| match fields.get(key) {
        Some(node) => names(node, &format!("`{key}`"), findings),
        None => Vec::new(),
    };
    let (features, without) = (list("features"), list("without"));
    contradictions(&features, &without, findings);
    let limits =
        section(&fields, "limits", findings, |node, findings| scalar::allowance(node, "a limit", findings));
    let quotas = section(&fields, "quotas", findings, quota::quota);
    let rates = section(&fields, "rates", findings, rate::rate);
    let place = fields.get("plan").map_or(Place::new(file, 0, 0), |node| node.place);
    Some(PlanFile {
        id: id?,
        place,
        keys: schema::Plan::KEYS.iter().filter_map(|key| Some((*key, fields.key_place(key)?))).collect(),
        version: version.unwrap_or(PlanVersion::FIRST),
        existing,
        title,
        extends,
        price,
        spend_cap,
        trial,
        grace_days,
        changes,
        warn_at,
        features,
        without,
        limits,
        quotas,
        rates,
    })
}

/// A map from names to something, under a key.
pub(super) fn section<T>(
    fields: &Fields<'_>,
    key: &str,
    findings: &mut Findings<'_>,
    read: impl Fn(&Node, &mut Findings<'_>) -> Option<T>,
) -> Vec<(Name, T)> {
    let Some(node) = fields.get(key) else { return Vec::new() };
    let entries = named(node, &format!("`{key}`"), findings);
    entries.into_iter().filter_map(|(name, node)| Some((name, read(node, findings)?))).collect()
}

fn parent(node: &Node, findings: &mut Findings<'_>) -> Option<Name> {
    if let Value::Seq(_) = &node.value {
        return scalar::wrong(
            node,
            "one plan for `extends`",
            Some("a plan has one parent".to_owned()),
            findings,
        );
    }
    let text = scalar::text(node, "a plan for `extends`", findings)?;
    Some(At { value: text.to_owned(), place: node.place })
}

fn contradictions(features: &[Name], without: &[Name], findings: &mut Findings<'_>) {
    let given: BTreeMap<&str, Place> =
        features.iter().map(|name| (name.value.as_str(), name.place)).collect();
    for name in without {
        if let Some(given) = given.get(name.value.as_str()) {
            let other = findings.locate(*given);
            let message = format!("`{}` is both given and taken away", name.value);
            let finding = findings.error_at("contradiction", name.place, message);
            findings.push(finding.related(other, "given here"));
        }
    }
}
