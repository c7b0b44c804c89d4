//! Charges that are written as a map: known only after the answer (`{ reserve: 4096, from: { header: x-usage-ai-tokens } }`),
//! computed from the request (`{ cel: "int(request.headers['x-n'])" }`), or made only where a condition holds
//! (`{ units: 5, when: "..." }`).

use super::{Fields, routes, scalar};
use crate::domain::{settlement::CostHeader, units::Units};
use crate::policy::{
    definition::{At, ChargeTerms, Name},
    diagnostic::Findings,
    schema,
    tree::{Node, Value},
};

/// Reads a charge. All of its mistakes are reported at once.
pub(super) fn decode(name: &Name, node: &Node, findings: &mut Findings<'_>) -> Option<ChargeTerms> {
    let Value::Map(entries) = &node.value else { return None };
    let has = |key: &str| {
        entries.iter().any(|(known, _)| matches!(&known.value, Value::Scalar { text, .. } if text == key))
    };
    if has("cel") {
        computed(node, findings)
    } else if !has("reserve") && !has("from") && (has("units") || has("when")) {
        conditional(name, node, findings)
    } else {
        reserved(node, findings)
    }
}

/// The condition of a charge; the outer `None`: it cannot be read.
fn when(fields: &Fields<'_>, findings: &mut Findings<'_>) -> Option<Option<At<String>>> {
    match fields.get("when") {
        None => Some(None),
        Some(node) => routes::cel(node, "a CEL condition for `when`", findings).map(Some),
    }
}

fn computed(node: &Node, findings: &mut Findings<'_>) -> Option<ChargeTerms> {
    let fields = Fields::read(node, "a computed charge", schema::ComputedCharge::KEYS, findings)?;
    let when = when(&fields, findings);
    let cel = routes::cel(fields.get("cel")?, "a CEL amount for `cel`", findings)?;
    Some(ChargeTerms { units: Units::ZERO, from: None, cel: Some(cel), when: when? })
}

fn conditional(name: &Name, node: &Node, findings: &mut Findings<'_>) -> Option<ChargeTerms> {
    let fields = Fields::read(node, "a conditional charge", schema::FixedCharge::KEYS, findings)?;
    let when = when(&fields, findings);
    let units = fields.need("units", "the units to charge", findings)?;
    Some(ChargeTerms { when: when?, ..routes::fixed(name, units, findings)? })
}

fn reserved(node: &Node, findings: &mut Findings<'_>) -> Option<ChargeTerms> {
    let fields = Fields::read(node, "a reserved charge", schema::Reserve::KEYS, findings)?;
    let when = when(&fields, findings);
    let units = fields
        .need("reserve", "the units to take beforehand", findings)
        .and_then(|node| scalar::units(node, "`reserve`", 1, findings));
    let from = fields
        .need("from", "where the answer tells the cost, such as `{ header: x-usage }`", findings)
        .and_then(|node| from(node, findings));
    Some(ChargeTerms { units: units?, from: Some(from?), cel: None, when: when? })
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
