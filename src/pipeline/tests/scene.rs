//! A stack over ports that do as they are told and remember what they were asked.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture as Boxed, stream};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use tower::{Layer, Service, service_fn};

use super::super::{
    Gateway,
    admission::Admission,
    cors::Cors,
    observe::Mode,
    request::{ForwardError, Forwardable, Inbound, Subject},
    respond::RespondBody,
    shadow::Trials,
};
use crate::{
    clock::ManualClock,
    domain::{
        catalog::{Catalog, Digest, Feature, Meter, Unmatched},
        features::{FeatureIx, FeatureSet},
        id::{FeatureId, KeyId, MeterId, PlanId, TenantId},
        identity::{Credential, Identity},
        period::{AnchorDay, Window},
        plan::{MeterIx, MeterTerms, Plan, Quota},
        rights::Rights,
        route::{Charge, Methods, Operation, Pattern, RouteTable},
        settlement::{CostHeader, SettleFrom},
        subscription::Subscription,
        tenant::{Overrides, Tenant},
        time::{Monotonic, UnixMillis, Version},
        units::{Allowance, Units},
    },
    freshness::Freshness,
    metrics::Metrics,
    ports::{
        Answer, Authenticator, Bills, BoxFuture, BucketKey, ChargeError, CredentialError, Directory, Hold,
        HoldEntry, Ledger, MeterUsage, Policies, ResolveError, Span, Standing, StoreError, TriedRights,
    },
};

pub const KEY: &str = "x-api-key";

/// How the ports answer, and what they were asked.
#[derive(Default)]
pub struct Told {
    /// What happened, in order.
    pub log: Vec<String>,
    /// Every answer comes later.
    pub slow: bool,
    /// Whether the node has to catch up first, and how that ends.
    pub behind: Option<Result<(), ResolveError>>,
    pub credential: Option<CredentialError>,
    pub unresolved: Option<ResolveError>,
    pub plan: &'static str,
    /// What is set for the tenant alone.
    pub overrides: Overrides,
    /// The plan once newer rights are asked for.
    pub newer_plan: Option<&'static str>,
    /// One for each charge; none left: taken.
    pub charges: VecDeque<ChargeError>,
    /// One for each request; none left: 200.
    pub answers: VecDeque<Result<Vec<Part>, ForwardError>>,
    /// The upstream's status, 200 unless told otherwise, and headers of its own.
    pub status: Option<u16>,
    pub headers: Vec<(&'static str, &'static str)>,
    /// What the upstream saw.
    pub seen: Vec<Seen>,
    /// What let the latest request in.
    pub admission: Option<Admission>,
    /// Units that the ledger knows as used in the month, by meter: each charge adds its own.
    pub used: BTreeMap<String, u64>,
    /// The tenant is not in memory.
    pub forgotten: bool,
}

/// A part of an upstream's body.
pub enum Part {
    Data(&'static str),
    Trailers,
    Error,
}

/// A request as the upstream saw it.
#[derive(Debug)]
pub struct Seen {
    pub line: String,
    pub headers: HeaderMap,
    pub subject: Option<Subject>,
}

/// All four ports.
pub struct Fakes {
    told: Arc<Mutex<Told>>,
    catalog: Arc<Catalog>,
    freshness: Arc<Freshness>,
}

pub type Body = http_body_util::combinators::BoxBody<Bytes, io::Error>;
pub type Reply = Response<RespondBody<Body>>;

pub struct Scene {
    pub fakes: Arc<Fakes>,
    pub metrics: Arc<Metrics>,
    pub mode: Mode,
    pub refusals: Arc<crate::pipeline::refusals::RefusalRing>,
    pub cors: Cors,
    pub freshness: Arc<Freshness>,
    pub bills: Option<Arc<dyn Bills>>,
    pub trials: Arc<Trials>,
}

impl Scene {
    pub fn new() -> Self {
        Self::with(Unmatched::Deny)
    }

    pub fn with(unmatched: Unmatched) -> Self {
        Self::over(catalog(unmatched))
    }

    pub fn over(catalog: Catalog) -> Self {
        let told = Arc::new(Mutex::new(Told { plan: "basic", ..Told::default() }));
        let catalog = Arc::new(catalog);
        let freshness = Arc::<Freshness>::default();
        Self {
            fakes: Arc::new(Fakes { told, catalog, freshness: Arc::clone(&freshness) }),
            metrics: Arc::default(),
            mode: Mode::Enforce,
            refusals: Arc::default(),
            cors: Cors::default(),
            bills: None,
            trials: Arc::new(Trials::new(Arc::clone(&freshness))),
            freshness,
        }
    }

    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.fakes.told()
    }

