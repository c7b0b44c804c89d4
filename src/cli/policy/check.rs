//! `plangate policy check`.

use clap::Args;

use super::folder::{Folder, ReportFormat, done};
use crate::{cli::Failure, policy};

/// Report every error and warning of a policy folder
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    folder: Folder,
    /// How to print
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    output: ReportFormat,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let report = policy::check(self.folder.path()?);
        self.output.print(|color| report.render(color), || report.to_json())?;
        done(report.is_ok(), "the policies have errors")
    }
}
