//! A store of keys in memory that counts its look-ups, and can fail or wait.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::{
    domain::{
        id::{KeyId, TenantId},
        identity::{ApiKey, KeyHash},
        time::{UnixMillis, Version},
    },
    ports::{KeyStore, Snapshot, StoreError},
};

/// The store.
pub(super) struct MemoryKeys {
    pub(super) rows: Mutex<Rows>,
    look_ups: AtomicU32,
    /// Each look-up takes one of these after it has read.
    pub(super) answers: Semaphore,
}

/// What is in it.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) version: u64,
    pub(super) keys: HashMap<KeyHash, ApiKey>,
    pub(super) away: bool,
}

impl Default for MemoryKeys {
    fn default() -> Self {
        Self {
            rows: Mutex::default(),
            look_ups: AtomicU32::new(0),
            answers: Semaphore::new(Semaphore::MAX_PERMITS),
        }
    }
}

impl MemoryKeys {
    pub(super) fn look_ups(&self) -> u32 {
        self.look_ups.load(Ordering::SeqCst)
    }

    /// Adds a key, and answers the version of that change.
    pub(super) fn add(&self, hash: KeyHash, tenant: &str, expires_at: Option<UnixMillis>) -> Version {
        let mut rows = self.rows.lock().unwrap();
        rows.version += 1;
        let key = ApiKey {
            id: KeyId::parse(&format!("key_{}", rows.version)).unwrap(),
            tenant: TenantId::parse(tenant).unwrap(),
            name: None,
            expires_at,
            imported: false,
            created_at: UnixMillis(0),
        };
        rows.keys.insert(hash, key);
        Version(rows.version)
    }

    pub(super) fn revoke(&self, hash: &KeyHash) -> Version {
        let mut rows = self.rows.lock().unwrap();
        rows.keys.remove(hash);
        rows.version += 1;
        Version(rows.version)
    }

    pub(super) fn away(&self, away: bool) {
        self.rows.lock().unwrap().away = away;
    }
}

#[async_trait]
impl KeyStore for MemoryKeys {
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Snapshot<Option<ApiKey>>, StoreError> {
        self.look_ups.fetch_add(1, Ordering::SeqCst);
        let answer = {
            let rows = self.rows.lock().unwrap();
            if rows.away {
                Err(StoreError::Unavailable("away".into()))
            } else {
                Ok(Snapshot { version: Version(rows.version), value: rows.keys.get(hash).cloned() })
            }
        };
        self.answers.acquire().await.unwrap().forget();
        answer
    }

    async fn key_by_id(&self, id: &KeyId) -> Result<Snapshot<Option<ApiKey>>, StoreError> {
        self.look_ups.fetch_add(1, Ordering::SeqCst);
        let answer = {
            let rows = self.rows.lock().unwrap();
            let key = rows.keys.values().find(|key| key.id == *id).cloned();
            match rows.away {
                true => Err(StoreError::Unavailable("away".into())),
                false => Ok(Snapshot { version: Version(rows.version), value: key }),
            }
        };
        self.answers.acquire().await.unwrap().forget();
        answer
    }

    async fn key_secret(&self) -> Result<[u8; 32], StoreError> {
        Ok([7; 32])
    }
}
