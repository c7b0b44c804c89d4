//! Tokens of the admin API: made, revoked and looked up.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    audit::{self, Entry},
    classify::unreadable,
    engine::Lane,
    once, rows,
    session::{Arg, Record, Session, Sql, signed},
    sql::SqlStore,
};
use crate::{
    domain::{
        identity::KeyHash,
        role::{AdminToken, Role},
        time::UnixMillis,
    },
    ports::{MOST_TOKENS, NewToken, Origin, StoreError, TokenCreated, TokenError, TokenStore},
};

/// The audit log's words.
pub(super) const CREATED: &str = "token.created";
pub(super) const REVOKED: &str = "token.revoked";

/// A use is noted when the last one that was is so long ago.
pub(super) const USE_NOTED_EVERY: i64 = 60_000;

const BY_HASH: Sql =
    Sql::same("SELECT id, name, role, created_ms, expires_ms, used_ms FROM admin_tokens WHERE hash = $1");
const ALL: Sql = Sql::same(
    "SELECT id, name, role, created_ms, expires_ms, used_ms FROM admin_tokens ORDER BY name LIMIT $1",
);
const COUNT: Sql = Sql::same("SELECT CAST(count(*) AS BIGINT) FROM admin_tokens");
const DELETE_EXPIRED: Sql =
    Sql::same("DELETE FROM admin_tokens WHERE name = $1 AND expires_ms IS NOT NULL AND expires_ms <= $2");
const INSERT: Sql = Sql::same(
    "INSERT INTO admin_tokens (id, name, role, hash, created_ms, expires_ms) VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (name) DO NOTHING",
);
const DELETE: Sql = Sql::same(
    "DELETE FROM admin_tokens WHERE id = $1 RETURNING id, name, role, created_ms, expires_ms, used_ms",
);
const USED: Sql =
    Sql::same("UPDATE admin_tokens SET used_ms = $2 WHERE id = $1 AND (used_ms IS NULL OR used_ms <= $3)");

fn token(row: &Record) -> Result<AdminToken, StoreError> {
    let word = row.text(2)?;
    Ok(AdminToken {
        id: row.text(0)?,
        name: row.text(1)?,
        role: Role::parse(&word).ok_or_else(|| unreadable("a token's role", format!("`{word}`")))?,
        created_at: rows::instant(row, 3)?,
        expires_at: row.maybe_int(4)?.map(UnixMillis),
        used_at: row.maybe_int(5)?.map(UnixMillis),
    })
}

/// What the audit log says of a token.
pub(super) fn facts(name: &str, role: Role, expires_at: Option<UnixMillis>) -> Value {
    json!({ "name": name, "role": role.as_str(), "expires_at": expires_at.map(|at| at.to_string()) })
}

/// What stands in the log instead of a token: which one it is.
pub(super) fn detail(id: &str, name: &str) -> Value {
    json!({ "id": id, "name": name })
}

impl SqlStore {
    async fn add_token(&self, new: &NewToken, origin: &Origin) -> Result<TokenCreated, TokenError> {
        let NewToken { id, name, role, expires_at, hash } = new;
        let mut session = self.engine.begin(Lane::Data).await?;
        let before = once::before(&mut session, origin, TokenError::IdempotencyConflict, |claimed| {
            let id = claimed.effect.strip_prefix("token:")?.to_owned();
            Some(TokenCreated { id, replayed: true })
        });
        if let Some(earlier) = before.await? {
            return Ok(earlier);
        }
        session.run(DELETE_EXPIRED, &[Arg::Text(name), Arg::Int(origin.at.0)]).await?;
        let count = session.first(COUNT, &[]).await?.map_or(Ok(0), |row| row.count(0))?;
        if count >= MOST_TOKENS {
            return Err(TokenError::Full);
        }
        let row = [
            Arg::Text(id),
            Arg::Text(name),
            Arg::Text(role.as_str()),
            Arg::Bytes(&hash.0),
            Arg::Int(origin.at.0),
            Arg::MaybeInt(expires_at.map(|at| at.0)),
        ];
        if session.run(INSERT, &row).await? == 0 {
            return Err(TokenError::NameTaken(name.clone()));
        }
        let after = facts(name, *role, *expires_at);
        let told = (CREATED, detail(id, name), Value::Null, after);
        record(&mut session, told, origin, &format!("token:{id}")).await?;
        session.commit().await?;
        Ok(TokenCreated { id: id.clone(), replayed: false })
    }

    async fn remove_token(&self, id: &str, origin: &Origin) -> Result<(), TokenError> {
        let mut session = self.engine.begin(Lane::Data).await?;
        let conflict = TokenError::IdempotencyConflict;
        if once::before(&mut session, origin, conflict, |_| Some(())).await?.is_some() {
            return Ok(());
        }
        let removed = session.first(DELETE, &[Arg::Text(id)]).await?;
        let removed = removed.ok_or_else(|| TokenError::Unknown(id.to_owned()))?;
        let had = token(&removed)?;
        let before = facts(&had.name, had.role, had.expires_at);
        let told = (REVOKED, detail(id, &had.name), before, Value::Null);
        record(&mut session, told, origin, "token-revoked").await?;
        session.commit().await?;
        Ok(())
    }
}

async fn record(
    session: &mut Session,
    (kind, detail, before, after): (&str, Value, Value, Value),
    origin: &Origin,
    effect: &str,
) -> Result<(), StoreError> {
    let version = audit::newest(session).await?;
    once::keep(session, origin, version, effect).await?;
    let entry = Entry {
        version,
        at: origin.at,
        actor: &origin.actor,
        source: &origin.source,
        tenant: None,
        kind,
        detail: &detail,
    };
    audit::append_altered(session, &entry, &before, &after).await
}

#[async_trait]
impl TokenStore for SqlStore {
    async fn token_by_hash(&self, hash: &KeyHash) -> Result<Option<AdminToken>, StoreError> {
        Ok(self.list(BY_HASH, &[Arg::Bytes(&hash.0)], token).await?.into_iter().next())
    }

    async fn tokens(&self) -> Result<Vec<AdminToken>, StoreError> {
        self.list(ALL, &[Arg::Int(signed(2 * MOST_TOKENS))], token).await
    }

    async fn create_token(&self, new: &NewToken, origin: &Origin) -> Result<TokenCreated, TokenError> {
        self.call(self.add_token(new, origin)).await
    }

    async fn revoke_token(&self, id: &str, origin: &Origin) -> Result<(), TokenError> {
        self.call(self.remove_token(id, origin)).await
    }

    async fn note_token_used(&self, id: &str, at: UnixMillis) -> Result<(), StoreError> {
        let args = [Arg::Text(id), Arg::Int(at.0), Arg::Int(at.0.saturating_sub(USE_NOTED_EVERY))];
        self.call(async { self.engine.write(Lane::Data, USED, &args).await.map(drop) }).await
    }
}
