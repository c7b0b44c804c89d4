//! From YAML trees to definitions, by hand: every mistake is reported, with its place, and the rest is still read.

pub(super) mod addon;
mod after;
mod after_value;
mod attribute;
pub(super) mod case;
mod case_request;
mod case_tenant;
mod expectation;
pub(super) mod features;
mod life;
pub(super) mod own_name;
pub(super) mod plan;
mod price;
mod quota;
mod rate;
mod reserve;
mod route_text;
pub(super) mod routes;
mod scalar;
mod spend;
pub(super) mod stripe;

use std::rc::Rc;

use super::{
    definition::{At, Name},
    diagnostic::Findings,
    source::Place,
    suggest,
    tree::{Node, Value},
};

/// Words that a later version will give a meaning to.
const RESERVED: [&str; 3] = ["host", "upstream", "by"];

/// A map whose keys are known beforehand.
pub(super) struct Fields<'t> {
    pub(super) place: Place,
    what: &'static str,
    /// Keys that were not known.
    pub(super) unknown: usize,
    /// What some of these were meant to be: nobody needs to be told that it is missing as well.
    meant: Vec<&'static str>,
    entries: Vec<(&'t str, &'t Node, &'t Node)>,
}

impl<'t> Fields<'t> {
    /// Reads `node` as a map with some of `keys`; `what` names it in messages, with its article.
    pub(super) fn read(
        node: &'t Node,
        what: &'static str,
        keys: &[&'static str],
        findings: &mut Findings<'_>,
    ) -> Option<Self> {
        let found = map(node, what, None, findings)?;
        let (mut entries, mut meant) = (Vec::new(), Vec::new());
        for (key, value) in found {
            let Value::Scalar { text, .. } = &key.value else { continue };
            if keys.contains(&text.as_str()) {
                entries.push((text.as_str(), &**key, &**value));
            } else if RESERVED.contains(&text.as_str()) {
                let message = format!("the key `{text}` is reserved for later");
                findings.error_help("reserved-key", key.place, message, "remove it".to_owned());
            } else {
                let message = format!("unknown key {} in {what}", key.describe());
                meant.extend(suggest::nearest(text, keys.iter().copied()));
                findings.error_help(
                    "unknown-key",
                    key.place,
                    message,
                    suggest::help(text, keys.iter().copied()),
                );
            }
        }
        let unknown = found.len() - entries.len();
        Some(Self { place: node.place, what, unknown, meant, entries })
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &str) -> Option<&'t Node> {
        self.entries.iter().find(|(name, ..)| *name == key).map(|(.., value)| *value)
    }

    /// Where a key stands, if it does.
    pub(super) fn key_place(&self, key: &str) -> Option<Place> {
        self.entries.iter().find(|(name, ..)| *name == key).map(|(_, at, _)| at.place)
    }

    /// The value of a key that must be there.
    pub(super) fn need(&self, key: &str, expected: &str, findings: &mut Findings<'_>) -> Option<&'t Node> {
        let found = self.get(key);
        if found.is_none() && !self.meant.contains(&key) {
            let message = format!("{} lacks `{key}`: expected {expected}", self.what);
            findings.error("missing-key", self.place, message);
        }
        found
    }
}

/// The entries of a map.
fn map<'t>(
    node: &'t Node,
    what: &str,
    help: Option<String>,
    findings: &mut Findings<'_>,
) -> Option<&'t [(Rc<Node>, Rc<Node>)]> {
    if let Value::Map(entries) = &node.value {
        return Some(entries);
    }
    findings.error_help(
        "wrong-type",
        node.place,
        format!("{what}: expected a map, found {}", node.describe()),
        help,
    );
    None
}

/// A map from names to something: each name with its place, and the value.
pub(super) fn named<'t>(node: &'t Node, what: &str, findings: &mut Findings<'_>) -> Vec<(Name, &'t Node)> {
    let mut out = Vec::new();
    let help = node.is_null().then(|| "write `{}` where it is meant to be empty".to_owned());
    for (key, value) in map(node, what, help, findings).unwrap_or_default() {
        if let Some(text) = scalar::text(key, "a name", findings) {
            out.push((At { value: text.to_owned(), place: key.place }, &**value));
        }
    }
    out
}

/// The items of a list.
pub(super) fn list<'t>(node: &'t Node, what: &str, findings: &mut Findings<'_>) -> &'t [Rc<Node>] {
    if let Value::Seq(items) = &node.value {
        return items;
    }
    let help = match &node.value {
        Value::Scalar { text, .. } if !node.is_null() && text.len() < 64 => Some(format!("write `[{text}]`")),
        Value::Scalar { .. } => Some("write `[]` where it is meant to be empty".to_owned()),
        _ => None,
    };
    findings.error_help(
        "wrong-type",
        node.place,
        format!("{what}: expected a list, found {}", node.describe()),
        help,
    );
    &[]
}

/// A list of names, none twice.
pub(super) fn names(node: &Node, what: &str, findings: &mut Findings<'_>) -> Vec<Name> {
    let mut out: Vec<Name> = Vec::new();
    let mut seen = std::collections::BTreeMap::new();
    for item in list(node, what, findings) {
        let Some(text) = scalar::text(item, "a name", findings) else { continue };
        if let Some(first) = seen.insert(text, item.place) {
            let other = findings.locate(first);
            let finding =
                findings.error_at("duplicate-name", item.place, format!("`{text}` stands twice in {what}"));
            findings.push(finding.related(other, "first here"));
        } else {
            out.push(At { value: text.to_owned(), place: item.place });
        }
    }
    out
}
