//! Who a verified credential speaks for.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

use super::{
    id::{KeyId, TenantId},
    time::{UnixMillis, Version},
};

/// A verified credential's subject. It can only come from an authenticator.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Whose credential it was.
    pub tenant: TenantId,
    /// What kind it was.
    pub credential: Credential,
    /// The credential ends then.
    pub until: UnixMillis,
    /// The version that the credential was read at, where it is one that can be revoked.
    pub read_at: Version,
    /// The directory's own place for this identity, so that one that is known needs no second look-up.
    pub seat: Seat,
}

impl Identity {
    /// An identity that was just proven. It is shared from here on: one for each place that remembers it.
    #[must_use]
    pub fn new(tenant: TenantId, credential: Credential) -> Arc<Self> {
        Self::holding(tenant, credential, UnixMillis(i64::MAX), Version(0))
    }

    /// One whose credential ends, or was read at a version.
    #[must_use]
    pub fn holding(
        tenant: TenantId,
        credential: Credential,
        until: UnixMillis,
        read_at: Version,
    ) -> Arc<Self> {
        Arc::new(Self { tenant, credential, until, read_at, seat: Seat::default() })
    }
}

/// The same subject by the same credential, whatever is known of that besides.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        (&self.tenant, &self.credential) == (&other.tenant, &other.credential)
    }
}

impl Eq for Identity {}

/// A place that the directory fills at first use with what it found for an identity. It is no part of who somebody is:
/// identities are equal whatever is in it, and a copy begins with an empty one.
#[derive(Default)]
pub struct Seat(OnceLock<Box<dyn Any + Send + Sync>>);

impl Seat {
    /// What is there. `None` where nothing is, or somebody left another type.
    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.get()?.downcast_ref()
    }

    /// Leaves something there; where somebody has been faster, it is dropped.
    pub fn fill<T: Any + Send + Sync>(&self, what: T) {
        if self.0.get().is_none() {
            // Being second is no loss: what is there is as good.
            let _ = self.0.set(Box::new(what));
        }
    }
}

impl Clone for Seat {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Seat {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Seat {}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.get().is_some() { "Seat(taken)" } else { "Seat" })
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
    /// Whatever let an exchange in that goes on. It makes no tenants.
    Ongoing,
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
