//! Tokens of this API: made, listed and revoked. A token itself leaves this module once, in the answer to its creation.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Shared, answer, instants,
    openapi::{ReadErrors, WriteErrors},
    params::{NoParams, TokenPath},
    problem::{Code, OTHER_REQUEST, Problem},
    views::{List, Nothing},
    write::Write,
};
use crate::{
    domain::{
        role::{AdminToken, RESERVED, Role, is_name},
        time::UnixMillis,
    },
    ports::{NewToken, TokenError},
};

/// Makes a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateToken {
    /// Its name, which the audit log has for whatever is done with it: a lower-case letter or digit, then up to 62 of
    /// `a-z`, `0-9`, `.`, `_`, `-`; not `admin` or `system`.
    name: String,
    /// `viewer`, `operator` or `admin`.
    role: String,
    /// When it ends (RFC 3339). Absent: never.
    expires_at: Option<String>,
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct CreatedToken {
    /// Its public id.
    id: String,
    /// The token itself, shown this once. Not there when the answer repeats an earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// Its name.
    name: String,
    /// What it allows.
    role: &'static str,
    /// When it ends.
    expires_at: Option<String>,
}

/// A token, without the token.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenView {
    /// Its public id.
    id: String,
    /// Its name.
    name: String,
    /// What it allows: `viewer`, `operator` or `admin`.
    role: &'static str,
    /// When it was made.
    created_at: String,
    /// When it ends.
    expires_at: Option<String>,
    /// When it was last used, to about a minute.
    last_used_at: Option<String>,
    /// Whether it is refused by now, as it has ended.
    expired: bool,
}

/// What is left of a token that was revoked.
#[derive(Serialize, ToSchema)]
pub(super) struct RevokedToken {
    /// Its public id.
    id: String,
    /// `revoked`.
    state: &'static str,
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let text = error.to_string();
        match error {
            TokenError::NameTaken(_) => Self::field(Code::NameTaken, "/name", text),
            TokenError::Full => Self::new(Code::TokensFull, text),
            TokenError::Unknown(_) => {
                Self::new(Code::TokenNotFound, format!("{text}; `GET /v1/tokens` lists the tokens"))
            }
            TokenError::IdempotencyConflict => Self::new(Code::IdempotencyConflict, OTHER_REQUEST),
            TokenError::Store(error) => error.into(),
        }
    }
}

fn view(token: &AdminToken, now: UnixMillis) -> TokenView {
    TokenView {
        id: token.id.clone(),
        name: token.name.clone(),
        role: token.role.as_str(),
        created_at: token.created_at.to_string(),
        expires_at: token.expires_at.map(|at| at.to_string()),
        last_used_at: token.used_at.map(|at| at.to_string()),
        expired: token.has_expired(now),
    }
}

fn checked(asked: &CreateToken, now: UnixMillis) -> Result<(Role, Option<UnixMillis>), Problem> {
    let impossible = |pointer: &str, detail: String| Problem::field(Code::ValueImpossible, pointer, detail);
    if !is_name(&asked.name) {
        let shape = "expected a lower-case letter or digit, then up to 62 of a-z, 0-9, `.`, `_`, `-`";
        return Err(impossible("/name", shape.to_owned()));
    }
    if RESERVED.contains(&asked.name.as_str()) {
        let detail = format!("`{}` is what the audit log calls others: choose another name", asked.name);
        return Err(impossible("/name", detail));
    }
    let role = Role::parse(&asked.role)
        .ok_or_else(|| impossible("/role", "expected viewer, operator or admin".to_owned()))?;
    let Some(text) = &asked.expires_at else { return Ok((role, None)) };
    let at = instants::instant(text)
        .map_err(|detail| Problem::field(Code::FieldInvalid, "/expires_at", detail))?;
    if at <= now {
        let detail = format!("`{at}` is past: such a token would never be of use");
        return Err(impossible("/expires_at", detail));
    }
    Ok((role, Some(at)))
}

/// Make an admin token with a role. The answer shows it once.
#[utoipa::path(post, path = "/v1/tokens", tag = "operations",
    request_body = CreateToken,
    responses((status = 201, description = "Made", body = CreatedToken), WriteErrors))]
pub(super) async fn create_token(
    State(shared): State<Shared>,
    Write { asked, ticket }: Write<CreateToken>,
) -> Result<Response, Problem> {
    let (role, expires_at) = checked(&asked, ticket.origin.at)?;
    let made =
        shared.token_issuer.generate().map_err(|detail| Problem::new(Code::StoreUnavailable, detail))?;
    let CreateToken { name, .. } = asked;
    let new = NewToken { id: made.id, name: name.clone(), role, expires_at, hash: made.hash };
    let done = shared.tokens.create_token(&new, &ticket.origin).await?;
    tracing::info!(token = name, %role, by = ticket.origin.actor, "admin token made");
    let created = CreatedToken {
        id: done.id,
        token: (!done.replayed).then_some(made.secret),
        name,
        role: role.as_str(),
        expires_at: expires_at.map(|at| at.to_string()),
    };
    let mut response = (StatusCode::CREATED, Json(created)).into_response();
    answer::mark(&mut response, done.replayed);
    Ok(response)
}

/// List the admin tokens, by name.
#[utoipa::path(get, path = "/v1/tokens", tag = "operations",
    responses((status = 200, description = "The tokens", body = List<TokenView>), ReadErrors))]
pub(super) async fn list_tokens(
    State(shared): State<Shared>,
    _: NoParams,
) -> Result<Json<List<TokenView>>, Problem> {
    let now = shared.clock.now();
    let tokens = shared.tokens.tokens().await?;
    Ok(Json(List { items: tokens.iter().map(|token| view(token, now)).collect() }))
}

/// Refuse an admin token from now on, on every node.
#[utoipa::path(delete, path = "/v1/tokens/{token}", tag = "operations",
    params(("token" = String, Path, description = "The token's public id")),
    responses((status = 200, description = "Revoked", body = RevokedToken), WriteErrors))]
pub(super) async fn revoke_token(
    State(shared): State<Shared>,
    TokenPath(id): TokenPath,
    write: Write<Nothing>,
) -> Result<Json<RevokedToken>, Problem> {
    shared.tokens.revoke_token(&id, &write.ticket.origin).await?;
    tracing::info!(token = id, by = write.ticket.origin.actor, "admin token revoked");
    Ok(Json(RevokedToken { id, state: "revoked" }))
}
