//! What was changed: the feed of versions, and the audit log.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Shared, instants,
    openapi::ReadErrors,
    params::{NoParams, Params},
    problem::Problem,
    views::Page,
};
use crate::{
    domain::time::Version,
    ports::{AuditFilter, AuditHead, AuditLine, ChangeRow},
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

/// One line of the audit log. What is hashed of it is in the documentation, `docs/audit.md`.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(super) struct AuditView {
    /// Its place in the log, without gaps.
    cursor: u64,
    /// The version of the change.
    version: u64,
    /// When.
    at: String,
    /// Who: the name of the token, `admin` for the configured one, `system` for what happened by itself.
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
    /// What was altered, as it was; null: nothing, or there was nothing before.
    #[schema(value_type = Object)]
    before: serde_json::Value,
    /// What was altered, as it was afterwards.
    #[schema(value_type = Object)]
    after: serde_json::Value,
    /// The hash of the line before it; null: it is older than the chain.
    previous: Option<String>,
    /// Its own hash: SHA-256, 64 hexadecimal digits; null: it is older than the chain.
    hash: Option<String>,
}

impl From<AuditLine> for AuditView {
    fn from(line: AuditLine) -> Self {
        let AuditLine { cursor, version, at, actor, source, tenant, kind, detail, .. } = line;
        let AuditLine { before, after, previous, hash, .. } = line;
        let at = at.to_string();
        Self { cursor, version, at, actor, source, tenant, kind, detail, before, after, previous, hash }
    }
}

/// A line of the audit log and its hash.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditLinkView {
    /// The line's place.
    cursor: u64,
    /// Its hash.
    hash: String,
}

/// The end of the audit log's chain, and where it begins.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditHead)]
pub(super) struct AuditHeadView {
    /// The last line's place.
    cursor: u64,
    /// Its hash.
    hash: String,
    /// When it was written; null: there is none yet.
    at: Option<String>,
    /// Lines up to this place are older than the chain and have no hashes.
    start: u64,
    /// The last line that was deleted, as it was older than the log is kept: the oldest line kept follows it.
    anchor: AuditLinkView,
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

/// A word to look for.
fn word(params: &mut Params, name: &str) -> Result<Option<String>, Problem> {
    let Some(text) = params.take(name) else { return Ok(None) };
    if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        return Err(Problem::parameter(name, "expected 1 to 255 bytes without control characters"));
    }
    Ok(Some(text))
}

/// Read the audit log, oldest first.
#[utoipa::path(get, path = "/v1/audit", tag = "operations",
    params(("cursor" = Option<u64>, Query, description = "Only lines after this place"),
           ("limit" = Option<u32>, Query, description = "Items in a page, 1 to 500, by default 100"),
           ("tenant" = Option<String>, Query, description = "Only lines that concern this tenant"),
           ("actor" = Option<String>, Query, description = "Only lines of this actor"),
           ("kind" = Option<String>, Query, description = "Only lines of this kind, such as `subscription.put`"),
           ("since" = Option<String>, Query, description = "Only lines from this instant on (RFC 3339)")),
    responses((status = 200, description = "One page; `next` is the next call's `cursor`", body = Page<AuditView, u64>), ReadErrors))]
pub(super) async fn list_audit(
    State(shared): State<Shared>,
    mut params: Params,
) -> Result<Json<Page<AuditView, u64>>, Problem> {
    let (after, limit) = (params.place("cursor")?, params.limit()?);
    let since = params.take("since").map(|text| instants::instant(&text)).transpose();
    let only = AuditFilter {
        tenant: word(&mut params, "tenant")?,
        actor: word(&mut params, "actor")?,
        kind: word(&mut params, "kind")?,
        since: since.map_err(|detail| Problem::parameter("since", detail))?,
    };
    params.finish()?;
    let lines = shared.audit.audit_lines(after, limit + 1, &only).await?;
    Ok(Json(Page::cut(lines, limit, |line| line.cursor, Into::into)))
}

/// Where the audit log's chain ends: kept elsewhere, it shows later that nothing before it was changed or deleted.
#[utoipa::path(get, path = "/v1/audit/head", tag = "operations",
    responses((status = 200, description = "The last line and its hash", body = AuditHeadView), ReadErrors))]
pub(super) async fn get_audit_head(
    State(shared): State<Shared>,
    _: NoParams,
) -> Result<Json<AuditHeadView>, Problem> {
    let AuditHead { head, at, start, anchor } = shared.audit.audit_head().await?;
    Ok(Json(AuditHeadView {
        cursor: head.cursor,
        hash: head.hash,
        at: at.map(|at| at.to_string()),
        start,
        anchor: AuditLinkView { cursor: anchor.cursor, hash: anchor.hash },
    }))
}
