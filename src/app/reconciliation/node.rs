//! A node of the simulated year: the real ledger on a file that outlives it, killed without warning.

use std::{fs::File, sync::Arc};

use rustix::fs::{MemfdFlags, memfd_create};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    clock::{Clock, ManualClock},
    domain::{catalog::Digest, time::Version},
    freshness::Freshness,
    ledger::{
        EscrowLedger, LedgerParts, Recovered,
        file::{Found, Identity, LockedFile},
        recover,
    },
    ports::{Heartbeat, Incarnation, NodeStore, Registration},
    store::memory::Memory,
};

pub(super) struct Node {
    name: String,
    number: u128,
    runs: u128,
    disk: File,
    store: Arc<Memory>,
    clock: Arc<ManualClock>,
    pub(super) freshness: Arc<Freshness>,
    /// While it runs.
    pub(super) ledger: Option<EscrowLedger>,
    /// Ends its background work.
    end: CancellationToken,
    tasks: TaskTracker,
}

impl Node {
    pub(super) async fn new(number: u128, store: &Arc<Memory>, clock: &Arc<ManualClock>) -> Self {
        let mut node = Self {
            name: format!("node-{number}"),
            number,
            runs: 0,
            disk: memfd_create("ledger", MemfdFlags::CLOEXEC).unwrap().into(),
            store: Arc::clone(store),
            clock: Arc::clone(clock),
            freshness: Arc::default(),
            ledger: None,
            end: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        node.start().await;
        node
    }

    fn incarnation(&self) -> Incarnation {
        Incarnation(Uuid::from_u128(self.number * 1_000_000 + self.runs))
    }

    /// Starts it; what the run before has left in its file is recorded and returned.
    pub(super) async fn start(&mut self) {
        self.runs += 1;
        let locked = LockedFile::over(self.disk.try_clone().unwrap()).unwrap().with_segment_bytes(8192);
        let registration = Registration {
            name: self.name.clone(),
            incarnation: self.incarnation(),
            file: locked.id(),
            digest: Digest("year".into()),
        };
        self.store.register(&registration).await.unwrap();
        let known = self.store.open_file(locked.id(), 0).await.unwrap();
        let identity = Identity { node: self.name.clone(), database: "year".into(), boot: Some([1; 16]) };
        let (file, found) = locked.open(&identity, known).unwrap();
        self.store.open_file(file.id(), file.open_count()).await.unwrap();
        if let Found::Leftovers(leftovers) = found {
            let recovered = recover(&*self.store, &file, &leftovers, self.clock.now()).await.unwrap();
            assert!(matches!(recovered, Recovered::Returned { .. }), "the file was believed");
        }
        let tasks = TaskTracker::new();
        let ledger = EscrowLedger::new(LedgerParts {
            store: Arc::clone(&self.store) as _,
            clock: Arc::clone(&self.clock) as _,
            freshness: Arc::clone(&self.freshness),
            incarnation: self.incarnation(),
            file,
            runtime: tokio::runtime::Handle::current(),
            tracker: tasks.clone(),
        });
        self.end = CancellationToken::new();
        let (running, end) = (ledger.clone(), self.end.clone());
        tasks.spawn(async move { running.run(end).await });
        self.tasks = tasks;
        self.ledger = Some(ledger);
        self.poll().await;
    }

    /// Nothing is recorded or returned from now on. What it had asked the database for is answered before, as its tasks
    /// would live on in this process.
    pub(super) async fn kill(&mut self) {
        self.end.cancel();
        self.ledger = None;
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Hears of what was changed, and says that it lives.
    pub(super) async fn poll(&mut self) {
        let Some(ledger) = &self.ledger else { return };
        let sent = self.clock.monotonic();
        let beat = Heartbeat {
            incarnation: self.incarnation(),
            applied: self.freshness.applied(),
            digest: Digest("year".into()),
            reasserted: Default::default(),
        };
        let answer = self.store.poll(&beat).await.unwrap();
        if answer.gap {
            ledger.apply_everything().await.unwrap();
        }
        for change in &answer.changes {
            if let Some(tenant) = &change.tenant {
                ledger.apply(tenant, change.version).await.unwrap();
            }
        }
        self.freshness.set_applied(answer.upto.max(Version(0)));
        self.freshness.polled(sent, answer.live_nodes);
        ledger.recall(&answer.wanted);
    }

    pub(super) async fn flush(&self) {
        if let Some(ledger) = &self.ledger {
            ledger.flush().await.unwrap();
        }
    }
}
