//! API keys: made, brought, listed and revoked. A key itself leaves this module once, in the answer to its creation.

use axum::{Json, extract::State, response::Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Shared,
    answer::Written,
    instants,
    openapi::{ReadErrors, WriteErrors},
    params::{KeyPath, NoParams, TenantPath},
    problem::{Code, Problem},
    tenants::check_name,
    views::{List, Nothing},
    write::Write,
};
use crate::{
    domain::{command::Change, identity::ApiKey, time::UnixMillis},
    ports::Effect,
};

/// Makes an API key, or takes one that the customer has.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateKey {
    /// What people call it, 1 to 200 characters.
    name: Option<String>,
    /// When it ends (RFC 3339). Absent: never.
    expires_at: Option<String>,
    /// An existing key of at least 128 random bits, to be taken instead of making one.
    import: Option<String>,
}

/// A key that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct CreatedKey {
    /// Its public id.
    id: String,
    /// The key itself, shown this once. Not there for an imported key, nor when the answer repeats an earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// What people call it.
    name: Option<String>,
    /// When it ends.
    expires_at: Option<String>,
    /// Whether the customer brought it.
    imported: bool,
}

/// A key, without the key.
#[derive(Serialize, ToSchema)]
#[schema(as = Key)]
pub(super) struct KeyView {
    /// Its public id.
    id: String,
    /// What people call it.
    name: Option<String>,
    /// When it ends.
    expires_at: Option<String>,
    /// Whether the customer brought it.
    imported: bool,
    /// When it was made.
    created_at: String,
}

/// What is left of a key that was revoked.
#[derive(Serialize, ToSchema)]
pub(super) struct RevokedKey {
    /// Its public id.
    id: String,
    /// `revoked`.
    state: &'static str,
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name,
            expires_at: key.expires_at.map(|at| at.to_string()),
            imported: key.imported,
            created_at: key.created_at.to_string(),
        }
    }
}

fn expiry(asked: &CreateKey, now: UnixMillis) -> Result<Option<UnixMillis>, Problem> {
    let Some(text) = &asked.expires_at else { return Ok(None) };
    let at = instants::instant(text)
        .map_err(|detail| Problem::field(Code::FieldInvalid, "/expires_at", detail))?;
    if at <= now {
        let detail = format!("`{at}` is past: such a key would never be of use");
        return Err(Problem::field(Code::ValueImpossible, "/expires_at", detail));
    }
    Ok(Some(at))
}

/// Make an API key. The answer shows it once.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/keys", tag = "keys",
    params(("tenant" = String, Path, description = "The tenant's id")),
    request_body = CreateKey,
    responses((status = 201, description = "Made", body = Written<CreatedKey>), WriteErrors))]
pub(super) async fn create_key(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    Write { asked, ticket }: Write<CreateKey>,
) -> Result<Response, Problem> {
    check_name(&asked.name)?;
    let expires_at = expiry(&asked, ticket.origin.at)?;
    let imported = asked.import.is_some();
    let made = match &asked.import {
        None => shared.keys.generate().map_err(|detail| Problem::new(Code::StoreUnavailable, detail))?,
        Some(text) => shared
            .keys
            .import(text)
            .map_err(|detail| Problem::field(Code::FieldInvalid, "/import", detail))?,
    };
    let change = Change::CreateKey {
        id: made.id.clone(),
        hash: made.hash,
        name: asked.name.clone(),
        expires_at,
        imported,
    };
    let done = ticket.commit(&shared, &id, change).await?;
    let first = match &done.committed.effect {
        Effect::KeyCreated(first) => first.clone(),
        _ => made.id.clone(),
    };
    // Of a replay only the first time's id exists: the key made for this request was thrown away.
    let shown = !done.committed.replayed && !imported && first == made.id;
    let created = CreatedKey {
        id: first.to_string(),
        key: shown.then_some(made.secret),
        name: asked.name,
        expires_at: expires_at.map(|at| at.to_string()),
        imported,
    };
    Ok(done.answer(&shared, StatusCode::CREATED, created).await)
}

/// List a tenant's keys, oldest first.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/keys", tag = "keys",
    params(("tenant" = String, Path, description = "The tenant's id")),
    responses((status = 200, description = "Its keys", body = List<KeyView>), ReadErrors))]
pub(super) async fn list_keys(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    _: NoParams,
) -> Result<Json<List<KeyView>>, Problem> {
    shared.find(&id).await?;
    let keys = shared.tenants.keys(&id).await?;
    Ok(Json(List { items: keys.into_iter().map(Into::into).collect() }))
}

/// Refuse a key from now on.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/keys/{key}", tag = "keys",
    params(("tenant" = String, Path, description = "The tenant's id"),
           ("key" = String, Path, description = "The key's public id")),
    responses((status = 200, description = "Revoked", body = Written<RevokedKey>), WriteErrors))]
pub(super) async fn revoke_key(
    State(shared): State<Shared>,
    KeyPath(id, key): KeyPath,
    write: Write<Nothing>,
) -> Result<Response, Problem> {
    let done = write.ticket.commit(&shared, &id, Change::RevokeKey(key.clone())).await?;
    Ok(done.answer(&shared, StatusCode::OK, RevokedKey { id: key.to_string(), state: "revoked" }).await)
}
