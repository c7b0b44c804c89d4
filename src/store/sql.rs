//! The store over a database: what all its ports share.

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sqlx::PgPool;
use tokio::{runtime::Handle, sync::Notify};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    classify::{timed_out, unreadable},
    connect::{Options, Store},
    engine::{Engine, Lane},
    epoch,
    home::AtHome,
    listen,
    session::{Arg, Sql},
    tidy::{Retention, Tidied},
};
use crate::ports::StoreError;

/// How long a statement waits for a connection.
pub(super) const ACQUIRE_WITHIN: Duration = Duration::from_secs(3);
/// How long a call may take in all; the server ends its statements sooner, but a network that swallows packets does not.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What opening leads to.
pub(super) struct Opened {
    pub(super) engine: Engine,
    pub(super) listener: Option<PgPool>,
}

/// A store over PostgreSQL or SQLite.
pub(super) struct SqlStore {
    pub(super) engine: Engine,
    home: Handle,
    pub(super) woken: Arc<Notify>,
    installation: Uuid,
    server: String,
    closed: CancellationToken,
}

const META_PUT: Sql =
    Sql::same("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING");
const META_GET: Sql = Sql::same("SELECT value FROM meta WHERE name = $1");
const INSTALLATION: &str = "installation";
const KEY_SECRET: &str = "key_secret";

impl SqlStore {
    /// Reads or makes the database's identity, and begins to listen. The current runtime becomes the store's home.
    pub(super) async fn start(opened: Opened, options: &Options) -> Result<Self, StoreError> {
        let Opened { engine, listener } = opened;
        let uuid = uuid::Builder::from_random_bytes(random()?).into_uuid();
        let installation = meta(&engine, INSTALLATION, &uuid.to_string()).await?;
        let installation =
            Uuid::parse_str(&installation).map_err(|error| unreadable("the installation's id", error))?;
        let server = epoch::adopt(&engine).await?;
        let store = Self {
            engine,
            home: Handle::current(),
            woken: Arc::new(Notify::new()),
            installation,
            server,
            closed: options.shutdown.child_token(),
        };
        if let Some(pool) = listener {
            options.tasks.spawn(listen::listen(pool, store.woken.clone(), store.closed.clone()));
        }
        Ok(store)
    }

    /// Runs a call on the store's own runtime, and gives it up when it takes too long.
    pub(super) async fn call<T: Send, E: From<StoreError> + Send>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let bounded = async {
            tokio::time::timeout(ANSWER_WITHIN, work)
                .await
                .unwrap_or_else(|_| Err(timed_out(ANSWER_WITHIN).into()))
        };
        AtHome::new(&self.home, bounded).await
    }

    /// The secret with which API keys are hashed.
    pub(super) async fn read_key_secret(&self) -> Result<[u8; 32], StoreError> {
        let candidate: [u8; 32] = random()?;
        let text = meta(&self.engine, KEY_SECRET, &BASE64.encode(candidate)).await?;
        let bytes = BASE64.decode(text).map_err(|error| unreadable("the key secret", error))?;
        <[u8; 32]>::try_from(bytes).map_err(|_| unreadable("the key secret", "expected 32 bytes"))
    }

    /// Says that something was committed, where the database does not say so itself.
    pub(super) fn wake(&self) {
        if !self.engine.notifies() {
            self.woken.notify_one();
        }
    }
}

/// A value made at most once: of several nodes that offer one, the first wins and all read the same.
async fn meta(engine: &Engine, name: &str, candidate: &str) -> Result<String, StoreError> {
    engine.write(Lane::Data, META_PUT, &[Arg::Text(name), Arg::Text(candidate)]).await?;
    let rows = engine.read(Lane::Data, META_GET, &[Arg::Text(name)]).await?;
    rows.first().ok_or_else(|| unreadable("meta", format!("`{name}` is missing")))?.text(0)
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| StoreError::Unavailable("the system gives no random numbers".into()))?;
    Ok(bytes)
}

impl Drop for SqlStore {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

#[async_trait]
impl Store for SqlStore {
    fn installation(&self) -> Uuid {
        self.installation
    }

    fn identity(&self) -> String {
        if self.server.is_empty() {
            self.installation.to_string()
        } else {
            format!("{}@{}", self.installation, self.server)
        }
    }

    async fn tidy(&self, keep: &Retention) -> Result<Tidied, StoreError> {
        self.call(self.tidy_once(keep)).await
    }

    async fn close(&self) {
        self.closed.cancel();
        AtHome::new(&self.home, self.engine.close()).await;
    }
}
