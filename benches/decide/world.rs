//! A node with any number of tenants: the real authenticator, directory and ledger, over stores that make tenants from
//! their number instead of keeping them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use plangate::{
    app::in_force::{InForce, InForceFront},
    clock::Clock,
    credentials::{Algorithm, Credentials, CredentialsFront, IssuerSettings, Settings, TokenKeys},
    directory::{self, DirectoryFront, TenantDirectory, UnknownTenants},
    domain::{
        catalog::Catalog,
        command::Command,
        decision,
        id::{KeyId, TenantId},
        identity::{ApiKey, Credential, Identity, KeyHash},
        path::canonicalise,
        period::{AnchorDay, Period},
        rights::Rights,
        route::Operation,
        subscription::Subscription,
        tenant::Tenant,
        time::{Monotonic, UnixMillis, Version},
    },
    freshness::Freshness,
    ledger::{EscrowLedger, LedgerParts, file::LedgerFile},
    metrics::Metrics,
    pipeline::{Gateway, cors::Cors, observe::Mode},
    policy,
    ports::{
        Answer, AuditRow, Authenticator, BucketKey, ChangeRow, Committed, Directory, ExecuteError,
        GrantOutcome, GrantRequest, Hold, Incarnation, KeyStore, Ledger, LedgerStore, Origin, OthersUsage,
        Policies, Remainder, SlotTotals, Snapshot, StoreError, TenantStore, UsageRow,
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    keys::{Issuer, api_key},
    report::resident,
};

/// Tenants that are asked in turn where all are meant: so many that their data fits in no cache.
pub const SAMPLE: u32 = 65_536;
const AT_ONCE: u32 = 128;
/// One tenant more, on a plan whose few units are soon used up.
pub const SPENT: u32 = u32::MAX;
pub const PATH: &str = "/v1/messages/0192f0c1-7f1e-7d3a-9b1e-2f3c4d5e6f70";

/// A catalog of usual size; its quota and rate are so large that no number of rounds reaches them.
const POLICIES: &[(&str, &str)] = &[
    (
        "features.yaml",
        "features: { chat: {}, export: {}, search: {}, audit: {}, sso: {}, ai.chat: {} }\nlimits: { seats: {} }\n\
         meters: { requests: {}, ai_tokens: {} }\n",
    ),
    (
        "routes.yaml",
        "unmatched: deny\ndefaults: { charge: { requests: 1 } }\nroutes:\n\
         \x20 - { match: \"GET /healthz\", public: true }\n\
         \x20 - { match: \"GET|POST /v1/messages\", features: [chat] }\n\
         \x20 - { match: \"GET|PUT|DELETE /v1/messages/{id}\", features: [chat] }\n\
         \x20 - { match: \"GET /v1/messages/{id}/replies\", features: [chat] }\n\
         \x20 - { match: \"GET /v1/search\", features: [search] }\n\
         \x20 - { match: \"* /v1/export/{*rest}\", features: [export], charge: { requests: 10 } }\n\
         \x20 - { match: \"POST /v1/ai/chat\", features: [ai.chat], charge: { requests: 1, ai_tokens: 1 } }\n\
         \x20 - { match: \"GET /v1/me\", charge: {} }\n",
    ),
    (
        "plans/pro.yaml",
        "plan: pro\nfeatures: [chat, search, export]\nlimits: { seats: 5 }\nquotas:\n\
         \x20 requests: { limit: 1000000000000000 }\n\
         rates:\n  requests: { limit: 1000000000, per: 1s }\n",
    ),
    ("plans/spent.yaml", "plan: spent\nfeatures: [chat]\nquotas: { requests: { limit: 5 } }\n"),
];

/// Everything that a decision asks: shared adapters, and what one worker puts before them.
pub struct World {
    pub gateway: Gateway<InForceFront, CredentialsFront, DirectoryFront, EscrowLedger>,
    tenants: u32,
    credentials: Arc<Credentials>,
    directory: TenantDirectory,
    clock: Arc<dyn Clock>,
    issuer: Issuer,
    stop: CancellationToken,
    // Grants and flushes run here, beside the measured thread.
    runtime: tokio::runtime::Runtime,
}

/// Bytes of memory for each tenant.
pub struct AtRest {
    pub credentials: u64,
    pub directory: u64,
}

/// Requests of tenants that are active: one each, of each kind.
pub struct Active {
    pub with_keys: Vec<HeaderMap>,
    pub with_tokens: Vec<HeaderMap>,
    /// Bytes that a tenant took when it became active.
    pub bytes: u64,
}

