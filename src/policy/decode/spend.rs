//! Spend caps, alike in plan files and in a case's overrides.

use super::scalar;
use crate::domain::spend::SpendCap;
use crate::policy::{diagnostic::Findings, suggest, tree::Node, tree::Value};

/// Reads a spend cap: a quoted amount, or the word `unlimited`.
pub(super) fn spend_cap(node: &Node, findings: &mut Findings<'_>) -> Option<SpendCap> {
    if scalar::is_unlimited(node) {
        return Some(SpendCap::Unlimited);
    }
    if let Value::Scalar { text, plain: true } = &node.value
        && suggest::nearest(text, [SpendCap::UNLIMITED]).is_some()
    {
        let message = format!("expected an amount for `spend_cap`, found {}", node.describe());
        findings.error_help("invalid-amount", node.place, message, "did you mean `unlimited`?".to_owned());
        return None;
    }
    let amount = scalar::amount(node, "`spend_cap` (or the word `unlimited`)", findings)?;
    match amount.to_string().parse() {
        Ok(cap) => Some(cap),
        Err(error) => {
            let error: crate::domain::spend::InvalidSpendCap = error;
            findings.error("invalid-amount", node.place, error.to_string());
            None
        }
    }
}
