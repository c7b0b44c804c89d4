//! Single values: texts, whole numbers, allowances, durations, money, truth.

use std::time::Duration;

use crate::domain::units::{Allowance, Units};
use crate::policy::{
    diagnostic::Findings,
    suggest,
    tree::{Node, Value},
};
use crate::wire::duration;

/// A text: quoted, or plain and not one of YAML's numbers and words.
pub(in crate::policy) fn text<'t>(
    node: &'t Node,
    what: &str,
    findings: &mut Findings<'_>,
) -> Option<&'t str> {
    let Value::Scalar { text, plain } = &node.value else {
        return wrong(node, what, None, findings);
    };
    if *plain && (node.is_null() || is_bool(text).is_some() || is_number(text)) {
        let quoted =
            (!node.is_null()).then(|| format!("write \"{text}\" with quotes if it is meant as a text"));
        return wrong(node, what, quoted, findings);
    }
    Some(text)
}

/// A line for people: not empty, without control characters, of a length that fits on a page.
pub(in crate::policy) fn line(node: &Node, what: &str, findings: &mut Findings<'_>) -> Option<String> {
    let text = text(node, &format!("a text for {what}"), findings)?;
    if text.trim().is_empty() || text.chars().count() > 200 || text.chars().any(char::is_control) {
        let message = format!("{what} is one line of 1 to 200 characters");
        findings.error("invalid-text", node.place, message);
        return None;
    }
    Some(text.to_owned())
}

pub(super) fn wrong<T>(
    node: &Node,
    what: &str,
    help: Option<String>,
    findings: &mut Findings<'_>,
) -> Option<T> {
    findings.error_help(
        "wrong-type",
        node.place,
        format!("expected {what}, found {}", node.describe()),
        help,
    );
    None
}

/// `true` or `false`.
pub(in crate::policy) fn truth(node: &Node, what: &str, findings: &mut Findings<'_>) -> Option<bool> {
    let expected = format!("`true` or `false` for {what}");
    match &node.value {
        Value::Scalar { text, plain: true } => {
            let meant = match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "1" => Some("write `true`".to_owned()),
                "no" | "off" | "n" | "0" => Some("write `false`".to_owned()),
                _ => None,
            };
            is_bool(text).or_else(|| wrong(node, &expected, meant, findings))
        }
        Value::Scalar { text, .. } if is_bool(text).is_some() => {
            wrong(node, &expected, Some("write it without quotes".to_owned()), findings)
        }
        _ => wrong(node, &expected, None, findings),
    }
}

fn is_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    let other_base = |prefix: &str, radix: u32| {
        text.strip_prefix(prefix).is_some_and(|d| !d.is_empty() && d.chars().all(|c| c.is_digit(radix)))
    };
    matches!(digits.as_bytes().first(), Some(b'0'..=b'9' | b'.'))
        && (text.parse::<f64>().is_ok() || other_base("0x", 16) || other_base("0o", 8))
        || matches!(digits, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
}

/// An unquoted whole number in `least..=most`.
pub(in crate::policy) fn whole(
    node: &Node,
    what: &str,
    (least, most): (u64, u64),
    findings: &mut Findings<'_>,
) -> Option<u64> {
    let most_text = if most == Units::MAX.get() { "2^53 - 1".to_owned() } else { most.to_string() };
    let expected = format!("an unquoted whole number from {least} to {most_text} for {what}");
    let Value::Scalar { text, plain } = &node.value else { return wrong(node, &expected, None, findings) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let written = digits && (text == "0" || !text.starts_with('0'));
    let help = match () {
        () if !plain && digits => Some(format!("write {text} without quotes")),
        () if *plain && written => match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => return Some(number),
            _ => None,
        },
        () => meant(text).map(|number| format!("write {number}")),
    };
    findings.error_help(
        "invalid-number",
        node.place,
        format!("expected {expected}, found {}", node.describe()),
        help,
    );
    None
}

/// The whole number that another notation stands for.
fn meant(text: &str) -> Option<u64> {
    let bare: String = text.chars().filter(|c| !matches!(c, '_' | ',' | ' ' | '+')).collect();
    let scaled = |digits: &str, unit: u64| digits.parse::<u64>().ok()?.checked_mul(unit);
    let found = match bare.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => match bare.char_indices().next_back() {
            Some((end, 'k' | 'K')) => scaled(&bare[..end], 1_000),
            Some((end, 'm' | 'M')) => scaled(&bare[..end], 1_000_000),
            _ => bare.parse::<u64>().ok().or_else(|| exact(&bare)),
        },
    };
    found.filter(|number| *number <= Units::MAX.get())
}

