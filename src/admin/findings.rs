//! What is to be said of policy files, in answers.

use serde::Serialize;
use utoipa::ToSchema;

use crate::ports::Finding;

/// Findings in one answer: nobody reads more.
const MOST_FINDINGS: usize = 200;

/// Something that is to be said of policy files.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Finding)]
pub(super) struct FindingView {
    /// `error` or `warning`.
    severity: &'static str,
    /// The kind of finding, such as `unknown-feature`.
    code: &'static str,
    /// What it is.
    message: String,
    /// What to do.
    help: Option<String>,
    /// The file, relative to the folder.
    file: String,
    /// The line, from 1.
    line: Option<usize>,
    /// The column, from 1.
    column: Option<usize>,
    /// The line itself.
    source: Option<String>,
}

impl From<&Finding> for FindingView {
    fn from(finding: &Finding) -> Self {
        let Finding { severity, code, message, help, file, place, source } = finding.clone();
        let (line, column) = place.unzip();
        Self { severity, code, message, help, file, line, column, source }
    }
}

/// The first of them, as an answer has them.
pub(super) fn views(findings: &[Finding]) -> Vec<FindingView> {
    findings.iter().take(MOST_FINDINGS).map(FindingView::from).collect()
}
