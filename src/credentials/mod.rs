//! API keys and JSON Web Tokens: from a request's headers to the tenant that they speak for.
//!
//! [`Credentials`] is the authenticator. A request presents at most one credential (`presented`); an API key is found by
//! its keyed hash (`key`), a token is verified against the keys of its issuer (`jwt`). Both are answered from memory
//! once they are known.
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
mod jwt;
mod key;
mod presented;
mod settings;
#[cfg(test)]
mod tests;

pub use authenticator::{CacheCounts, Credentials, Prepared};
pub use jwt::{Algorithm, UnknownAlgorithm};
pub use key::{ApiKeySecret, ImportedKey, KeyHasher, NoRandomness, WeakKey, new_key_id};
pub use settings::{IssuerSettings, Settings, SettingsError, TokenKeys};

/// Chooses the cryptography that tokens are verified with, for the whole process. May be called any number of times;
/// the first choice stays. [`Credentials::new`] calls it, too.
pub fn install_crypto() {
    // An error means that a provider was chosen before: it stays, which is what idempotent means here.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}
