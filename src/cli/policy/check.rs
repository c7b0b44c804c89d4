//! `plangate policy check`.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};

use super::folder::{Folder, done};
use crate::{
    cli::{Failure, output},
    policy,
};

/// Report every error and warning of a policy folder
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    folder: Folder,
    /// How to print
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    output: Form,
}

/// How to print what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people
    Text,
    /// For programs
    Json,
    /// SARIF 2.1.0, for code scanning and editors
    Sarif,
    /// Workflow commands, which a build on GitHub shows beside the lines
    Github,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        let report = policy::check(self.folder.path()?);
        // Where that is not known, files are named as the folder was given.
        let from = std::env::current_dir().unwrap_or_default();
        let shown = match self.output {
            Form::Text => report.render(output::coloured(std::io::stdout().is_terminal())),
            Form::Json => format!("{:#}\n", report.to_json()),
            Form::Sarif => format!("{:#}\n", report.to_sarif(&from)),
            Form::Github => report.to_github(&from),
        };
        output::write(shown.as_bytes())?;
        done(report.is_ok(), "the policies have errors")
    }
}
