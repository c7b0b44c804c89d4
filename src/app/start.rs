//! Puts a node together: configuration to adapters to stack to servers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio_util::sync::CancellationToken;

use super::{
    background::Background,
    config::{Config, ModeWord},
    deployment::Deployer,
    engine::{Engine, EngineParts},
    figures::{FigureSources, Figures},
    in_force::InForce,
    issuer::Issuer,
    meter_events::{MeterEventParts, MeterEventSettings, MeterEvents},
    plan_versions::PlanVersions,
    readiness::ReadinessBoard,
    settings,
    stripe::{Secrets, StripeJob},
    switch::Switch,
    workers::Workers,
};
use crate::{
    admin::{self, AdminState, StripeInbox},
    clock::{Clock, SystemClock},
    credentials::{self, Prepared},
    directory::{self, TenantDirectory},
    domain::time::Epoch,
    freshness::Freshness,
    ledger::{
        EscrowLedger,
        file::{LedgerFile, LockedFile},
    },
    metrics::Metrics,
    pipeline::{cors::Cors, observe::Mode},
    policy::{Compiler, Watched},
    ports::{Incarnation, Outgoing, Policies, Registered, Registration},
    store::Store,
    sync::WaitForNodes,
};

pub use super::start_error::StartError;

/// A running node.
pub struct Node {
    /// Where clients connect.
    pub data_address: SocketAddr,
    /// Where administrators connect.
    pub admin_address: SocketAddr,
    /// Where Stripe's webhooks arrive, if anywhere.
    pub stripe_address: Option<SocketAddr>,
    /// Its ledger.
    pub ledger: EscrowLedger,
    /// Its tenants.
    pub directory: TenantDirectory,
    /// The catalog in force.
    pub policies: Arc<InForce>,
    /// Its clock.
    pub clock: Arc<SystemClock>,
    pub(super) background: Background,
    pub(super) board: Arc<ReadinessBoard>,
    pub(super) workers: Workers,
    pub(super) store: Arc<dyn Store>,
    pub(super) incarnation: Incarnation,
    pub(super) admin_stop: CancellationToken,
    pub(super) drain: Duration,
}

/// What every later step of the start needs.
pub(super) struct Ground {
    pub(super) config: Config,
    pub(super) background: Background,
    pub(super) board: Arc<ReadinessBoard>,
    pub(super) freshness: Arc<Freshness>,
    pub(super) clock: Arc<SystemClock>,
    metrics: Arc<Metrics>,
    figures: Figures,
    pub(super) watched: Arc<Watched>,
    outgoing: Arc<dyn Outgoing>,
}

/// What was found usable before the database was asked.
struct Checked {
    lock: LockedFile,
    prepared: Prepared,
    directory: directory::Settings,
    /// Of the listener for Stripe's webhooks, where there is to be one.
    secrets: Option<Arc<Secrets>>,
    /// Where usage is told, where it is.
    told: Option<MeterEventSettings>,
}

/// Starts a node on the runtime that this is called on, which must outlive it. Returns when it serves.
///
/// # Errors
/// [`StartError`]: a person must mend something. A database that is merely away is waited for.
pub async fn start(config: Config, stop: CancellationToken) -> Result<Node, StartError> {
    credentials::install_crypto();
    let background = Background::new(stop);
    // Whatever a person must mend is said before the database is waited for.
    let prepared = Prepared::new(settings::identity(&config)?)?;
    let policies = config.policies.clone();
    let watched = if config.has_policies_in_database() {
        Watched::nothing()
    } else {
        let opened = tokio::task::spawn_blocking(move || Watched::open(policies)).await;
        opened.map_err(std::io::Error::other)?.map_err(StartError::Policies)?
    };
    let directory = settings::directory(&config, &watched)?;
    let lock = LedgerFile::lock(&config.data_dir)?;
    settings::check_free("listen", config.listen)?;
    let secrets = config.stripe.listen.map(|_| Secrets::open(&config.stripe)).transpose()?;
    if let Some(address) = config.stripe.listen {
        settings::check_free("stripe.listen", address)?;
    }
    let told = settings::meter_events(&config.stripe)?;
    let outgoing = settings::outgoing(&config.webhooks)?;
    let ground = Ground::new(config, background.clone(), watched, outgoing);
    let switch = Switch::starting(Arc::clone(&ground.board));
    let (admin_address, admin_stop) = ground.serve_admin(&switch).await?;
    let started = ground
        .start(
            Checked { lock, prepared, directory, secrets, told },
            &switch,
            admin_address,
            admin_stop.clone(),
        )
        .await;
    if started.is_err() {
        // What ends now ends in time.
        background.end.cancel();
        admin_stop.cancel();
    }
    started
}

