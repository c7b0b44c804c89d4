//! `features.yaml`: what features, limits and meters there are.

use std::collections::BTreeSet;

use super::{Fields, attribute, named, scalar};
use crate::domain::id::{FeatureId, InvalidId, LimitId, MeterId};
use crate::policy::{
    definition::{Declarations, Declared},
    diagnostic::Findings,
    schema, suggest,
    tree::{Node, Value},
};

/// The most names of one kind. A tenant's rights hold a place for each.
const MOST_FEATURES: usize = 4096;
const MOST_METERS: usize = 256;

/// Reads the file.
pub(in crate::policy) fn decode(root: &Node, findings: &mut Findings<'_>) -> Declarations {
    let mut found = Declarations::default();
    let Some(fields) = Fields::read(root, "features.yaml", schema::Features::KEYS, findings) else {
        found.unread.extend(SECTIONS);
        return found;
    };
    if let Some(node) = fields.get("attributes") {
        found.attributes = Some(attribute::decode(node, findings));
    }
    for section in SECTIONS {
        // A section that is missing beside an unknown key is most likely that key.
        let absent = fields.get(section).is_none() && fields.unknown > 0;
        let broken = fields.get(section).is_some_and(|node| !matches!(node.value, Value::Map(_)));
        if absent || broken {
            found.unread.insert(section);
        }
    }
    let doubtful = &mut found.doubtful;
    if let Some(node) = fields.get("features") {
        let of = Section {
            what: "`features`",
            most: MOST_FEATURES,
            keys: schema::Declaration::KEYS,
            parse: FeatureId::parse,
        };
        found.features = of.read(node, doubtful, findings);
    }
    if let Some(node) = fields.get("limits") {
        let of = Section {
            what: "`limits`",
            most: MOST_FEATURES,
            keys: schema::Declaration::KEYS,
            parse: LimitId::parse,
        };
        found.limits = of.read(node, doubtful, findings);
    }
    if let Some(node) = fields.get("meters") {
        let of =
            Section { what: "`meters`", most: MOST_METERS, keys: schema::Meter::KEYS, parse: MeterId::parse };
        found.meters = of.read(node, doubtful, findings);
    }
    found
}

/// What others refer to by names.
const SECTIONS: [&str; 3] = ["features", "limits", "meters"];

struct Section<I> {
    what: &'static str,
    most: usize,
    keys: &'static [&'static str],
    parse: fn(&str) -> Result<I, InvalidId>,
}

impl<I> Section<I> {
    fn read(
        &self,
        node: &Node,
        doubtful: &mut BTreeSet<String>,
        findings: &mut Findings<'_>,
    ) -> Vec<Declared<I>> {
        let entries = named(node, self.what, findings);
        if entries.len() > self.most {
            let message = format!("{} has more than {} names", self.what, self.most);
            let help =
                "a plan's rights hold a place for each: declare only what routes or plans need".to_owned();
            findings.error_help("too-many-names", node.place, message, help);
        }
        let mut out = Vec::new();
        for (name, value) in entries {
            // A bare name (`chat:`) is a declaration without a title.
            let fields = if value.is_null() {
                None
            } else {
                Fields::read(value, "a declaration", self.keys, findings)
            };
            let line = |key: &str, findings: &mut Findings<'_>| {
                scalar::line(fields.as_ref()?.get(key)?, &format!("the {key}"), findings)
            };
            let (title, unit) = (line("title", findings), line("unit", findings));
            match (self.parse)(&name.value) {
                Ok(id) => out.push(Declared { id, place: name.place, title, unit }),
                Err(error) => {
                    let help = suggest::as_name(&name.value, self.parse);
                    findings.error_help("invalid-id", name.place, error.to_string(), help);
                    doubtful.insert(name.value);
                }
            }
        }
        out
    }
}