fn catalog() -> Arc<Catalog> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in POLICIES {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let loaded = policy::load(folder.path());
    Arc::new(loaded.unwrap_or_else(|report| panic!("{}", report.render(false))).0)
}

impl World {
    /// A node that could know `tenants` tenants, and does not know any yet.
    pub fn new(tenants: u32, clock: Arc<dyn Clock>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let freshness = Arc::new(Freshness::default());
        let (stop, tracker, issuer) = (CancellationToken::new(), TaskTracker::new(), Issuer::new());
        stay_fresh(&runtime, &tracker, (&freshness, &clock), &stop);
        let (credentials, numbers) = known(tenants, &issuer, &freshness);
        let ledger = EscrowLedger::new(LedgerParts {
            store: Arc::clone(&numbers) as _,
            clock: Arc::clone(&clock),
            freshness: Arc::clone(&freshness),
            file: LedgerFile::anonymous(),
            incarnation: Incarnation(uuid::Uuid::nil()),
            runtime: runtime.handle().clone(),
            tracker: tracker.clone(),
        });
        let metrics = Arc::new(Metrics::default());
        let settings = directory::Settings {
            capacity: 2_000_000,
            serve_stale: Duration::from_secs(600),
            unknown: UnknownTenants::Deny,
        };
        let directory =
            TenantDirectory::new(numbers, freshness, Arc::clone(&clock), Arc::clone(&metrics), settings);
        let credentials = Arc::new(credentials);
        let gateway = Gateway {
            policies: Arc::new(Arc::new(InForce::new(catalog())).front()),
            authenticator: Arc::new(credentials.front()),
            directory: Arc::new(directory.front()),
            ledger: Arc::new(ledger.clone()),
            clock: Arc::clone(&clock),
            metrics,
            cors: Arc::new(Cors::default()),
            mode: Mode::Enforce,
            refusals: Arc::default(),
            trials: Arc::default(),
            bills: None,
        };
        let end = stop.clone();
        tracker.spawn_on(async move { ledger.run(end).await }, runtime.handle());
        Self { gateway, tenants, credentials, directory, clock, issuer, stop, runtime }
    }

    /// Has all tenants known: their keys to the authenticator, their facts to the directory. None is charged.
    pub fn know(&self) -> AtRest {
        let identify = |number| async move {
            let identified = self.credentials.identify(&key_request(number), self.clock.now());
            drop(identified.wait().await.unwrap());
        };
        let credentials = self.each(identify);
        let resolve = |number| async move {
            let catalog = self.gateway.policies.catalog();
            let tenant = TenantId::parse(&tenant_name(number)).unwrap();
            let resolved = self.directory.resolve(
                &Identity::new(tenant, Credential::Jwt),
                &catalog,
                self.clock.monotonic(),
                self.clock.now(),
            );
            drop(resolved.wait().await.unwrap());
        };
        AtRest { credentials, directory: self.each(resolve) }
    }

    /// Does something for each tenant; how much memory it took for each.
    fn each<F: Future<Output = ()>>(&self, work: impl Fn(u32) -> F) -> u64 {
        let (before, numbers) = (resident(), Vec::from_iter(0..self.tenants));
        for some in numbers.chunks(AT_ONCE as usize) {
            self.runtime.block_on(join_all(some.iter().map(|number| work(*number))));
        }
        resident().saturating_sub(before) / u64::from(self.tenants)
    }

    /// Sends requests of `active` tenants through the worker's fronts, so that all they need is warm and open.
    pub fn activate(&self, active: u32) -> Active {
        // A fixed stride that no power of two divides visits the tenants in an order that no cache foresees.
        let some: Vec<u32> = (0..active).map(|n| n.wrapping_mul(2_654_435_761) % self.tenants).collect();
        let with_keys: Vec<_> = some.iter().map(|number| key_request(*number)).collect();
        let with_tokens: Vec<_> = some.iter().map(|number| token_request(*number, &self.issuer)).collect();
        let before = resident();
        self.admit(&with_keys);
        let bytes = resident().saturating_sub(before) / u64::from(active);
        self.admit(&with_tokens);
        // Now that all is known, what a worker keeps comes to it.
        for headers in with_keys.iter().chain(&with_tokens) {
            self.decide(headers).keep();
        }
        Active { with_keys, with_tokens, bytes }
    }

    fn admit(&self, requests: &[HeaderMap]) {
        let admit = |headers| async move {
            let (catalog, now) = (self.gateway.policies.catalog(), self.clock.now());
            let identity = self.gateway.authenticator.identify(headers, now).wait().await.unwrap();
            let resolved = self.gateway.directory.resolve(&identity, &catalog, self.clock.monotonic(), now);
            let rights = resolved.wait().await.unwrap();
            let charges = &operation(&catalog).charge;
            self.gateway.ledger.charge(&rights, charges, now).wait().await.unwrap().keep();
        };
        for some in requests.chunks(AT_ONCE as usize) {
            self.runtime.block_on(join_all(some.iter().map(admit)));
        }
    }