impl Ground {
    fn new(
        config: Config,
        background: Background,
        watched: Arc<Watched>,
        outgoing: Arc<dyn Outgoing>,
    ) -> Self {
        let freshness = Arc::new(Freshness::default());
        let clock = Arc::new(SystemClock::default());
        let metrics = Arc::new(Metrics::default());
        let board = Arc::new(ReadinessBoard::new(
            Arc::clone(&freshness),
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&watched),
            config.serve_stale.0,
        ));
        let figures = Figures::new(FigureSources {
            metrics: Arc::clone(&metrics),
            freshness: Arc::clone(&freshness),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            policies: Arc::clone(&watched),
        });
        Self { config, background, board, freshness, clock, metrics, figures, watched, outgoing }
    }

    /// Opens the admin listener. Until the node is ready it answers the probes alone.
    async fn serve_admin(&self, switch: &Switch) -> Result<(SocketAddr, CancellationToken), StartError> {
        let address = self.config.admin.listen;
        let listen = |source| StartError::Listen { key: "admin.listen", address, source };
        let listener = tokio::net::TcpListener::bind(address).await.map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let stop = CancellationToken::new();
        let (router, token) = (Router::new().fallback_service(switch.clone()), stop.clone());
        self.background.spawn("admin listener", async move {
            if let Err(error) = admin::serve(listener, router, token).await {
                tracing::error!("{error}: {:?}", std::error::Error::source(&error));
            }
        });
        Ok((bound, stop))
    }

    async fn start(
        self,
        checked: Checked,
        switch: &Switch,
        admin_address: SocketAddr,
        admin_stop: CancellationToken,
    ) -> Result<Node, StartError> {
        let Checked { lock, prepared, directory, secrets, told } = checked;
        let store = self.open_store().await?;
        let incarnation = Incarnation(uuid::Uuid::now_v7());
        let registration = Registration {
            name: self.config.node_name(),
            incarnation,
            file: lock.id(),
            digest: self.watched.catalog().digest.clone(),
        };
        let Registered { epoch, .. } = self.register(&store, &registration).await?;
        let file = self.ledger_file(&store, lock, incarnation).await?;
        let engine = self.engine(&store, (registration, epoch), file, prepared, directory).await?;
        self.figures.add_ledger(engine.ledger.metrics());
        self.until_fresh(&engine.feed).await?;
        engine.run(&self.watched);
        let cors = Cors::new(self.config.cors.origins.iter().map(|o| o.0.clone()).collect());
        let mode = match self.config.mode {
            ModeWord::Enforce => Mode::Enforce,
            ModeWord::Observe => Mode::Observe,
        };
        let gateways = engine.gateways(cors, mode);
        let plane = settings::data_plane(&self.config, Arc::clone(&self.board), &self.metrics);
        let workers = Workers::start(&self.config, plane, &gateways, &self.background)?;
        if let Some(settings) = told {
            self.tell_stripe(settings, &store, &engine);
        }
        let stripe_address = self.serve_stripe(secrets, &store, &engine, admin_stop.clone()).await?;
        switch.ready(self.admin(&store, &engine));
        let Engine { policies, directory, ledger, feed, .. } = engine;
        self.board.serving(feed, Arc::clone(&policies));
        Ok(Node {
            data_address: workers.address,
            admin_address,
            stripe_address,
            ledger,
            directory,
            policies,
            clock: self.clock,
            background: self.background,
            board: self.board,
            workers,
            store,
            incarnation,
            admin_stop,
            drain: self.config.timeouts.drain.0,
        })
    }

    async fn engine(
        &self,
        store: &Arc<dyn Store>,
        (registration, epoch): (Registration, Epoch),
        file: LedgerFile,
        identity: Prepared,
        directory: directory::Settings,
    ) -> Result<Engine, StartError> {
        let key_secret = self.patiently(|| async { store.key_secret().await.map(Ok) }).await?;
        let versions = Arc::new(PlanVersions::new(Arc::clone(store) as _, Arc::clone(&self.clock) as _));
        let deployer = Arc::new(Deployer::new(Arc::clone(store) as _, Arc::clone(&versions)));
        let policies = self.patiently(|| async { deployer.begin(&self.watched).await.map(Ok) }).await?;
        Ok(Engine::new(EngineParts {
            store: Arc::clone(store),
            freshness: Arc::clone(&self.freshness),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            background: self.background.clone(),
            registration,
            epoch,
            file,
            key_secret,
            identity,
            directory,
            policies,
            versions,
            deployer,
            retention: settings::retention(&self.config.retention),
            outgoing: Arc::clone(&self.outgoing),
            workers: self.config.worker_count(),
        }))
    }

    fn barrier(&self, engine: &Engine) -> WaitForNodes {
        WaitForNodes {
            feed: Arc::clone(&engine.feed),
            freshness: Arc::clone(&self.freshness),
            clock: Arc::clone(&self.clock) as _,
            serve_stale: self.config.serve_stale.0,
        }
    }

    /// Has Stripe told of what is used.
    fn tell_stripe(&self, settings: MeterEventSettings, store: &Arc<dyn Store>, engine: &Engine) {
        let job = MeterEvents::new(MeterEventParts {
            store: Arc::clone(store) as _,
            policies: Arc::clone(&engine.policies) as _,
            freshness: Arc::clone(&self.freshness),
            clock: Arc::clone(&self.clock) as _,
            settings,
        });
        self.background.spawn("meter events", job.run(self.background.end.clone()));
    }

    /// Opens the listener for Stripe's webhooks, where there is to be one.
    async fn serve_stripe(
        &self,
        secrets: Option<Arc<Secrets>>,
        store: &Arc<dyn Store>,
        engine: &Engine,
        stop: CancellationToken,
    ) -> Result<Option<SocketAddr>, StartError> {
        let (Some(address), Some(secrets)) = (self.config.stripe.listen, secrets) else { return Ok(None) };
        let listen = |source| StartError::Listen { key: "stripe.listen", address, source };
        let listener = tokio::net::TcpListener::bind(address).await.map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let (asked, policies) = (Arc::clone(&secrets), Arc::clone(&engine.policies));
        let router = admin::stripe_router(StripeInbox {
            store: Arc::clone(store) as _,
            policies: Arc::clone(&policies) as _,
            barrier: Arc::new(self.barrier(engine)),
            clock: Arc::clone(&self.clock) as _,
            secrets: Arc::new(move || asked.current()),
        });
        self.background.spawn("stripe listener", async move {
            if let Err(error) = admin::serve(listener, router, stop).await {
                tracing::error!("stripe: {error}: {:?}", std::error::Error::source(&error));
            }
        });
        let job = StripeJob {
            store: Arc::clone(store) as _,
            policies: policies as _,
            clock: Arc::clone(&self.clock) as _,
            secrets,
        };
        self.background.spawn("stripe events", job.run(self.background.end.clone()));
        tracing::info!(stripe = %bound, "taking Stripe's webhooks");
        Ok(Some(bound))
    }

    fn admin(&self, store: &Arc<dyn Store>, engine: &Engine) -> Router {
        let barrier = self.barrier(engine);
        let hasher = engine.credentials.hasher().clone();
        let issuer = Arc::new(Issuer { hasher, clock: Arc::clone(&self.clock) as _ });
        let (figures, board) = (self.figures.clone(), Arc::clone(&self.board));
        let watched = Arc::clone(&self.watched);
        let (freshness, clock) = (Arc::clone(&self.freshness), Arc::clone(&self.clock));
        let proxies: Vec<_> = self.config.trusted_proxies.iter().map(|cidr| cidr.0).collect();
        admin::router(AdminState {
            tenants: Arc::clone(store) as _,
            lifecycle: Arc::clone(store) as _,
            events: Arc::clone(store) as _,
            exports: Arc::clone(store) as _,
            nodes: Arc::clone(store) as _,
            policies: Arc::clone(&engine.policies) as _,
            compiler: Arc::new(Compiler),
            revisions: Arc::clone(store) as _,
            shadow: Arc::clone(store) as _,
            webhooks: Arc::clone(store) as _,
            outgoing: Arc::clone(&self.outgoing),
            folder: Arc::new(move || watched.is_a_folder().then(|| watched.files())),
            stripe: Arc::clone(store) as _,
            survey: Arc::clone(store) as _,
            usage_events: Arc::clone(store) as _,
            statements: Arc::clone(store) as _,
            bills: Arc::clone(&engine.bills),
            previews: Arc::clone(&engine.versions) as _,
            ledger: Arc::new(engine.ledger.clone()),
            keys: Arc::clone(&issuer) as _,
            barrier: Arc::new(barrier),
            clock: Arc::clone(&self.clock) as _,
            node: self.config.node_name(),
            age: Arc::new(move || freshness.poll_age(clock.monotonic())),
            refusals: Arc::clone(&engine.refusals),
            metrics: Arc::new(move || figures.render()),
            readiness: Arc::new(move || board.read()),
            audit: Arc::clone(store) as _,
            tokens: Arc::clone(store) as _,
            token_issuer: issuer,
            trusts: Arc::new(move |peer| proxies.iter().any(|net| net.contains(&peer))),
            token: self.config.admin.token.as_ref().map(|token| token.0.clone()).filter(|t| !t.is_empty()),
        })
    }
}
