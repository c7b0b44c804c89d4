//! What `policy test` says: which cases hold, and where one does not, what was expected and what came.

use annotate_snippets::normalize_untrusted_str as clean;
use serde_json::{Value, json};

use super::{
    case::CaseResult,
    report::{Report, count},
};

/// The check of a policy folder and the results of its cases.
#[derive(Debug, Clone)]
pub struct TestReport {
    check: Report,
    results: Vec<CaseResult>,
}

impl TestReport {
    pub(super) fn new(check: Report, results: Vec<CaseResult>) -> Self {
        Self { check, results }
    }

    /// The findings about the folder. With errors no case was run.
    #[must_use]
    pub fn check(&self) -> &Report {
        &self.check
    }

    /// The results, in the order of files and lines.
    #[must_use]
    pub fn results(&self) -> &[CaseResult] {
        &self.results
    }

    /// How many cases hold.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.results.iter().filter(|result| result.passed).count()
    }

    /// How many do not.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.results.len() - self.passed()
    }

    /// Whether the folder has no error and every case holds.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.check.is_ok() && self.failed() == 0
    }

    /// One line a case, two more where it fails, and a last line that sums up.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let mut out = String::new();
        if self.check.diagnostics().is_empty() {
            // Nothing to say before the cases.
        } else {
            out.push_str(&self.check.render(color));
            out.push('\n');
        }
        if !self.check.is_ok() {
            out.push_str("no case was run\n");
            return out;
        }
        let paint = |text: &str, code: &str| match color {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        };
        for result in &self.results {
            let (name, file) = (clean(&result.name), clean(&result.file));
            if result.passed {
                out.push_str(&format!("{} {name}\n", paint("ok  ", "32")));
                continue;
            }
            out.push_str(&format!("{} {name} ({file}:{})\n", paint("FAIL", "1;31"), result.line));
            out.push_str(&format!("     expected: {}\n", clean(&result.expected)));
            out.push_str(&format!("     got:      {}\n", clean(&result.got)));
        }
        let (passed, failed) = (self.passed(), self.failed());
        out.push_str(&match (passed, failed) {
            (0, 0) => "there are no cases\n".to_owned(),
            (_, 0) => format!("{} passed\n", count(passed, "case")),
            _ => format!("{passed} passed, {}\n", paint(&format!("{failed} failed"), "1;31")),
        });
        out
    }

    /// The same for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let case = |result: &CaseResult| {
            json!({
                "name": result.name,
                "file": result.file,
                "line": result.line,
                "passed": result.passed,
                "expected": result.expected,
                "got": result.got,
            })
        };
        json!({
            "ok": self.is_ok(),
            "passed": self.passed(),
            "failed": self.failed(),
            "cases": self.results.iter().map(case).collect::<Vec<_>>(),
            "check": self.check.to_json(),
        })
    }
}
