//! `plangate policy ...`: what an admin does with policy files, before and after they decide.

mod check;
mod folder;
mod shadow;
mod test;

use clap::{Args, Subcommand};

use super::{Failure, calling};

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
    /// Show what the policies that are tried in the shadow would have decided otherwise
    Shadow(shadow::Shadow),
}

impl Policy {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            PolicyCommand::Check(command) => command.run(),
            PolicyCommand::Test(command) => command.run(),
            PolicyCommand::Shadow(command) => calling(command.run()),
        }
    }
}
