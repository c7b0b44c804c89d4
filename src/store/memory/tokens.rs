//! Tokens of the admin API, in memory.

use async_trait::async_trait;
use serde_json::Value;

use super::{Memory, once::Outcome, state::State};
use crate::{
    domain::{identity::KeyHash, role::AdminToken, time::UnixMillis},
    ports::{AuditRow, MOST_TOKENS, NewToken, Origin, StoreError, TokenCreated, TokenError, TokenStore},
    store::{
        altered::Altered,
        tokens::{CREATED, REVOKED, USE_NOTED_EVERY, detail, facts},
    },
};

impl State {
    /// What an idempotency key led to before, if it did.
    fn token_before(&self, origin: &Origin) -> Result<Option<TokenCreated>, TokenError> {
        self.before(origin, TokenError::IdempotencyConflict, |outcome| match outcome {
            Outcome::Token(id) => Some(TokenCreated { id: id.clone(), replayed: true }),
            _ => None,
        })
    }

    fn record_token(&mut self, kind: &str, (id, name): (&str, &str), altered: Altered, origin: &Origin) {
        let row = AuditRow {
            cursor: self.next_cursor(),
            version: self.version,
            at: origin.at,
            actor: origin.actor.clone(),
            source: origin.source.clone(),
            tenant: None,
            kind: kind.to_owned(),
            detail: detail(id, name),
        };
        self.audit.push_altered(row, altered);
        self.keep_outcome(origin, Outcome::Token(id.to_owned()));
    }
}

#[async_trait]
impl TokenStore for Memory {
    async fn token_by_hash(&self, hash: &KeyHash) -> Result<Option<AdminToken>, StoreError> {
        Ok(self.state()?.tokens.values().find(|(kept, _)| kept == hash).map(|(_, token)| token.clone()))
    }

    async fn tokens(&self) -> Result<Vec<AdminToken>, StoreError> {
        Ok(self.state()?.tokens.values().map(|(_, token)| token.clone()).collect())
    }

    async fn create_token(&self, new: &NewToken, origin: &Origin) -> Result<TokenCreated, TokenError> {
        let NewToken { id, name, role, expires_at, hash } = new;
        let mut state = self.state()?;
        if let Some(earlier) = state.token_before(origin)? {
            return Ok(earlier);
        }
        if state.tokens.get(name).is_some_and(|(_, token)| !token.has_expired(origin.at)) {
            return Err(TokenError::NameTaken(name.clone()));
        }
        if !state.tokens.contains_key(name) && state.tokens.len() as u64 >= MOST_TOKENS {
            return Err(TokenError::Full);
        }
        let token = AdminToken {
            id: id.clone(),
            name: name.clone(),
            role: *role,
            created_at: origin.at,
            expires_at: *expires_at,
            used_at: None,
        };
        state.tokens.insert(name.clone(), (*hash, token));
        let altered = Altered { before: Value::Null, after: facts(name, *role, *expires_at) };
        state.record_token(CREATED, (id, name), altered, origin);
        Ok(TokenCreated { id: id.clone(), replayed: false })
    }

    async fn revoke_token(&self, id: &str, origin: &Origin) -> Result<(), TokenError> {
        let mut state = self.state()?;
        if state.token_before(origin)?.is_some() {
            return Ok(());
        }
        let found = state.tokens.values().find(|(_, token)| token.id == id).map(|(_, token)| token.clone());
        let AdminToken { name, role, expires_at, .. } =
            found.ok_or_else(|| TokenError::Unknown(id.to_owned()))?;
        state.tokens.remove(&name);
        let altered = Altered { before: facts(&name, role, expires_at), after: Value::Null };
        state.record_token(REVOKED, (id, &name), altered, origin);
        Ok(())
    }

    async fn note_token_used(&self, id: &str, at: UnixMillis) -> Result<(), StoreError> {
        let mut state = self.state()?;
        let found = state.tokens.values_mut().map(|(_, token)| token).find(|token| token.id == id);
        if let Some(token) = found
            && token.used_at.is_none_or(|used| used.0 <= at.0.saturating_sub(USE_NOTED_EVERY))
        {
            token.used_at = Some(at);
        }
        Ok(())
    }
}