    /// What happened since the last time this was asked.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.told().log)
    }

    /// The stack's own future, not yet polled.
    pub fn start(&self, inbound: Inbound<Empty<Bytes>>) -> Boxed<'static, Reply> {
        let fakes = Arc::clone(&self.fakes);
        let forward = service_fn(move |request: Forwardable<Empty<Bytes>>| {
            let fakes = Arc::clone(&fakes);
            async move { fakes.answer(request).await }
        });
        let gateway = Gateway {
            policies: Arc::clone(&self.fakes),
            authenticator: Arc::clone(&self.fakes),
            directory: Arc::clone(&self.fakes),
            ledger: Arc::clone(&self.fakes),
            clock: ManualClock::at(UnixMillis(1_700_000_000_000)) as _,
            metrics: Arc::clone(&self.metrics),
            cors: Arc::new(self.cors.clone()),
            mode: self.mode,
            refusals: Arc::clone(&self.refusals),
            trials: Arc::clone(&self.trials),
            bills: self.bills.clone(),
        };
        gateway
            .layer(forward)
            .call(inbound)
            .map(|answer| answer.unwrap_or_else(|never| match never {}))
            .boxed()
    }

    /// The answer to a request, its body not yet read.
    pub async fn send(&self, request: Request<Empty<Bytes>>) -> Reply {
        self.start(request.into()).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(request("GET", path)).await
    }

    pub fn seen(&self) -> Vec<String> {
        self.told().seen.iter().map(|seen| seen.line.clone()).collect()
    }
}

pub fn request(method: &str, path: &str) -> Request<Empty<Bytes>> {
    Request::builder().method(method).uri(path).header(KEY, "k").body(Empty::new()).unwrap()
}

/// The status and the problem's code.
pub async fn refusal(reply: Reply) -> (u16, String) {
    let status = reply.status().as_u16();
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    (status, problem["code"].as_str().unwrap_or_default().to_owned())
}

/// The value of `plangate_requests_total` for one outcome and code.
pub fn counted(metrics: &Metrics, outcome: &str, code: &str) -> u64 {
    sample(metrics, &format!("plangate_requests_total{{outcome=\"{outcome}\",code=\"{code}\""))
}

/// The value of the first sample that begins so.
pub fn sample(metrics: &Metrics, start: &str) -> u64 {
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let line = text.lines().find(|line| line.starts_with(start));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

impl Fakes {
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, what: impl Into<String>) {
        self.told().log.push(what.into());
    }

    fn give<T: Send + 'static, E: Send + 'static>(&self, answer: Result<T, E>) -> Answer<T, E> {
        if !self.told().slow {
            return Answer::Ready(answer);
        }
        Answer::Pending(Box::pin(async move {
            tokio::task::yield_now().await;
            answer
        }))
    }

    fn rights(&self, catalog: &Arc<Catalog>) -> Arc<Rights> {
        let (plan, overrides) = {
            let told = self.told();
            (told.plan, told.overrides.clone())
        };
        let tenant = Tenant { overrides, ..tenant(plan) };
        Arc::new(Rights::compile(&tenant, catalog, UnixMillis(0)).unwrap())
    }

    async fn answer(&self, mut request: Forwardable<Empty<Bytes>>) -> Result<Response<Body>, ForwardError> {
        let admission = request.admission.take();
        let (request, _, _, subject) = request.into_parts();
        let line = format!("{} {}", request.method(), request.uri());
        self.note("forward");
        let (slow, answer) = {
            let mut told = self.told();
            told.admission = admission;
            told.seen.push(Seen { line, headers: request.headers().clone(), subject });
            (told.slow, told.answers.pop_front())
        };
        if slow {
            tokio::task::yield_now().await;
        }
        let parts = answer.unwrap_or_else(|| Ok(vec![Part::Data("fine")]))?;
        let frames = parts.into_iter().map(|part| match part {
            Part::Data(text) => Ok(Frame::data(Bytes::from_static(text.as_bytes()))),
            Part::Trailers => Ok(Frame::trailers(HeaderMap::new())),
            Part::Error => Err(io::Error::other("broke off")),
        });
        let frames: Vec<_> = frames.collect();
        let body = match frames.is_empty() {
            true => BodyExt::boxed(Empty::new().map_err(|never| match never {})),
            false => BodyExt::boxed(StreamBody::new(stream::iter(frames))),
        };
        let mut response = Response::new(body);
        response.headers_mut().insert("ratelimit", "the upstream's own".parse().unwrap());
        let told = self.told();
        for (name, value) in &told.headers {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        if let Some(status) = told.status {
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
        }
        drop(told);
        Ok(response)
    }
}

impl Policies for Fakes {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog)
    }
}

