//! `addons/*.yaml`: one add-on a file.

use super::{Fields, names, own_name, plan::section, price::price, quota, scalar};
use crate::domain::id::AddonId;
use crate::policy::{
    definition::AddonFile,
    diagnostic::Findings,
    schema,
    source::{FileIx, Place},
    tree::Node,
};

const ADDON: own_name::Naming<AddonId> = own_name::Naming {
    key: "addon",
    whose: "the add-on",
    mismatch: "addon-name-mismatch",
    parse: AddonId::parse,
};

/// Reads an add-on. `None` where not even its name is clear.
pub(in crate::policy) fn decode(
    file: FileIx,
    name: &str,
    root: &Node,
    findings: &mut Findings<'_>,
) -> Option<AddonFile> {
    let fields = Fields::read(root, "an add-on", schema::Addon::KEYS, findings)?;
    let id = own_name::read(file, name, &fields, &ADDON, findings);
    let title = fields.get("title").and_then(|node| scalar::line(node, "the title", findings));
    let price = fields.get("price").and_then(|node| price(node, findings));
    let mut list = |key: &'static str| match fields.get(key) {
        Some(node) => names(node, &format!("`{key}`"), findings),
        None => Vec::new(),
    };
    let (plans, features) = (list("plans"), list("features"));
    if let Some(node) = fields.get("plans").filter(|node| node.is_empty_list()) {
        let message = "`plans` is empty: the add-on would go with no plan";
        let help = "leave `plans` out where it goes with every plan".to_owned();
        findings.error_help("empty-list", node.place, message, help);
    }
    let limits =
        section(&fields, "limits", findings, |node, findings| scalar::allowance(node, "a limit", findings));
    let quotas = section(&fields, "quotas", findings, quota::added);
    let place = fields.get("addon").map_or(Place::new(file, 0, 0), |node| node.place);
    Some(AddonFile { id: id?, place, title, price, plans, features, limits, quotas })
}
