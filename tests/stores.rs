//! One contract, three stores: everything that the ports promise holds in memory, on SQLite and on PostgreSQL alike.
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod store_contract;
mod support;

use std::{sync::Arc, time::Duration};

use plangate::{
    clock::ManualClock,
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
    Memory(Arc<ManualClock>),
    Sqlite { url: String, _folder: tempfile::TempDir },
    Postgres { url: String },
}

pub(crate) const START: UnixMillis = UnixMillis(1_760_000_000_000);

impl Fixture {
    pub(crate) fn memory() -> Self {
        let clock = ManualClock::at(START);
        Self { store: Arc::new(Memory::with_clock(clock.clone()).unwrap()), kind: Kind::Memory(clock) }
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

    /// The address, where there is one.
    pub(crate) fn url(&self) -> Option<&str> {
        match &self.kind {
            Kind::Memory(_) => None,
            Kind::Sqlite { url, .. } | Kind::Postgres { url } => Some(url),
        }
    }

    /// Runs a statement behind the store's back.
    pub(crate) async fn raw(&self, sql: &'static str) -> Option<i64> {
        match &self.kind {
            Kind::Memory(_) => None,
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

    /// Makes all heartbeats so much older.
    pub(crate) async fn let_six_seconds_pass(&self) {
        if let Kind::Memory(clock) = &self.kind {
            clock.advance(Duration::from_secs(6));
        }
        self.raw("UPDATE nodes SET beat_ms = beat_ms - 6000").await;
    }
}

pub(crate) async fn open(url: &str) -> Arc<dyn Store> {
    store::connect(url, &Options::default()).await.unwrap()
}