impl Authenticator for Fakes {
    fn identify(&self, headers: &HeaderMap, _: UnixMillis) -> Answer<Arc<Identity>, CredentialError> {
        self.note("identify");
        if !headers.contains_key(KEY) {
            return Answer::Ready(Err(CredentialError::Missing));
        }
        let refused = self.told().credential.clone();
        self.give(refused.map_or_else(|| Ok(identity()), Err))
    }

    fn stands(
        &self,
        _: &Arc<Identity>,
        verified: Version,
        _: UnixMillis,
    ) -> Answer<Version, CredentialError> {
        self.note("stands");
        let refused = self.told().credential.clone();
        self.give(refused.map_or(Ok(Version(verified.0 + 1)), Err))
    }

    fn strip(&self, headers: &mut HeaderMap) {
        headers.remove(KEY);
    }

    fn strip_own(&self, headers: &mut HeaderMap) {
        headers.remove(KEY);
    }
}

impl Directory for Fakes {
    fn is_current(&self, _: Monotonic) -> bool {
        self.told().behind.is_none()
    }

    fn catch_up(&self) -> BoxFuture<Result<(), ResolveError>> {
        self.note("catch up");
        let ending = self.told().behind.clone().unwrap_or(Ok(()));
        if ending.is_ok() {
            self.told().behind = None;
        }
        Box::pin(async move { ending })
    }

    fn resolve(
        &self,
        _: &Arc<Identity>,
        catalog: &Arc<Catalog>,
        _: Monotonic,
        _: UnixMillis,
    ) -> Answer<Arc<Rights>, ResolveError> {
        self.note("resolve");
        let unresolved = self.told().unresolved.clone();
        self.give(unresolved.map_or_else(|| Ok(self.rights(catalog)), Err))
    }

    fn newer(&self, _: &Arc<Identity>, _: &Arc<Rights>) -> Answer<Arc<Rights>, ResolveError> {
        self.note("newer");
        let newer = self.told().newer_plan;
        if let Some(plan) = newer {
            self.told().plan = plan;
        }
        self.give(Ok(self.rights(&self.catalog)))
    }

    fn tried(&self, _: &TenantId, catalog: &Arc<Catalog>, now: UnixMillis) -> Option<TriedRights> {
        let (plan, forgotten) = {
            let told = self.told();
            (told.plan, told.forgotten)
        };
        let read_at = self.freshness.min_version(&tenant(plan).id).max(Version(1));
        (!forgotten).then(|| TriedRights {
            rights: Rights::compile(&tenant(plan), catalog, now).map(Arc::new),
            read_at,
        })
    }
}

impl Ledger for Fakes {
    fn charge(&self, rights: &Arc<Rights>, charges: &[Charge], _: UnixMillis) -> Answer<Hold, ChargeError> {
        let units: Vec<u64> = charges.iter().map(|charge| charge.units.get()).collect();
        let plan = rights.entitlement.as_ref().map_or("none", |entitlement| entitlement.plan.as_str());
        self.note(format!("charge {plan} {units:?}"));
        let refused = self.told().charges.pop_front();
        if refused.is_none() {
            for charge in charges {
                let meter = rights.catalog.meter(charge.meter).unwrap().id.to_string();
                *self.told().used.entry(meter).or_default() += charge.units.get();
            }
        }
        self.give(match refused {
            Some(error) => Err(error),
            None => Ok(Hold::new(Arc::new(Taken(Arc::clone(&self.told))))),
        })
    }

    fn usage(&self, _: &Arc<Rights>, _: UnixMillis) -> BoxFuture<Result<Vec<MeterUsage>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn known_used(&self, bucket: &BucketKey) -> Option<Units> {
        let used = self.told().used.get(bucket.meter.as_str()).copied();
        used.filter(|_| bucket.span == Span::MONTH).map(Units::saturating)
    }
}

/// The ledger's side of a charge: says how it ended.
struct Taken(Arc<Mutex<Told>>);

impl Taken {
    fn ends(&self, how: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).log.push(how.to_owned());
    }
}

