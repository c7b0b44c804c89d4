//! `plangate policy test`.

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    panic::resume_unwind,
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use clap::{Args, ValueEnum};

use super::folder::{Folder, done};
use crate::{
    cli::{Failure, output},
    policy::{self, Progress, TestReport},
};

/// Run the cases of a policy folder
#[derive(Debug, Args)]
pub struct Test {
    #[command(flatten)]
    folder: Folder,
    /// Only cases whose name or file contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Show what of routes, features and plans the cases try
    #[arg(long)]
    coverage: bool,
    /// Fail where they try less of it than so many percent
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    coverage_min: Option<u8>,
    /// How to print
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    output: Form,
}

/// How to print the results of cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people
    Text,
    /// For programs
    Json,
    /// JUnit XML, for CI
    Junit,
}

/// Nobody waits for less without wondering.
const PATIENCE: Duration = Duration::from_secs(1);
const EACH: Duration = Duration::from_millis(100);

impl Test {
    pub(super) fn run(self) -> Result<(), Failure> {
        let folder = self.folder.path()?;
        let report = watched(|progress| policy::test_some(folder, self.filter.as_deref(), progress));
        let shown = match self.output {
            Form::Text => {
                let color = output::coloured(stdout().is_terminal());
                let wanted = self.coverage || self.coverage_min.is_some();
                let coverage = if wanted { report.render_coverage(color) } else { String::new() };
                report.render(color) + &coverage
            }
            Form::Json => format!("{:#}\n", report.to_json()),
            Form::Junit => report
                .to_junit()
                .map_err(|error| Failure::Refused(format!("the report cannot be written: {error}")))?,
        };
        output::write(shown.as_bytes())?;
        done(report.is_ok(), "not all cases pass")?;
        let nothing = report.results().is_empty() && report.filtered_out() > 0;
        done(!nothing, "no case was chosen by `--filter`")?;
        self.enough(&report)
    }

    fn enough(&self, report: &TestReport) -> Result<(), Failure> {
        let (Some(least), Some(coverage)) = (self.coverage_min, report.coverage()) else { return Ok(()) };
        let percent = coverage.percent();
        let what = format!("the cases try {percent} % of the policies, less than {least} %");
        done(percent >= usize::from(least), &what)
    }
}

/// Shows on a terminal how far it has come, where that takes long.
fn watched(work: impl FnOnce(&Progress) -> TestReport + Send) -> TestReport {
    let progress = Progress::default();
    if !stderr().is_terminal() {
        return work(&progress);
    }
    thread::scope(|scope| {
        let (end, ended) = channel::<()>();
        let progress = &progress;
        let worker = scope.spawn(move || {
            // Dropped at the end, also where that is a panic.
            let _end = end;
            work(progress)
        });
        let mut shown = false;
        let mut wait = PATIENCE;
        while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            let (done, all) = progress.get();
            let text = if all == 0 { "reading ...".to_owned() } else { format!("{done} of {all} cases") };
            let _ = write!(stderr(), "\r\u{1b}[K{text}");
            (shown, wait) = (true, EACH);
        }
        if shown {
            let _ = write!(stderr(), "\r\u{1b}[K");
        }
        worker.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}
