//! Quotas, overage and rates, alike in plan files and in a case's overrides.

use super::{Fields, scalar};
use crate::domain::{
    plan::{Overage, Quota},
    rate::Rate,
    units::{Allowance, Units},
};
use crate::policy::{
    diagnostic::Findings,
    suggest,
    tree::{Node, Value},
};

/// A quota: a map, or short a number or `unlimited` for the month alone.
pub(super) fn quota(node: &Node, findings: &mut Findings<'_>) -> Option<Quota> {
    if matches!(&node.value, Value::Scalar { .. }) && !node.is_null() {
        return scalar::allowance(node, "the month's quota", findings).map(Quota::monthly);
    }
    if node.is_null() {
        return scalar::wrong(node, "a number, `unlimited`, or a map for a quota", None, findings);
    }
    let fields = Fields::read(node, "a quota", &["limit", "hour", "day", "week", "overage"], findings)?;
    let mut window = |key: &str| -> Option<Option<Allowance>> {
        match fields.get(key) {
            None => Some(None),
            Some(node) => scalar::allowance(node, &format!("`{key}`"), findings).map(Some),
        }
    };
    let (hour, day, week) = (window("hour"), window("day"), window("week"));
    let month = fields
        .need("limit", "the month's units, or `unlimited`", findings)
        .and_then(|node| scalar::allowance(node, "`limit`", findings));
    let overage = match fields.get("overage") {
        Some(node) => overage(node, findings),
        None => Some(Overage::Block),
    };
    let quota =
        Quota { month: month?, hour: hour?, day: day?, week: week?, overage: overage?, rollover: None };
    warn_of_windows(&quota, &fields, findings);
    Some(quota)
}

/// A short window above a longer one never refuses anything.
fn warn_of_windows(quota: &Quota, fields: &Fields<'_>, findings: &mut Findings<'_>) {
    use crate::domain::period::Window;
    for (place, short) in Window::ALL.into_iter().enumerate() {
        for long in &Window::ALL[place + 1..] {
            if let (Some(few), Some(many)) = (quota.hard_limit(short), quota.hard_limit(*long))
                && few > many
                && let Some(node) = fields.get(short.as_str())
            {
                let message = format!("the {short}'s {few} can never be reached: the {long} ends at {many}");
                findings.warn("window-never-reached", node.place, message, None);
                break;
            }
        }
    }
    if quota.month == Allowance::Unlimited
        && quota.overage != Overage::Block
        && let Some(node) = fields.get("overage")
    {
        findings.warn("overage-never-reached", node.place, "there is no overage beyond `unlimited`", None);
    }
}

const MODES: [&str; 3] = ["block", "allow", "bill"];

fn overage(node: &Node, findings: &mut Findings<'_>) -> Option<Overage> {
    if let Value::Scalar { text, .. } = &node.value
        && MODES.contains(&text.as_str())
    {
        let help = format!("write `overage: {{ mode: {text} }}`");
        return scalar::wrong(node, "a map for `overage`", Some(help), findings);
    }
    let fields = Fields::read(node, "an overage", &["mode", "cap", "price", "per"], findings)?;
    let mode = match fields.get("mode") {
        None => "block",
        Some(node) => {
            let text = scalar::text(node, "`block`, `allow` or `bill`", findings)?;
            if !MODES.contains(&text) {
                let message = format!("{} is not an overage mode", node.describe());
                findings.error_help("invalid-overage", node.place, message, suggest::help(text, MODES));
                return None;
            }
            text
        }
    };
    let meaningless: &[&str] = match mode {
        "block" => &["cap", "price", "per"],
        "allow" => &["price", "per"],
        _ => &[],
    };
    for key in meaningless {
        if let Some(place) = fields.key_place(key) {
            let message = format!("`{key}` has no meaning with the overage mode `{mode}`");
            let help = if mode == "block" { "set `mode: allow` or `mode: bill`" } else { "set `mode: bill`" };
            findings.error_help("invalid-overage", place, message, help.to_owned());
        }
    }
    // Read whatever is there before giving up, so that all of its mistakes are shown at once.
    let cap = match fields.get("cap") {
        Some(node) => scalar::allowance(node, "`cap`", findings).map(Allowance::limit),
        None => Some(None),
    };
    let per = match fields.get("per") {
        Some(node) => scalar::units(node, "`per`", 1, findings),
        None => Some(Units::ONE),
    };
    match mode {
        "block" => Some(Overage::Block),
        "allow" => Some(Overage::Allow { cap: cap? }),
        _ => {
            let price = fields.need("price", "the price of `per` units, such as \"0.002\"", findings);
            let price = price.and_then(|node| scalar::amount(node, "`price`", findings));
            Some(Overage::Bill { cap: cap?, price: price?, per: per? })
        }
    }
}

/// A rate: a map, or `unlimited` for none.
pub(super) fn rate(node: &Node, findings: &mut Findings<'_>) -> Option<Option<Rate>> {
    if scalar::is_unlimited(node) {
        return Some(None);
    }
    if matches!(&node.value, Value::Scalar { .. }) {
        let help = "write `{ limit: 10, per: 1s }`, or `unlimited`".to_owned();
        return scalar::wrong(node, "a map for a rate", Some(help), findings);
    }
    let fields = Fields::read(node, "a rate", &["limit", "per", "burst"], findings)?;
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
