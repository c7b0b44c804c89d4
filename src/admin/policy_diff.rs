//! What would change if other policies were applied, and what that would do to the tenants: before anybody applies them.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{FromRequest, Request, State},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    MAX_POLICIES, Shared, body,
    deploy::compile,
    openapi::ReadErrors,
    params::NoParams,
    policy_impact,
    problem::{Code, Problem},
};
use crate::{
    domain::{
        catalog::Catalog,
        diff::{Change, diff},
        revision::PolicyFiles,
        time::Version,
    },
    wire::diff::{Base, ImpactView, PolicyDiff},
};

/// Policies to be compared with those in force.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DiffPolicies {
    /// The files by name, as `plans/free.yaml`. Cases are left out.
    files: BTreeMap<String, String>,
    /// Whether to reckon what the difference would do to the tenants there are.
    #[serde(default = "yes")]
    impact: bool,
}

/// Of the latest revisions the one in force is one, on a node that is not long behind.
const LATEST: u32 = 100;

const fn yes() -> bool {
    true
}

impl FromRequest<Shared> for DiffPolicies {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        let (parts, stream) = request.into_parts();
        body::decode(&body::read_up_to(MAX_POLICIES, &parts.headers, stream, shared.0.body_time).await?)
    }
}

/// Compare policies with those in force, and reckon what they would do to the tenants. Changes nothing.
#[utoipa::path(post, path = "/v1/policy/diff", tag = "policies",
    request_body = DiffPolicies,
    responses((status = 200, description = "What differs, and what it would do", body = PolicyDiff),
              (status = 422, description = "The policies have errors: `findings` lists them", body = Object, content_type = "application/problem+json"),
              ReadErrors))]
pub(super) async fn diff_policies(
    State(shared): State<Shared>,
    _: NoParams,
    asked: DiffPolicies,
) -> Result<Json<PolicyDiff>, Problem> {
    let files = asked.files.into_iter().filter(|(name, _)| !name.starts_with("cases/")).collect();
    let (compiled, _) = compile(&shared, &PolicyFiles(files)).await?;
    let after = Arc::new(shared.previews.preview(compiled).await?);
    // Of those in force, not of those that are tried beside them.
    let before = shared.policies.catalog();
    let base = Base { digest: before.digest.0.to_string(), number: number(&shared, &before).await? };
    let changes = differences(&before, &after).await?;
    let impact = if asked.impact && !changes.is_empty() {
        let impact = policy_impact::reckon(&shared, before, Arc::clone(&after)).await?;
        Some(ImpactView::from(&impact))
    } else {
        None
    };
    let digest = after.digest.0.to_string();
    Ok(Json(PolicyDiff { base, digest, changes: changes.iter().map(Into::into).collect(), impact }))
}

async fn differences(before: &Arc<Catalog>, after: &Arc<Catalog>) -> Result<Vec<Change>, Problem> {
    let (before, after) = (Arc::clone(before), Arc::clone(after));
    let found = tokio::task::spawn_blocking(move || diff(&before, &after)).await;
    found.map_err(|_| Problem::new(Code::Internal, "the policies could not be compared"))
}

/// The place in the history of the policies that this node decides by: 0 for a folder's; `None`: it is long past.
async fn number(shared: &Shared, before: &Catalog) -> Result<Option<u64>, Problem> {
    if before.deployed == Version(0) {
        return Ok(Some(0));
    }
    let history = shared.revisions.revisions(None, LATEST).await?;
    Ok(history.iter().find(|entry| entry.version == before.deployed).map(|entry| entry.number.0))
}
