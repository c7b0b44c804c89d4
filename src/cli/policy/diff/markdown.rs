//! What differs, as a comment on a merge request or a pull request.

use super::{
    sentences::{self, Sign, count},
    text::{base, short, sign, summary},
};
use crate::wire::diff::{Bearing, ChangeEntry, PolicyDiff};

/// Rows of a table: a comment has a largest size.
const MOST_ROWS: usize = 200;

/// What a policy file or a tenant says must not be read as Markdown, nor leave its cell.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '@' => safe.extend(['\\', c]),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// A name as code. Within it, only what ends it or its cell matters.
fn code(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() || c == '`' { ' ' } else { c }).collect();
    format!("`{}`", text.replace('|', "\\|"))
}

fn row(change: &ChangeEntry) -> String {
    let subject = if change.name.is_empty() {
        change.subject.clone()
    } else {
        format!("{} {}", change.subject, code(&change.name))
    };
    let what =
        if change.aspect.is_empty() { subject } else { format!("{subject}: {}", code(&change.aspect)) };
    let cell = |value: &Option<String>| value.as_deref().map(escaped).unwrap_or_default();
    let bearing = match change.bearing {
        Bearing::Gain => "gain",
        Bearing::Loss => "**loss**",
        Bearing::Neither => "",
    };
    let (before, after) = (cell(&change.before), cell(&change.after));
    format!("| {} | {what} | {before} | {after} | {bearing} |\n", escaped(sign(change).as_str()))
}

/// The whole of it. `unknown`: what is said where there is no impact.
pub(super) fn render(found: &PolicyDiff, unknown: &str) -> String {
    if found.is_empty() {
        return format!(
            "### Plangate policies: nothing changes\n\nThey say what {} says.\n",
            base(&found.base)
        );
    }
    let changes = count(found.changes.len() as u64, "change");
    let mut text = format!(
        "### Plangate policies: {changes}\n\nFrom {} to {}. {}\n\n",
        base(&found.base),
        short(&found.digest),
        summary(found)
    );
    text.push_str("| | what | before | after | for tenants |\n|---|---|---|---|---|\n");
    text.extend(found.changes.iter().take(MOST_ROWS).map(row));
    if found.changes.len() > MOST_ROWS {
        text.push_str(&format!("\nAnd {} more.\n", found.changes.len() - MOST_ROWS));
    }
    let Some(impact) = &found.impact else {
        return text + &format!("\n{unknown}\n");
    };
    let sentences = sentences::of(impact);
    text.push_str(&format!("\n#### Impact on {}\n\n", count(impact.tenants, "tenant")));
    if sentences.is_empty() {
        text.push_str("None of them loses or gains anything.\n");
        return text;
    }
    let (losing, gaining) = (sentences::grouped(impact.losing), sentences::grouped(impact.gaining));
    text.push_str(&format!("{losing} would lose something, {gaining} would gain something.\n\n"));
    for one in sentences {
        // What it names is between backticks already, or an id, which has nothing that Markdown reads but `_`.
        let sentence = one.text.replace('<', "&lt;").replace("->", "→");
        match one.sign {
            Sign::Minus => text.push_str(&format!("- **{sentence}**\n")),
            Sign::Plus | Sign::Other => text.push_str(&format!("- {sentence}\n")),
        }
    }
    text
}
