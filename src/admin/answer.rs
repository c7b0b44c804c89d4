//! What all writes have in common on their way out: the commit, the barrier and the version.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Shared,
    present::Present,
    problem::Problem,
    refused,
    tenants::TenantView,
    write::{Ticket, Wait},
};
use crate::{
    domain::{
        command::{Change, Command},
        id::TenantId,
        time::Version,
    },
    ports::{Applied, Committed},
};

/// The answer to a write: its version, how far it has come, and the object.
#[derive(Serialize, ToSchema)]
pub(super) struct Written<T> {
    /// The version of the change.
    version: u64,
    /// How far the change has come. `null` with `wait=none` where the nodes could not be asked.
    applied: Option<AppliedView>,
    #[serde(flatten)]
    object: T,
}

/// How far a change has come.
#[derive(Serialize, ToSchema)]
#[schema(as = Applied)]
pub(super) struct AppliedView {
    /// Nodes on which it is in force.
    nodes: u32,
    /// Names of nodes on which it may not be in force yet.
    pending: Vec<String>,
}

impl From<Applied> for AppliedView {
    fn from(applied: Applied) -> Self {
        Self { nodes: applied.nodes, pending: applied.pending }
    }
}

/// A write that is durable and not answered yet.
pub(super) struct Done {
    pub(super) committed: Committed,
    wait: Wait,
}

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

impl Ticket {
    /// Carries a change out.
    pub(super) async fn commit(
        self,
        shared: &Shared,
        tenant: &TenantId,
        change: Change,
    ) -> Result<Done, Problem> {
        let command = Command { tenant: tenant.clone(), change };
        let committed = shared.tenants.execute(&command, &self.origin).await;
        let committed = committed.map_err(|error| refused::explain(error, &command.change))?;
        Ok(Done { committed, wait: self.wait })
    }

    /// Carries a change out, and answers the tenant as it then is, once the change is in force.
    pub(super) async fn change_tenant(
        self,
        shared: &Shared,
        id: &TenantId,
        change: Change,
    ) -> Result<Response, Problem> {
        self.commit(shared, id, change).await?.answer_tenant(shared, id, StatusCode::OK).await
    }
}

impl Done {
    /// The tenant as it now is, once the change is in force.
    pub(super) async fn answer_tenant(
        self,
        shared: &Shared,
        id: &TenantId,
        status: StatusCode,
    ) -> Result<Response, Problem> {
        let version = self.committed.version;
        match shared.find(id).await {
            Ok(present) => {
                remark(shared, &present).await;
                Ok(self.answer(shared, status, TenantView::from(&present)).await)
            }
            Err(problem) => Err(problem.after_commit(version)),
        }
    }

    /// Answers with an object, once the change is in force. A replay waits anew: the first answer may have got lost
    /// before the change was in force.
    pub(super) async fn answer<T: Serialize>(
        self,
        shared: &Shared,
        status: StatusCode,
        object: T,
    ) -> Response {
        let written = Written::after(shared, self.wait, self.committed.version, object).await;
        let mut response = (status, Json(written)).into_response();
        mark(&mut response, self.committed.replayed);
        response
    }
}

impl<T> Written<T> {
    /// The answer once the change of this version is in force, if that is to be waited for.
    pub(super) async fn after(shared: &Shared, wait: Wait, version: Version, object: T) -> Self {
        let applied = match wait {
            Wait::Applied => Some(shared.barrier.applied(version).await.into()),
            Wait::None => standing(shared, version).await,
        };
        Self { version: version.0, applied, object }
    }
}

/// Limits may have changed: has told what is true by them of what was used before.
pub(super) async fn remark(shared: &Shared, present: &Present) {
    // A tenant that has no rights has no limits.
    let Ok(rights) = present.rights() else { return };
    if let Err(error) = shared.ledger.remark(&rights, present.now).await {
        tracing::debug!(tenant = %present.tenant.id, "thresholds are looked at with the next request: {error}");
    }
}

/// Says of an answer that it is to a repetition.
pub(super) fn mark(response: &mut Response, replayed: bool) {
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
}

/// How far a change has come by what the nodes last reported, without waiting.
async fn standing(shared: &Shared, version: Version) -> Option<AppliedView> {
    let nodes = shared.nodes.nodes().await.ok()?;
    let (there, behind): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|node| node.applied >= version);
    Some(AppliedView {
        nodes: u32::try_from(there.len()).unwrap_or(u32::MAX),
        pending: behind.into_iter().map(|node| node.name).collect(),
    })
}
