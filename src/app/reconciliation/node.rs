//! A node of the simulated history: the real ledger on a file that outlives it, killed without warning.

use std::{fs::File, sync::Arc, time::Duration};

use rustix::fs::{MemfdFlags, memfd_create};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::ground::Ground;
use crate::{
    clock::Clock,
    domain::{catalog::Digest, time::Version},
    freshness::Freshness,
    ledger::{
        EscrowLedger, LedgerParts, Recovered,
        file::{Found, Identity, LockedFile},
        recover,
    },
    ports::{Heartbeat, Incarnation, Registration},
    store::Store,
};

/// More than a thread takes to leave what it does.
const GONE_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Node {
    name: String,
    number: u128,
    runs: u128,
    disk: File,
    ground: Arc<Ground>,
    pub(super) freshness: Arc<Freshness>,
    /// While it runs.
    pub(super) ledger: Option<EscrowLedger>,
    run: Option<Run>,
}

/// What ends with a run of a node.
struct Run {
    store: Arc<dyn Store>,
    /// Over a real database, what stands for the process: its tasks and its connections are gone with it, whatever they were
    /// about. In memory, where nothing takes time, the test's own runtime does.
    process: Option<Runtime>,
    end: CancellationToken,
    tasks: TaskTracker,
}

impl Drop for Run {
    /// Where a test ends or has failed.
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.shutdown_background();
        }
    }
}

impl Node {
    pub(super) async fn new(number: u128, ground: &Arc<Ground>) -> Self {
        let mut node = Self {
            name: format!("node-{number}"),
            number,
            runs: 0,
            disk: memfd_create("ledger", MemfdFlags::CLOEXEC).unwrap().into(),
            ground: Arc::clone(ground),
            freshness: Arc::default(),
            ledger: None,
            run: None,
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
        let process = self
            .ground
            .is_database()
            .then(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());
        let store = match &process {
            Some(process) => {
                let ground = Arc::clone(&self.ground);
                process.spawn(async move { ground.connect().await }).await.unwrap()
            }
            None => self.ground.connect().await,
        };
        let locked = LockedFile::over(self.disk.try_clone().unwrap()).unwrap().with_segment_bytes(8192);
        let registration = Registration {
            name: self.name.clone(),
            incarnation: self.incarnation(),
            file: locked.id(),
            digest: Digest("year".into()),
        };
        store.register(&registration).await.unwrap();
        let known = store.open_file(locked.id(), 0).await.unwrap();
        let identity = Identity { node: self.name.clone(), database: "year".into(), boot: Some([1; 16]) };
        let (file, found) = locked.open(&identity, known).unwrap();
        store.open_file(file.id(), file.open_count()).await.unwrap();
        if let Found::Leftovers(leftovers) = found {
            let now = self.ground.clock.now();
            let recovered = recover(&*store, &file, &leftovers, now).await.unwrap();
            assert!(matches!(recovered, Recovered::Returned { .. }), "the file was believed");
        }
        let tasks = TaskTracker::new();
        let ledger = EscrowLedger::new(LedgerParts {
            store: Arc::clone(&store) as _,
            clock: Arc::clone(&self.ground.clock) as _,
            freshness: Arc::clone(&self.freshness),
            incarnation: self.incarnation(),
            file,
            runtime: process.as_ref().map_or_else(Handle::current, |process| process.handle().clone()),
            tracker: tasks.clone(),
        });
        let end = CancellationToken::new();
        if process.is_none() {
            let (running, end) = (ledger.clone(), end.clone());
            tasks.spawn(async move { running.run(end).await });
        }
        self.run = Some(Run { store, process, end, tasks });
        self.ledger = Some(ledger);
        self.poll().await;
    }

    /// Nothing is recorded or returned from now on. Over a real database it dies `after` so long in the middle of
    /// recording, and nobody learns what became of that. In memory, what it had asked for is answered before, as its
    /// tasks would live on in this process.
    pub(super) async fn kill(&mut self, after: Duration) {
        let (Some(ledger), Some(mut run)) = (self.ledger.take(), self.run.take()) else { return };
        let Some(process) = run.process.take() else {
            run.end.cancel();
            drop(ledger);
            run.tasks.close();
            run.tasks.wait().await;
            return;
        };
        process.spawn(async move { ledger.flush().await });
        tokio::time::sleep(after).await;
        drop(run);
        tokio::task::spawn_blocking(move || process.shutdown_timeout(GONE_WITHIN)).await.unwrap();
    }

    /// Hears of what was changed, and says that it lives.
    pub(super) async fn poll(&self) {
        let (Some(ledger), Some(run)) = (&self.ledger, &self.run) else { return };
        let sent = self.ground.clock.monotonic();
        let beat = Heartbeat {
            incarnation: self.incarnation(),
            applied: self.freshness.applied(),
            digest: Digest("year".into()),
            reasserted: Default::default(),
        };
        let answer = run.store.poll(&beat).await.unwrap();
        assert_eq!(answer.database_now, self.ground.clock.now(), "the database's clock is held");
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

    /// Over a real database, where it does not happen by itself: all is looked at once.
    pub(super) async fn look_at_all(&self) {
        if let Some(ledger) = &self.ledger {
            ledger.look_at_all().await.unwrap();
        }
    }
}
