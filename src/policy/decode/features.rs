//! `features.yaml`: what features, limits and meters there are.

use super::{Fields, named, scalar};
use crate::domain::id::{FeatureId, InvalidId, LimitId, MeterId};
use crate::policy::{
    definition::{Declarations, Declared},
    diagnostic::Findings,
    yaml::Node,
};

/// The most names of one kind. A tenant's rights hold a place for each.
const MOST_FEATURES: usize = 4096;
const MOST_METERS: usize = 256;

/// Reads the file.
pub(in crate::policy) fn decode(root: &Node, findings: &mut Findings<'_>) -> Declarations {
    let Some(fields) = Fields::read(root, "features.yaml", &["features", "limits", "meters"], findings)
    else {
        return Declarations::default();
    };
    let mut found = Declarations::default();
    if let Some(node) = fields.get("features") {
        found.features = section(node, "`features`", MOST_FEATURES, &["title"], FeatureId::parse, findings);
    }
    if let Some(node) = fields.get("limits") {
        found.limits = section(node, "`limits`", MOST_FEATURES, &["title"], LimitId::parse, findings);
    }
    if let Some(node) = fields.get("meters") {
        found.meters = section(node, "`meters`", MOST_METERS, &["title", "unit"], MeterId::parse, findings);
    }
    found
}

fn section<I>(
    node: &Node,
    what: &'static str,
    most: usize,
    keys: &[&'static str],
    parse: fn(&str) -> Result<I, InvalidId>,
    findings: &mut Findings<'_>,
) -> Vec<Declared<I>> {
    let entries = named(node, what, findings);
    if entries.len() > most {
        findings.error("too-many-names", node.place, format!("{what} has more than {most} names"));
    }
    let mut out = Vec::new();
    for (name, value) in entries {
        let id = parse(&name.value);
        // A bare name (`chat:`) is a declaration without a title.
        let fields =
            if value.is_null() { None } else { Fields::read(value, "a declaration", keys, findings) };
        let line = |key: &str, findings: &mut Findings<'_>| {
            scalar::line(fields.as_ref()?.get(key)?, &format!("the {key}"), findings)
        };
        let (title, unit) = (line("title", findings), line("unit", findings));
        match id {
            Ok(id) => out.push(Declared { id, place: name.place, title, unit }),
            Err(error) => findings.error("invalid-id", name.place, error.to_string()),
        }
    }
    out
}
