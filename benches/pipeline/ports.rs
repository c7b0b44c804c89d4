//! Ports that answer at once and do next to nothing, so that what is measured is what the stages do.

use std::sync::Arc;

use http::HeaderMap;
use plangate::{
    clock::Clock,
    domain::{
        catalog::Catalog,
        denial::Denial,
        id::{KeyId, TenantId},
        identity::{Credential, Identity},
        period::{AnchorDay, Period, Window},
        rights::Rights,
        route::Charge,
        subscription::Subscription,
        tenant::Tenant,
        time::{Monotonic, UnixMillis, Version},
        units::Units,
    },
    metrics::Metrics,
    pipeline::{Gateway, cors::Cors, observe::Mode},
    policy,
    ports::{
        Answer, Authenticator, BoxFuture, ChargeError, CredentialError, Directory, Hold, HoldEntry, Ledger,
        MeterUsage, Policies, ResolveError, Standing, StoreError,
    },
};

pub const KEY: &str = "x-api-key";

/// What becomes of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Forwarded,
    Exhausted,
    TooFast,
    Unidentified,
    Public,
}

const SHARED: &[(&str, &str)] = &[
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
         \x20 - { match: \"GET /v1/me\", charge: {} }\n",
    ),
];

/// Plans as a product sells them, each with more than the one before.
const PLANS: [(&str, u64, u64); 5] = [
    ("free", 1000, 2),
    ("basic", 100_000, 50),
    ("pro", 1_000_000, 200),
    ("business", 5_000_000, 500),
    ("enterprise", 100_000_000, 2000),
];

fn catalog() -> Arc<Catalog> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("plans")).unwrap();
    for (name, text) in SHARED {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    for (plan, month, second) in PLANS {
        let text = format!(
            "plan: {plan}\nfeatures: [chat, search]\nlimits: {{ seats: 5 }}\nquotas:\n  requests: {{ limit: {month} }}\n\
             rates:\n  requests: {{ limit: {second}, per: 1s }}\n"
        );
        std::fs::write(folder.path().join(format!("plans/{plan}.yaml")), text).unwrap();
    }
    let loaded = policy::load(folder.path());
    Arc::new(loaded.unwrap_or_else(|report| panic!("{}", report.render(false))).0)
}

/// All four ports.
pub struct Ports {
    kind: Kind,
    catalog: Arc<Catalog>,
    taken: Arc<dyn HoldEntry>,
    identity: Arc<Identity>,
    rights: Arc<Rights>,
}

pub fn gateway(kind: Kind, clock: Arc<dyn Clock>) -> Gateway<Ports, Ports, Ports, Ports> {
    let (catalog, tenant) = (catalog(), TenantId::parse("tenant-0000001").unwrap());
    let credential = Credential::ApiKey { id: KeyId::parse("key_1").unwrap() };
    let rights = Rights::compile(&facts(&tenant), &catalog, UnixMillis(0)).unwrap();
    let identity = Identity::new(tenant, credential);
    let ports = Arc::new(Ports { kind, catalog, identity, rights: Arc::new(rights), taken: Arc::new(Taken) });
    Gateway {
        policies: Arc::clone(&ports),
        authenticator: Arc::clone(&ports),
        directory: Arc::clone(&ports),
        ledger: ports,
        clock,
        metrics: Arc::new(Metrics::default()),
        cors: Arc::new(Cors::default()),
        mode: Mode::Enforce,
        refusals: Arc::default(),
        trials: Arc::default(),
        bills: None,
    }
}

fn facts(tenant: &TenantId) -> Tenant {
    Tenant {
        subscription: Some(Subscription::active(
            "basic".parse().unwrap(),
            AnchorDay::new(1).unwrap(),
            Version(1),
            UnixMillis(0),
        )),
        version: Version(1),
        ..Tenant::new(tenant.clone(), UnixMillis(0))
    }
}

impl Policies for Ports {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog)
    }
}

impl Authenticator for Ports {
    fn identify(&self, headers: &HeaderMap, _: UnixMillis) -> Answer<Arc<Identity>, CredentialError> {
        let key = headers.get(KEY).ok_or(CredentialError::Missing);
        Answer::Ready(key.map(|_| Arc::clone(&self.identity)))
    }

    fn strip(&self, headers: &mut HeaderMap) {
        headers.remove(KEY);
    }

    fn strip_own(&self, headers: &mut HeaderMap) {
        headers.remove(KEY);
    }
}

impl Directory for Ports {
    fn is_current(&self, _: Monotonic) -> bool {
        true
    }

    fn catch_up(&self) -> BoxFuture<Result<(), ResolveError>> {
        Box::pin(async { Ok(()) })
    }

    fn resolve(
        &self,
        _: &Arc<Identity>,
        _: &Arc<Catalog>,
        _: Monotonic,
        _: UnixMillis,
    ) -> Answer<Arc<Rights>, ResolveError> {
        Answer::Ready(Ok(Arc::clone(&self.rights)))
    }

    fn newer(&self, identity: &Arc<Identity>, known: &Arc<Rights>) -> Answer<Arc<Rights>, ResolveError> {
        self.resolve(identity, &known.catalog, Monotonic(0), UnixMillis(0))
    }
}

const MONTH: Period = Period { start: UnixMillis(1_700_000_000_000), end: UnixMillis(4_000_000_000_000) };

impl Ledger for Ports {
    fn charge(&self, rights: &Arc<Rights>, charges: &[Charge], _: UnixMillis) -> Answer<Hold, ChargeError> {
        let terms = rights.entitlement.as_ref().unwrap().terms(charges[0].meter);
        let meter = || rights.catalog.meter(charges[0].meter).unwrap().id.clone();
        let limit = Units::saturating(100_000);
        let denial = match self.kind {
            Kind::Exhausted => Denial::QuotaExhausted {
                meter: meter(),
                window: Window::Month,
                limit,
                used: limit,
                period: MONTH,
            },
            Kind::TooFast => {
                let retry_after = Some(std::time::Duration::from_millis(15));
                Denial::RateLimited { meter: meter(), rate: terms.rate.unwrap(), retry_after }
            }
            // One for all: it takes no memory, so that what is counted is the stages'.
            _ => return Answer::Ready(Ok(Hold::new(Arc::clone(&self.taken)))),
        };
        Answer::Ready(Err(denial.into()))
    }

    fn usage(&self, _: &Arc<Rights>, _: UnixMillis) -> BoxFuture<Result<Vec<MeterUsage>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

struct Taken;

impl HoldEntry for Taken {
    fn refund(&self) {}

    fn settle(&self, _: &[Charge]) {}

    fn standings(&self, now: UnixMillis, _: Option<Monotonic>, show: &mut dyn FnMut(Standing<'_>)) {
        show(Standing {
            meter: "requests",
            window: Some(Window::Month),
            quota: Units::saturating(100_000),
            seconds: 2_678_400,
            remaining: Units::saturating(u64::try_from(now.0 % 100_000).unwrap_or(0)),
            resets_in: now.seconds_until(MONTH.end),
        });
        show(Standing {
            meter: "requests",
            window: None,
            quota: Units::saturating(50),
            seconds: 1,
            remaining: Units::saturating(49),
            resets_in: 1,
        });
    }
}
