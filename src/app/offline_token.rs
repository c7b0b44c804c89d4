//! Makes a token of the admin API straight in the database, for an installation that has none to ask with.

use std::sync::Arc;

use super::issuer::Issuer;
use crate::{
    clock::{Clock, SystemClock},
    credentials::KeyHasher,
    domain::{role::Role, time::UnixMillis},
    ports::{IssuedToken, NewToken, Origin, StoreError, TokenError, TokenIssuer},
    store::{self, ConnectError, Options},
};

/// The token that is wanted. The caller has checked its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it ends.
    pub expires_at: Option<UnixMillis>,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The database cannot be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It has a token of that name, or too many.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It would never be of use.
    #[error("`{0}` is past: such a token would never be of use")]
    Past(UnixMillis),
    /// The system has no randomness to give.
    #[error("{0}")]
    Randomness(String),
}

/// Makes a token in the database at this address. The audit log says that it was `system`, `offline`.
///
/// # Errors
/// [`OfflineError`] says why none was made.
pub async fn make(database: &str, wanted: Wanted) -> Result<IssuedToken, OfflineError> {
    let clock = Arc::new(SystemClock::default());
    let now = clock.now();
    let Wanted { name, role, expires_at } = wanted;
    if let Some(end) = expires_at.filter(|end| *end <= now) {
        return Err(OfflineError::Past(end));
    }
    let store = store::connect(database, &Options::default()).await?;
    let hasher = KeyHasher::new(&store.key_secret().await?);
    let made = TokenIssuer::generate(&Issuer { hasher, clock }).map_err(OfflineError::Randomness)?;
    let new = NewToken { id: made.id.clone(), name, role, expires_at, hash: made.hash };
    let (actor, source) = ("system".to_owned(), "offline".to_owned());
    let done = store.create_token(&new, &Origin { at: now, actor, source, idempotency: None }).await;
    store.close().await;
    done?;
    Ok(made)
}
