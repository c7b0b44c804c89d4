//! Usage that is told to the billing system: what became of each piece.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Shared,
    answer::mark,
    openapi::{ReadErrors, WriteErrors},
    params::{ExportPath, Params},
    problem::{Code, Problem},
    views::{Nothing, Page},
    write::Write,
};
use crate::ports::{ExportState, MeterExport, RetryError};

/// A piece of usage that is told to the billing system.
#[derive(Serialize, ToSchema)]
#[schema(as = Export)]
pub(super) struct ExportView {
    /// Its place in the list.
    cursor: u64,
    /// Its name at the billing system (`identifier`): the same in every attempt.
    id: String,
    /// Whose usage.
    tenant: String,
    /// The tenant's customer at the billing system.
    customer: String,
    /// The meter.
    meter: String,
    /// What the billing system calls it.
    event_name: String,
    /// Units.
    units: u64,
    /// When they were used.
    at: String,
    /// `waiting`, `sent`, `refused`, `doubtful`, `withdrawing`, `withdrawn` or `stuck`.
    state: &'static str,
    /// Attempts so far.
    attempts: u32,
    /// What was said of the last attempt that failed.
    error: Option<String>,
}

impl From<(u64, MeterExport)> for ExportView {
    fn from((cursor, piece): (u64, MeterExport)) -> Self {
        Self {
            cursor,
            id: piece.id,
            tenant: piece.tenant.to_string(),
            customer: piece.customer,
            meter: piece.meter.to_string(),
            event_name: piece.event_name,
            units: piece.units,
            at: piece.at.to_string(),
            state: piece.state.as_str(),
            attempts: piece.attempts,
            error: piece.error,
        }
    }
}

/// List what is told to the billing system, the oldest first.
#[utoipa::path(get, path = "/v1/billing/exports", tag = "billing",
    params(("state" = Option<String>, Query, description = "Only those in this state"),
           ("cursor" = Option<u64>, Query, description = "Only pieces after this place"),
           ("limit" = Option<u32>, Query, description = "Items in a page, 1 to 500, by default 100")),
    responses((status = 200, description = "One page; `next` is the next call's `cursor`", body = Page<ExportView, u64>), ReadErrors))]
pub(super) async fn list_exports(
    State(shared): State<Shared>,
    mut params: Params,
) -> Result<Json<Page<ExportView, u64>>, Problem> {
    let (after, limit) = (params.place("cursor")?, params.limit()?);
    let state = match params.take("state") {
        None => None,
        Some(word) => Some(ExportState::named(&word).ok_or_else(|| {
            let words = ExportState::ALL.map(ExportState::as_str).join(", ");
            Problem::parameter("state", format!("expected one of {words}"))
        })?),
    };
    params.finish()?;
    let rows = shared.exports.exports(state, after, limit + 1).await?;
    Ok(Json(Page::cut(rows, limit, |(place, _)| *place, Into::into)))
}

impl From<RetryError> for Problem {
    fn from(error: RetryError) -> Self {
        let code = match &error {
            RetryError::Store(error) => return error.clone().into(),
            RetryError::Unknown(_) => Code::ExportNotFound,
            RetryError::NotRefused(..) => Code::StateForbids,
            RetryError::IdempotencyConflict => Code::IdempotencyConflict,
        };
        Self::new(code, error.to_string())
    }
}

/// A piece that is sent again.
#[derive(Serialize, ToSchema)]
#[schema(as = RetriedExport)]
pub(super) struct RetriedView {
    /// Its name.
    id: String,
    /// `waiting`.
    state: &'static str,
}

/// Let a piece that the billing system refused be sent again, once its cause was mended.
#[utoipa::path(post, path = "/v1/billing/exports/{export}/retry", tag = "billing",
    params(("export" = String, Path, description = "The piece's id")),
    responses((status = 200, description = "It is sent again soon", body = RetriedView), WriteErrors))]
pub(super) async fn retry_export(
    State(shared): State<Shared>,
    ExportPath(id): ExportPath,
    write: Write<Nothing>,
) -> Result<Response, Problem> {
    let replayed = shared.exports.retry_export(&id, &write.ticket.origin).await?;
    let mut response = Json(RetriedView { id, state: ExportState::Waiting.as_str() }).into_response();
    mark(&mut response, replayed);
    Ok(response)
}
