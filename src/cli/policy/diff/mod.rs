//! `plangate policy diff`: what would change, for whom, and what it would have cost, before anything is applied.

mod markdown;
mod sentences;
#[cfg(test)]
mod tests;
mod text;

use std::{
    io::{IsTerminal, Write, stderr},
    path::Path,
    time::Duration,
};

use clap::{Args, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::folder::{Folder, must_be_there};
use crate::{
    cli::{
        Failure, calling,
        client::{Call, Connection},
        output,
    },
    domain::{catalog::Catalog, diff::diff},
    policy::{self, Compiler},
    ports::PolicyCompiler,
    wire::diff::{Base, PolicyDiff},
};

/// What `--against` says where it names no folder.
const RUNNING: &str = "running";
/// How long the gateway may reckon: it reads all its tenants.
const RECKONING: Duration = Duration::from_secs(600);

const EXIT_CODES: &str = "\
Exit codes: 0 nothing changes, 4 something changes, 1 the policies have errors, or --fail-on loss and
somebody would lose something, 2 bad usage, 3 the gateway could not be reached.
Compared with the running gateway (PLANGATE_ADMIN_URL, PLANGATE_ADMIN_TOKEN), the impact on its tenants
is told, too: who loses or gains what, who would be over a quota at once, who would have run out in its
last billing month and on which day, and what that month would have cost. Nothing is changed by it.";

/// Show what would change, for whom and at what cost, before applying it
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Diff {
    #[command(flatten)]
    folder: Folder,
    /// What to compare with: the policies of the `running` gateway, or another folder
    #[arg(long, value_name = "DIR|running", default_value = RUNNING)]
    against: String,
    /// Leave out what it would do to the tenants there are
    #[arg(long)]
    no_impact: bool,
    /// End with exit code 1 where somebody would lose something
    #[arg(long, value_enum, value_name = "WHAT")]
    fail_on: Option<FailOn>,
    /// How to print
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    output: DiffFormat,
    /// The admin API's address; its token is taken from PLANGATE_ADMIN_TOKEN
    #[arg(long, value_name = "URL", env = "PLANGATE_ADMIN_URL", default_value = "http://127.0.0.1:8081")]
    admin: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// A tenant may do less, or pays more
    Loss,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DiffFormat {
    /// For people
    Text,
    /// For programs: the admin API's own answer
    Json,
    /// For a comment on a change, such as a merge request's
    Markdown,
}

impl Diff {
    pub(super) fn run(self) -> Result<(), Failure> {
        let folder = self.folder.path()?;
        sound(folder)?;
        let found = if self.against == RUNNING {
            calling(self.with_running(folder))?
        } else {
            let other = Path::new(&self.against);
            must_be_there(other)?;
            sound(other)?;
            between(&compile(other)?, &compile(folder)?)
        };
        let shown = match self.output {
            DiffFormat::Text => {
                let colour = output::coloured(std::io::stdout().is_terminal());
                text::render(&found, self.told(), colour)
            }
            DiffFormat::Json => format!("{:#}\n", json!(found)),
            DiffFormat::Markdown => markdown::render(&found, self.told()),
        };
        output::write(shown.as_bytes())?;
        if self.fail_on == Some(FailOn::Loss) && found.has_loss() {
            return Err(Failure::Refused("somebody would lose something (--fail-on loss)".to_owned()));
        }
        if found.is_empty() { Ok(()) } else { Err(Failure::Changes) }
    }

    /// What is said where there is no impact.
    fn told(&self) -> &'static str {
        if self.against == RUNNING {
            "Its impact on the tenants was not asked for (--no-impact)."
        } else {
            "Its impact on the tenants is known to a running gateway alone (--against running)."
        }
    }

    async fn with_running(&self, folder: &Path) -> Result<PolicyDiff, Failure> {
        let body = json!({ "files": policy::files(folder).0, "impact": !self.no_impact });
        let call = Call::new(Method::POST, &["v1", "policy", "diff"]).body(body);
        let connection = Connection::at(self.admin.clone());
        let answer = with_progress(connection.call_within(call, RECKONING)).await?;
        read(answer)
    }
}

fn read(answer: Value) -> Result<PolicyDiff, Failure> {
    serde_json::from_value(answer).map_err(|error| {
        Failure::Refused(format!(
            "the gateway's answer is not understood ({error}): is it of the same version as this command?"
        ))
    })
}

/// Says what is wrong with a folder, if anything is: policies with errors are compared with nothing.
fn sound(folder: &Path) -> Result<(), Failure> {
    let report = policy::check(folder);
    if report.is_ok() {
        return Ok(());
    }
    let mut err = stderr().lock();
    let _ = err.write_all(report.render(output::coloured(err.is_terminal())).as_bytes());
    Err(Failure::Refused(format!("the policies in `{}` have errors", folder.display())))
}

fn compile(folder: &Path) -> Result<Catalog, Failure> {
    let wrong = |_| Failure::Refused(format!("the policies in `{}` have errors", folder.display()));
    Compiler.compile(&policy::files(folder)).map(|(catalog, _)| catalog).map_err(wrong)
}

fn between(before: &Catalog, after: &Catalog) -> PolicyDiff {
    PolicyDiff {
        base: Base { digest: before.digest.0.to_string(), number: None },
        digest: after.digest.0.to_string(),
        changes: diff(before, after).iter().map(Into::into).collect(),
        impact: None,
    }
}

/// Says on a terminal that it takes its time, once it has taken a second.
async fn with_progress<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    if !stderr().is_terminal() {
        return work.await;
    }
    let mut seconds = 0_u64;
    loop {
        tokio::select! {
            done = &mut work => {
                if seconds > 0 {
                    let _ = write!(stderr(), "\r\x1b[K");
                }
                return done;
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => {
                seconds += 1;
                let _ = write!(stderr(), "\r\x1b[Kreckoning the impact ... {seconds} s");
            }
        }
    }
}
