//! Rates, alike in plan files and in a case's overrides.

use super::{Fields, scalar};
use crate::domain::{
    rate::Rate,
    units::{Allowance, Units},
};
use crate::policy::{
    diagnostic::Findings,
    schema,
    tree::{Node, Value},
};

/// A rate: a map, or `unlimited` for none.
pub(super) fn rate(node: &Node, findings: &mut Findings<'_>) -> Option<Option<Rate>> {
    if scalar::is_unlimited(node) {
        return Some(None);
    }
    if matches!(&node.value, Value::Scalar { .. }) {
        let help = "write `{ limit: 10, per: 1s }`, or `unlimited`".to_owned();
        return scalar::wrong(node, "a map for a rate", Some(help), findings);
    }
    let fields = Fields::read(node, "a rate", schema::Rate::KEYS, findings)?;
    let limit = fields
        .need("limit", "units in each `per`", findings)
        .and_then(|node| scalar::allowance(node, "`limit`", findings));
    let per = match fields.get("per") {
        Some(node) => scalar::span(node, "`per`", findings),
        None if limit == Some(Allowance::Unlimited) => None,
        None => {
            fields.need("per", "a span such as `1s`", findings);
            None
        }
    };
    let burst = match fields.get("burst") {
        Some(node) => Some(scalar::units(node, "`burst`", 0, findings)?),
        None => None,
    };
    match limit? {
        Allowance::Unlimited => Some(None),
        Allowance::Limited(limit) => {
            let rate = Rate { limit, per: per?, burst: burst.unwrap_or(limit) };
            if limit > Units::ZERO
                && rate.burst == Units::ZERO
                && let Some(node) = fields.get("burst")
            {
                findings.warn("burst-of-nothing", node.place, "a burst of 0 lets nothing pass, ever", None);
            }
            Some(Some(rate))
        }
    }
}
