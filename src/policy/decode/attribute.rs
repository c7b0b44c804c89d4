//! The attributes that `features.yaml` declares: what tenants may be told apart by.

use std::collections::BTreeMap;

use super::{Fields, named, names, scalar};
use crate::domain::attributes::{AttributeName, AttributeValue};
use crate::policy::{
    condition::{AttributeKind, AttributeTerms},
    diagnostic::Findings,
    schema, suggest,
    tree::Node,
};

/// The most of them.
const MOST: usize = 256;
const KINDS: [AttributeKind; 3] = [AttributeKind::Text, AttributeKind::Number, AttributeKind::Flag];

/// Reads the section.
pub(super) fn decode(node: &Node, findings: &mut Findings<'_>) -> BTreeMap<String, AttributeTerms> {
    let entries = named(node, "`attributes`", findings);
    if entries.len() > MOST {
        let message = format!("`attributes` has more than {MOST} names");
        findings.error("too-many-names", node.place, message);
    }
    let mut out = BTreeMap::new();
    for (name, node) in entries {
        if let Err(error) = AttributeName::parse(&name.value) {
            findings.error("invalid-id", name.place, error.to_string());
        }
        // What is wrong with it is said here; its use is right all the same.
        out.insert(name.value, terms(node, findings));
    }
    out
}

fn terms(node: &Node, findings: &mut Findings<'_>) -> AttributeTerms {
    let mut terms = AttributeTerms { kind: AttributeKind::Text, values: Vec::new() };
    // A bare name (`region:`) is a text.
    if node.is_null() {
        return terms;
    }
    let Some(fields) = Fields::read(node, "an attribute", schema::Attribute::KEYS, findings) else {
        return terms;
    };
    if let Some(title) = fields.get("title") {
        scalar::line(title, "the title", findings);
    }
    if let Some(node) = fields.get("type") {
        let text = scalar::text(node, "`string`, `number` or `bool` for `type`", findings);
        match text.and_then(|text| KINDS.into_iter().find(|kind| kind.as_str() == text)) {
            Some(kind) => terms.kind = kind,
            None => {
                if let Some(text) = text {
                    let message = format!(
                        "expected `string`, `number` or `bool` for `type`, found {}",
                        node.describe()
                    );
                    let help = suggest::help(text, KINDS.map(AttributeKind::as_str));
                    findings.error_help("invalid-attribute", node.place, message, help);
                }
            }
        }
    }
    if let Some(node) = fields.get("values") {
        if terms.kind != AttributeKind::Text {
            let message = format!("a {} has no list of values", terms.kind.as_str());
            let help = "remove it, or write `type: string`".to_owned();
            findings.error_help("invalid-attribute", node.place, message, help);
            return terms;
        }
        for name in names(node, "`values`", findings) {
            if let Err(error) = AttributeValue::text(&name.value) {
                findings.error("invalid-attribute", name.place, error.to_string());
            }
            terms.values.push(name.value);
        }
    }
    terms
}
