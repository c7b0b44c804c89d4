//! `plangate policy check|test`.

use std::{io::IsTerminal, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::{Failure, output};
use crate::policy;

/// Check and test policy files
#[derive(Debug, Args)]
pub struct Policy {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Report every error and warning of a policy folder
    Check(Folder),
    /// Run the cases of a policy folder
    Test(Folder),
}

#[derive(Debug, Args)]
struct Folder {
    /// The policy folder
    #[arg(value_name = "DIR", default_value = "policies")]
    folder: PathBuf,
    /// How to print
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    output: ReportFormat,
}

/// How to print a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

impl Policy {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.command {
            PolicyCommand::Check(folder) => {
                folder.must_be_there()?;
                let report = policy::check(&folder.folder);
                folder.print(|color| report.render(color), || report.to_json())?;
                done(report.is_ok(), "the policies have errors")
            }
            PolicyCommand::Test(folder) => {
                folder.must_be_there()?;
                let report = policy::test(&folder.folder);
                folder.print(|color| report.render(color), || report.to_json())?;
                done(report.is_ok(), "not all cases pass")
            }
        }
    }
}

fn done(ok: bool, what: &str) -> Result<(), Failure> {
    if ok { Ok(()) } else { Err(Failure::Refused(what.to_owned())) }
}

impl Folder {
    /// A folder that is not there is a mistake in the command, not in the policies.
    fn must_be_there(&self) -> Result<(), Failure> {
        if self.folder.is_dir() {
            return Ok(());
        }
        let folder = self.folder.display();
        Err(Failure::Usage(format!(
            "`{folder}` is not a folder: name the one that holds features.yaml, routes.yaml and plans/"
        )))
    }

    fn print(&self, text: impl Fn(bool) -> String, json: impl Fn() -> Value) -> Result<(), Failure> {
        let shown = match self.output {
            ReportFormat::Text => text(output::coloured(std::io::stdout().is_terminal())),
            ReportFormat::Json => format!("{:#}\n", json()),
        };
        output::write(shown.as_bytes())
    }
}
