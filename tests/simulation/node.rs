//! One node: the real ledger on a runtime of its own, which moves only when it is driven. So a node can be paused at any
//! point, and killed.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use futures_util::FutureExt;
use plangate::{
    clock::{Clock, ManualClock},
    domain::{
        catalog::Catalog,
        id::TenantId,
        rights::Rights,
        route::Charge,
        time::{Epoch, Monotonic, UnixMillis, Version},
    },
    freshness::Freshness,
    ledger::{
        EscrowLedger, LedgerParts, RecoverError, Recovered,
        file::{Found, Identity, LedgerFile, LockedFile},
        recover,
    },
    ports::{
        Answer, ChargeError, Heartbeat, Hold, Incarnation, Ledger, NodeStore, PollAnswer, RegisterError,
        Registration,
    },
    store::memory::Memory,
};
use tokio::{runtime::Runtime, task};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    disk::Disk,
    network::{Direct, Network, Wire},
    tenants,
};

/// Polls of the runtime after which nothing is left to be done without something from outside.
const ROUNDS: usize = 16;

/// Two nodes, always heard of just now. One for all, as it is large and nothing in it changes.
static FRESHNESS: LazyLock<Arc<Freshness>> = LazyLock::new(|| {
    let freshness = Freshness::default();
    freshness.polled(Monotonic(u64::MAX), 2);
    Arc::new(freshness)
});

/// What was charged, and what it was charged under.
#[derive(Clone)]
pub struct Charged {
    pub rights: Arc<Rights>,
    pub now: UnixMillis,
    pub charges: Vec<Charge>,
}

type Outcome = Result<Hold, ChargeError>;

/// A running process.
pub struct Process {
    runtime: Runtime,
    pub ledger: EscrowLedger,
    registration: Registration,
    rights: BTreeMap<TenantId, Arc<Rights>>,
    pub applied: Version,
    /// The epoch in which everything is recorded.
    reasserted: Epoch,
    returning: Option<Returning>,
    pub holds: Vec<(Hold, Charged)>,
    waiting: Vec<(Arc<Mutex<Option<Outcome>>>, Charged)>,
    /// Time that has passed and that the process has not noticed.
    behind: Duration,
    pub paused: bool,
}

/// After a failover, or where the database does not know this run any more, everything is recorded again.
struct Returning {
    epoch: Epoch,
    done: Arc<Mutex<Option<bool>>>,
}

/// What is there whether the process runs or not.
pub struct Node {
    pub me: usize,
    pub clock: Arc<ManualClock>,
    pub network: Arc<Mutex<Network>>,
    pub store: Arc<Memory>,
    pub catalog: Arc<Catalog>,
    pub tenants: Vec<TenantId>,
    pub disk: Disk,
    pub runs: u128,
    pub process: Option<Process>,
}

/// How a process begins.
pub struct Start {
    /// What it found of the one before, for the trace.
    pub found: String,
    /// The file was not believed: what the process before had not recorded is not known.
    pub set_aside: bool,
}

impl Node {
    /// Starts a process, unless another of this name was heard of just now. As the program does it: the file is locked,
    /// the run registered, the file opened and emptied of what the run before has left in it.
    pub fn start(&mut self, line: Direct) -> Result<Start, RegisterError> {
        self.runs += 1;
        let incarnation = Incarnation(Uuid::from_u128(self.me as u128 * 1000 + self.runs));
        let locked = self.disk.lock();
        let registration = Registration {
            name: format!("node-{}", self.me),
            incarnation,
            file: locked.id(),
            digest: self.catalog.digest.clone(),
        };
        let registered = self.store.register(&registration).now_or_never().unwrap()?;
        let (file, start) = self.open(locked, line);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let ledger = EscrowLedger::new(LedgerParts {
            store: Arc::new(Wire { node: self.me, network: Arc::clone(&self.network) }),
            clock: Arc::clone(&self.clock) as _,
            freshness: Arc::clone(&FRESHNESS),
            incarnation,
            file,
            runtime: runtime.handle().clone(),
            tracker: TaskTracker::new(),
        });
        let flushing = ledger.clone();
        runtime.spawn(async move { flushing.run(CancellationToken::new()).await });
        let compile =
            |tenant: &TenantId| (tenant.clone(), tenants::rights(&self.store, tenant, &self.catalog));
        self.process = Some(Process {
            runtime,
            ledger,
            registration,
            rights: self.tenants.iter().map(compile).collect(),
            applied: registered.version,
            reasserted: registered.epoch,
            returning: None,
            holds: Vec::new(),
            waiting: Vec::new(),
            behind: Duration::ZERO,
            paused: false,
        });
        Ok(start)
    }

