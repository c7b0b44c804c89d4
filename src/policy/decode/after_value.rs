//! The values of words in a step's `after`.

use super::{Fields, case::instant, scalar};
use crate::domain::{
    command::{NewGrant, When},
    grant::{DEFAULT_PRIORITY, MOST_PRIORITY},
    id::MeterId,
    period::Window,
    subscription::UsageRule,
};
use crate::policy::{
    diagnostic::Findings,
    schema, suggest,
    tree::{Node, Value},
};

/// A window.
pub(super) fn window(node: &Node, what: &str, findings: &mut Findings<'_>) -> Option<Window> {
    let text = scalar::text(node, what, findings)?;
    let found = Window::ALL.into_iter().find(|window| window.as_str() == text);
    if found.is_none() {
        let help = suggest::help(text, Window::ALL.map(Window::as_str));
        findings.error_help(
            "unknown-window",
            node.place,
            format!("unknown window {}", node.describe()),
            help,
        );
    }
    found
}

/// When a change is to come into force.
pub(super) fn when(node: &Node, findings: &mut Findings<'_>) -> Option<When> {
    match &node.value {
        Value::Scalar { text, .. } if text == "now" => Some(When::Now),
        Value::Scalar { text, .. } if text == "period_end" => Some(When::PeriodEnd),
        Value::Scalar { text, .. } if text.parse::<jiff::Timestamp>().is_ok() => {
            instant(node, findings).map(When::At)
        }
        _ => {
            let message = format!(
                "expected `now`, `period_end` or an instant such as `2026-03-31T23:59:59+08:00`, found {}",
                node.describe()
            );
            findings.error("invalid-instant", node.place, message);
            None
        }
    }
}

/// What becomes of the units used.
pub(super) fn usage(node: &Node, findings: &mut Findings<'_>) -> Option<UsageRule> {
    let all = [UsageRule::Keep, UsageRule::Reset, UsageRule::Prorate];
    let text = scalar::text(node, "`keep`, `reset` or `prorate` for `usage`", findings)?;
    let found = all.into_iter().find(|rule| rule.as_str() == text);
    if found.is_none() {
        let help = suggest::help(text, all.map(UsageRule::as_str));
        findings.error_help("unknown-usage", node.place, format!("unknown rule {}", node.describe()), help);
    }
    found
}

/// Units beside the plan's.
pub(super) fn grant(meter: MeterId, node: &Node, findings: &mut Findings<'_>) -> Option<NewGrant> {
    let mut new = NewGrant {
        meter,
        units: crate::domain::units::Units::ZERO,
        priority: DEFAULT_PRIORITY,
        expires_at: None,
        recurring: false,
        reason: None,
    };
    let Value::Map(_) = &node.value else {
        new.units = scalar::units(node, "granted units", 1, findings)?;
        return Some(new);
    };
    let fields = Fields::read(node, "a grant", schema::Grant::KEYS, findings)?;
    let units = fields.need("units", "a number of units", findings);
    new.units = scalar::units(units?, "granted units", 1, findings)?;
    if let Some(node) = fields.get("priority") {
        let priority = scalar::whole(node, "`priority`", (0, MOST_PRIORITY.into()), findings)?;
        new.priority = u16::try_from(priority).ok()?;
    }
    if let Some(node) = fields.get("expires_at") {
        new.expires_at = Some(instant(node, findings)?);
    }
    if let Some(node) = fields.get("recurring") {
        new.recurring = scalar::truth(node, "`recurring`", findings)?;
    }
    Some(new)
}
