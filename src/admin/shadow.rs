//! What policies that are tried in the shadow would have decided otherwise.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Shared,
    openapi::ReadErrors,
    params::Params,
    problem::{Code, Problem},
};
use crate::{
    domain::{
        revision::{RevisionNumber, Rollout},
        verdict::Verdict,
    },
    ports::{Sender, ShadowBy, ShadowOf, ShadowRow, ShadowSum, ShadowTotals},
};

/// What was counted since the trial began.
#[derive(Serialize, ToSchema)]
#[schema(as = Shadow)]
pub(super) struct ShadowView {
    /// The entry of the history with which the trial began.
    number: u64,
    /// SHA-256 of the files that are tried.
    digest: String,
    /// When it began.
    since: String,
    /// Requests on all nodes. What a node has counted in the last seconds may be missing.
    totals: TotalsView,
    /// What was decided otherwise, the most frequent first.
    items: Vec<ItemView>,
    /// What to pass on to get the next page; `null` on the last.
    next: Option<u64>,
}

/// Requests during the trial.
#[derive(Serialize, ToSchema)]
#[schema(as = ShadowTotals)]
struct TotalsView {
    /// Decided by both policies.
    compared: u64,
    /// Of these: decided otherwise.
    differing: u64,
    /// Of these: let in, and would have been refused.
    newly_refused: u64,
    /// Of these: refused, and would have been let in.
    newly_allowed: u64,
    /// Not decided by the tried policies, as what that needs was not in memory or there were too many tenants.
    uncompared: u64,
}

/// Requests that were decided otherwise: in the same way, or summed up by tenant or route.
#[derive(Serialize, ToSchema)]
#[schema(as = ShadowItem)]
struct ItemView {
    /// `tenant`; `anonymous`: nobody was identified; `others`: tenants that there was no room to count by themselves.
    /// Absent in sums by route.
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'static str>,
    /// The tenant; `null` where the sender is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<Option<String>>,
    /// The route as the policies have it; empty: none; `*`: several that there was no room to count by themselves. Absent
    /// in sums by tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    /// How they were decided. Absent in sums.
    #[serde(skip_serializing_if = "Option::is_none")]
    enforced: Option<VerdictView>,
    /// How they would have been. Absent in sums.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<VerdictView>,
    /// How many.
    count: u64,
    /// Of these: let in, and would have been refused.
    newly_refused: u64,
    /// Of these: refused, and would have been let in.
    newly_allowed: u64,
}

/// A decision.
#[derive(Serialize, ToSchema)]
#[schema(as = Verdict)]
struct VerdictView {
    /// `allow`, the code of a refusal, or `identity-needed`: a credential would have been asked for.
    code: String,
    /// The feature that is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    feature: Option<String>,
    /// The meter that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    meter: Option<String>,
}

impl From<ShadowTotals> for TotalsView {
    fn from(totals: ShadowTotals) -> Self {
        let ShadowTotals { compared, differing, newly_refused, newly_allowed, uncompared } = totals;
        Self { compared, differing, newly_refused, newly_allowed, uncompared }
    }
}

impl From<&Verdict> for VerdictView {
    fn from(verdict: &Verdict) -> Self {
        Self {
            code: verdict.code().to_owned(),
            feature: verdict.feature().map(str::to_owned),
            meter: verdict.meter().map(str::to_owned),
        }
    }
}

const fn word(sender: &Sender) -> &'static str {
    match sender {
        Sender::Anonymous => "anonymous",
        Sender::Others => "others",
        Sender::Tenant(_) => "tenant",
    }
}

fn tenant(sender: &Sender) -> Option<String> {
    match sender {
        Sender::Anonymous | Sender::Others => None,
        Sender::Tenant(tenant) => Some(tenant.to_string()),
    }
}

impl From<ShadowRow> for ItemView {
    fn from(row: ShadowRow) -> Self {
        let of = |holds: bool| if holds { row.count } else { 0 };
        Self {
            sender: Some(word(&row.sender)),
            tenant: Some(tenant(&row.sender)),
            newly_refused: of(row.newly_refused()),
            newly_allowed: of(row.newly_allowed()),
            route: Some(row.route),
            enforced: Some((&row.enforced).into()),
            candidate: Some((&row.candidate).into()),
            count: row.count,
        }
    }
}

impl From<ShadowSum> for ItemView {
    fn from(sum: ShadowSum) -> Self {
        let ShadowSum { of, differing, newly_refused, newly_allowed } = sum;
        let (sender, route) = match of {
            ShadowOf::Sender(sender) => (Some(sender), None),
            ShadowOf::Route(route) => (None, Some(route)),
        };
        Self {
            sender: sender.as_ref().map(word),
            tenant: sender.as_ref().map(tenant),
            route,
            enforced: None,
            candidate: None,
            count: differing,
            newly_refused,
            newly_allowed,
        }
    }
}

/// Show what the policies that are tried in the shadow would have decided otherwise.
///
/// Counts are exact where the policies alone decide. What depends on units used is an estimate where there are several
/// nodes: each knows of the others what it last heard.
#[utoipa::path(get, path = "/v1/policy/shadow", tag = "policies",
    params(("by" = Option<String>, Query, description = "`tenant` or `route`: sums; by default each way in which requests were decided otherwise"),
           ("cursor" = Option<u64>, Query, description = "`next` of the page before"),
           ("limit" = Option<u32>, Query, description = "Items in a page, 1 to 500, by default 100")),
    responses((status = 200, description = "What was counted", body = ShadowView),
              (status = 409, description = "No policies are tried in the shadow", body = super::problem::ProblemView),
              ReadErrors))]
pub(super) async fn get_shadow(
    State(shared): State<Shared>,
    mut params: Params,
) -> Result<Json<ShadowView>, Problem> {
    let by = match params.take("by").as_deref() {
        None => None,
        Some("tenant") => Some(ShadowBy::Tenant),
        Some("route") => Some(ShadowBy::Route),
        Some(other) => {
            return Err(Problem::parameter("by", format!("`{other}`: expected `tenant` or `route`")));
        }
    };
    let skip = params.place("cursor")?;
    let limit = params.limit()?;
    params.finish()?;
    let none = || Problem::new(Code::NoTrial, "no policies are tried in the shadow");
    let deployment = shared.revisions.deployment().await?;
    let tried = deployment.candidate.filter(|trial| trial.rollout == Rollout::Shadow).ok_or_else(none)?;
    let next = RevisionNumber(deployment.number.0.saturating_add(1));
    let entry = shared.revisions.revisions(Some(next), 1).await?.pop().ok_or_else(none)?;
    let trial = deployment.version;
    let totals = shared.shadow.shadow_totals(trial).await?;
    let mut items: Vec<ItemView> = match by {
        None => {
            let rows = shared.shadow.shadow_rows(trial, skip, limit + 1).await?;
            rows.into_iter().map(Into::into).collect()
        }
        Some(by) => {
            let sums = shared.shadow.shadow_sums(trial, by, skip, limit + 1).await?;
            sums.into_iter().map(Into::into).collect()
        }
    };
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let next = (items.len() > most).then(|| skip.saturating_add(limit.into()));
    items.truncate(most);
    Ok(Json(ShadowView {
        number: deployment.number.0,
        digest: tried.digest.0.to_string(),
        since: entry.at.to_string(),
        totals: totals.into(),
        items,
        next,
    }))
}
