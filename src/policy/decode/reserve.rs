//! Charges known only after the answer: `{ reserve: 4096, from: { header: x-usage-ai-tokens } }`.

use super::{Fields, scalar};
use crate::domain::settlement::CostHeader;
use crate::policy::{
    definition::ChargeTerms,
    diagnostic::Findings,
    schema,
    tree::{Node, Value},
};

/// Reads a reserve. All of its mistakes are reported at once.
pub(super) fn decode(node: &Node, findings: &mut Findings<'_>) -> Option<ChargeTerms> {
    let fields = Fields::read(node, "a reserved charge", schema::Reserve::KEYS, findings)?;
    let units = fields
        .need("reserve", "the units to take beforehand", findings)
        .and_then(|node| scalar::units(node, "`reserve`", 1, findings));
    let from = fields
        .need("from", "where the answer tells the cost, such as `{ header: x-usage }`", findings)
        .and_then(|node| from(node, findings));
    Some(ChargeTerms { units: units?, from: Some(from?) })
}

fn from(node: &Node, findings: &mut Findings<'_>) -> Option<CostHeader> {
    if let Value::Scalar { text, .. } = &node.value
        && !node.is_null()
        && CostHeader::parse(text).is_ok()
    {
        let help = format!("write `from: {{ header: {text} }}`");
        return scalar::wrong(node, "a map for `from`", Some(help), findings);
    }
    let fields = Fields::read(node, "a cost's source", schema::Header::KEYS, findings)?;
    if fields.get("header").is_none() && fields.unknown > 0 {
        // That said which source there is.
        return None;
    }
    let node = fields.need("header", "the name of a header of the upstream's answer", findings)?;
    let text = scalar::text(node, "a header's name", findings)?;
    match CostHeader::parse(text) {
        Ok(header) => Some(header),
        Err(why) => {
            findings.error("invalid-header", node.place, why.to_string());
            None
        }
    }
}
