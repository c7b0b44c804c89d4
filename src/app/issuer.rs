//! Makes API keys for the admin API, hashed with the installation's secret.

use std::sync::Arc;

use crate::{
    clock::Clock,
    credentials::{ApiKeySecret, ImportedKey, KeyHasher, new_key_id},
    ports::{KeyIssuer, NewKey},
};

/// Makes and takes over API keys.
pub struct Issuer {
    /// Hashes keys as the authenticator does.
    pub hasher: KeyHasher,
    /// The time, which key ids begin with.
    pub clock: Arc<dyn Clock>,
}

impl Issuer {
    fn key(&self, text: &str) -> Result<NewKey, String> {
        let id = new_key_id(self.clock.now()).map_err(|error| error.to_string())?;
        Ok(NewKey { id, secret: text.to_owned(), hash: self.hasher.hash(text.as_bytes()) })
    }
}

impl KeyIssuer for Issuer {
    fn generate(&self) -> Result<NewKey, String> {
        let key = ApiKeySecret::generate().map_err(|error| error.to_string())?;
        self.key(key.reveal())
    }

    fn import(&self, text: &str) -> Result<NewKey, String> {
        let key = ImportedKey::parse(text).map_err(|error| error.to_string())?;
        self.key(key.reveal())
    }
}
