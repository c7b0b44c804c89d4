//! An issuer's keys, wherever they come from.

use super::{
    Algorithm, Refusal,
    jwks::VerificationKey,
    published::Published,
    refresh::{Asked, Refresh},
};
use crate::domain::time::UnixMillis;

/// An issuer's keys.
pub(super) enum KeySource {
    /// A shared secret.
    Secret(VerificationKey),
    /// A set that its owner may change.
    Published(Box<Published>),
}

impl KeySource {
    /// Checks a signature.
    pub(super) fn verify(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        signed: &str,
        signature: &str,
    ) -> Result<(), Refusal> {
        let verified = match self {
            Self::Secret(key) => Some(key.verifies(algorithm, signed, signature)),
            Self::Published(published) => published.verify(kid, algorithm, signed, signature),
        };
        match verified {
            Some(true) => Ok(()),
            // Without a name, a newer key may be the one that was meant.
            Some(false) if kid.is_none() && matches!(self, Self::Published(_)) => Err(Refusal::UnknownKey),
            Some(false) => Err(Refusal::Invalid("the signature does not verify")),
            None => Err(Refusal::UnknownKey),
        }
    }

    /// Asks for newer keys; see [`Refresh::ask`]. A file and a secret are as new as they get.
    pub(super) fn ask(&self, now: UnixMillis) -> Option<Asked> {
        match self.refresh() {
            Some(refresh) => refresh.ask(now),
            None => Some(Asked::Current),
        }
    }

    /// Waits for the keys that were asked for.
    pub(super) async fn asked(&self) -> Asked {
        match self.refresh() {
            Some(refresh) => refresh.done().await,
            None => Asked::Current,
        }
    }

    fn refresh(&self) -> Option<&Refresh> {
        match self {
            Self::Published(published) => published.refresh(),
            Self::Secret(_) => None,
        }
    }

    #[cfg(test)]
    pub(super) fn reload(&self) {
        if let Self::Published(published) = self {
            published.reload_file();
        }
    }

    /// Keeps the keys current, for ever.
    pub(super) async fn keep_current(&self) {
        match self {
            Self::Published(published) => published.keep_current().await,
            Self::Secret(_) => std::future::pending().await,
        }
    }
}