impl HoldEntry for Taken {
    fn keep(&self) {
        self.ends("keep");
    }

    fn refund(&self) {
        self.ends("refund");
    }

    fn settle(&self, actual: &[Charge]) {
        let units: Vec<(u16, u64)> = actual.iter().map(|c| (c.meter.0, c.units.get())).collect();
        self.ends(&format!("settle {units:?}"));
    }

    fn standings(&self, _: UnixMillis, _: Option<Monotonic>, show: &mut dyn FnMut(Standing<'_>)) {
        show(Standing {
            meter: "requests",
            window: Some(Window::Month),
            quota: Units::saturating(10),
            seconds: 60,
            remaining: Units::saturating(7),
            resets_in: 5,
        });
    }
}

fn identity() -> Arc<Identity> {
    let credential = Credential::ApiKey { id: KeyId::parse("k").unwrap() };
    Identity::new(TenantId::parse("acme").unwrap(), credential)
}

fn tenant(plan: &str) -> Tenant {
    Tenant {
        subscription: Some(Subscription::active(
            plan.parse().unwrap(),
            AnchorDay::new(1).unwrap(),
            Version(1),
            UnixMillis(0),
        )),
        version: Version(1),
        ..Tenant::new(TenantId::parse("acme").unwrap(), UnixMillis(0))
    }
}

/// An operation that needs `features` and costs `units` requests.
pub fn operation(name: &str, public: bool, features: FeatureSet, units: u64) -> Operation {
    let charge = Charge { meter: MeterIx(0), units: Units::saturating(units) };
    let charge = (units > 0).then_some(charge).into_iter().collect();
    Operation { name: name.to_owned(), public, features, charge, settle: Box::default(), conditions: None }
}

/// Plans `basic` (no features), `rich` (with `chat`) and `bare` (no quota); routes of each kind.
pub fn catalog(unmatched: Unmatched) -> Catalog {
    let none = FeatureSet::empty(1);
    let mut chat = none.clone();
    chat.insert(FeatureIx(0));
    let mut routes = RouteTable::default();
    for (methods, path, public, features, units) in [
        ("GET", "/open", true, &none, 0),
        ("GET", "/items/{id}", false, &none, 1),
        ("POST", "/items/{id}", false, &none, 3),
        ("GET", "/chat", false, &chat, 1),
        ("GET", "/me", false, &none, 0),
    ] {
        let methods = Methods::Named(vec![methods.to_owned()]);
        let pattern = Pattern::parse(path).unwrap();
        routes.add(&methods, &pattern, operation(path, public, features.clone(), units)).unwrap();
    }
    let tokens = [SettleFrom { meter: MeterIx(1), header: CostHeader::parse("X-Tokens").unwrap() }];
    let both = [
        SettleFrom { meter: MeterIx(0), header: CostHeader::parse("x-requests").unwrap() },
        SettleFrom { meter: MeterIx(1), header: CostHeader::parse("x-tokens").unwrap() },
    ];
    for (path, settle) in [("/ai", &tokens[..]), ("/ai/both", &both[..])] {
        let mut reserved = operation(path, false, none.clone(), 1);
        let tokens = Charge { meter: MeterIx(1), units: Units::saturating(40) };
        reserved.charge = reserved.charge.iter().copied().chain([tokens]).collect();
        reserved.settle = settle.into();
        routes.add(&Methods::Any, &Pattern::parse(path).unwrap(), reserved).unwrap();
    }
    let month = Allowance::Limited(Units::saturating(10));
    let quota = Quota::monthly(month);
    let plan = |name: &str, features: &FeatureSet, quota: Option<Quota>| {
        let id = PlanId::parse(name).unwrap();
        let plan = Plan {
            features: features.clone(),
            limits: Default::default(),
            meters: Box::new([MeterTerms { quota, rate: None }; 2]),
            ..Plan::empty(id.clone())
        };
        (id, Arc::new(plan))
    };
    Catalog {
        features: vec![Feature { id: FeatureId::parse("chat").unwrap(), title: None }],
        limits: Vec::new(),
        meters: ["requests", "tokens"]
            .map(|id| Meter { id: MeterId::parse(id).unwrap(), title: None, unit: None })
            .into(),
        plans: [
            plan("basic", &none, Some(quota)),
            plan("rich", &chat, Some(quota)),
            plan("bare", &none, None),
        ]
        .into_iter()
        .collect(),
        routes,
        unmatched,
        ..Catalog::empty(Digest("d".into()))
    }
}
