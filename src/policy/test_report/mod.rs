//! What `policy test` says: which cases hold, where one does not what was expected and what came, and what the cases try.

mod json;
mod junit;
#[cfg(test)]
mod tests;
mod text;

use super::{
    case::{CaseResult, Coverage},
    report::Report,
};

/// The check of a policy folder and the results of its cases.
#[derive(Debug, Clone)]
pub struct TestReport {
    check: Report,
    results: Vec<CaseResult>,
    coverage: Option<Coverage>,
    left_out: usize,
}

impl TestReport {
    pub(super) fn new(check: Report, results: Vec<CaseResult>, coverage: Option<Coverage>) -> Self {
        Self { check, results, coverage, left_out: 0 }
    }

    /// So many cases were not asked for.
    #[must_use]
    pub(super) fn left_out(mut self, cases: usize) -> Self {
        self.left_out = cases;
        self
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

    /// What the cases that were run try of the policies; `None`: no case was run.
    #[must_use]
    pub fn coverage(&self) -> Option<&Coverage> {
        self.coverage.as_ref()
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

    /// How many were not asked for.
    #[must_use]
    pub fn filtered_out(&self) -> usize {
        self.left_out
    }

    /// Whether the folder has no error and every case holds.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.check.is_ok() && self.failed() == 0
    }
}

/// Where a failure is and what led to it: `then[1], after plan: pro`.
fn led_to(failed: &crate::policy::case::Failed) -> Option<String> {
    (failed.step > 0).then(|| match failed.after.as_slice() {
        [] => format!("step {}, at once", failed.step),
        words => format!("step {}, after {}", failed.step, words.join(", then ")),
    })
}
