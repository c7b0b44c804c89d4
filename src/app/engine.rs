//! What decides and meters: the adapters behind the stages, put together over one store.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{
    background::Background,
    bills::StoreBills,
    deployment::{Deployer, Obedient},
    in_force::{InForce, InForceFront},
    lifecycle::{Lifecycle, LifecycleParts, closing::Closer},
    obedience::LedgerObeys,
    plan_versions::PlanVersions,
    shadowing, tidying,
};
use crate::{
    clock::SystemClock,
    credentials::{Credentials, CredentialsFront, Prepared},
    directory::{self, DirectoryFront, TenantDirectory},
    domain::time::Epoch,
    freshness::Freshness,
    ledger::{EscrowLedger, LedgerParts, file::LedgerFile},
    metrics::Metrics,
    outgoing::{Dispatcher, DispatcherParts},
    pipeline::{Gateway, cors::Cors, observe::Mode, refusals::Refusals, shadow::Trials},
    policy::Watched,
    ports::{Bills, Incarnation, NodeStore, Outgoing, Policies, Registration},
    store::{Retention, Store},
    sync::{Feed, FeedParts},
};

/// The stack's concrete types.
pub type NodeGateway = Gateway<InForceFront, CredentialsFront, DirectoryFront, EscrowLedger>;

/// Makes a gateway for each worker: over fronts of its own, so that what is counted with each request is counted by one
/// core alone.
pub(super) type Gateways = Arc<dyn Fn() -> NodeGateway + Send + Sync>;

/// What an engine is made of.
pub(super) struct EngineParts {
    pub(super) store: Arc<dyn Store>,
    pub(super) freshness: Arc<Freshness>,
    pub(super) clock: Arc<SystemClock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) background: Background,
    /// This run, as it was registered.
    pub(super) registration: Registration,
    /// The database's epoch at that time.
    pub(super) epoch: Epoch,
    /// The node's ledger file, with nothing left in it from before.
    pub(super) file: LedgerFile,
    /// The catalog to begin with, whole.
    pub(super) policies: InForce,
    /// Makes those after it whole.
    pub(super) versions: Arc<PlanVersions>,
    /// Makes catalogs of what the database says.
    pub(super) deployer: Arc<Deployer>,
    pub(super) key_secret: [u8; 32],
    pub(super) identity: Prepared,
    pub(super) directory: directory::Settings,
    pub(super) retention: Retention,
    /// Makes requests of others.
    pub(super) outgoing: Arc<dyn Outgoing>,
    /// How many gateways there will be.
    pub(super) workers: usize,
}

/// The adapters behind the stages.
pub(super) struct Engine {
    pub(super) policies: Arc<InForce>,
    pub(super) versions: Arc<PlanVersions>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) directory: TenantDirectory,
    pub(super) ledger: EscrowLedger,
    pub(super) feed: Arc<Feed>,
    /// What its gateways refused.
    pub(super) refusals: Arc<Refusals>,
    background: Background,
    freshness: Arc<Freshness>,
    clock: Arc<SystemClock>,
    metrics: Arc<Metrics>,
    store: Arc<dyn Store>,
    incarnation: Incarnation,
    retention: Retention,
    outgoing: Arc<dyn Outgoing>,
    trials: Arc<Trials>,
    /// What tenants' months cost, for those who may see their own.
    pub(super) bills: Arc<dyn Bills>,
}

impl Engine {
    /// Puts them together, on the runtime that this is called on. Nothing runs yet.
    pub(super) fn new(parts: EngineParts) -> Self {
        let EngineParts { store, freshness, clock, metrics, background, registration, .. } = parts;
        let credentials =
            parts.identity.over(Arc::clone(&store) as _, Arc::clone(&freshness), parts.key_secret);
        let policies = Arc::new(parts.policies);
        let ledger = EscrowLedger::new(LedgerParts {
            store: Arc::clone(&store) as _,
            clock: Arc::clone(&clock) as _,
            freshness: Arc::clone(&freshness),
            incarnation: registration.incarnation,
            file: parts.file,
            runtime: Handle::current(),
            tracker: background.tracker().clone(),
        });
        let directory = TenantDirectory::new(
            Arc::clone(&store) as _,
            Arc::clone(&freshness),
            Arc::clone(&clock) as _,
            Arc::clone(&metrics),
            parts.directory,
        );
        let (incarnation, retention) = (registration.incarnation, parts.retention);
        let feed = Feed::new(FeedParts {
            store: Arc::clone(&store) as Arc<dyn NodeStore>,
            freshness: Arc::clone(&freshness),
            clock: Arc::clone(&clock),
            monotonic: Arc::clone(&clock) as _,
            metrics: Arc::clone(&metrics),
            policies: Arc::clone(&policies) as _,
            deployments: Arc::new(Obedient {
                deployer: parts.deployer,
                in_force: Arc::clone(&policies),
                ledger: ledger.clone(),
                freshness: Arc::clone(&freshness),
            }),
            registration,
            epoch: parts.epoch,
            subscribers: vec![Arc::new(LedgerObeys(ledger.clone()))],
        });
        let (credentials, feed) = (Arc::new(credentials), Arc::new(feed));
        let trials = Arc::new(Trials::new(Arc::clone(&freshness)));
        let bills =
            Arc::new(StoreBills { tenants: Arc::clone(&store) as _, statements: Arc::clone(&store) as _ });
        Self {
            policies,
            versions: parts.versions,
            credentials,
            directory,
            ledger,
            feed,
            refusals: Arc::new(Refusals::of_workers(parts.workers)),
            background,
            freshness,
            clock,
            metrics,
            store,
            incarnation,
            retention,
            outgoing: parts.outgoing,
            trials,
            bills,
        }
    }

