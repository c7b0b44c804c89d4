//! Which policies decide, and which did.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Shared,
    openapi::ReadErrors,
    params::{NoParams, Params},
    problem::{Code, Problem},
    views::Page,
};
use crate::{
    domain::revision::{Deployment, Revision, RevisionNumber, Trial},
    wire::rollout,
};

/// The policies that decide.
#[derive(Serialize, ToSchema)]
#[schema(as = Policy)]
pub(super) struct PolicyView {
    /// The last entry of the history: the `base` of the next change. 0: nothing was ever applied.
    number: u64,
    /// The version of the change feed with which it came.
    version: u64,
    /// `revision`: what was applied decides on every node; `folder`: each node's policy folder; `none`: there is neither.
    source: &'static str,
    /// SHA-256 of the files that decide on this node.
    digest: String,
    /// What is tried beside them.
    candidate: Option<TrialView>,
}

/// Policies on trial.
#[derive(Serialize, ToSchema)]
#[schema(as = Trial)]
pub(super) struct TrialView {
    /// SHA-256 of their files.
    digest: String,
    /// `"shadow"`, `{"tenants": "5%"}` or `{"tenants": ["acme"]}`.
    #[schema(value_type = Value)]
    rollout: Value,
}

impl From<&Trial> for TrialView {
    fn from(trial: &Trial) -> Self {
        Self { digest: trial.digest.0.to_string(), rollout: rollout::encode(&trial.rollout) }
    }
}

/// One entry of the history.
#[derive(Serialize, ToSchema)]
#[schema(as = Revision)]
pub(super) struct RevisionView {
    /// Its place, from 1.
    number: u64,
    /// The version of the change feed with which it came.
    version: u64,
    /// `apply`, `shadow`, `stage`, `promote`, `discard`, `rollback`, or `import`: the folder as it was before the first.
    kind: String,
    /// SHA-256 of the files that decided from then on.
    digest: String,
    /// What was tried from then on.
    candidate: Option<TrialView>,
    /// Why.
    message: Option<String>,
    /// Who, as they said.
    author: Option<String>,
    /// When.
    at: String,
}

impl From<Revision> for RevisionView {
    fn from(revision: Revision) -> Self {
        Self {
            number: revision.number.0,
            version: revision.version.0,
            kind: revision.kind,
            digest: revision.enforced.0.to_string(),
            candidate: revision.candidate.as_ref().map(TrialView::from),
            message: revision.message,
            author: revision.author,
            at: revision.at.to_string(),
        }
    }
}

/// One entry of the history with its files.
#[derive(Serialize, ToSchema)]
#[schema(as = RevisionWithFiles)]
pub(super) struct RevisionFiles {
    #[serde(flatten)]
    revision: RevisionView,
    /// The files by name.
    files: BTreeMap<String, String>,
}

/// Show which policies decide.
#[utoipa::path(get, path = "/v1/policy", tag = "policies",
    responses((status = 200, description = "The policies", body = PolicyView), ReadErrors))]
pub(super) async fn get_policy(
    State(shared): State<Shared>,
    _: NoParams,
) -> Result<Json<PolicyView>, Problem> {
    let Deployment { version, number, enforced, candidate } = shared.revisions.deployment().await?;
    let source = match (&enforced, (shared.folder)()) {
        (Some(_), _) => "revision",
        (None, Some(_)) => "folder",
        (None, None) => "none",
    };
    let digest = shared.policies.catalog().digest.0.to_string();
    let candidate = candidate.as_ref().map(TrialView::from);
    Ok(Json(PolicyView { number: number.0, version: version.0, source, digest, candidate }))
}

/// List the history of the policies, the newest first.
#[utoipa::path(get, path = "/v1/policy/revisions", tag = "policies",
    params(("cursor" = Option<u64>, Query, description = "`next` of the page before"),
           ("limit" = Option<u32>, Query, description = "Items in a page, 1 to 500, by default 100")),
    responses((status = 200, description = "One page", body = Page<RevisionView, u64>), ReadErrors))]
pub(super) async fn list_revisions(
    State(shared): State<Shared>,
    mut params: Params,
) -> Result<Json<Page<RevisionView, u64>>, Problem> {
    let before = params.place_from_the_end("cursor")?.map(|place| RevisionNumber(place.0));
    let limit = params.limit()?;
    params.finish()?;
    let rows = shared.revisions.revisions(before, limit + 1).await?;
    Ok(Json(Page::cut(rows, limit, |row| row.number.0, Into::into)))
}

/// The number of a revision in a path.
pub(super) struct RevisionPath(RevisionNumber);

impl FromRequestParts<Shared> for RevisionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut http::request::Parts, state: &Shared) -> Result<Self, Problem> {
        let wrong = || Problem::new(Code::PathInvalid, "expected a revision's number, from 1");
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| wrong())?;
        text.parse()
            .ok()
            .filter(|number| *number > 0)
            .map(|number| Self(RevisionNumber(number)))
            .ok_or_else(wrong)
    }
}

/// Read one entry of the history with its files.
#[utoipa::path(get, path = "/v1/policy/revisions/{number}", tag = "policies",
    params(("number" = u64, Path, description = "Its place in the history")),
    responses((status = 200, description = "The entry", body = RevisionFiles), ReadErrors))]
pub(super) async fn get_revision(
    State(shared): State<Shared>,
    RevisionPath(number): RevisionPath,
    _: NoParams,
) -> Result<Json<RevisionFiles>, Problem> {
    let next = RevisionNumber(number.0.saturating_add(1));
    let found = shared.revisions.revisions(Some(next), 1).await?.pop();
    let missing = || Problem::new(Code::RevisionNotFound, format!("there is no revision {number}"));
    let revision = found.filter(|found| found.number == number).ok_or_else(missing)?;
    let files = shared.revisions.policy_files(&revision.enforced).await?.ok_or_else(missing)?;
    Ok(Json(RevisionFiles { revision: revision.into(), files: files.0 }))
}
