//! Whose an API key is: from memory, or by one look-up in the store that all who ask share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;

use super::{
    KeyHasher,
    flight::Flights,
    gate::Gate,
    imported,
    secret::{self, PREFIX},
};
use crate::{
    credentials::CacheCounts,
    domain::{
        identity::{ApiKey, Credential, Identity, KeyHash},
        time::{UnixMillis, Version},
    },
    freshness::Freshness,
    ports::{Answer, CredentialError, KeyStore, Snapshot},
};

/// How long a key that is not there is remembered as such, in milliseconds.
const UNKNOWN_FOR: i64 = 2_000;

/// How many such keys are remembered.
const UNKNOWN_KEPT: u64 = 10_000;

/// How long a look-up waits for its turn.
const QUEUE_PATIENCE: Duration = Duration::from_secs(2);

/// How long the store may take for one key.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// Readings that are outdated when they arrive, before a key counts as unavailable.
const OUTDATED_READINGS: u32 = 3;

const MALFORMED: CredentialError =
    CredentialError::Invalid { reason: "the key is malformed or its checksum wrong" };
const UNKNOWN: CredentialError = CredentialError::Invalid { reason: "no such key" };

/// A key that is there.
#[derive(Debug, Clone)]
struct KnownKey {
    identity: Arc<Identity>,
    expires_at: Option<UnixMillis>,
    version: Version,
}

impl KnownKey {
    fn speak(self, now: UnixMillis) -> Result<Arc<Identity>, CredentialError> {
        match self.expires_at {
            Some(end) if now >= end => Err(CredentialError::Expired),
            _ => Ok(self.identity),
        }
    }
}

/// A key that was not there.
#[derive(Debug, Clone, Copy)]
struct UnknownKey {
    since: UnixMillis,
    /// What was applied when the look-up began: once that moved on, the key may have been made.
    applied: Version,
}

impl UnknownKey {
    fn holds(self, now: UnixMillis, applied: Version) -> bool {
        self.applied == applied && (0..UNKNOWN_FOR).contains(&now.0.saturating_sub(self.since.0))
    }
}

/// What a look-up found.
#[derive(Debug, Clone)]
enum Found {
    Key(KnownKey),
    Nothing,
    /// The store did not answer.
    Failed,
}

/// Knows whose keys are.
pub(crate) struct KeyLookup {
    store: Arc<dyn KeyStore>,
    freshness: Arc<Freshness>,
    hasher: KeyHasher,
    known: Cache<KeyHash, KnownKey>,
    unknown: Cache<KeyHash, UnknownKey>,
    flights: Flights<Found>,
    gate: Gate,
    /// The last look-up failed.
    failing: AtomicBool,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl KeyLookup {
    /// A look-up in `store` that keeps at most `cached` keys in memory.
    pub(crate) fn new(
        store: Arc<dyn KeyStore>,
        freshness: Arc<Freshness>,
        hasher: KeyHasher,
        cached: u64,
    ) -> Self {
        Self {
            store,
            freshness,
            hasher,
            known: Cache::new(cached),
            unknown: Cache::new(UNKNOWN_KEPT),
            flights: Flights::new(),
            gate: Gate::new(QUEUE_PATIENCE),
            failing: AtomicBool::new(false),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub(crate) fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    pub(crate) fn counts(&self) -> CacheCounts {
        CacheCounts { hits: self.hits.load(Ordering::Relaxed), misses: self.misses.load(Ordering::Relaxed) }
    }

    /// Whose key `text` is, ours or imported.
    pub(crate) fn identify(
        self: &Arc<Self>,
        text: &[u8],
        now: UnixMillis,
    ) -> Answer<Arc<Identity>, CredentialError> {
        if text.starts_with(PREFIX.as_bytes()) {
            self.identify_own(text, now)
        } else if imported::has_shape(text) {
            self.find(text, now)
        } else {
            Answer::Ready(Err(MALFORMED))
        }
    }

    /// Whose key `text` is, if it is one of ours.
    pub(crate) fn identify_own(
        self: &Arc<Self>,
        text: &[u8],
        now: UnixMillis,
    ) -> Answer<Arc<Identity>, CredentialError> {
        if secret::is_well_formed(text) { self.find(text, now) } else { Answer::Ready(Err(MALFORMED)) }
    }

    fn find(self: &Arc<Self>, text: &[u8], now: UnixMillis) -> Answer<Arc<Identity>, CredentialError> {
        let hash = self.hasher.hash(text);
        if let Some(key) = self.known.get(&hash)
            && self.is_current(&key)
        {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Answer::Ready(key.speak(now));
        }
        let applied = self.freshness.applied();
        if self.unknown.get(&hash).is_some_and(|unknown| unknown.holds(now, applied)) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Answer::Ready(Err(UNKNOWN));
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let lookup = Arc::clone(self);
        Answer::Pending(Box::pin(async move { lookup.fetch(hash, applied, now).await }))
    }

    fn is_current(&self, key: &KnownKey) -> bool {
        key.version >= self.freshness.min_version(&key.identity.tenant)
    }

    async fn fetch(
        &self,
        hash: KeyHash,
        applied: Version,
        now: UnixMillis,
    ) -> Result<Arc<Identity>, CredentialError> {
        let seat = self.flights.join(hash, applied);
        match seat.answer(|| self.look_up(hash, seat.began(), now)).await {
            Found::Key(key) => key.speak(now),
            Found::Nothing => Err(UNKNOWN),
            Found::Failed => Err(CredentialError::Unavailable),
        }
    }

    async fn look_up(&self, hash: KeyHash, began: Version, now: UnixMillis) -> Found {
        let found = match self.gate.turn().await {
            Some(_turn) => self.read(hash, began, now).await,
            None => Err("too many are being looked up".to_owned()),
        };
        // Told of once at each change: a line for every request would only drown the others.
        let failed = found.is_err();
        if self.failing.swap(failed, Ordering::Relaxed) != failed {
            match &found {
                Ok(_) => tracing::info!("API keys can be looked up again"),
                Err(reason) => tracing::warn!(reason, "API keys cannot be looked up"),
            }
        }
        found.unwrap_or(Found::Failed)
    }

    async fn read(&self, hash: KeyHash, began: Version, now: UnixMillis) -> Result<Found, String> {
        for _ in 0..OUTDATED_READINGS {
            let found = tokio::time::timeout(STORE_PATIENCE, self.store.key_by_hash(&hash))
                .await
                .map_err(|_| "the database does not answer".to_owned())?
                .map_err(|error| error.to_string())?;
            let Some(key) = known(found) else {
                self.known.invalidate(&hash);
                self.unknown.insert(hash, UnknownKey { since: now, applied: began });
                return Ok(Found::Nothing);
            };
            // A change may have been applied while the reading was under way; then only another reading will do.
            if self.is_current(&key) {
                self.known.insert(hash, key.clone());
                return Ok(Found::Key(key));
            }
        }
        Err("the database answers from before the latest change".to_owned())
    }
}

fn known(found: Snapshot<Option<ApiKey>>) -> Option<KnownKey> {
    let ApiKey { id, tenant, expires_at, .. } = found.value?;
    let identity = Identity::new(tenant, Credential::ApiKey { id });
    Some(KnownKey { identity, expires_at, version: found.version })
}
