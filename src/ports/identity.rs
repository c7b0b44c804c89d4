//! Who sends a request.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName};

use super::{Answer, Snapshot, StoreError};
use crate::domain::{
    id::KeyId,
    identity::{ApiKey, Identity, KeyHash},
    time::{UnixMillis, Version},
};

/// Verifies credentials.
pub trait Authenticator: Send + Sync + 'static {
    /// Who the request's credentials speak for.
    fn identify(&self, headers: &HeaderMap, now: UnixMillis) -> Answer<Arc<Identity>, CredentialError>;

    /// Whether the credential that `identity` was proven by still holds at `now`, for an exchange that goes on. `verified`
    /// is the version at which it was last found to; the answer is a newer one, if it had to be asked for.
    fn stands(
        &self,
        identity: &Arc<Identity>,
        verified: Version,
        now: UnixMillis,
    ) -> Answer<Version, CredentialError> {
        Answer::Ready(if now < identity.until { Ok(verified) } else { Err(CredentialError::Expired) })
    }

    /// The header for API keys, where there is one: conditions do not see it.
    fn key_header(&self) -> Option<HeaderName> {
        None
    }

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

impl CredentialError {
    /// Why a key is refused that nobody has made, or that was revoked.
    pub const NO_SUCH_KEY: Self = Self::Invalid { reason: NO_SUCH_KEY };

    /// Whether a change that this node has not heard of may make the credential a good one.
    #[must_use]
    pub fn may_change(&self) -> bool {
        *self == Self::NO_SUCH_KEY
    }
}

const NO_SUCH_KEY: &str = "no such key";

/// Looks API keys up by their keyed hash.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// The key of that hash, and the version of the snapshot that the answer was read in.
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Snapshot<Option<ApiKey>>, StoreError>;

    /// The key of that id, and the version of the snapshot that the answer was read in.
    async fn key_by_id(&self, id: &KeyId) -> Result<Snapshot<Option<ApiKey>>, StoreError>;

    /// The installation's secret with which keys are hashed: 32 bytes, made at first use, the same on every node.
    async fn key_secret(&self) -> Result<[u8; 32], StoreError>;
}
