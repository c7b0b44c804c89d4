//! A store in memory: for tests, benches and embedding, with the same rules as the others and nothing on disk.

mod events;
mod ledger;
mod lifecycle;
mod meter_exports;
mod nodes;
mod once;
mod revisions;
mod shadow;
mod state;
mod statements;
mod stripe;
mod survey;
mod tidy;
mod tokens;
mod trail;
mod unclaimed;
mod usage_events;
mod webhooks;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    connect::Store,
    epoch::VERSIONS_SKIPPED,
    tidy::{Cutoffs, Retention, Tidied},
};
use crate::{
    clock::{Clock, SystemClock},
    domain::{
        command::Command,
        id::{KeyId, MeterId, TenantId},
        identity::{ApiKey, KeyHash},
        period::{Period, Window},
        tenant::Tenant,
        time::{Epoch, UnixMillis, Version},
    },
    ports::{
        AuditRow, ChangeRow, Committed, ExecuteError, KeyStore, Origin, Snapshot, StoreError, TenantStore,
        UsageRow,
    },
};
use state::State;

/// A store in memory.
pub struct Memory {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    woken: Notify,
    installation: Uuid,
    key_secret: [u8; 32],
}

impl Memory {
    /// An empty store on the machine's clock.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the system gives no random numbers.
    pub fn new() -> Result<Self, StoreError> {
        Self::with_clock(Arc::new(SystemClock::default()))
    }

    /// An empty store on a clock, which is what it says the database's clock is.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the system gives no random numbers.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Ok(Self {
            state: Mutex::new(State::on(Arc::clone(&clock))),
            clock,
            woken: Notify::new(),
            installation: uuid::Builder::from_random_bytes(super::sql::random()?).into_uuid(),
            key_secret: super::sql::random()?,
        })
    }

    /// Begins a new epoch, as a database does that has failed over. What it forgot meanwhile is for the caller to say, by
    /// having kept it from this store.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] once the store is closed.
    pub fn fail_over(&self) -> Result<Epoch, StoreError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        state.epoch = Epoch(state.epoch.0 + 1);
        state.epoch_since = now;
        state.version = Version(state.version.0 + VERSIONS_SKIPPED);
        self.woken.notify_one();
        Ok(state.epoch)
    }

    /// The state, whole even if a holder panicked: no change of it is made in steps that can fail.
    fn state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed { Err(StoreError::Unavailable("the store is closed".into())) } else { Ok(state) }
    }
}

fn take<T>(limit: u32, rows: impl Iterator<Item = T>) -> Vec<T> {
    rows.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect()
}

#[async_trait]
impl TenantStore for Memory {
    async fn tenant(&self, id: &TenantId) -> Result<Snapshot<Option<Tenant>>, StoreError> {
        let state = self.state()?;
        Ok(Snapshot { version: state.version, value: state.tenants.get(id).cloned() })
    }

    async fn tenants(&self, after: Option<&TenantId>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        let state = self.state()?;
        let rows = state.tenants.iter().filter(|(id, _)| after.is_none_or(|after| *id > after));
        Ok(take(limit, rows.map(|(_, tenant)| tenant.clone())))
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<ApiKey>, StoreError> {
        let state = self.state()?;
        let own = state.keys.values().map(|(_, key)| key).filter(|key| key.tenant == *tenant);
        let mut keys: Vec<ApiKey> = own.cloned().collect();
        keys.sort_by_key(|key| key.created_at);
        Ok(keys)
    }

    async fn execute(&self, command: &Command, origin: &Origin) -> Result<Committed, ExecuteError> {
        let done = self.state()?.carry_out(command, origin)?;
        if !done.replayed {
            self.woken.notify_one();
        }
        Ok(done)
    }

    async fn changes(&self, after: Version, limit: u32) -> Result<Vec<ChangeRow>, StoreError> {
        let state = self.state()?;
        let first = state.changes.partition_point(|row| row.version <= after);
        Ok(take(limit, state.changes.range(first..).cloned()))
    }

    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let state = self.state()?;
        Ok(take(limit, state.audit.rows().filter(|row| row.cursor > after).cloned()))
    }

    async fn usage(&self, tenant: &TenantId, span: Period) -> Result<Vec<UsageRow>, StoreError> {
        let state = self.state()?;
        let mut sums: BTreeMap<(UnixMillis, MeterId, Window), i64> = BTreeMap::new();
        for ((whose, meter, hour, _), used) in &state.book.usage {
            if whose == tenant && span.contains(*hour) {
                *sums.entry((*hour, meter.clone(), Window::Hour)).or_default() += used.units;
            }
        }
        for ((whose, meter, day), units) in &state.days {
            if whose == tenant && span.contains(*day) {
                sums.insert((*day, meter.clone(), Window::Day), *units);
            }
        }
        let row = |((start, meter, window), units): ((UnixMillis, MeterId, Window), i64)| UsageRow {
            meter,
            hour: start,
            window,
            units,
        };
        Ok(sums.into_iter().map(row).collect())
    }
}

#[async_trait]
impl KeyStore for Memory {
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Snapshot<Option<ApiKey>>, StoreError> {
        let state = self.state()?;
        let key = state.by_hash.get(hash).and_then(|id| state.keys.get(id)).map(|(_, key)| key.clone());
        Ok(Snapshot { version: state.version, value: key })
    }

    async fn key_by_id(&self, id: &KeyId) -> Result<Snapshot<Option<ApiKey>>, StoreError> {
        let state = self.state()?;
        Ok(Snapshot { version: state.version, value: state.keys.get(id).map(|(_, key)| key.clone()) })
    }

    async fn key_secret(&self) -> Result<[u8; 32], StoreError> {
        Ok(self.key_secret)
    }
}

#[async_trait]
impl Store for Memory {
    fn installation(&self) -> Uuid {
        self.installation
    }

    fn identity(&self) -> String {
        self.installation.to_string()
    }

    async fn tidy(&self, keep: &Retention) -> Result<Tidied, StoreError> {
        let now = self.clock.now();
        Ok(self.state()?.tidy(now, Cutoffs::at(now, keep)))
    }

    async fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }
}
