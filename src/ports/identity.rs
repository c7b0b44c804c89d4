//! Who sends a request.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;

use super::{Answer, Snapshot, StoreError};
use crate::domain::{
    identity::{ApiKey, Identity, KeyHash},
    time::UnixMillis,
};

/// Verifies credentials.
pub trait Authenticator: Send + Sync + 'static {
    /// Who the request's credentials speak for.
    fn identify(&self, headers: &HeaderMap, now: UnixMillis) -> Answer<Arc<Identity>, CredentialError>;

    /// Removes what the upstream must not see: a Plangate key, wherever it was presented. A JWT stays.
    fn strip(&self, headers: &mut HeaderMap);

    /// Removes what is a Plangate key by its looks alone, for a request whose credential is none of Plangate's: what else
    /// the header for API keys holds may be a key of the upstream.
    fn strip_own(&self, headers: &mut HeaderMap);
}

/// Why a request has no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// There is none.
    #[error("this request needs an API key or a token")]
    Missing,
    /// It does not verify. The reason is for the log; a client that guesses learns nothing from it.
    #[error("the credential is not valid")]
    Invalid {
        /// What was wrong, without the credential.
        reason: &'static str,
    },
    /// It was valid until it expired.
    #[error("the credential has expired")]
    Expired,
    /// More than one was presented.
    #[error("more than one credential was presented")]
    Ambiguous,
    /// It cannot be looked up now.
    #[error("credentials cannot be checked at the moment")]
    Unavailable,
}

/// Looks API keys up by their keyed hash.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// The key of that hash, and the version of the snapshot that the answer was read in.
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Snapshot<Option<ApiKey>>, StoreError>;

    /// The installation's secret with which keys are hashed: 32 bytes, made at first use, the same on every node.
    async fn key_secret(&self) -> Result<[u8; 32], StoreError>;
}
