//! `plangate policy ...`: what an admin does with policy files, before and after they decide.

mod check;
mod diff;
mod folder;
mod test;

use clap::{Args, Subcommand};

use super::Failure;

/// Check and test policy files
#[derive(Debug, Args)]
pub struct Policy {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Report every error and warning of a policy folder
    Check(check::Check),
    /// Run the cases of a policy folder
    Test(test::Test),
    /// Show what would change, for whom and at what cost, before applying it
    Diff(diff::Diff),
}

impl Policy {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            PolicyCommand::Check(command) => command.run(),
            PolicyCommand::Test(command) => command.run(),
            PolicyCommand::Diff(command) => command.run(),
        }
    }
}
