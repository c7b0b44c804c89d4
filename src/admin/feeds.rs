//! What was changed: the feed of versions, and the audit log.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Shared, openapi::ReadErrors, params::Params, problem::Problem, views::Page};
use crate::{
    domain::time::Version,
    ports::{AuditRow, ChangeRow},
};

/// One change.
#[derive(Serialize, ToSchema)]
#[schema(as = Change)]
pub(super) struct ChangeView {
    /// Its version.
    version: u64,
    /// The tenant it concerns; `null`: all of them, as the policies were changed.
    tenant: Option<String>,
    /// What it was, such as `subscription.put`.
    kind: String,
    /// When it was made.
    at: String,
}

impl From<ChangeRow> for ChangeView {
    fn from(row: ChangeRow) -> Self {
        Self {
            version: row.version.0,
            tenant: row.tenant.map(|tenant| tenant.to_string()),
            kind: row.kind,
            at: row.at.to_string(),
        }
    }
}

/// One line of the audit log.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(super) struct AuditView {
    /// Its place in the log.
    cursor: u64,
    /// The version of the change.
    version: u64,
    /// When.
    at: String,
    /// Who.
    actor: String,
    /// From where.
    source: String,
    /// The tenant it concerns; null: the installation.
    tenant: Option<String>,
    /// What it was, such as `key.created`.
    kind: String,
    /// What was asked, without secrets.
    #[schema(value_type = Object)]
    detail: serde_json::Value,
}

impl From<AuditRow> for AuditView {
    fn from(row: AuditRow) -> Self {
        Self {
            cursor: row.cursor,
            version: row.version.0,
            at: row.at.to_string(),
            actor: row.actor,
            source: row.source,
            tenant: row.tenant.map(|tenant| tenant.to_string()),
            kind: row.kind,
            detail: row.detail,
        }
    }
}

/// List changes, oldest first.
#[utoipa::path(get, path = "/v1/changes", tag = "operations",
    params(("after" = Option<u64>, Query, description = "Only changes after this version"),
           ("limit" = Option<u32>, Query, description = "Items in a page, 1 to 500, by default 100")),
    responses((status = 200, description = "One page; `next` is the next call's `after`", body = Page<ChangeView, u64>), ReadErrors))]
pub(super) async fn list_changes(
    State(shared): State<Shared>,
    mut params: Params,
) -> Result<Json<Page<ChangeView, u64>>, Problem> {
    let (after, limit) = (params.place("after")?, params.limit()?);
    params.finish()?;
    let rows = shared.tenants.changes(Version(after), limit + 1).await?;
    Ok(Json(Page::cut(rows, limit, |row| row.version.0, Into::into)))
}

/// Read the audit log, oldest first.
#[utoipa::path(get, path = "/v1/audit", tag = "operations",
    params(("cursor" = Option<u64>, Query, description = "Only lines after this place"),
           ("limit" = Option<u32>, Query, description = "Items in a page, 1 to 500, by default 100")),
    responses((status = 200, description = "One page; `next` is the next call's `cursor`", body = Page<AuditView, u64>), ReadErrors))]
pub(super) async fn list_audit(
    State(shared): State<Shared>,
    mut params: Params,
) -> Result<Json<Page<AuditView, u64>>, Problem> {
    let (after, limit) = (params.place("cursor")?, params.limit()?);
    params.finish()?;
    let rows = shared.tenants.audit(after, limit + 1).await?;
    Ok(Json(Page::cut(rows, limit, |row| row.cursor, Into::into)))
}
