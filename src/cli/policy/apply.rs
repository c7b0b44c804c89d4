//! `plangate policy apply`: puts policies in force on all nodes, tries them, and decides on what was tried.

use std::path::PathBuf;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::{folder::must_be_there, said::Said};
use crate::{
    cli::{
        Failure,
        client::{Call, Connection, WriteOptions},
        output::{Format, Rows, coloured, field, note, show, write},
    },
    domain::revision::PolicyFiles,
    policy,
};

/// Put policies in force: on all nodes at one version
#[derive(Debug, Args)]
#[command(after_help = "\
Of the policies only the terms and routes are stored, not the cases. `--shadow` enforces the old ones and counts what
would have differed (`plangate policy shadow`); `--tenants` lets the new ones decide for some tenants alone. Both last
until `--promote` or `--discard`. `plangate policy rollback` takes a change back.")]
pub struct Apply {
    /// The policy folder [default: policies]
    #[arg(value_name = "DIR", conflicts_with_all = ["promote", "discard"])]
    folder: Option<PathBuf>,
    /// Try them beside those in force, deciding for nobody
    #[arg(long, conflicts_with_all = ["tenants", "promote", "discard"])]
    shadow: bool,
    /// Let them decide for some tenants: a share such as 5%, or ids separated by commas
    #[arg(long, value_name = "SHARE|IDS", conflicts_with_all = ["promote", "discard"])]
    tenants: Option<String>,
    /// Let the policies on trial decide for all
    #[arg(long, conflicts_with = "discard")]
    promote: bool,
    /// End the trial
    #[arg(long)]
    discard: bool,
    #[command(flatten)]
    said: Said,
    #[command(flatten)]
    write: WriteOptions,
    #[command(flatten)]
    connection: Connection,
}

impl Apply {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let files = if self.promote || self.discard { None } else { Some(self.files()?) };
        let (policy, mut body) = self.said.body(&self.connection).await?;
        if let Some(files) = &files {
            let digest = policy::digest(files);
            if self.rollout().is_none() && is_in_force(&policy, &digest.0) {
                if Format::or_fitting(self.connection.output) == Format::Json {
                    show(self.connection.output, &policy, &Rows::new(&[]))?;
                }
                note("nothing to do: these policies are in force already");
                return Ok(());
            }
            body["files"] = json!(files.0);
            body["rollout"] = json!(self.rollout());
        }
        let path = match (self.promote, self.discard) {
            (true, _) => "promote",
            (_, true) => "discard",
            _ => "apply",
        };
        let call = Call::new(Method::POST, &["v1", "policy", path]).write(&self.write, body);
        self.tell(&self.connection.call(call).await?)
    }

    /// The folder's files, once they are found to be without errors: here they can be shown in their lines.
    fn files(&self) -> Result<PolicyFiles, Failure> {
        let folder = self.folder.clone().unwrap_or_else(|| PathBuf::from("policies"));
        must_be_there(&folder)?;
        let report = policy::check(&folder);
        if !report.is_ok() {
            let terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
            write(report.render(coloured(terminal)).as_bytes())?;
            return Err(Failure::Refused("the policies have errors: nothing was applied".to_owned()));
        }
        Ok(policy::files(&folder))
    }

    /// How they are to be tried, if they are.
    fn rollout(&self) -> Option<Value> {
        if self.shadow {
            return Some(json!("shadow"));
        }
        let tenants = self.tenants.as_ref()?;
        let ids = || tenants.split(',').map(str::trim).filter(|id| !id.is_empty()).collect::<Vec<_>>();
        let tenants = if tenants.ends_with('%') { json!(tenants) } else { json!(ids()) };
        Some(json!({ "tenants": tenants }))
    }

    fn tell(&self, answer: &Value) -> Result<(), Failure> {
        let mut rows = Rows::new(&["REVISION", "VERSION", "IN FORCE", "ON TRIAL", "NODES"]);
        rows.add(vec![
            field(answer, "/number"),
            field(answer, "/version"),
            short(&field(answer, "/digest")),
            short(&field(answer, "/candidate")),
            field(answer, "/applied/nodes"),
        ]);
        show(self.connection.output, answer, &rows)?;
        if Format::or_fitting(self.connection.output) != Format::Json {
            note(self.next());
        }
        Ok(())
    }

    /// What may come next.
    const fn next(&self) -> &'static str {
        if self.shadow {
            "`plangate policy shadow` shows what would have differed; then `plangate policy apply --promote` or `--discard`"
        } else if self.tenants.is_some() {
            "`plangate policy apply DIR --tenants 50%` widens it; then `plangate policy apply --promote` or `--discard`"
        } else if self.discard {
            "the policies in force decide for all again"
        } else {
            "in force; `plangate policy rollback` takes it back"
        }
    }
}

/// Whether these policies were applied, and nothing is tried beside them.
fn is_in_force(policy: &Value, digest: &str) -> bool {
    field(policy, "/source") == "revision"
        && field(policy, "/digest") == digest
        && policy.get("candidate").is_none_or(Value::is_null)
}

/// The beginning of a digest, which is enough to tell a few apart.
pub(super) fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}
