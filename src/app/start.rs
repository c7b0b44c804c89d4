//! Puts a node together: configuration to adapters to stack to servers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    background::Background,
    config::{Config, ModeWord},
    figures::{FigureSources, Figures},
    in_force::InForce,
    incarnation::IncarnationFile,
    issuer::Issuer,
    obedience::LedgerObeys,
    readiness::ReadinessBoard,
    settings,
    switch::Switch,
    workers::Workers,
};
use crate::{
    admin::{self, AdminState},
    clock::{Clock, SystemClock},
    credentials::{self, Credentials, Prepared},
    directory::{self, TenantDirectory, UnknownTenants},
    freshness::Freshness,
    ledger::{EscrowLedger, LedgerParts},
    metrics::Metrics,
    pipeline::{Gateway, cors::Cors, observe::Mode},
    policy::Watched,
    ports::{Incarnation, NodeStore, Policies},
    store::Store,
    sync::{Feed, FeedParts, WaitForNodes},
};

pub use super::start_error::StartError;

/// The stack's concrete types.
pub(super) type NodeGateway = Gateway<InForce, Credentials, TenantDirectory, EscrowLedger>;

/// A running node.
pub struct Node {
    /// Where clients connect.
    pub data_address: SocketAddr,
    /// Where administrators connect.
    pub admin_address: SocketAddr,
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
    // Held as long as the node runs.
    pub(super) _lock: IncarnationFile,
}

/// What every later step of the start needs.
pub(super) struct Ground {
    pub(super) config: Config,
    pub(super) background: Background,
    pub(super) board: Arc<ReadinessBoard>,
    pub(super) freshness: Arc<Freshness>,
    clock: Arc<SystemClock>,
    metrics: Arc<Metrics>,
    figures: Figures,
    pub(super) watched: Arc<Watched>,
    unknown: UnknownTenants,
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
    let opened = tokio::task::spawn_blocking(move || Watched::open(policies)).await;
    let watched = opened.map_err(std::io::Error::other)?.map_err(StartError::Policies)?;
    let unknown = settings::unknown_tenants(&config, &watched.catalog())?;
    let lock = IncarnationFile::lock(&config.data_dir)?;
    settings::check_free("listen", config.listen)?;
    let ground = Ground::new(config, background, watched, unknown);
    let switch = Switch::starting(Arc::clone(&ground.board));
    let (admin_address, admin_stop) = ground.serve_admin(&switch).await?;
    let started = ground.start(lock, prepared, &switch, admin_address, admin_stop.clone()).await;
    if started.is_err() {
        admin_stop.cancel();
    }
    started
}

impl Ground {
    fn new(config: Config, background: Background, watched: Arc<Watched>, unknown: UnknownTenants) -> Self {
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
        Self { config, background, board, freshness, clock, metrics, figures, watched, unknown }
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
        mut lock: IncarnationFile,
        prepared: Prepared,
        switch: &Switch,
        admin_address: SocketAddr,
        admin_stop: CancellationToken,
    ) -> Result<Node, StartError> {
        let store = self.open_store().await?;
        let incarnation = Incarnation(uuid::Uuid::now_v7());
        self.register(&store, incarnation, &lock).await?;
        lock.record(incarnation)?;
        let secret = self.patiently(|| async { store.key_secret().await.map(Ok) }).await?;
        let credentials =
            Arc::new(prepared.over(Arc::clone(&store) as _, Arc::clone(&self.freshness), secret));
        let policies = Arc::new(InForce::new(self.watched.catalog()));
        let ledger = EscrowLedger::new(LedgerParts {
            store: Arc::clone(&store) as _,
            clock: Arc::clone(&self.clock) as _,
            freshness: Arc::clone(&self.freshness),
            incarnation,
            runtime: Handle::current(),
            tracker: self.background.tracker().clone(),
        });
        self.figures.add_ledger(ledger.metrics());
        let directory = self.directory(&store);
        let feed = self.feed(&store, &policies, &ledger, incarnation);
        self.until_fresh(&feed).await?;
        self.spawn_background(&feed, &policies, &ledger, &credentials);
        let gateway = Gateway {
            policies: Arc::clone(&policies),
            authenticator: Arc::clone(&credentials),
            directory: Arc::new(directory.clone()),
            ledger: Arc::new(ledger.clone()),
            clock: Arc::clone(&self.clock) as _,
            metrics: Arc::clone(&self.metrics),
            cors: Arc::new(Cors::new(self.config.cors.origins.iter().map(|o| o.0.clone()).collect())),
            mode: match self.config.mode {
                ModeWord::Enforce => Mode::Enforce,
                ModeWord::Observe => Mode::Observe,
            },
        };
        let plane = settings::data_plane(&self.config, Arc::clone(&self.board), &self.metrics);
        let workers = Workers::start(&self.config, plane, &gateway, &self.background)?;
        let issuer = Issuer { hasher: credentials.hasher().clone(), clock: Arc::clone(&self.clock) as _ };
        switch.ready(self.admin(&store, &policies, &ledger, &feed, incarnation, issuer));
        self.board.serving(feed);
        Ok(Node {
            data_address: workers.address,
            admin_address,
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
            _lock: lock,
        })
    }