    fn open(&self, locked: LockedFile, line: Direct) -> (LedgerFile, Start) {
        let at_once = |id, opens| self.store.open_file(id, opens).now_or_never().unwrap().unwrap();
        let known = at_once(locked.id(), 0);
        let identity = Identity {
            node: format!("node-{}", self.me),
            database: "simulated".into(),
            boot: self.disk.boot(),
        };
        let (file, found) = locked.open(&identity, known).unwrap();
        at_once(file.id(), file.open_count());
        let start = match found {
            Found::New | Found::Clean => Start { found: "nothing".into(), set_aside: false },
            Found::SetAside { reason, .. } => Start { found: reason.to_string(), set_aside: true },
            Found::Leftovers(leftovers) => loop {
                // Where the database does not answer it is tried again.
                let recovering = recover(&line, &file, &leftovers, self.clock.now());
                match recovering.now_or_never().unwrap() {
                    Ok(Recovered::Returned { slots }) => {
                        break Start { found: format!("{slots} words"), set_aside: false };
                    }
                    Ok(Recovered::SetAside(reason)) => {
                        at_once(file.id(), file.open_count());
                        break Start { found: reason.to_string(), set_aside: true };
                    }
                    Err(RecoverError::Store(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            },
        };
        (file, start)
    }

    /// The process that runs and is not paused.
    pub fn active(&mut self) -> Option<&mut Process> {
        self.process.as_mut().filter(|process| !process.paused)
    }

    /// Hears of changes, of failovers, and of what others want.
    pub fn poll(&mut self) {
        let Some(process) = self.process.as_mut().filter(|process| !process.paused) else { return };
        let beat = Heartbeat {
            incarnation: process.registration.incarnation,
            applied: process.applied,
            digest: self.catalog.digest.clone(),
            reasserted: process.reasserted,
        };
        let answer = self.store.poll(&beat).now_or_never().unwrap().unwrap();
        assert!(!answer.superseded, "there is one process of each name");
        let all = if answer.gap { self.tenants.as_slice() } else { &[] };
        for tenant in answer.changes.iter().filter_map(|change| change.tenant.as_ref()).chain(all) {
            let rights = tenants::rights(&self.store, tenant, &self.catalog);
            process.rights.insert(tenant.clone(), rights);
            let applying = process.ledger.apply(tenant, Version(u64::MAX));
            process.runtime.spawn(applying);
        }
        process.applied = answer.upto;
        process.return_all(&answer, &self.store);
        process.ledger.recall(&answer.wanted);
    }

    /// After a clean stop.
    pub fn leave(&mut self) {
        if let Some(process) = self.process.take() {
            self.store.deregister(process.registration.incarnation).now_or_never().unwrap().unwrap();
        }
    }
}

impl Process {
    fn return_all(&mut self, answer: &PollAnswer, store: &Memory) {
        if answer.epoch <= self.reasserted && !answer.forgotten {
            return;
        }
        let done = self.returning.as_ref().and_then(|returning| *returning.done.lock().unwrap());
        let begin = match (&self.returning, done) {
            (Some(_), None) => false,
            (Some(returning), Some(true)) if returning.epoch == answer.epoch => {
                if answer.forgotten {
                    store.register(&self.registration).now_or_never().unwrap().unwrap();
                }
                self.reasserted = answer.epoch;
                self.returning = None;
                false
            }
            _ => true,
        };
        if begin {
            let (ledger, done) = (self.ledger.clone(), Arc::new(Mutex::new(None)));
            self.returning = Some(Returning { epoch: answer.epoch, done: Arc::clone(&done) });
            self.runtime.spawn(async move {
                let returned = ledger.reassert().await.is_ok();
                *done.lock().unwrap() = Some(returned);
            });
        }
    }

    /// A request. What became of it is there after the next [`Process::drive`].
    pub fn charge(&mut self, tenant: &TenantId, charges: Vec<Charge>, clock: &ManualClock) {
        let (rights, now) = (Arc::clone(&self.rights[tenant]), clock.now());
        let charged = Charged { rights, now, charges };
        let outcome = Arc::new(Mutex::new(None));
        match self.ledger.charge(&charged.rights, &charged.charges, now) {
            Answer::Ready(ready) => *outcome.lock().unwrap() = Some(ready),
            Answer::Pending(pending) => {
                let outcome = Arc::clone(&outcome);
                self.runtime.spawn(async move {
                    let ready = pending.await;
                    *outcome.lock().unwrap() = Some(ready);
                });
            }
        }
        self.waiting.push((outcome, charged));
    }

    pub fn flush(&mut self) {
        let ledger = self.ledger.clone();
        self.runtime.spawn(async move { ledger.flush().await });
    }

    /// Begins a clean stop. It is over when the receiver hears of it.
    pub fn drain(&mut self) -> Arc<Mutex<bool>> {
        let (ledger, over) = (self.ledger.clone(), Arc::new(Mutex::new(false)));
        let end = Arc::clone(&over);
        self.runtime.spawn(async move {
            ledger.drain().await;
            *end.lock().unwrap() = true;
        });
        over
    }

    pub fn pass(&mut self, by: Duration) {
        self.behind += by;
    }

    /// Lets the process do all that it can do now. The requests that have come to an end.
    pub fn drive(&mut self) -> Vec<(Outcome, Charged)> {
        if self.paused {
            return Vec::new();
        }
        let by = std::mem::take(&mut self.behind);
        self.runtime.block_on(async move {
            if !by.is_zero() {
                tokio::time::advance(by).await;
            }
            for _ in 0..ROUNDS {
                task::yield_now().await;
            }
        });
        let mut over = Vec::new();
        self.waiting.retain(|(outcome, charged)| {
            let ready = outcome.lock().unwrap().take();
            let waits = ready.is_none();
            over.extend(ready.map(|ready| (ready, charged.clone())));
            waits
        });
        over
    }
}
