//! Charges that are written as a map: known only after the answer (`{ reserve: 4096, from: { header: x-usage-ai-tokens } }`),
//! computed from the request (`{ cel: "int(request.headers['x-n'])" }`), or made only where a condition holds
//! (`{ units: 5, when: "..." }`).

use super::{Fields, routes, scalar};
use crate::domain::{settlement::CostHeader, units::Units};
use crate::policy::{
    definition::{ChargeTerms, Name},
    diagnostic::Findings,
    schema,
    tree::{Node, Value},
};

/// The keys by which the forms differ.
const FORMS: [&str; 3] = ["reserve", "cel", "units"];

/// Reads a charge. All of its mistakes are reported at once.
pub(super) fn decode(name: &Name, node: &Node, findings: &mut Findings<'_>) -> Option<ChargeTerms> {
    let forms = [schema::FixedCharge::KEYS, schema::ComputedCharge::KEYS, schema::Reserve::KEYS];
    let mut keys = forms.concat();
    keys.sort_unstable();
    keys.dedup();
    let fields = Fields::read(node, "a charge", &keys, findings)?;
    let when = fields.get("when").and_then(|node| routes::cel(node, "a CEL condition for `when`", findings));
    if fields.get("when").is_some() && when.is_none() {
        return None;
    }
    let mut forms = FORMS.into_iter().filter(|form| fields.get(form).is_some());
    let form = forms.next();
    if let (Some(one), Some(other)) = (form, forms.next()) {
        let place = fields.key_place(other).unwrap_or(node.place);
        let message = format!("a charge has either `{one}` or `{other}`");
        findings.error("charge-of-two-kinds", place, message);
        return None;
    }
    let terms = match form {
        Some("cel") => ChargeTerms {
            cel: Some(routes::cel(fields.get("cel")?, "a CEL amount for `cel`", findings)?),
            ..ChargeTerms { units: Units::ZERO, from: None, cel: None, when }
        },
        Some("units") => ChargeTerms { when, ..routes::fixed(name, fields.get("units")?, findings)? },
        None if fields.get("from").is_none() && (when.is_some() || fields.unknown == 0) => {
            let message = "a charge lacks its units: expected `units`, `cel` or `reserve`";
            findings.error("missing-key", fields.place, message);
            return None;
        }
        _ => return reserved(&fields, when, findings),
    };
    if let Some(place) = fields.key_place("from") {
        let help = "write `reserve` for what is taken beforehand".to_owned();
        findings.error_help("charge-of-two-kinds", place, "`from` stands beside `reserve` only", help);
    }
    Some(terms)
}

fn reserved(
    fields: &Fields<'_>,
    when: Option<crate::policy::definition::At<String>>,
    findings: &mut Findings<'_>,
) -> Option<ChargeTerms> {
    let units = fields
        .need("reserve", "the units to take beforehand", findings)
        .and_then(|node| scalar::units(node, "`reserve`", 1, findings));
    let from = fields
        .need("from", "where the answer tells the cost, such as `{ header: x-usage }`", findings)
        .and_then(|node| from(node, findings));
    Some(ChargeTerms { units: units?, from: Some(from?), cel: None, when })
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
