//! Makes API keys for the admin API, hashed with the installation's secret.

use crate::{
    credentials::{ApiKeySecret, ImportedKey, KeyHasher, new_key_id},
    ports::{KeyIssuer, NewKey},
};

/// Makes and takes over API keys.
pub struct Issuer(pub KeyHasher);

impl KeyIssuer for Issuer {
    fn generate(&self) -> Result<NewKey, String> {
        let key = ApiKeySecret::generate().map_err(|error| error.to_string())?;
        let secret = key.reveal().to_owned();
        let hash = self.0.hash(secret.as_bytes());
        Ok(NewKey { id: new_key_id(), secret, hash })
    }

    fn import(&self, text: &str) -> Result<NewKey, String> {
        let key = ImportedKey::parse(text).map_err(|error| error.to_string())?;
        let hash = self.0.hash(key.reveal().as_bytes());
        Ok(NewKey { id: new_key_id(), secret: text.to_owned(), hash })
    }
}
