//! `plans/*.yaml`: one plan a file.

use std::collections::BTreeMap;

use super::{Fields, named, names, quota, scalar};
use crate::domain::{
    id::PlanId,
    money::{Currency, Price},
};
use crate::policy::{
    definition::{At, Name, PlanFile, TrialTerms},
    diagnostic::Findings,
    source::{FileIx, Place},
    tree::{Node, Value},
};

const KEYS: [&str; 10] =
    ["plan", "title", "extends", "price", "trial", "features", "without", "limits", "quotas", "rates"];

/// The word after `then:` that ends a trial without a plan; so no plan may be called so.
const BLOCK: &str = "block";

/// The plan's name by its file's.
pub(in crate::policy) fn stem(file: &str) -> &str {
    file.strip_prefix("plans/").and_then(|name| name.strip_suffix(".yaml")).unwrap_or(file)
}

/// Reads a plan. `None` where not even its name is clear.
pub(in crate::policy) fn decode(
    file: FileIx,
    name: &str,
    root: &Node,
    findings: &mut Findings<'_>,
) -> Option<PlanFile> {
    let fields = Fields::read(root, "a plan", &KEYS, findings)?;
    let id = id(file, name, &fields, findings);
    let title = fields.get("title").and_then(|node| scalar::line(node, "the title", findings));
    let extends = fields.get("extends").and_then(|node| parent(node, findings));
    let price = fields.get("price").and_then(|node| price(node, findings));
    let trial = fields.get("trial").and_then(|node| trial(node, findings));
    let mut list = |key: &'static str| match fields.get(key) {
        Some(node) => names(node, &format!("`{key}`"), findings),
        None => Vec::new(),
    };
    let (features, without) = (list("features"), list("without"));
    contradictions(&features, &without, findings);
    let limits =
        section(&fields, "limits", findings, |node, findings| scalar::allowance(node, "a limit", findings));
    let quotas = section(&fields, "quotas", findings, quota::quota);
    let rates = section(&fields, "rates", findings, quota::rate);
    let id = id?;
    Some(PlanFile { id, title, extends, price, trial, features, without, limits, quotas, rates })
}

fn section<T>(
    fields: &Fields<'_>,
    key: &str,
    findings: &mut Findings<'_>,
    read: impl Fn(&Node, &mut Findings<'_>) -> Option<T>,
) -> Vec<(Name, T)> {
    let Some(node) = fields.get(key) else { return Vec::new() };
    let entries = named(node, &format!("`{key}`"), findings);
    entries.into_iter().filter_map(|(name, node)| Some((name, read(node, findings)?))).collect()
}

fn id(file: FileIx, name: &str, fields: &Fields<'_>, findings: &mut Findings<'_>) -> Option<PlanId> {
    let stem = stem(name);
    let top = fields.key_place("plan").unwrap_or(Place::new(file, 0, 0));
    let id = match PlanId::parse(stem) {
        Ok(id) if stem == BLOCK => {
            findings.error(
                "invalid-id",
                top,
                "no plan may be named `block`: a trial's `then: block` means none",
            );
            Some(id)
        }
        Ok(id) => Some(id),
        Err(error) => {
            findings.error_help("invalid-id", top, error.to_string(), "rename the file".to_owned());
            None
        }
    };
    if let Some(node) = fields.need("plan", &format!("`plan: {stem}`, the file's name"), findings)
        && let Some(text) = scalar::text(node, "the plan's id", findings)
        && text != stem
        && id.is_some()
    {
        let message = format!("the plan is named {}, its file `{stem}.yaml`", node.describe());
        let help = format!("write `plan: {stem}`, or rename the file");
        findings.error_help("plan-name-mismatch", node.place, message, help);
    }
    id
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

fn price(node: &Node, findings: &mut Findings<'_>) -> Option<Price> {
    let help = "write `price: { amount: \"19.00\", currency: USD }`".to_owned();
    if matches!(node.value, Value::Scalar { .. }) {
        return scalar::wrong(node, "a map for `price`", Some(help), findings);
    }
    let fields = Fields::read(node, "a price", &["amount", "currency"], findings)?;
    let amount = fields.need("amount", "a quoted decimal such as \"19.00\"", findings);
    let amount = amount.and_then(|node| scalar::amount(node, "`amount`", findings));
    let currency = fields.need("currency", "three letters such as USD", findings).and_then(|node| {
        let text = scalar::text(node, "a currency such as USD", findings)?;
        let parsed = text.parse::<Currency>();
        if let Err(error) = &parsed {
            let upper = text.to_ascii_uppercase();
            let help =
                (upper != text && upper.parse::<Currency>().is_ok()).then(|| format!("write `{upper}`"));
            findings.error_help("invalid-currency", node.place, error.to_string(), help);
        }
        parsed.ok()
    });
    Some(Price { amount: amount?, currency: currency? })
}

fn trial(node: &Node, findings: &mut Findings<'_>) -> Option<TrialTerms> {
    let fields = Fields::read(node, "a trial", &["days", "then"], findings)?;
    let days = fields
        .need("days", "a number of days", findings)
        .and_then(|node| scalar::whole(node, "`days`", (1, 3650), findings))
        .and_then(|days| u16::try_from(days).ok());
    let then = fields.need("then", "a plan, or `block`", findings).and_then(|node| {
        let text = scalar::text(node, "a plan, or `block`, for `then`", findings)?;
        Some((text != BLOCK).then(|| At { value: text.to_owned(), place: node.place }))
    });
    Some(TrialTerms { days: days?, then: then? })
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
