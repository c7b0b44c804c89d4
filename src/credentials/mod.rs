//! API keys and JSON Web Tokens: from a request's headers to the tenant that they speak for.
//!
//! [`Credentials`] is the authenticator. A request presents at most one credential (`presented`); an API key is found by
//! its keyed hash (`key`), a token is verified against the keys of its issuer (`jwt`). Both are answered from memory
//! once they are known, where they are found by a keyed hash (`fingerprint`): first from that of the worker (`front`), then
//! from what all workers share.
//!
//! Keys are made with [`ApiKeySecret::generate`] or taken over with [`ImportedKey::parse`], and stored as what
//! [`KeyHasher::hash`] makes of them:
//!
//! ```
//! use plangate::credentials::{ApiKeySecret, KeyHasher};
//!
//! let hasher = KeyHasher::new(&[7; 32]);
//! let key = ApiKeySecret::generate()?;
//! assert!(key.reveal().starts_with("pgk_"));
//! assert_eq!(hasher.hash(key.reveal().as_bytes()), hasher.hash(key.reveal().as_bytes()));
//! # Ok::<(), plangate::credentials::NoRandomness>(())
//! ```

mod authenticator;
mod cookie;
mod counts;
mod fingerprint;
mod front;
mod jwt;
mod key;
mod known;
mod presented;
mod settings;
#[cfg(test)]
mod tests;

pub use authenticator::{Credentials, Prepared};
pub use counts::CacheCounts;
pub use front::CredentialsFront;
pub use jwt::{Algorithm, UnknownAlgorithm};
pub use key::{AdminTokenSecret, ApiKeySecret, ImportedKey, KeyHasher, NoRandomness, WeakKey, new_key_id};
pub use settings::{IssuerSettings, Settings, SettingsError, TokenKeys};

/// Chooses the cryptography that tokens are verified with, for the whole process. May be called any number of times;
/// the first choice stays. [`Credentials::new`] calls it, too.
pub fn install_crypto() {
    // An error means that a provider was chosen before: it stays, which is what idempotent means here.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}