    /// A whole decision, as the stages from Match to Meter make it, without the frame around them.
    pub fn decide(&self, headers: &HeaderMap) -> Hold {
        let catalog = self.gateway.policies.catalog();
        let (now, started) = (self.gateway.clock.now(), self.gateway.clock.monotonic());
        let path = canonicalise(PATH).unwrap();
        let route = catalog.routes.find("GET", &path).unwrap();
        let operation = catalog.routes.operation(route).unwrap();
        let rights = self.entitle(headers, &catalog, operation, (now, started));
        self.charge(&rights, operation, now)
    }

    /// The decision without path, route and charge.
    pub fn entitle(
        &self,
        headers: &HeaderMap,
        catalog: &Arc<Catalog>,
        operation: &Operation,
        (now, started): (UnixMillis, Monotonic),
    ) -> Arc<Rights> {
        let identity = self.identify(headers, now);
        assert!(self.gateway.directory.is_current(started));
        let rights = self.resolve(&identity, catalog, started);
        decision::decide(&rights, Some(operation)).unwrap();
        rights
    }

    pub fn identify(&self, headers: &HeaderMap, now: UnixMillis) -> Arc<Identity> {
        at_once(self.gateway.authenticator.identify(headers, now))
    }

    pub fn resolve(
        &self,
        identity: &Arc<Identity>,
        catalog: &Arc<Catalog>,
        started: Monotonic,
    ) -> Arc<Rights> {
        at_once(self.gateway.directory.resolve(identity, catalog, started, self.clock.now()))
    }

