//! Tokens of the admin API, made and revoked by command.

use async_trait::async_trait;

use super::{Origin, StoreError};
use crate::domain::{
    identity::KeyHash,
    role::{AdminToken, Role},
    time::UnixMillis,
};

/// Living tokens at once.
pub const MOST_TOKENS: u64 = 1_000;

/// Tokens in the database. What is revoked is gone.
#[async_trait]
pub trait TokenStore: Send + Sync + 'static {
    /// The token with this hash. Always asked of the database, so that a revocation is in force with its answer.
    async fn token_by_hash(&self, hash: &KeyHash) -> Result<Option<AdminToken>, StoreError>;

    /// All tokens, by name.
    async fn tokens(&self) -> Result<Vec<AdminToken>, StoreError>;

    /// Adds one. An expired one of the same name goes.
    async fn create_token(&self, token: &NewToken, origin: &Origin) -> Result<TokenCreated, TokenError>;

    /// Takes one away.
    async fn revoke_token(&self, id: &str, origin: &Origin) -> Result<(), TokenError>;

    /// Notes that it was shown.
    async fn note_token_used(&self, id: &str, at: UnixMillis) -> Result<(), StoreError>;
}

/// A token to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its public id.
    pub id: String,
    /// Its name; the caller has checked that it is one.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// Refused from this instant on.
    pub expires_at: Option<UnixMillis>,
    /// The keyed hash of the token.
    pub hash: KeyHash,
}

/// What came of adding one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenCreated {
    /// Its id; on a repetition that of the token made the first time.
    pub id: String,
    /// It was made before, under the same idempotency key.
    pub replayed: bool,
}

/// Why a token was not made or revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A living token has that name.
    #[error("there is a token named `{0}` already")]
    NameTaken(String),
    /// No more are kept.
    #[error("there are {MOST_TOKENS} tokens already: revoke some")]
    Full,
    /// There is no such token.
    #[error("there is no token `{0}`")]
    Unknown(String),
    /// The idempotency key was used for another request.
    #[error("this Idempotency-Key was used for another request")]
    IdempotencyConflict,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes tokens, and the hashes under which they are kept.
pub trait TokenIssuer: Send + Sync + 'static {
    /// A new token.
    ///
    /// # Errors
    /// Why the system has none to give (it lacks randomness).
    fn generate(&self) -> Result<IssuedToken, String>;

    /// The hash under which a token is kept; `None`: this cannot be one, by its form or checksum.
    fn hash(&self, presented: &[u8]) -> Option<KeyHash>;
}

/// A token before it is stored.
#[derive(Clone)]
pub struct IssuedToken {
    /// Its public id.
    pub id: String,
    /// The token itself: shown once, never stored.
    pub secret: String,
    /// What is stored instead.
    pub hash: KeyHash,
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken").field("id", &self.id).finish_non_exhaustive()
    }
}
