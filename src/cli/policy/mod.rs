//! `plangate policy ...`: what an admin does with policy files, before and after they decide.

mod apply;
mod check;
mod diff;
mod effective;
mod folder;
mod history;
mod mapping;
mod rollback;
mod said;
mod schema;
mod shadow;
mod show;
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
    /// Put policies in force on all nodes, or try them first
    Apply(apply::Apply),
    /// List which policies decided when
    History(history::History),
    /// Return to earlier policies
    Rollback(rollback::Rollback),
    /// Show a plan with all that it inherits, and where each value is written
    Show(show::Show),
    /// Print the JSON Schema of a kind of policy files, for editors that complete and check
    Schema(schema::Schema),
    /// Show what would change, for whom and at what cost, before applying it
    Diff(diff::Diff),
    /// Show what the policies that are tried in the shadow would have decided otherwise
    Shadow(shadow::Shadow),
}

impl Policy {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            PolicyCommand::Check(command) => command.run(),
            PolicyCommand::Test(command) => command.run(),
            PolicyCommand::Apply(command) => calling(command.run()),
            PolicyCommand::History(command) => calling(command.run()),
            PolicyCommand::Rollback(command) => calling(command.run()),
            PolicyCommand::Show(command) => command.run(),
            PolicyCommand::Schema(command) => command.run(),
            PolicyCommand::Diff(command) => command.run(),
            PolicyCommand::Shadow(command) => calling(command.run()),
        }
    }
}
