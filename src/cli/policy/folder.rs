//! The policy folder that a command is about.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::cli::{Failure, output};

/// A policy folder.
#[derive(Debug, Args)]
pub(super) struct Folder {
    /// The policy folder
    #[arg(value_name = "DIR", default_value = "policies")]
    folder: PathBuf,
}

impl Folder {
    /// The folder. One that is not there is a mistake in the command, not in the policies.
    pub(super) fn path(&self) -> Result<&Path, Failure> {
        must_be_there(&self.folder)?;
        Ok(&self.folder)
    }
}

/// A folder that is not there is a mistake in the command, not in the policies.
pub(super) fn must_be_there(folder: &Path) -> Result<(), Failure> {
    if folder.is_dir() {
        return Ok(());
    }
    let folder = folder.display();
    Err(Failure::Usage(format!(
        "`{folder}` is not a folder: name the one that holds features.yaml, routes.yaml and plans/"
    )))
}

/// How to print a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

impl ReportFormat {
    /// Prints a report: with colour where it goes to a terminal.
    pub(super) fn print(
        self,
        text: impl FnOnce(bool) -> String,
        json: impl FnOnce() -> Value,
    ) -> Result<(), Failure> {
        let shown = match self {
            Self::Text => text(output::coloured(std::io::stdout().is_terminal())),
            Self::Json => format!("{:#}\n", json()),
        };
        output::write(shown.as_bytes())
    }
}

/// Refused, with what is wrong, unless it is well.
pub(super) fn done(ok: bool, what: &str) -> Result<(), Failure> {
    if ok { Ok(()) } else { Err(Failure::Refused(what.to_owned())) }
}
