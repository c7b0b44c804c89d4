//! Where a simulated history takes place: the store, and its clock, which is everybody's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::server::Postgres;
use crate::{
    clock::{Clock, ManualClock},
    domain::time::UnixMillis,
    ports::BucketKey,
    store::{Store, memory::Memory, simulated::Simulated},
};

pub(super) struct Ground {
    pub(super) clock: Arc<ManualClock>,
    kind: Kind,
}

enum Kind {
    Memory(Arc<Memory>),
    Database(Simulated),
}

impl Ground {
    pub(super) fn memory(now: UnixMillis) -> Self {
        let clock = ManualClock::at(now);
        let store = Memory::with_clock(Arc::clone(&clock) as _).unwrap();
        Self { clock, kind: Kind::Memory(Arc::new(store)) }
    }

    pub(super) async fn sqlite(now: UnixMillis) -> Self {
        Self { clock: ManualClock::at(now), kind: Kind::Database(Simulated::sqlite(now).await) }
    }

    pub(super) async fn postgres(now: UnixMillis) -> Self {
        static DATABASES: AtomicU32 = AtomicU32::new(0);
        let server = format!("postgres://plangate@127.0.0.1:{}", Postgres::shared().port());
        let name = format!("year_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let database = Simulated::postgres(&server, &name, now).await;
        Self { clock: ManualClock::at(now), kind: Kind::Database(database) }
    }

    /// A real database, whose answers take real time.
    pub(super) const fn is_database(&self) -> bool {
        matches!(self.kind, Kind::Database(_))
    }

    /// The store as one process has it, whose connections belong to the current runtime.
    pub(super) async fn connect(&self) -> Arc<dyn Store> {
        match &self.kind {
            Kind::Memory(store) => Arc::clone(store) as _,
            Kind::Database(database) => database.connect().await,
        }
    }

    /// Moves every clock on.
    pub(super) async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        if let Kind::Database(database) = &self.kind {
            database.set(self.clock.now()).await;
        }
    }

    /// What each bucket says was used.
    pub(super) async fn recorded(&self) -> Vec<(BucketKey, u64)> {
        match &self.kind {
            Kind::Memory(store) => store.recorded(),
            Kind::Database(database) => database.recorded().await,
        }
    }
}
