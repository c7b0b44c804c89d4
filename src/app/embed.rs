//! Plangate inside somebody's own service: everything that decides, in one process, over a store of the caller's choice.

use std::{path::Path, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    background::Background,
    config::{RetentionConfig, WebhooksConfig},
    deployment::Deployer,
    engine::{Engine, EngineParts, NodeGateway},
    issuer::Issuer,
    plan_versions::PlanVersions,
    settings,
    start::StartError,
};
use crate::{
    clock::{Clock, SystemClock},
    credentials::{self, Prepared},
    directory::{self, UnknownTenants},
    domain::{
        command::{Change, Command},
        id::TenantId,
        time::Version,
    },
    freshness::Freshness,
    ledger::file::LedgerFile,
    pipeline::{cors::Cors, observe::Mode},
    policy::Watched,
    ports::{
        ExecuteError, Incarnation, KeyIssuer, Origin, Policies, RegisterError, Registration, StoreError,
    },
    store::{ConnectError, Store},
};

/// How long a change may take to be in force here.
const PATIENCE: Duration = Duration::from_secs(5);
const CACHED: u64 = 1_000_000;

/// The parts behind the stages, running. See [`crate::pipeline::embed`] for how they are put around a service.
pub struct Embedded {
    engine: Engine,
    gateway: NodeGateway,
    store: Arc<dyn Store>,
    freshness: Arc<Freshness>,
    clock: Arc<SystemClock>,
    background: Background,
    incarnation: Incarnation,
}

impl Embedded {
    /// Starts over a policy folder, which is watched, and a store. API keys are taken from `x-api-key` or as a Bearer
    /// token. On the runtime that this is called on, which must outlive it.
    ///
    /// # Errors
    /// [`StartError`]: the policies have errors, or the store does not answer.
    pub async fn open(policies: &Path, store: Arc<dyn Store>) -> Result<Self, StartError> {
        credentials::install_crypto();
        let folder = policies.to_owned();
        let opened = tokio::task::spawn_blocking(move || Watched::open(folder)).await;
        let watched = opened.map_err(std::io::Error::other)?.map_err(StartError::Policies)?;
        let background = Background::new(CancellationToken::new());
        let (freshness, clock) = (Arc::new(Freshness::default()), Arc::new(SystemClock::default()));
        let incarnation = Incarnation(uuid::Uuid::now_v7());
        let registration = Registration {
            name: format!("embedded-{}", incarnation.0.simple()),
            incarnation,
            file: uuid::Uuid::now_v7(),
            digest: watched.catalog().digest.clone(),
        };
        let registered = store.register(&registration).await?;
        freshness.set_applied(registered.version);
        let versions = Arc::new(PlanVersions::new(Arc::clone(&store) as _, Arc::clone(&clock) as _));
        let deployer = Arc::new(Deployer::new(Arc::clone(&store) as _, Arc::clone(&versions)));
        let policies = deployer.begin(&watched).await?;
        let engine = Engine::new(EngineParts {
            store: Arc::clone(&store),
            freshness: Arc::clone(&freshness),
            clock: Arc::clone(&clock),
            metrics: Arc::default(),
            background: background.clone(),
            registration,
            epoch: registered.epoch,
            file: LedgerFile::anonymous(),
            key_secret: store.key_secret().await?,
            identity: Prepared::new(credentials::Settings::default())?,
            directory: directory::Settings {
                capacity: CACHED,
                serve_stale: Duration::from_secs(600),
                unknown: UnknownTenants::Deny,
            },
            policies,
            versions,
            deployer,
            retention: settings::retention(&RetentionConfig::default()),
            outgoing: settings::outgoing(&WebhooksConfig::default())?,
            workers: 1,
        });
        engine.feed.catch_up().await;
        engine.run(&watched);
        let gateway = engine.gateways(Cors::default(), Mode::Enforce)();
        Ok(Self { engine, gateway, store, freshness, clock, background, incarnation })
    }

    /// The stages. Its fields may be changed on a clone, for instance to allow browsers or to observe only.
    #[must_use]
    pub const fn gateway(&self) -> &NodeGateway {
        &self.gateway
    }

    /// Changes a tenant. In force for the very next request when this returns.
    ///
    /// # Errors
    /// [`ExecuteError`]: nothing was changed, or (`Store`) it may have been and is not known to be in force.
    pub async fn change(&self, tenant: &TenantId, change: Change) -> Result<Version, ExecuteError> {
        let command = Command { tenant: tenant.clone(), change };
        let origin = Origin {
            at: self.clock.now(),
            actor: "system".to_owned(),
            source: "embedded".to_owned(),
            idempotency: None,
        };
        let version = self.store.execute(&command, &origin).await?.version;
        if self.freshness.wait_until(PATIENCE, |heard| heard.applied() >= version).await {
            return Ok(version);
        }
        Err(StoreError::Unavailable("the change is not known to be in force".to_owned()).into())
    }

    /// Makes an API key for a tenant: shown once, stored as a hash.
    ///
    /// # Errors
    /// As of [`Embedded::change`].
    pub async fn create_key(&self, tenant: &TenantId) -> Result<String, ExecuteError> {
        let hasher = self.engine.credentials.hasher().clone();
        let issuer = Issuer { hasher, clock: Arc::clone(&self.clock) as _ };
        let made = KeyIssuer::generate(&issuer).map_err(StoreError::Unavailable)?;
        let (id, hash) = (made.id, made.hash);
        let change = Change::CreateKey { id, hash, name: None, expires_at: None, imported: false };
        self.change(tenant, change).await?;
        Ok(made.secret)
    }

    /// Ends it: what was used is recorded, leases are returned. To be called when no request is under way any more.
    pub async fn finish(self) {
        if tokio::time::timeout(PATIENCE, self.engine.ledger.drain()).await.is_err() {
            tracing::warn!("the store did not take back all leases; what is left counts as used");
        }
        if let Err(error) = self.store.deregister(self.incarnation).await {
            tracing::warn!("this process is still registered: {error}");
        }
        self.background.finish().await;
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.background.end.cancel();
    }
}

impl From<RegisterError> for StartError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Store(error) => error.into(),
            taken @ RegisterError::NameTaken { .. } => Self::Name(taken),
        }
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Database(ConnectError::Store(error))
    }
}