    fn directory(&self, store: &Arc<dyn Store>) -> TenantDirectory {
        TenantDirectory::new(
            Arc::clone(store) as _,
            Arc::clone(&self.freshness),
            Arc::clone(&self.clock) as _,
            Arc::clone(&self.metrics),
            directory::Settings {
                capacity: self.config.caps.tenants_cached,
                serve_stale: self.config.serve_stale.0,
                unknown: self.unknown.clone(),
            },
        )
    }

    fn feed(
        &self,
        store: &Arc<dyn Store>,
        policies: &Arc<InForce>,
        ledger: &EscrowLedger,
        incarnation: Incarnation,
    ) -> Arc<Feed> {
        Arc::new(Feed::new(FeedParts {
            store: Arc::clone(store) as Arc<dyn NodeStore>,
            freshness: Arc::clone(&self.freshness),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            policies: Arc::clone(policies) as _,
            incarnation,
            subscribers: vec![Arc::new(LedgerObeys(ledger.clone()))],
        }))
    }

    fn spawn_background(
        &self,
        feed: &Arc<Feed>,
        policies: &Arc<InForce>,
        ledger: &EscrowLedger,
        credentials: &Arc<Credentials>,
    ) {
        let background = &self.background;
        let end = || background.end.clone();
        background.spawn("change feed", Arc::clone(feed).run(end()));
        background.spawn("policy watch", Arc::clone(&self.watched).watch(end()));
        let catalogs = self.watched.subscribe();
        background.spawn("policies", Arc::clone(policies).follow(catalogs, ledger.clone(), end()));
        background.spawn("token keys", Arc::clone(credentials).run(end()));
        let (ledger, stop) = (ledger.clone(), end());
        background.spawn("ledger flush", async move { ledger.run(stop).await });
    }

    fn admin(
        &self,
        store: &Arc<dyn Store>,
        policies: &Arc<InForce>,
        ledger: &EscrowLedger,
        feed: &Arc<Feed>,
        incarnation: Incarnation,
        issuer: Issuer,
    ) -> Router {
        let barrier = WaitForNodes {
            feed: Arc::clone(feed),
            freshness: Arc::clone(&self.freshness),
            store: Arc::clone(store) as _,
            clock: Arc::clone(&self.clock) as _,
            incarnation,
            serve_stale: self.config.serve_stale.0,
        };
        let (figures, board) = (self.figures.clone(), Arc::clone(&self.board));
        admin::router(AdminState {
            tenants: Arc::clone(store) as _,
            nodes: Arc::clone(store) as _,
            policies: Arc::clone(policies) as _,
            ledger: Arc::new(ledger.clone()),
            keys: Arc::new(issuer),
            barrier: Arc::new(barrier),
            clock: Arc::clone(&self.clock) as _,
            metrics: Arc::new(move || figures.render()),
            readiness: Arc::new(move || board.read()),
            token: self.config.admin.token.as_ref().map(|token| token.0.clone()).filter(|t| !t.is_empty()),
        })
    }
}
