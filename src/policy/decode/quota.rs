//! Quotas with their overage and roll-over, alike in plan files and in a case's overrides; and what add-ons add to them.

use super::{Fields, scalar};
use crate::domain::{
    period::Window,
    plan::{Overage, Quota, Rollover},
    units::{Allowance, Units},
};
use crate::policy::{
    diagnostic::Findings,
    schema, suggest,
    tree::{Node, Value},
};
use crate::wire::terms::Percent;

/// A quota: a map, or short a number or `unlimited` for the month alone.
pub(super) fn quota(node: &Node, findings: &mut Findings<'_>) -> Option<Quota> {
    read(node, "a quota", findings).map(|(quota, fields)| {
        if let Some(fields) = fields {
            refuse_endless(&quota, &fields, findings);
            warn_of_windows(&quota, &fields, findings);
        }
        quota
    })
}

/// What an add-on adds to a plan's quota: windows alone.
pub(super) fn added(node: &Node, findings: &mut Findings<'_>) -> Option<Quota> {
    let (mut quota, fields) = read(node, "an add-on's quota", findings)?;
    for key in ["overage", "rollover"] {
        if let Some(place) = fields.as_ref().and_then(|fields| fields.key_place(key)) {
            let message = format!("an add-on's quota has no `{key}`");
            let help = "remove it: the plan's own holds for what the add-on adds, too".to_owned();
            findings.error_help("addon-quota", place, message, help);
        }
    }
    (quota.overage, quota.rollover) = (Overage::Block, None);
    Some(quota)
}

fn read<'t>(
    node: &'t Node,
    what: &'static str,
    findings: &mut Findings<'_>,
) -> Option<(Quota, Option<Fields<'t>>)> {
    if node.is_null() {
        return scalar::wrong(node, &format!("a number, `unlimited`, or a map for {what}"), None, findings);
    }
    if matches!(&node.value, Value::Scalar { .. }) {
        let month = scalar::allowance(node, "the month's quota", findings);
        return month.map(|month| (Quota::monthly(month), None));
    }
    let fields = Fields::read(node, what, schema::Quota::KEYS, findings)?;
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
    let rollover = match fields.get("rollover") {
        Some(node) => rollover(node, findings).map(Some),
        None => Some(None),
    };
    let (month, overage, rollover) = (month?, overage?, rollover?);
    let quota = Quota { month, hour: hour?, day: day?, week: week?, overage, rollover };
    Some((quota, Some(fields)))
}

/// What of the unused units may be used in the next month, too.
fn rollover(node: &Node, findings: &mut Findings<'_>) -> Option<Rollover> {
    if let Value::Scalar { text, .. } = &node.value
        && !node.is_null()
    {
        let known = text.parse::<Percent>().is_ok() || text.parse::<u64>().is_ok();
        let help = format!("write `rollover: {{ max: {} }}`", if known { text } else { "20%" });
        return scalar::wrong(node, "a map for `rollover`", Some(help), findings);
    }
    let fields = Fields::read(node, "`rollover`", schema::Rollover::KEYS, findings)?;
    let node = fields.need("max", "a share of the limit such as `20%`, or a number of units", findings)?;
    let rollover = if let Value::Scalar { text, .. } = &node.value
        && text.ends_with('%')
    {
        match text.parse() {
            Ok(Percent(percent)) => Rollover::Percent(percent),
            Err(error) => {
                let message = format!("{error} for `max`, found {}", node.describe());
                findings.error("invalid-rollover", node.place, message);
                return None;
            }
        }
    } else {
        Rollover::Units(scalar::units(node, "`max` (or a share such as `20%`)", 0, findings)?)
    };
    if matches!(rollover, Rollover::Percent(0) | Rollover::Units(Units::ZERO)) {
        findings.warn("rollover-of-nothing", node.place, "at most nothing is rolled over", None);
    }
    Some(rollover)
}

/// Units are left over only of a month that has a hard end.
fn refuse_endless(quota: &Quota, fields: &Fields<'_>, findings: &mut Findings<'_>) {
    if quota.rollover.is_some() && quota.hard_limit(Window::Month).is_none() {
        let (message, help) = match quota.month {
            Allowance::Unlimited => {
                ("nothing is left over of `unlimited`: there is nothing to roll over", "remove `rollover`")
            }
            Allowance::Limited(_) => (
                "`rollover` needs a month with a hard end: this overage has none",
                "give the overage a `cap`, or remove `rollover`",
            ),
        };
        let place = fields.key_place("rollover").unwrap_or(fields.place);
        findings.error_help("invalid-rollover", place, message, help.to_owned());
    }
}

/// A short window above a longer one never refuses anything.
fn warn_of_windows(quota: &Quota, fields: &Fields<'_>, findings: &mut Findings<'_>) {
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
    let fields = Fields::read(node, "an overage", schema::Overage::KEYS, findings)?;
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
