//! What differs, for people on a terminal.

use super::sentences::{self, Sign, count};
use crate::{
    cli::output::printable,
    wire::diff::{Base, Bearing, ChangeEntry, ImpactView, PolicyDiff},
};

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// Writes with colour, or without.
struct Page {
    colour: bool,
    text: String,
}

impl Page {
    fn painted(&self, paint: &str, text: &str) -> String {
        if self.colour { format!("{paint}{text}{PLAIN}") } else { text.to_owned() }
    }

    fn signed(&self, sign: Sign, text: &str) -> String {
        let paint = match sign {
            Sign::Plus => GREEN,
            Sign::Minus => RED,
            Sign::Other => YELLOW,
        };
        self.painted(paint, &format!("{} {text}", sign.as_str()))
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }
}

/// Whether it comes, goes or becomes another.
pub(super) fn sign(change: &ChangeEntry) -> Sign {
    match (&change.before, &change.after) {
        (None, Some(_)) => Sign::Plus,
        (Some(_), None) => Sign::Minus,
        _ => Sign::Other,
    }
}

/// A short form of a digest, as people compare it.
pub(super) fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

/// What others are compared with, in words.
pub(super) fn base(base: &Base) -> String {
    let number = base.number.filter(|number| *number > 0);
    let number = number.map_or_else(String::new, |number| format!(" (revision {number})"));
    format!("{}{number}", short(&base.digest))
}

/// How many differences there are, in words.
pub(super) fn summary(found: &PolicyDiff) -> String {
    let of = |sign_of: Sign| found.changes.iter().filter(|change| sign(change) == sign_of).count();
    let bearing = |of: Bearing| found.changes.iter().filter(|change| change.bearing == of).count() as u64;
    let (losses, gains) = (bearing(Bearing::Loss), bearing(Bearing::Gain));
    let loss = if losses == 1 { "loss" } else { "losses" };
    format!(
        "{} to add, {} to change, {} to remove: {losses} {loss} and {} for tenants.",
        of(Sign::Plus),
        of(Sign::Other),
        of(Sign::Minus),
        count(gains, "gain")
    )
}

/// The whole of it. `unknown`: what is said where there is no impact.
pub(super) fn render(found: &PolicyDiff, unknown: &str, colour: bool) -> String {
    let mut page = Page { colour, text: String::new() };
    if found.is_empty() {
        page.line(&format!("Nothing changes: these policies say what {} says.", base(&found.base)));
        return page.text;
    }
    page.line(&format!("From {} to {}:", base(&found.base), short(&found.digest)));
    for changes in found.changes.chunk_by(|a, b| (&a.subject, &a.name) == (&b.subject, &b.name)) {
        subject(&mut page, changes);
    }
    page.line("");
    let summary = page.painted(BOLD, &summary(found));
    page.line(&summary);
    match &found.impact {
        Some(of) => impact(&mut page, of),
        None => page.line(unknown),
    }
    page.text
}

fn subject(page: &mut Page, changes: &[ChangeEntry]) {
    let Some(first) = changes.first() else { return };
    let whole = changes.iter().find(|change| change.aspect.is_empty());
    let name = format!("{} {}", first.subject, first.name);
    let heading = page.signed(whole.map_or(Sign::Other, sign), printable(name.trim_end()).as_str());
    page.line("");
    page.line(&heading);
    let width = changes.iter().map(|change| change.aspect.chars().count()).max().unwrap_or(0);
    for change in changes {
        let bearing = match change.bearing {
            Bearing::Gain => page.painted(GREEN, "  gain"),
            Bearing::Loss => page.painted(RED, "  loss"),
            Bearing::Neither => String::new(),
        };
        let values = printable(&values(change));
        let line = match (change.aspect.is_empty(), values.is_empty()) {
            (true, _) => format!("    {values}{bearing}"),
            (false, true) => {
                format!("    {}{bearing}", page.signed(sign(change), &printable(&change.aspect)))
            }
            (false, false) => {
                let aspect = format!("{:width$}", printable(&change.aspect));
                format!("    {}  {values}{bearing}", page.signed(sign(change), &aspect))
            }
        };
        page.line(line.trim_end());
    }
}

/// `19.00 USD -> 29.00 USD`. Of a feature its name says it all.
fn values(change: &ChangeEntry) -> String {
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => format!("{before} -> {after}"),
        (Some(one), None) | (None, Some(one)) if change.aspect.strip_prefix("features.") == Some(one) => {
            String::new()
        }
        (Some(one), None) | (None, Some(one)) => one.clone(),
        (None, None) => String::new(),
    }
}

fn impact(page: &mut Page, impact: &ImpactView) {
    let sentences = sentences::of(impact);
    page.line("");
    let heading = format!("Impact on {}", count(impact.tenants, "tenant"));
    let heading = page.painted(BOLD, &heading);
    if sentences.is_empty() {
        page.line(&format!("{heading}: none of them loses or gains anything."));
        return;
    }
    let (losing, gaining) = (sentences::grouped(impact.losing), sentences::grouped(impact.gaining));
    page.line(&format!("{heading}: {losing} would lose something, {gaining} would gain something."));
    for one in sentences {
        let line = page.signed(one.sign, &printable(&one.text));
        page.line(&format!("  {line}"));
    }
}
