//! Policy files: read, checked, compiled, watched.
//!
//! A folder holds `features.yaml` (what can be sold), `plans/*.yaml` (what is sold), `addons/*.yaml` (what is sold beside
//! plans), `stripe.yaml` (what the names of a Stripe account mean), `routes.yaml` (what requests need and cost) and `cases/*.yaml` (examples that must hold). It goes through these rooms: `folder` reads the files, `yaml` makes
//! trees that know their places, `decode` makes definitions of them, `compile` puts these together into a
//! [`Catalog`]; every room reports what it finds and goes on, so that all mistakes show in one run.
//!
//! ```
//! # let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
//! let (catalog, _warnings) = plangate::policy::load(&dir).map_err(|report| report.render(false))?;
//! assert!(catalog.plan("pro").is_some());
//! # Ok::<(), String>(())
//! ```

mod case;
mod compile;
mod compiler;
mod condition;
mod decode;
mod definition;
mod diagnostic;
mod extras;
mod folder;
mod inherit;
mod lint;
mod names;
mod origins;
mod outcome;
mod report;
mod routes;
mod rules;
pub mod schema;
mod source;
mod stripe;
mod suggest;
mod syntax;
mod test_report;
mod tree;
mod watch;
mod yaml;

#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc};

use crate::domain::{catalog::Catalog, revision::PolicyFiles};

pub use case::{
    Case, CaseResult, Coverage, Difference, Exercise, Failed, Held, Holding, Progress, Tried, run, run_with,
};
pub use compiler::{Compiler, digest, files};
pub use diagnostic::{Diagnostic, Excerpt, Location, Severity, Span};
pub use report::Report;
pub use rules::{RULES, Rule};
pub use suggest::help as suggestion;
pub use test_report::TestReport;
pub use watch::{PolicyStatus, Watched};

/// Reads and compiles a policy folder; with the catalog come the warnings. Cases are not looked at: they are tests, and
/// a mistake in one must not keep a gateway from starting. It reads files: not for an async thread.
///
/// # Errors
/// The [`Report`] of everything that is wrong.
pub fn load(folder: &Path) -> Result<(Catalog, Vec<Diagnostic>), Report> {
    compiled(folder, &folder::read(folder))
}

fn compiled(folder: &Path, sources: &source::Sources) -> Result<(Catalog, Vec<Diagnostic>), Report> {
    let compiled = compile::compile(sources);
    match compiled.catalog {
        Some(catalog) => Ok((catalog, compiled.diagnostics)),
        None => Err(Report::new(folder, compiled.diagnostics)),
    }
}

/// Checks a policy folder, its cases' form included, without running them.
#[must_use]
pub fn check(folder: &Path) -> Report {
    let sources = folder::read(folder);
    checked(folder, &sources).0
}

fn checked(folder: &Path, sources: &source::Sources) -> (Report, Option<Arc<Catalog>>, Vec<Case>) {
    let compiled = compile::compile(sources);
    let catalog = compiled.catalog.map(Arc::new);
    let mut diagnostics = compiled.diagnostics;
    let (cases, more) = case::read(sources, catalog.as_deref());
    // Cases with a mistake are not read: what they ask for is not known.
    let whole = more.iter().all(|finding| finding.severity == Severity::Warning);
    diagnostics.extend(more);
    if whole && let (Some(catalog), Some(file)) = (&catalog, &compiled.routes) {
        diagnostics.extend(lint::cases::check(sources, catalog, file, &cases));
    }
    diagnostics.sort_by(|a, b| a.location.cmp(&b.location));
    (Report::new(folder, diagnostics), catalog, cases)
}

/// Checks files that come from elsewhere, cases included, as though they lay in `folder`.
#[must_use]
pub fn check_files(folder: &Path, files: &PolicyFiles) -> Report {
    checked(folder, &compiler::sources(files)).0
}

/// Checks a policy folder and runs its cases. Where the check finds errors, no case is run.
#[must_use]
pub fn test(folder: &Path) -> TestReport {
    test_some(folder, None, &Progress::default())
}

/// The same with those cases alone whose name or file contains a text, for somebody who watches the progress.
#[must_use]
pub fn test_some(folder: &Path, filter: Option<&str>, progress: &Progress) -> TestReport {
    let sources = folder::read(folder);
    let (check, catalog, cases) = checked(folder, &sources);
    tested(check, catalog, &cases, filter, progress)
}

/// Checks files that come from elsewhere, as though they lay in `folder`, and runs the cases among them.
#[must_use]
pub fn test_files(folder: &Path, files: &PolicyFiles) -> TestReport {
    let (check, catalog, cases) = checked(folder, &compiler::sources(files));
    tested(check, catalog, &cases, None, &Progress::default())
}

fn tested(
    check: Report,
    catalog: Option<Arc<Catalog>>,
    cases: &[Case],
    filter: Option<&str>,
    progress: &Progress,
) -> TestReport {
    match catalog {
        Some(catalog) if check.is_ok() => {
            let chosen: Vec<&Case> =
                cases.iter().filter(|case| filter.is_none_or(|text| case.is_named(text))).collect();
            let results = run_with(&catalog, &chosen, progress);
            let coverage = case::Coverage::of(&catalog, &results);
            TestReport::new(check, results, Some(coverage)).left_out(cases.len() - chosen.len())
        }
        _ => TestReport::new(check, Vec::new(), None),
    }
}
