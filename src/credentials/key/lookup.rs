//! Whose an API key is: from memory, or by one look-up in the store that all who ask share.

use std::{
    hash::BuildHasherDefault,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;

use super::{
    KeyHasher,
    flight::Flights,
    gate::Gate,
    imported,
    packed::KnownKey,
    reviews::Reviews,
    secret::{self, PREFIX},
    shelf::Shelf,
};
use crate::{
    credentials::{
        CacheCounts,
        counts::Counts,
        fingerprint::{AsItIs, Fingerprint},
        known::{Known, Proof, Verdict},
    },
    domain::{
        id::{KeyId, TenantId},
        identity::{ApiKey, Credential, Identity, KeyHash},
        time::{UnixMillis, Version},
    },
    freshness::{Freshness, WordPlace},
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

/// When keys without an expiry expire.
const NEVER: UnixMillis = UnixMillis(i64::MAX);

/// Readings that are outdated when they arrive, before a key counts as unavailable.
const OUTDATED_READINGS: u32 = 3;

const MALFORMED: CredentialError =
    CredentialError::Invalid { reason: "the key is malformed or its checksum wrong" };

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

/// A key that is looked up.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// As the store knows it.
    hash: KeyHash,
    /// As memory knows it.
    fingerprint: Fingerprint,
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
    known: Shelf,
    unknown: Cache<u128, UnknownKey, BuildHasherDefault<AsItIs>>,
    flights: Flights<Found>,
    gate: Gate,
    /// The last look-up failed.
    failing: AtomicBool,
    counts: Counts,
    reviews: Reviews,
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
            known: Shelf::new(cached),
            unknown: Cache::builder()
                .max_capacity(UNKNOWN_KEPT)
                .build_with_hasher(BuildHasherDefault::default()),
            flights: Flights::new(),
            gate: Gate::new(QUEUE_PATIENCE),
            failing: AtomicBool::new(false),
            counts: Counts::default(),
            reviews: Reviews::default(),
        }
    }

    pub(crate) fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    pub(crate) fn counts(&self) -> CacheCounts {
        self.counts.sum()
    }

    /// What was read of a tenant's key at `version` may still be used.
    pub(crate) fn is_current(&self, word: WordPlace, version: Version) -> bool {
        version >= self.freshness.min_version_at(word)
    }

    /// Whose key `text` is, ours or imported.
    pub(crate) fn identify(
        self: &Arc<Self>,
        text: &[u8],
        fingerprint: Fingerprint,
        now: UnixMillis,
    ) -> Verdict {
        if text.starts_with(PREFIX.as_bytes()) {
            self.identify_own(text, fingerprint, now)
        } else if imported::has_shape(text) {
            self.find(text, fingerprint, now)
        } else {
            Verdict::refused(MALFORMED)
        }
    }

    /// Whose key `text` is, if it is one of ours.
    pub(crate) fn identify_own(
        self: &Arc<Self>,
        text: &[u8],
        fingerprint: Fingerprint,
        now: UnixMillis,
    ) -> Verdict {
        if secret::is_well_formed(text) {
            self.find(text, fingerprint, now)
        } else {
            Verdict::refused(MALFORMED)
        }
    }

    fn find(self: &Arc<Self>, text: &[u8], fingerprint: Fingerprint, now: UnixMillis) -> Verdict {
        if let Some(key) = self.known.get(fingerprint)
            && self.is_current(key.word, key.version)
        {
            self.counts.hit();
            return match key.known() {
                known if known.holds_at(now) => Verdict::Known(known),
                _ => Verdict::refused(CredentialError::Expired),
            };
        }
        let applied = self.freshness.applied();
        if self.unknown.get(&fingerprint.0).is_some_and(|unknown| unknown.holds(now, applied)) {
            self.counts.hit();
            return Verdict::refused(CredentialError::NO_SUCH_KEY);
        }
        self.counts.miss();
        let (lookup, wanted) = (Arc::clone(self), Wanted { hash: self.hasher.hash(text), fingerprint });
        Verdict::Other(Answer::Pending(Box::pin(async move { lookup.fetch(wanted, applied, now).await })))
    }

    async fn fetch(
        &self,
        wanted: Wanted,
        applied: Version,
        now: UnixMillis,
    ) -> Result<Arc<Identity>, CredentialError> {
        let seat = self.flights.join(wanted.hash, applied);
        match seat.answer(|| self.look_up(wanted, seat.began(), now)).await {
            Found::Key(key) => match key.known() {
                known if known.holds_at(now) => Ok(known.identity),
                _ => Err(CredentialError::Expired),
            },
            Found::Nothing => Err(CredentialError::NO_SUCH_KEY),
            Found::Failed => Err(CredentialError::Unavailable),
        }
    }

    async fn look_up(&self, wanted: Wanted, began: Version, now: UnixMillis) -> Found {
        let found = match self.gate.turn().await {
            Some(_turn) => self.read(wanted, began, now).await,
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

    async fn read(&self, wanted: Wanted, began: Version, now: UnixMillis) -> Result<Found, String> {
        for _ in 0..OUTDATED_READINGS {
            let found = tokio::time::timeout(STORE_PATIENCE, self.store.key_by_hash(&wanted.hash))
                .await
                .map_err(|_| "the database does not answer".to_owned())?
                .map_err(|error| error.to_string())?;
            let Some(key) = self.known_key(found) else {
                self.known.remove(wanted.fingerprint);
                self.unknown.insert(wanted.fingerprint.0, UnknownKey { since: now, applied: began });
                return Ok(Found::Nothing);
            };
            // A change may have been applied while the reading was under way; then only another reading will do.
            if self.is_current(key.word, key.version) {
                self.known.insert(wanted.fingerprint, &key);
                return Ok(Found::Key(key));
            }
        }
        Err("the database answers from before the latest change".to_owned())
    }

    /// Whether the key of an exchange that goes on is still there. `verified`: it was, at that version.
    pub(crate) fn stands(
        self: &Arc<Self>,
        tenant: &TenantId,
        id: &KeyId,
        verified: Version,
    ) -> Answer<Version, CredentialError> {
        let needed = self.freshness.min_version(tenant);
        if verified >= needed {
            return Answer::Ready(Ok(verified));
        }
        if let Some(known) = self.reviews.known(id, needed) {
            return Answer::Ready(known);
        }
        let (lookup, tenant, id) = (Arc::clone(self), tenant.clone(), id.clone());
        Answer::Pending(Box::pin(async move {
            let newest = || lookup.freshness.min_version(&tenant);
            lookup.reviews.ask(&*lookup.store, (&tenant, &id), newest).await
        }))
    }

    fn known_key(&self, found: Snapshot<Option<ApiKey>>) -> Option<KnownKey> {
        let ApiKey { id, tenant, expires_at, .. } = found.value?;
        let word = self.freshness.place(&tenant);
        let expires_at = expires_at.unwrap_or(NEVER);
        Some(KnownKey { tenant, id, expires_at, version: found.version, word })
    }
}

impl KnownKey {
    fn known(self) -> Known {
        let Self { tenant, id, expires_at, version, word } = self;
        Known {
            identity: Identity::holding(tenant, Credential::ApiKey { id }, expires_at, version),
            from: UnixMillis(i64::MIN),
            until: expires_at,
            proof: Proof::Key { word, version },
        }
    }
}
