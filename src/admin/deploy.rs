//! Changes of the policies that decide: applied, tried, promoted, discarded, taken back.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Shared,
    answer::Written,
    findings::{FindingView, views},
    openapi::WriteErrors,
    problem::{Code, OTHER_REQUEST, Problem},
    write::{Ticket, Write, WritePolicies},
};
use crate::{
    domain::{
        catalog::{Catalog, Digest},
        revision::{Deploy, DeployRefused, PolicyFiles, RevisionNumber, Rollout, Trial},
    },
    ports::{DeployCommand, DeployError, Finding},
    wire::rollout,
};

const LONGEST_MESSAGE: usize = 2_000;
const LONGEST_AUTHOR: usize = 200;
/// Plans in one message.
const MOST_NAMED: usize = 5;

/// Policies to be applied.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Apply {
    /// The files by name, as `plans/free.yaml`. Cases are left out.
    files: BTreeMap<String, String>,
    /// The `number` of the policies that they are to replace: refused where others are in force by now.
    base: Option<u64>,
    /// Why.
    message: Option<String>,
    /// Who.
    author: Option<String>,
    /// `"shadow"`: decide for nobody, and count what would have differed; `{"tenants": "5%"}` or
    /// `{"tenants": ["acme"]}`: decide for these alone.
    #[schema(value_type = Option<Value>)]
    rollout: Option<Value>,
    /// Also where tenants are on plans that would be missing: they are refused then.
    #[serde(default)]
    force: bool,
}

/// A decision on what is there already.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Decide {
    /// The `number` of the policies in force: refused where others are by now.
    base: Option<u64>,
    /// Why.
    message: Option<String>,
    /// Who.
    author: Option<String>,
    /// Also where tenants are on plans that would be missing: they are refused then.
    #[serde(default)]
    force: bool,
}

/// A return to earlier policies.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RollBack {
    /// The `number` of the revision to return to; absent: the last one with other policies than those of now.
    to: Option<u64>,
    /// The `number` of the policies in force: refused where others are by now.
    base: Option<u64>,
    /// Why.
    message: Option<String>,
    /// Who.
    author: Option<String>,
    /// Also where tenants are on plans that would be missing: they are refused then.
    #[serde(default)]
    force: bool,
}

/// What decides after a change.
#[derive(Serialize, ToSchema)]
#[schema(as = AppliedPolicy)]
pub(super) struct DeployView {
    /// Its entry of the history.
    number: u64,
    /// SHA-256 of the files that decide.
    digest: String,
    /// SHA-256 of those that are tried beside them.
    candidate: Option<String>,
    /// What is legal and probably not meant.
    warnings: Vec<FindingView>,
}

/// Who changes it, and why.
struct Said {
    base: Option<u64>,
    message: Option<String>,
    author: Option<String>,
}

impl Said {
    fn check(&self) -> Result<(), Problem> {
        let wrong = |field: &str, most: usize| {
            let detail = format!("expected 1 to {most} characters, without control characters");
            Err(Problem::field(Code::FieldInvalid, field, detail))
        };
        let fits = |text: &Option<String>, most: usize, newline: bool| {
            text.as_ref().is_none_or(|text| {
                let allowed = |c: char| !c.is_control() || (newline && c == '\n');
                !text.trim().is_empty() && text.chars().count() <= most && text.chars().all(allowed)
            })
        };
        if !fits(&self.message, LONGEST_MESSAGE, true) {
            return wrong("/message", LONGEST_MESSAGE);
        }
        if !fits(&self.author, LONGEST_AUTHOR, false) {
            return wrong("/author", LONGEST_AUTHOR);
        }
        Ok(())
    }

    fn command(self, change: Deploy, folder: Option<Digest>) -> DeployCommand {
        let Self { base, message, author } = self;
        DeployCommand { change, base: base.map(RevisionNumber), folder, message, author }
    }
}

/// Apply policies: on all nodes at once, to some tenants first, or beside those in force.
#[utoipa::path(post, path = "/v1/policy/apply", tag = "policies",
    request_body = Apply,
    responses((status = 200, description = "Applied", body = Written<DeployView>), WriteErrors))]
