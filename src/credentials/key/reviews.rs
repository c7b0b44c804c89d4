//! Keys of exchanges that go on, looked up again after a change of their tenant: by id, as the key itself is not kept.

use std::time::Duration;

use moka::sync::Cache;

use super::gate::Gate;
use crate::{
    domain::{
        id::{KeyId, TenantId},
        time::Version,
    },
    ports::{CredentialError, KeyStore},
};

/// Keys of which the latest answer is kept: exchanges with the same key share it.
const KEPT: u64 = 10_000;
/// How long a look-up waits for its turn, and then for the store.
const PATIENCE: Duration = Duration::from_millis(700);
/// Readings that are outdated when they arrive, before a key counts as unavailable.
const OUTDATED_READINGS: u32 = 3;

/// The latest look-ups, and a bound on those under way: however many exchanges a change concerns, requests with keys that
/// are not in memory go on.
pub(super) struct Reviews {
    latest: Cache<KeyId, (Version, bool)>,
    gate: Gate,
}

impl Default for Reviews {
    fn default() -> Self {
        Self { latest: Cache::new(KEPT), gate: Gate::new(PATIENCE) }
    }
}

impl Reviews {
    /// What was found of a key, if it is no older than `needed`.
    pub(super) fn known(&self, id: &KeyId, needed: Version) -> Option<Result<Version, CredentialError>> {
        let (version, there) = self.latest.get(id).filter(|(version, _)| *version >= needed)?;
        Some(if there { Ok(version) } else { Err(CredentialError::NO_SUCH_KEY) })
    }

    /// Asks the store whether the tenant still has the key; `newest` is the tenant's latest change.
    pub(super) async fn ask(
        &self,
        store: &dyn KeyStore,
        (tenant, id): (&TenantId, &KeyId),
        newest: impl Fn() -> Version,
    ) -> Result<Version, CredentialError> {
        let Some(_turn) = self.gate.turn().await else { return Err(CredentialError::Unavailable) };
        for _ in 0..OUTDATED_READINGS {
            // Another exchange may have asked while this one waited for its turn.
            if let Some(known) = self.known(id, newest()) {
                return known;
            }
            let Ok(Ok(found)) = tokio::time::timeout(PATIENCE, store.key_by_id(id)).await else {
                return Err(CredentialError::Unavailable);
            };
            let there = found.value.is_some_and(|key| key.tenant == *tenant);
            self.latest.insert(id.clone(), (found.version, there));
        }
        self.known(id, newest()).unwrap_or(Err(CredentialError::Unavailable))
    }
}