    /// Starts what goes on beside the requests.
    pub(super) fn run(&self, watched: &Arc<Watched>) {
        let background = &self.background;
        let end = || background.end.clone();
        background.spawn("change feed", Arc::clone(&self.feed).run(end()));
        background.spawn("policy watch", Arc::clone(watched).watch(end()));
        self.ledger.apply_all(self.policies.catalog());
        let (versions, ledger) = (Arc::clone(&self.versions), self.ledger.clone());
        let tell = move |catalog| ledger.apply_all(catalog);
        let following = Arc::clone(&self.policies).follow(watched.subscribe(), versions, tell, end());
        background.spawn("policies", following);
        background.spawn("token keys", Arc::clone(&self.credentials).run(end()));
        let (ledger, stop) = (self.ledger.clone(), end());
        background.spawn("ledger flush", async move { ledger.run(stop).await });
        let (store, keep, stop) = (Arc::clone(&self.store), self.retention, end());
        let pauses = tidying::Pauses::of(self.incarnation);
        background.spawn("tidying", async move {
            tidying::run(pauses, || store.tidy(&keep), &stop).await;
        });
        let parts = || LifecycleParts {
            tenants: Arc::clone(&self.store) as _,
            lives: Arc::clone(&self.store) as _,
            events: Arc::clone(&self.store) as _,
            policies: Arc::clone(&self.policies) as _,
            freshness: Arc::clone(&self.freshness),
            clock: Arc::clone(&self.clock) as _,
            run: self.incarnation,
        };
        let lifecycle = Lifecycle::new(parts());
        background.spawn("lifecycle", lifecycle.run(end()));
        let closer = Closer::new(parts(), Arc::clone(&self.store) as _);
        background.spawn("statements", closer.run(end()));
        let shadowing = shadowing::Shadowing {
            trials: Arc::clone(&self.trials),
            policies: Arc::clone(&self.policies) as _,
            store: Arc::clone(&self.store) as _,
            ledger: Arc::new(self.ledger.clone()),
            clock: Arc::clone(&self.clock) as _,
            run: self.incarnation,
        };
        background.spawn("shadow", shadowing.run(end()));
        let dispatcher = Dispatcher::new(DispatcherParts {
            store: Arc::clone(&self.store) as _,
            outgoing: Arc::clone(&self.outgoing),
            clock: Arc::clone(&self.clock) as _,
            run: self.incarnation,
            metrics: Arc::clone(&self.metrics.deliveries),
        });
        background.spawn("webhooks", dispatcher.run(end()));
    }

    /// The stages over them, anew for each worker that asks.
    pub(super) fn gateways(&self, cors: Cors, mode: Mode) -> Gateways {
        let policies = Arc::clone(&self.policies);
        let credentials = Arc::clone(&self.credentials);
        let (directory, ledger) = (self.directory.clone(), self.ledger.clone());
        let refusals = Arc::clone(&self.refusals);
        let (clock, metrics, cors) = (Arc::clone(&self.clock), Arc::clone(&self.metrics), Arc::new(cors));
        let (trials, bills) = (Arc::clone(&self.trials), Arc::clone(&self.bills));
        Arc::new(move || Gateway {
            policies: Arc::new(policies.front()),
            authenticator: Arc::new(credentials.front()),
            directory: Arc::new(directory.front()),
            ledger: Arc::new(ledger.clone()),
            clock: Arc::clone(&clock) as _,
            metrics: Arc::clone(&metrics),
            cors: Arc::clone(&cors),
            mode,
            refusals: refusals.ring(),
            trials: Arc::clone(&trials),
            bills: Some(Arc::clone(&bills)),
        })
    }
}