    pub fn charge(&self, rights: &Arc<Rights>, operation: &Operation, now: UnixMillis) -> Hold {
        at_once(self.gateway.ledger.charge(rights, &operation.charge, now))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The operation that is measured.
pub fn operation(catalog: &Catalog) -> &Operation {
    catalog.routes.find("GET", PATH).and_then(|route| catalog.routes.operation(route)).unwrap()
}

fn at_once<T, E: std::fmt::Debug>(answer: Answer<T, E>) -> T {
    match answer {
        Answer::Ready(answer) => answer.unwrap(),
        Answer::Pending(_) => panic!("not in memory"),
    }
}

fn stay_fresh(
    runtime: &tokio::runtime::Runtime,
    tracker: &TaskTracker,
    (freshness, clock): (&Arc<Freshness>, &Arc<dyn Clock>),
    stop: &CancellationToken,
) {
    let (freshness, clock, stop) = (Arc::clone(freshness), Arc::clone(clock), stop.clone());
    freshness.polled(clock.monotonic(), 1);
    let polling = async move {
        loop {
            freshness.polled(clock.monotonic(), 1);
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    tracker.spawn_on(async move { stop.run_until_cancelled(polling).await }, runtime.handle());
}

fn known(tenants: u32, issuer: &Issuer, freshness: &Arc<Freshness>) -> (Credentials, Arc<Numbers>) {
    let secret = [7; 32];
    let settings = Settings {
        issuers: vec![IssuerSettings {
            issuer: Issuer::NAME.to_owned(),
            audience: Issuer::AUDIENCE.to_owned(),
            algorithms: vec![Algorithm::EdDsa],
            keys: TokenKeys::JwksFile(issuer.key_set.path().to_owned()),
            tenant_claim: "tenant".to_owned(),
            leeway: Duration::from_secs(30),
            cookie: None,
        }],
        cached: 2_000_000,
        ..Settings::default()
    };
    let hasher = plangate::credentials::KeyHasher::new(&secret);
    let hash = |number| (hasher.hash(api_key(number).as_bytes()), number);
    let numbers = Arc::new(Numbers { keys: (0..tenants).chain([SPENT]).map(hash).collect(), secret });
    let store = Arc::clone(&numbers) as _;
    (Credentials::new(settings, store, Arc::clone(freshness), secret).unwrap(), numbers)
}

/// What a browser or a client library sends beside the credential.
fn usual_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::HOST, "api.example.com"),
        (header::USER_AGENT, "example-client/3.1 (linux; x86_64)"),
        (header::ACCEPT, "application/json"),
        (header::ACCEPT_ENCODING, "gzip, br"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
}

pub fn key_request(number: u32) -> HeaderMap {
    let mut headers = usual_headers();
    let key = HeaderValue::try_from(api_key(number)).unwrap();
    headers.insert(HeaderName::from_static("x-api-key"), key);
    headers
}

fn token_request(number: u32, issuer: &Issuer) -> HeaderMap {
    let mut headers = usual_headers();
    let token = format!("Bearer {}", issuer.token(&tenant_name(number)));
    headers.insert(header::AUTHORIZATION, HeaderValue::try_from(token).unwrap());
    headers
}

fn tenant_name(number: u32) -> String {
    format!("tenant-{number:07}")
}

/// Tenants that are made when they are read.
struct Numbers {
    keys: HashMap<KeyHash, u32>,
    secret: [u8; 32],
}

const VERSION: Version = Version(1);

#[async_trait]
impl TenantStore for Numbers {
    async fn tenant(&self, id: &TenantId) -> Result<Snapshot<Option<Tenant>>, StoreError> {
        let plan = if id.as_str() == tenant_name(SPENT) { "spent" } else { "pro" };
        let tenant = Tenant {
            subscription: Some(Subscription::active(
                plan.parse().unwrap(),
                AnchorDay::new(1).unwrap(),
                VERSION,
                UnixMillis(0),
            )),
            version: VERSION,
            ..Tenant::new(id.clone(), UnixMillis(0))
        };
        Ok(Snapshot { version: VERSION, value: Some(tenant) })
    }
    async fn tenants(&self, _: Option<&TenantId>, _: u32) -> Result<Vec<Tenant>, StoreError> {
        Ok(Vec::new())
    }
    async fn keys(&self, _: &TenantId) -> Result<Vec<ApiKey>, StoreError> {
        Ok(Vec::new())
    }
    async fn execute(&self, _: &Command, _: &Origin) -> Result<Committed, ExecuteError> {
        Err(StoreError::Unavailable("nothing is changed here".to_owned()).into())
    }
    async fn changes(&self, _: Version, _: u32) -> Result<Vec<ChangeRow>, StoreError> {
        Ok(Vec::new())
    }
    async fn audit(&self, _: u64, _: u32) -> Result<Vec<AuditRow>, StoreError> {
        Ok(Vec::new())
    }
    async fn usage(&self, _: &TenantId, _: Period) -> Result<Vec<UsageRow>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl KeyStore for Numbers {
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Snapshot<Option<ApiKey>>, StoreError> {
        let key = self.keys.get(hash).map(|number| ApiKey {
            id: KeyId::parse(&format!("key_{number:032x}")).unwrap(),
            tenant: TenantId::parse(&tenant_name(*number)).unwrap(),
            name: None,
            expires_at: None,
            imported: true,
            created_at: UnixMillis(0),
        });
        Ok(Snapshot { version: VERSION, value: key })
    }
    async fn key_by_id(&self, _: &KeyId) -> Result<Snapshot<Option<ApiKey>>, StoreError> {
        Ok(Snapshot { version: Version(0), value: None })
    }
    async fn key_secret(&self) -> Result<[u8; 32], StoreError> {
        Ok(self.secret)
    }
}

#[async_trait]
impl LedgerStore for Numbers {
    async fn grant(&self, requests: &[GrantRequest]) -> Result<Vec<GrantOutcome>, StoreError> {
        let granted = |request: &GrantRequest| {
            let (left, used) = (request.limit.get().saturating_sub(request.granted), request.totals.used);
            if left < request.need {
                return GrantOutcome::Exhausted { left, used, held: 0 };
            }
            GrantOutcome::Granted {
                granted: request.granted + request.need.max(request.want).min(left),
                used,
            }
        };
        Ok(requests.iter().map(granted).collect())
    }
    async fn flush(&self, totals: &[SlotTotals]) -> Result<Vec<u64>, StoreError> {
        Ok(totals.iter().map(|totals| totals.used - totals.refunded).collect())
    }
    async fn recorded(&self, buckets: &[BucketKey]) -> Result<Vec<u64>, StoreError> {
        Ok(vec![0; buckets.len()])
    }
    async fn remainders(&self, _: Incarnation, buckets: &[BucketKey]) -> Result<Vec<Remainder>, StoreError> {
        Ok(vec![Remainder { left: u64::MAX, held: 0 }; buckets.len()])
    }
    async fn open_slots(&self, _: &[Incarnation]) -> Result<Vec<SlotTotals>, StoreError> {
        Ok(Vec::new())
    }
    async fn others(&self, _: Incarnation, buckets: &[BucketKey]) -> Result<Vec<OthersUsage>, StoreError> {
        Ok(vec![OthersUsage::default(); buckets.len()])
    }
}
