//! The commands of the shell.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 bad usage or configuration, 3 the server could not be reached; 4 of
//! `policy diff`: something differs.

mod addon;
mod audit;
mod billing;
mod client;
mod demo;
mod event;
mod explain;
mod exports;
mod grant;
mod key;
mod node;
mod output;
mod overrides;
mod plan;
mod policy;
mod send_usage;
mod serve;
mod statement;
mod subscription;
mod tenant;
#[cfg(test)]
mod tests;
mod token;
mod upcoming;
mod usage;
mod webhooks;

use std::{ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

/// What a newcomer does first.
const NEXT: &str = "\
Begin with `plangate demo`, which runs all of it and prints what to try. For a product of your own:
`plangate policy check`, `plangate serve`, then `tenant put`, `subscription put` and `key create`,
which call the admin API of a running gateway (PLANGATE_ADMIN_URL, PLANGATE_ADMIN_TOKEN).";

/// A multi-tenant plan entitlement gateway.
#[derive(Debug, Parser)]
#[command(name = "plangate", version, max_term_width = 100, after_help = NEXT)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway
    Serve(serve::Serve),
    /// Run the gateway in front of a sample product, with sample tenants, and print what to try
    Demo(demo::Demo),
    /// Check and test policy files
    Policy(policy::Policy),
    /// Explain why a request is let through or refused, step by step
    Explain(explain::Explain),
    /// Make, change, read and remove tenants
    Tenant(tenant::Tenant),
    /// Put a tenant on a plan: try, change, cancel, pause, and what will happen by itself
    Subscription(subscription::Subscription),
    /// Give units beside a plan's, list and void them
    Grant(grant::Grant),
    /// Attach and detach what is sold beside plans
    Addon(addon::Addon),
    /// Link tenants with customers of Stripe, and see what became of Stripe's events
    Billing(billing::Billing),
    /// List the plans, their versions and how many tenants are on each
    Plan(plan::Plan),
    /// Make, list and revoke API keys
    Key(key::Key),
    /// Show what a tenant has used, and send usage that did not come through the gateway
    Usage(usage::Usage),
    /// List what was told outside: thresholds, exhausted quotas, trials that end, changed plans
    Event(event::Event),
    /// Show what a tenant's billing periods come to
    Statement(statement::Statement),
    /// Tell others of what happens: make webhooks, see what was delivered, receive and send samples
    #[command(alias = "webhook")]
    Webhooks(webhooks::Webhooks),
    /// Read the audit log, export it, and verify that nobody changed it
    Audit(audit::Audit),
    /// Make, list and revoke tokens of the admin API
    Token(token::Token),
    /// List the nodes, and write off one that does not come back
    Node(node::Node),
    /// Print a shell's completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How a command ended when it did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server said no.
    #[error("{0}")]
    Refused(String),
    /// The command cannot be carried out as it was given.
    #[error("{0}")]
    Usage(String),
    /// The server did not answer.
    #[error("{0}")]
    Unreachable(String),
    /// It was done, and there are changes: nothing to complain of, but an exit code of its own.
    #[error("there are changes")]
    Changes,
}

impl Failure {
    /// The exit code of the contract.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Changes => 4,
        }
    }
}

/// Reads the command line and carries the command out.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match execute(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Changes) {
                output::complain(&failure.to_string());
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Carries a command out.
///
/// # Errors
/// [`Failure`] says why not, and what to do next.
pub fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(command) => command.run(),
        Command::Demo(command) => command.run(),
        Command::Policy(command) => command.run(),
        Command::Explain(command) => calling(command.run()),
        Command::Tenant(command) => calling(command.run()),
        Command::Subscription(command) => calling(command.run()),
        Command::Grant(command) => calling(command.run()),
        Command::Addon(command) => calling(command.run()),
        Command::Billing(command) => calling(command.run()),
        Command::Plan(command) => calling(command.run()),
        Command::Key(command) => calling(command.run()),
        Command::Usage(command) => calling(command.run()),
        Command::Event(command) => calling(command.run()),
        Command::Statement(command) => calling(command.run()),
        Command::Webhooks(command) => calling(command.run()),
        Command::Audit(command) => calling(command.run()),
        Command::Token(command) => calling(command.run()),
        Command::Node(command) => calling(command.run()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "plangate", &mut script);
            output::write(&script)
        }
    }
}

/// Runs a command that calls the admin API, on a small runtime of its own.
fn calling<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Refused(format!("no runtime could be started: {error}")))?
        .block_on(command)
}
