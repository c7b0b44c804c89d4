//! Makes API keys and tokens for the admin API, hashed with the installation's secret.

use std::sync::Arc;

use crate::{
    clock::Clock,
    credentials::{AdminTokenSecret, ApiKeySecret, ImportedKey, KeyHasher, new_key_id},
    domain::identity::KeyHash,
    ports::{IssuedToken, KeyIssuer, NewKey, TokenIssuer},
};

/// Makes and takes over API keys, and makes tokens.
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

impl TokenIssuer for Issuer {
    fn generate(&self) -> Result<IssuedToken, String> {
        let token = AdminTokenSecret::generate().map_err(|error| error.to_string())?;
        let id = uuid::Uuid::now_v7().simple();
        let hash = self.hasher.hash(token.reveal().as_bytes());
        Ok(IssuedToken { id: format!("tok_{id}"), secret: token.reveal().to_owned(), hash })
    }

    fn hash(&self, presented: &[u8]) -> Option<KeyHash> {
        AdminTokenSecret::is_well_formed(presented).then(|| self.hasher.hash(presented))
    }
}
