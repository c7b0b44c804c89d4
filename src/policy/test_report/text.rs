//! The report of `policy test` for people: a line for each case, a small aligned diff where one fails.

use annotate_snippets::normalize_untrusted_str as clean;

use super::{TestReport, led_to};
use crate::policy::{
    case::{CaseResult, Coverage, Difference, Held, Holding, Tried, percent, tried_of},
    report::count,
};

const RED: &str = "1;31";
const GREEN: &str = "32";
const DIM: &str = "2";
const BOLD: &str = "1";

/// Puts colour around texts, or does not.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

impl TestReport {
    /// One line a case, what differs where it fails, and a last line that sums up.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let paint = Paint(color);
        let mut out = String::new();
        if !self.check.diagnostics().is_empty() {
            out.push_str(&self.check.render(color));
            out.push('\n');
        }
        if !self.check.is_ok() {
            out.push_str("no case was run\n");
            return out;
        }
        for result in &self.results {
            out.push_str(&case(result, paint));
        }
        out.push_str(&self.summary(paint));
        out
    }

    fn summary(&self, paint: Paint) -> String {
        let left_out = match self.left_out {
            0 => String::new(),
            left_out => format!(", {left_out} left out"),
        };
        match (self.passed(), self.failed()) {
            (0, 0) if self.left_out > 0 => format!("no case has such a name or file{left_out}\n"),
            (0, 0) => "there are no cases\n".to_owned(),
            (passed, 0) => format!("{} passed{left_out}\n", count(passed, "case")),
            (passed, failed) => {
                format!("{passed} passed, {}{left_out}\n", paint.with(RED, &format!("{failed} failed")))
            }
        }
    }

    /// What the cases try, and what none of them does; nothing where no case was run.
    #[must_use]
    pub fn render_coverage(&self, color: bool) -> String {
        self.coverage.as_ref().map_or_else(String::new, |found| coverage(found, Paint(color)))
    }
}

fn case(result: &CaseResult, paint: Paint) -> String {
    let (name, file) = (clean(&result.name), clean(&result.file));
    let steps = match result.steps {
        0 | 1 => String::new(),
        steps => paint.with(DIM, &format!(" ({} steps)", steps - 1)),
    };
    let Some(failed) = &result.failed else {
        return format!("{} {name}{steps}\n", paint.with(GREEN, "ok  "));
    };
    let mut out = format!("{} {name} ({file}:{})\n", paint.with(RED, "FAIL"), failed.line);
    let mut line = |what: &str, text: &str| {
        out.push_str(&format!("     {} {}\n", paint.with(DIM, &format!("{what:<8}")), clean(text)));
    };
    if let Some(led_to) = led_to(failed) {
        line("step", led_to.trim_start_matches("step "));
    }
    line("request", &format!("{} at {}", failed.request, failed.at));
    if failed.differences.is_empty() {
        line("expected", &result.expected);
    }
    out.push_str(&differences(&failed.differences, paint));
    let mut line = |what: &str, text: &str| {
        out.push_str(&format!("     {} {}\n", paint.with(DIM, &format!("{what:<8}")), clean(text)));
    };
    if let Some(reason) = &failed.reason {
        line("because", reason);
    }
    for text in failed.tenant.iter().flat_map(holding) {
        line("tenant", &text);
    }
    if failed.left > 0 {
        line("not run", &count(failed.left, "further step"));
    }
    out
}

/// Field by field, under each other.
fn differences(all: &[Difference], paint: Paint) -> String {
    let shown =
        |value: &Option<String>| value.as_deref().map_or("-".to_owned(), |text| clean(text).to_string());
    let rows: Vec<[String; 3]> = all
        .iter()
        .map(|one| [clean(&one.field).to_string(), shown(&one.expected), shown(&one.got)])
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let width = |column: usize, least: usize| {
        rows.iter().map(|row| row[column].chars().count()).fold(least, usize::max)
    };
    let (first, second) = (width(0, 8), width(1, "expected:".len()));
    let mut out =
        format!("     {:first$} {}\n", "", paint.with(DIM, &format!("{:second$}  got:", "expected:")));
    for [field, expected, got] in &rows {
        let expected = paint.with(GREEN, &format!("{expected:second$}"));
        out.push_str(&format!("     {field:first$} {expected}  {}\n", paint.with(RED, got)));
    }
    out
}

/// A line for the tenant, and one for each meter and window.
fn holding(tenant: &Holding) -> Vec<String> {
    let mut first = match &tenant.plan {
        Some(plan) => format!("plan {plan}, {}", tenant.state),
        None => "no plan".to_owned(),
    };
    if tenant.suspended {
        first.push_str(", suspended");
    }
    for (name, value) in &tenant.attributes {
        first.push_str(&format!(", {name}: {value}"));
    }
    let meter = |held: &Held| {
        let Held { meter, window, used, limit, overage } = held;
        let limit = limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
        let beyond = overage.map_or(String::new(), |mode| format!(" (overage: {mode})"));
        let counted = if tenant.counted { ", this request included" } else { "" };
        format!("{used} of {limit} `{meter}` used this {window}{beyond}{counted}")
    };
    std::iter::once(first).chain(tenant.meters.iter().map(meter)).collect()
}

fn coverage(coverage: &Coverage, paint: Paint) -> String {
    let mut out = format!("\n{}\n", paint.with(BOLD, "coverage"));
    let row = |name: &str, (tried, all): (usize, usize)| {
        let percent = percent((tried, all));
        let code = if percent == 100 { GREEN } else { RED };
        format!("  {name:<9}{tried:>5} of {all:<5} {}\n", paint.with(code, &format!("{percent:>3} %")))
    };
    for (name, things) in coverage.kinds() {
        out.push_str(&row(name, (tried_of(things), things.len())));
    }
    out.push_str(&row("all", coverage.tried()));
    for (name, things) in coverage.kinds() {
        let missing: Vec<&Tried> = things.iter().filter(|thing| !thing.is_tried()).collect();
        if missing.is_empty() {
            continue;
        }
        out.push_str(&format!("{name} that no case tries:\n"));
        for thing in missing {
            out.push_str(&format!("  {}\n", clean(&thing.name)));
        }
    }
    out.push_str("answers by route:\n");
    for route in coverage.routes.iter().filter(|route| route.is_tried()) {
        let answers: Vec<String> =
            route.answers.iter().map(|(answer, times)| format!("{answer} {times}")).collect();
        out.push_str(&format!("  {}: {}\n", clean(&route.name), answers.join(", ")));
    }
    out
}
