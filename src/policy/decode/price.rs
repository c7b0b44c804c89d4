//! What a plan or an add-on costs a month.

use super::{Fields, scalar};
use crate::domain::money::{Currency, Price};
use crate::policy::{
    diagnostic::Findings,
    schema,
    tree::{Node, Value},
};

/// Reads a price.
pub(super) fn price(node: &Node, findings: &mut Findings<'_>) -> Option<Price> {
    let help = "write `price: { amount: \"19.00\", currency: USD }`".to_owned();
    if matches!(node.value, Value::Scalar { .. }) {
        return scalar::wrong(node, "a map for `price`", Some(help), findings);
    }
    let fields = Fields::read(node, "a price", schema::Price::KEYS, findings)?;
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