pub(super) async fn apply(
    State(shared): State<Shared>,
    WritePolicies(Write { asked, ticket }): WritePolicies<Apply>,
) -> Result<Response, Problem> {
    let Apply { files, base, message, author, rollout, force } = asked;
    let said = Said { base, message, author };
    said.check()?;
    let rollout = rollout.as_ref().filter(|value| !value.is_null()).map(rollout::decode).transpose();
    let rollout =
        rollout.map_err(|error| Problem::field(Code::FieldInvalid, "/rollout", error.to_string()))?;
    let files = PolicyFiles(files.into_iter().filter(|(name, _)| !name.starts_with("cases/")).collect());
    let (catalog, warnings) = compile(&shared, &files).await?;
    if !force && rollout != Some(Rollout::Shadow) {
        nobody_left_behind(&shared, &catalog).await?;
    }
    let digest = catalog.digest.clone();
    shared.revisions.keep_policy_files(&digest, &files).await?;
    let change = match rollout {
        Some(rollout) => Deploy::Try(Trial { digest, rollout }),
        None => Deploy::Enforce(digest),
    };
    let folder = keep_folder(&shared).await?;
    deploy(&shared, ticket, said.command(change, folder), &warnings).await
}

/// Let the policies on trial decide for all.
#[utoipa::path(post, path = "/v1/policy/promote", tag = "policies",
    request_body = Decide,
    responses((status = 200, description = "Promoted", body = Written<DeployView>), WriteErrors))]
pub(super) async fn promote(
    State(shared): State<Shared>,
    Write { asked, ticket }: Write<Decide>,
) -> Result<Response, Problem> {
    let Decide { base, message, author, force } = asked;
    let said = Said { base, message, author };
    said.check()?;
    if !force && let Some(trial) = shared.revisions.deployment().await?.candidate {
        usable(&shared, &trial.digest).await?;
    }
    deploy(&shared, ticket, said.command(Deploy::Promote, None), &[]).await
}

/// End the trial of policies.
#[utoipa::path(post, path = "/v1/policy/discard", tag = "policies",
    request_body = Decide,
    responses((status = 200, description = "Discarded", body = Written<DeployView>), WriteErrors))]
pub(super) async fn discard(
    State(shared): State<Shared>,
    Write { asked, ticket }: Write<Decide>,
) -> Result<Response, Problem> {
    let Decide { base, message, author, .. } = asked;
    let said = Said { base, message, author };
    said.check()?;
    deploy(&shared, ticket, said.command(Deploy::Discard, None), &[]).await
}

/// Return to earlier policies.
#[utoipa::path(post, path = "/v1/policy/rollback", tag = "policies",
    request_body = RollBack,
    responses((status = 200, description = "Returned", body = Written<DeployView>), WriteErrors))]
pub(super) async fn roll_back(
    State(shared): State<Shared>,
    Write { asked, ticket }: Write<RollBack>,
) -> Result<Response, Problem> {
    let RollBack { to, base, message, author, force } = asked;
    let said = Said { base, message, author };
    said.check()?;
    let to = to.map(RevisionNumber);
    if !force && let Some(digest) = earlier(&shared, to).await? {
        usable(&shared, &digest).await?;
    }
    deploy(&shared, ticket, said.command(Deploy::RollBack(to), None), &[]).await
}

/// Compiles files: on a thread of its own, as it takes as long as they are large.
pub(super) async fn compile(
    shared: &Shared,
    files: &PolicyFiles,
) -> Result<(Catalog, Vec<Finding>), Problem> {
    let (compiler, files) = (Arc::clone(&shared.compiler), files.clone());
    let compiled = tokio::task::spawn_blocking(move || compiler.compile(&files)).await;
    let compiled =
        compiled.map_err(|_| Problem::new(Code::Internal, "the policies could not be compiled"))?;
    compiled.map_err(|findings| Problem::policies(&findings))
}