/// `1e3` and `1.0`, where they are whole.
fn exact(text: &str) -> Option<u64> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let number = text.parse::<f64>().ok().filter(|n| n.fract() == 0.0 && (0.0..9e15).contains(n))?;
    format!("{number:.0}").parse().ok()
}

/// A number of units.
pub(in crate::policy) fn units(
    node: &Node,
    what: &str,
    least: u64,
    findings: &mut Findings<'_>,
) -> Option<Units> {
    whole(node, what, (least, Units::MAX.get()), findings).map(Units::saturating)
}

/// A number of units or the word `unlimited`.
pub(in crate::policy) fn allowance(
    node: &Node,
    what: &str,
    findings: &mut Findings<'_>,
) -> Option<Allowance> {
    if is_unlimited(node) {
        return Some(Allowance::Unlimited);
    }
    let what = format!("{what} (or the word `unlimited`)");
    if let Value::Scalar { text, plain: true } = &node.value
        && suggest::nearest(text, ["unlimited"]).is_some()
    {
        let message = format!("expected a number of units for {what}, found {}", node.describe());
        findings.error_help("invalid-number", node.place, message, "did you mean `unlimited`?".to_owned());
        return None;
    }
    units(node, &what, 0, findings).map(Allowance::Limited)
}

/// Whether the node is the word `unlimited`.
pub(in crate::policy) fn is_unlimited(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar { text, .. } if text == "unlimited")
}

const MOST_SPAN: Duration = Duration::from_secs(31 * 86_400);

/// A span such as `500ms`, `1s`, `1m`, `1h`, `1d`; never zero, at most 31 days.
pub(in crate::policy) fn span(node: &Node, what: &str, findings: &mut Findings<'_>) -> Option<Duration> {
    if let Value::Scalar { text, .. } = &node.value
        && let Ok(span) = duration::parse(text)
        && !span.is_zero()
        && span <= MOST_SPAN
    {
        return Some(span);
    }
    let message = format!(
        "expected a span such as `1s`, `500ms`, `1m`, `1h` or `1d` for {what}, found {}",
        node.describe()
    );
    let bare = match &node.value {
        Value::Scalar { text, .. } if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            Some(format!("a number needs its unit: `{text}s` is in seconds"))
        }
        _ => Some("more than nothing and at most `31d`".to_owned()),
    };
    findings.error_help("invalid-duration", node.place, message, bare);
    None
}

/// A quoted text that `T` can be read from, such as an amount of money.
pub(in crate::policy) fn amount(
    node: &Node,
    what: &str,
    findings: &mut Findings<'_>,
) -> Option<crate::domain::money::Decimal> {
    let expected =
        format!("expected a quoted decimal such as \"19.00\" for {what}, found {}", node.describe());
    let (help, found) = match &node.value {
        Value::Scalar { text, plain: false } => (None, text.parse().ok()),
        Value::Scalar { text, plain: true } if is_number(text) => {
            (Some(format!("write \"{text}\" with quotes: money must stay exact")), None)
        }
        _ => (None, None),
    };
    if found.is_none() {
        findings.error_help("invalid-amount", node.place, expected, help);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_notations_are_understood_for_the_hint() {
        for (text, number) in
            [("1_000", 1000), ("1e3", 1000), ("1.0", 1), ("0x10", 16), ("10k", 10_000), ("007", 7)]
        {
            assert_eq!(meant(text), Some(number), "{text}");
        }
        for text in ["-1", "1.5", "many", "", "k", "inf", "nan"] {
            assert_eq!(meant(text), None, "{text}");
        }
    }

    #[test]
    fn yaml_numbers_are_not_texts() {
        for text in ["1", "-1", "1.5", "1e3", "0x1f", "0o17", ".5", ".inf", "-.INF", "+12"] {
            assert!(is_number(text), "{text}");
        }
        for text in ["v1", "1.2.3", "", "-", "infinity", "nan", "0xzz", "1_000"] {
            assert!(!is_number(text), "{text}");
        }
    }
}
