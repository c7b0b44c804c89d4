//! What a plan file says of its life: its version, trial, grace, and when changes come into force.

use jiff::civil::Date;

use super::{Fields, list, scalar};
use crate::domain::{
    plan::{ChangeAt, Changes, Existing, PlanVersion},
    subscription::UsageRule,
    warning::{InvalidWarnAt, WarnAt},
};
use crate::policy::{
    definition::{At, TrialTerms},
    diagnostic::Findings,
    schema, suggest,
    tree::{Node, Value},
};

/// The word after `then:` that ends a trial without a plan; so no plan may be called so.
pub(super) const BLOCK: &str = "block";

const MOST_VERSION: u64 = 1_000_000;
const MOST_GRACE: u64 = 365;

/// The number of a plan's version.
pub(super) fn version(node: &Node, findings: &mut Findings<'_>) -> Option<PlanVersion> {
    let number = scalar::whole(node, "`version`", (1, MOST_VERSION), findings)?;
    u32::try_from(number).ok().map(PlanVersion)
}

/// When tenants on older versions come to this one.
pub(super) fn existing(node: &Node, findings: &mut Findings<'_>) -> Option<At<Existing>> {
    const EXPECTED: &str = "`stay`, `next_period` or a day such as `2027-01-01` for `existing`";
    let text = scalar::text(node, EXPECTED, findings)?;
    let value = match text {
        "stay" => Existing::Stay,
        "next_period" => Existing::NextPeriod,
        _ => match day(text) {
            Some(day) => Existing::On(day),
            None => {
                let message = format!("expected {EXPECTED}, found {}", node.describe());
                let help = suggest::nearest(text, ["stay", "next_period"]);
                let help = help.map(|near| format!("did you mean `{near}`?"));
                findings.error_help("invalid-existing", node.place, message, help);
                return None;
            }
        },
    };
    Some(At { value, place: node.place })
}

/// A day as `2027-01-01` and in no other notation.
fn day(text: &str) -> Option<Date> {
    let shape = text.bytes().enumerate().all(|(place, byte)| match place {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    (shape && text.len() == 10).then(|| text.parse().ok()).flatten()
}

/// When changes to other plans come into force.
pub(super) fn changes(node: &Node, findings: &mut Findings<'_>) -> Option<Changes> {
    if let Value::Scalar { text, .. } = &node.value
        && ChangeAt::named(text).is_some()
    {
        let help = format!("write `changes: {{ upgrade: {text}, downgrade: {text} }}`");
        return scalar::wrong(node, "a map for `changes`", Some(help), findings);
    }
    let fields = Fields::read(node, "`changes`", schema::Changes::KEYS, findings)?;
    let mut read = |key: &str| match fields.get(key) {
        None => Some(ChangeAt::default()),
        Some(node) => change_at(node, key, findings),
    };
    let (upgrade, downgrade) = (read("upgrade"), read("downgrade"));
    Some(Changes { upgrade: upgrade?, downgrade: downgrade? })
}

fn change_at(node: &Node, key: &str, findings: &mut Findings<'_>) -> Option<ChangeAt> {
    let expected = format!("`now` or `period_end` for `{key}`");
    let text = scalar::text(node, &expected, findings)?;
    let found = ChangeAt::named(text);
    if found.is_none() {
        let message = format!("expected {expected}, found {}", node.describe());
        let help = suggest::help(text, ["now", "period_end"]);
        findings.error_help("invalid-change", node.place, message, help);
    }
    found
}

/// Days of grace after a failed payment.
pub(super) fn grace(node: &Node, findings: &mut Findings<'_>) -> Option<u16> {
    if let Value::Scalar { text, .. } = &node.value
        && !node.is_null()
    {
        let days = if text.parse::<u16>().is_ok() { text.as_str() } else { "7" };
        let help = format!("write `grace: {{ days: {days} }}`");
        return scalar::wrong(node, "a map for `grace`", Some(help), findings);
    }
    let fields = Fields::read(node, "`grace`", schema::Grace::KEYS, findings)?;
    let days = fields.need("days", "a number of days", findings)?;
    u16::try_from(scalar::whole(days, "`days`", (0, MOST_GRACE), findings)?).ok()
}

/// At how many percent somebody is told.
pub(super) fn warn_at(node: &Node, findings: &mut Findings<'_>) -> Option<WarnAt> {
    let items = list(node, "`warn_at`", findings);
    let read = items.iter().map(|item| scalar::whole(item, "a percentage in `warn_at`", (1, 100), findings));
    let percentages: Vec<Option<u64>> = read.collect();
    let percentages = percentages.into_iter().collect::<Option<Vec<u64>>>()?;
    match WarnAt::new(&percentages) {
        Ok(warn_at) => Some(warn_at),
        Err(why) => {
            let place = match why {
                InvalidWarnAt::Twice(twice) => {
                    let last = percentages.iter().rposition(|percent| *percent == u64::from(twice));
                    last.and_then(|last| items.get(last)).map_or(node.place, |item| item.place)
                }
                InvalidWarnAt::TooMany(_) | InvalidWarnAt::OutOfRange(_) => node.place,
            };
            findings.error("invalid-warning", place, format!("the percentages in `warn_at`: {why}"));
            None
        }
    }
}

/// A trial.
pub(super) fn trial(node: &Node, findings: &mut Findings<'_>) -> Option<TrialTerms> {
    let fields = Fields::read(node, "a trial", schema::Trial::KEYS, findings)?;
    let days = fields
        .need("days", "a number of days", findings)
        .and_then(|node| scalar::whole(node, "`days`", (1, 3650), findings))
        .and_then(|days| u16::try_from(days).ok());
    let then = fields.need("then", "a plan, or `block`", findings).and_then(|node| {
        let text = scalar::text(node, "a plan, or `block`, for `then`", findings)?;
        Some((text != BLOCK).then(|| At { value: text.to_owned(), place: node.place }))
    });
    let usage = match fields.get("usage") {
        None => Some(UsageRule::Keep),
        Some(node) => usage(node, findings),
    };
    Some(TrialTerms { days: days?, then: then?, usage: usage? })
}

fn usage(node: &Node, findings: &mut Findings<'_>) -> Option<UsageRule> {
    let text = scalar::text(node, "`keep` or `reset` for `usage`", findings)?;
    let rules = [UsageRule::Keep, UsageRule::Reset];
    let found = rules.into_iter().find(|rule| rule.as_str() == text);
    if found.is_none() {
        let message = format!("expected `keep` or `reset` for `usage`, found {}", node.describe());
        findings.error_help("invalid-usage", node.place, message, suggest::help(text, ["keep", "reset"]));
    }
    found
}