/// Refuses policies that lack plans that tenants are on.
async fn nobody_left_behind(shared: &Shared, catalog: &Catalog) -> Result<(), Problem> {
    let mut missing: BTreeMap<String, u64> = BTreeMap::new();
    for (plan, tenants) in shared.lifecycle.tenants_by_plan().await? {
        if tenants > 0 && catalog.plan(plan.id.as_str()).is_none() {
            *missing.entry(plan.id.to_string()).or_default() += tenants;
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let named: Vec<String> =
        missing.iter().take(MOST_NAMED).map(|(plan, tenants)| format!("`{plan}` has {tenants}")).collect();
    let more = if missing.len() > MOST_NAMED { ", and more" } else { "" };
    let detail = format!(
        "tenants are on plans that these policies lack, and would be refused everything: {}{more}; \
         move them first, or say `force`",
        named.join(", ")
    );
    Err(Problem::new(Code::PlansInUse, detail))
}

/// Refuses kept policies that lack plans that tenants are on. What cannot be read is for the change itself to say.
async fn usable(shared: &Shared, digest: &Digest) -> Result<(), Problem> {
    match shared.revisions.policy_files(digest).await? {
        Some(files) => nobody_left_behind(shared, &compile(shared, &files).await?.0).await,
        None => Ok(()),
    }
}

/// The policies to which a roll-back returns, as the store will find them.
async fn earlier(shared: &Shared, to: Option<RevisionNumber>) -> Result<Option<Digest>, Problem> {
    if let Some(number) = to {
        let next = RevisionNumber(number.0.saturating_add(1));
        let found = shared.revisions.revisions(Some(next), 1).await?.pop();
        return Ok(found.filter(|found| found.number == number).map(|found| found.enforced));
    }
    let Some(now) = shared.revisions.deployment().await?.enforced else { return Ok(None) };
    let rows = shared.revisions.revisions(None, 500).await?;
    Ok(rows.into_iter().map(|row| row.enforced).find(|digest| *digest != now))
}

/// Keeps this node's folder before policies are applied for the first time, so that there is a way back to it.
async fn keep_folder(shared: &Shared) -> Result<Option<Digest>, Problem> {
    if shared.revisions.deployment().await?.enforced.is_some() {
        return Ok(None);
    }
    let Some((digest, files)) = (shared.folder)() else { return Ok(None) };
    shared.revisions.keep_policy_files(&digest, &files).await?;
    Ok(Some(digest))
}

async fn deploy(
    shared: &Shared,
    ticket: Ticket,
    command: DeployCommand,
    warnings: &[Finding],
) -> Result<Response, Problem> {
    let Ticket { origin, wait } = ticket;
    let done = shared.revisions.deploy(&command, &origin).await.map_err(explain)?;
    let next = RevisionNumber(done.number.0.saturating_add(1));
    let entry = shared.revisions.revisions(Some(next), 1).await;
    let entry = entry.map_err(|error| Problem::from(error).after_commit(done.version))?.pop();
    let view = DeployView {
        number: done.number.0,
        digest: entry.as_ref().map_or_else(String::new, |entry| entry.enforced.0.to_string()),
        candidate: entry.and_then(|entry| entry.candidate).map(|trial| trial.digest.0.to_string()),
        warnings: views(warnings),
    };
    let written = Written::after(shared, wait, done.version, view).await;
    let mut response = (StatusCode::OK, Json(written)).into_response();
    super::answer::mark(&mut response, done.replayed);
    Ok(response)
}

fn explain(error: DeployError) -> Problem {
    let text = error.to_string();
    match error {
        DeployError::IdempotencyConflict => Problem::new(Code::IdempotencyConflict, OTHER_REQUEST),
        DeployError::Store(error) => error.into(),
        DeployError::Refused(refused) => {
            let code = match refused {
                DeployRefused::Stale { .. } => Code::RevisionStale,
                DeployRefused::Unchanged => Code::PoliciesUnchanged,
                DeployRefused::OnTrial => Code::TrialRunning,
                DeployRefused::NoTrial => Code::NoTrial,
                DeployRefused::Unknown(_) => Code::RevisionNotFound,
                DeployRefused::NoEarlier => Code::NoEarlierRevision,
            };
            Problem::new(code, text)
        }
    }
}
