//! One contract, three stores: everything that the ports promise holds in memory, on SQLite and on PostgreSQL alike.
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod store_contract;
mod support;

use std::{sync::Arc, time::Duration};

use plangate::{
    clock::{Clock, ManualClock, SystemClock},
    domain::time::UnixMillis,
    store::{self, Options, Store, memory::Memory},
};
use support::postgres::Postgres;

/// A store of one kind, and what a test needs to reach around it.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    Memory(Arc<ManualClock>, Arc<Memory>),
    Sqlite { url: String, _folder: tempfile::TempDir },
    Postgres { url: String },
}

pub(crate) const START: UnixMillis = UnixMillis(1_760_000_000_000);

impl Fixture {
    pub(crate) fn memory() -> Self {
        let clock = ManualClock::at(START);
        let memory = Arc::new(Memory::with_clock(clock.clone()).unwrap());
        Self { store: memory.clone(), kind: Kind::Memory(clock, memory) }
    }

    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("deep/er/plangate.db").display());
        Self { store: open(&url).await, kind: Kind::Sqlite { url, _folder: folder } }
    }

    pub(crate) async fn postgres() -> Self {
        let url = Postgres::shared().url();
        Self { store: open(&url).await, kind: Kind::Postgres { url } }
    }

    /// What the store's clock says.
    pub(crate) fn now(&self) -> UnixMillis {
        match &self.kind {
            Kind::Memory(clock, _) => clock.now(),
            Kind::Sqlite { .. } | Kind::Postgres { .. } => SystemClock::uncorrected(),
        }
    }

    /// The address, where there is one.
    pub(crate) fn url(&self) -> Option<&str> {
        match &self.kind {
            Kind::Memory(..) => None,
            Kind::Sqlite { url, .. } | Kind::Postgres { url } => Some(url),
        }
    }

    /// Runs a statement behind the store's back.
    pub(crate) async fn raw(&self, sql: &'static str) -> Option<i64> {
        match &self.kind {
            Kind::Memory(..) => None,
            Kind::Sqlite { url, .. } => {
                let pool = sqlx::SqlitePool::connect(url).await.unwrap();
                let value = sqlx::query_scalar(sql).fetch_optional(&pool).await.unwrap();
                pool.close().await;
                value
            }
            Kind::Postgres { url } => {
                let pool = sqlx::PgPool::connect(url).await.unwrap();
                let value = sqlx::query_scalar(sql).fetch_optional(&pool).await.unwrap();
                pool.close().await;
                value
            }
        }
    }

    /// Makes all heartbeats, wishes and failovers so much older.
    pub(crate) async fn let_six_seconds_pass(&self) {
        if let Kind::Memory(clock, _) = &self.kind {
            clock.advance(Duration::from_secs(6));
        }
        self.raw("UPDATE nodes SET beat_ms = beat_ms - 6000").await;
        self.raw("UPDATE buckets SET wanted_until_ms = wanted_until_ms - 6000").await;
        self.raw("UPDATE head SET epoch_since_ms = epoch_since_ms - 6000").await;
    }

    /// The database is another one from now on.
    pub(crate) async fn fail_over(&self) {
        match &self.kind {
            Kind::Memory(_, memory) => drop(memory.fail_over().unwrap()),
            // A file does not fail over by itself.
            Kind::Sqlite { .. } => {
                let advance = "UPDATE head SET epoch = epoch + 1, version = version + 1048576, \
                               epoch_since_ms = CAST(round(unixepoch('subsec') * 1000) AS INTEGER)";
                self.raw(advance).await;
            }
            Kind::Postgres { .. } => {
                self.raw("UPDATE head SET timeline = 'FFFFFFFF'").await;
            }
        }
    }
}

pub(crate) async fn open(url: &str) -> Arc<dyn Store> {
    store::connect(url, &Options::default()).await.unwrap()
}
