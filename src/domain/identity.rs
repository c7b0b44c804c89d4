//! Who a verified credential speaks for.

use std::sync::Arc;

use super::{
    id::{KeyId, TenantId},
    time::UnixMillis,
};

/// A verified credential's subject. It can only come from an authenticator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Whose credential it was.
    pub tenant: TenantId,
    /// What kind it was.
    pub credential: Credential,
}

impl Identity {
    /// An identity that was just proven. It is shared from here on: one for each place that remembers it.
    #[must_use]
    pub fn new(tenant: TenantId, credential: Credential) -> Arc<Self> {
        Arc::new(Self { tenant, credential })
    }
}

/// The kind of a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// An API key, ours or imported.
    ApiKey {
        /// Its public id.
        id: KeyId,
    },
    /// A JSON Web Token of a configured issuer.
    Jwt,
}

/// A keyed hash of an API key: what is stored instead of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub [u8; 32]);

/// An API key as it is known after its creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its public id.
    pub id: KeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What people call it.
    pub name: Option<String>,
    /// Refused from this instant on.
    pub expires_at: Option<UnixMillis>,
    /// Brought by the customer instead of made here.
    pub imported: bool,
    /// When it was made.
    pub created_at: UnixMillis,
}
