//! The authenticator itself: finds the presented credential and hands it to those who can judge it.

use std::{fmt, sync::Arc};

use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use super::{
    install_crypto,
    jwt::{Timing, Tokens},
    key::{KeyHasher, KeyLookup},
    presented::{Presentation, Presented},
    settings::{Settings, SettingsError},
};
use crate::{
    domain::{identity::Identity, time::UnixMillis},
    freshness::Freshness,
    ports::{Answer, Authenticator, CredentialError, KeyStore},
};

/// Verifies API keys and JSON Web Tokens, from memory where it can.
pub struct Credentials {
    presentation: Presentation,
    keys: Arc<KeyLookup>,
    tokens: Arc<Tokens>,
}

/// How often memory knew a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheCounts {
    /// Answered from memory.
    pub hits: u64,
    /// Looked up or verified anew.
    pub misses: u64,
}

impl std::ops::Add for CacheCounts {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { hits: self.hits + other.hits, misses: self.misses + other.misses }
    }
}

/// Settings that were found usable, with the files of token keys read: an authenticator that lacks only the store.
pub struct Prepared {
    presentation: Presentation,
    tokens: Tokens,
    cached: u64,
}

impl Prepared {
    /// Checks the settings. Files of token keys are read at once; URLs only by [`Credentials::run`], so that a provider
    /// that is away does not prevent the start.
    ///
    /// # Errors
    /// [`SettingsError`] names the setting and what was expected.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        Self::with_timing(&settings, Timing::default())
    }

    fn with_timing(settings: &Settings, timing: Timing) -> Result<Self, SettingsError> {
        install_crypto();
        settings.check()?;
        let mut presentation =
            Presentation::new(settings.api_key_header.clone(), !settings.issuers.is_empty());
        let tokens = Tokens::new(settings, &mut presentation, timing)?;
        Ok(Self { presentation, tokens, cached: settings.cached })
    }

    /// The authenticator over `keys`, whose hashes were made with `key_secret`.
    #[must_use]
    pub fn over(
        self,
        keys: Arc<dyn KeyStore>,
        freshness: Arc<Freshness>,
        key_secret: [u8; 32],
    ) -> Credentials {
        let lookup = KeyLookup::new(keys, freshness, KeyHasher::new(&key_secret), self.cached);
        Credentials { presentation: self.presentation, keys: Arc::new(lookup), tokens: Arc::new(self.tokens) }
    }
}

impl Credentials {
    /// An authenticator over `keys`; see [`Prepared`].
    ///
    /// # Errors
    /// [`SettingsError`] names the setting and what was expected.
    pub fn new(
        settings: Settings,
        keys: Arc<dyn KeyStore>,
        freshness: Arc<Freshness>,
        key_secret: [u8; 32],
    ) -> Result<Self, SettingsError> {
        Ok(Prepared::new(settings)?.over(keys, freshness, key_secret))
    }

    #[cfg(test)]
    pub(super) fn with_timing(
        settings: Settings,
        keys: Arc<dyn KeyStore>,
        freshness: Arc<Freshness>,
        key_secret: [u8; 32],
        timing: Timing,
    ) -> Result<Self, SettingsError> {
        Ok(Prepared::with_timing(&settings, timing)?.over(keys, freshness, key_secret))
    }

    /// Makes the hashes under which keys are stored.
    #[must_use]
    pub fn hasher(&self) -> &KeyHasher {
        self.keys.hasher()
    }

    /// How often memory knew a credential, since the start.
    #[must_use]
    pub fn cache_counts(&self) -> CacheCounts {
        self.keys.counts() + self.tokens.counts()
    }

    /// Keeps the issuers' keys current until `token` is cancelled.
    pub async fn run(self: Arc<Self>, token: CancellationToken) {
        token.run_until_cancelled(self.tokens.keep_keys_current()).await;
    }
}

impl Authenticator for Credentials {
    fn identify(&self, headers: &HeaderMap, now: UnixMillis) -> Answer<Arc<Identity>, CredentialError> {
        match self.presentation.find(headers) {
            Ok(Presented::Key(text)) => self.keys.identify(text, now),
            Ok(Presented::BearerKey(text)) => self.keys.identify_own(text, now),
            Ok(Presented::Token { text, channel }) => self.tokens.identify(text, channel, now),
            Err(error) => Answer::Ready(Err(error)),
        }
    }

    fn strip(&self, headers: &mut HeaderMap) {
        self.presentation.strip(headers);
    }

    fn strip_own(&self, headers: &mut HeaderMap) {
        self.presentation.strip_own(headers);
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("presentation", &self.presentation).finish_non_exhaustive()
    }
}
