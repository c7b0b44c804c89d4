//! The authenticator itself: finds the presented credential and hands it to those who can judge it.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName};
use tokio_util::sync::CancellationToken;

use super::{
    counts::{CacheCounts, Counts},
    fingerprint::{Fingerprint, Fingerprinter},
    install_crypto,
    jwt::{Timing, Tokens},
    key::{KeyHasher, KeyLookup},
    known::{Proof, Verdict},
    presented::{Presentation, Presented},
    settings::{Settings, SettingsError},
};
use crate::{
    domain::{
        identity::{Credential, Identity},
        time::{UnixMillis, Version},
    },
    freshness::Freshness,
    ports::{Answer, Authenticator, CredentialError, KeyStore},
};

/// Verifies API keys and JSON Web Tokens, from memory where it can: that which all workers of a node share. Each of them
/// asks it through a [`CredentialsFront`](super::CredentialsFront) of its own.
pub struct Credentials {
    pub(super) presentation: Presentation,
    pub(super) fingerprinter: Fingerprinter,
    pub(super) fronts: Counts,
    keys: Arc<KeyLookup>,
    tokens: Arc<Tokens>,
}

/// Settings that were found usable, with the files of token keys read: an authenticator that lacks only the store.
pub struct Prepared {
    presentation: Presentation,
    fingerprinter: Fingerprinter,
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
        Ok(Self { presentation, fingerprinter: Fingerprinter::new()?, tokens, cached: settings.cached })
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
        Credentials {
            presentation: self.presentation,
            fingerprinter: self.fingerprinter,
            fronts: Counts::default(),
            keys: Arc::new(lookup),
            tokens: Arc::new(self.tokens),
        }
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

    /// Reads all files of token keys anew, as [`Credentials::run`] does every few seconds.
    #[cfg(test)]
    pub(super) fn reload_keys(&self) {
        self.tokens.reload_keys();
    }

    /// Makes the hashes under which keys are stored.
    #[must_use]
    pub fn hasher(&self) -> &KeyHasher {
        self.keys.hasher()
    }

    /// How often memory knew a credential, since the start; that of the fronts included.
    #[must_use]
    pub fn cache_counts(&self) -> CacheCounts {
        self.fronts.sum() + self.keys.counts() + self.tokens.counts()
    }

    /// Who the presented credential speaks for, by what all workers share.
    pub(super) fn judge(
        &self,
        presented: &Presented<'_>,
        fingerprint: Fingerprint,
        now: UnixMillis,
    ) -> Verdict {
        match *presented {
            Presented::Key(text) => self.keys.identify(text, fingerprint, now),
            Presented::BearerKey(text) => self.keys.identify_own(text, fingerprint, now),
            Presented::Token { text, channel } => self.tokens.identify(text, (channel, fingerprint), now),
        }
    }

    /// Whether what was learned with this proof may still be used.
    pub(super) fn stands(&self, proof: Proof) -> bool {
        match proof {
            Proof::Key { word, version } => self.keys.is_current(word, version),
            Proof::Token { generation } => self.tokens.is_current(generation),
        }
    }

    /// Keeps the issuers' keys current until `token` is cancelled.
    pub async fn run(self: Arc<Self>, token: CancellationToken) {
        token.run_until_cancelled(self.tokens.keep_keys_current()).await;
    }
}

impl Authenticator for Credentials {
    fn identify(&self, headers: &HeaderMap, now: UnixMillis) -> Answer<Arc<Identity>, CredentialError> {
        match self.presentation.find(headers) {
            Ok(presented) => self.judge(&presented, self.fingerprinter.of(&presented), now).answer(),
            Err(error) => Answer::Ready(Err(error)),
        }
    }

    fn stands(
        &self,
        identity: &Arc<Identity>,
        verified: Version,
        now: UnixMillis,
    ) -> Answer<Version, CredentialError> {
        if now >= identity.until {
            return Answer::Ready(Err(CredentialError::Expired));
        }
        match &identity.credential {
            Credential::ApiKey { id } => {
                self.keys.stands(&identity.tenant, id, verified.max(identity.read_at))
            }
            // Nobody can take back a token before it ends.
            Credential::Jwt | Credential::Ongoing => Answer::Ready(Ok(verified)),
        }
    }

    fn key_header(&self) -> Option<HeaderName> {
        Some(self.presentation.key_header().clone())
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
