//! What was told outside: the facts that webhooks carry, as they stand in the database.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Shared, openapi::ReadErrors, params::Params, problem::Problem, views::Page};
use crate::{
    domain::{event::EventKind, id::TenantId},
    ports::{EventRow, WhichEvents},
};

/// A fact that was told, or is being told.
#[derive(Serialize, ToSchema)]
#[schema(as = Event)]
pub(super) struct EventView {
    /// Its place in the list.
    cursor: u64,
    /// Its id: that of the messages that tell it.
    id: String,
    /// What it is, such as `quota.threshold`.
    #[serde(rename = "type")]
    kind: String,
    /// Of which tenant.
    tenant: String,
    /// When it became true: RFC 3339, UTC.
    timestamp: String,
    /// What is told, by its type.
    #[schema(value_type = Object)]
    data: serde_json::Value,
}

impl From<EventRow> for EventView {
    fn from(row: EventRow) -> Self {
        Self {
            cursor: row.cursor,
            id: row.id,
            kind: row.kind,
            tenant: row.tenant.to_string(),
            timestamp: row.at.to_string(),
            data: row.data,
        }
    }
}

/// List what was told outside in the last 40 days, oldest first.
#[utoipa::path(get, path = "/v1/events", tag = "operations",
    params(("cursor" = Option<u64>, Query, description = "Only events after this place"),
           ("limit" = Option<u32>, Query, description = "Items in a page, 1 to 500, by default 100"),
           ("tenant" = Option<String>, Query, description = "Only those of this tenant, which may be gone"),
           ("kind" = Option<String>, Query, description = "Only those of this type, such as `quota.threshold`")),
    responses((status = 200, description = "One page; `next` is the next call's `cursor`", body = Page<EventView, u64>), ReadErrors))]
pub(super) async fn list_events(
    State(shared): State<Shared>,
    mut params: Params,
) -> Result<Json<Page<EventView, u64>>, Problem> {
    let (after, limit) = (params.place("cursor")?, params.limit()?);
    let tenant = params.take("tenant").map(|text| tenant(&text)).transpose()?;
    let kind = params.take("kind").map(|text| kind(&text)).transpose()?;
    params.finish()?;
    let rows = shared.events.events(after, limit + 1, &WhichEvents { tenant, kind }).await?;
    Ok(Json(Page::cut(rows, limit, |row| row.cursor, Into::into)))
}

fn tenant(text: &str) -> Result<TenantId, Problem> {
    TenantId::parse(text).map_err(|error| Problem::parameter("tenant", error.to_string()))
}

fn kind(text: &str) -> Result<EventKind, Problem> {
    EventKind::named(text).ok_or_else(|| {
        let known: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        let shown: String = text.chars().take(80).collect();
        Problem::parameter("kind", format!("`{shown}`: expected one of {}", known.join(", ")))
    })
}
