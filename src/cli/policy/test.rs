//! `plangate policy test`.

use clap::Args;

use super::folder::{Folder, ReportFormat, done};
use crate::{cli::Failure, policy};

/// Run the cases of a policy folder
#[derive(Debug, Args)]
pub struct Test {
    #[command(flatten)]
    folder: Folder,
    /// How to print
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    output: ReportFormat,
}

impl Test {
    pub(super) fn run(self) -> Result<(), Failure> {
        let report = policy::test(self.folder.path()?);
        self.output.print(|color| report.render(color), || report.to_json())?;
        done(report.is_ok(), "not all cases pass")
    }
}
