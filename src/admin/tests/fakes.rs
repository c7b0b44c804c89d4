//! Ports in memory, as small as the tests allow, and a catalog of two plans.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    admin::AdminState,
    clock::{Clock, ManualClock},
    domain::{
        catalog::{Catalog, Digest, Feature, Limit, Meter, Unmatched},
        command::{Change, Command},
        features::{FeatureIx, FeatureSet},
        id::{FeatureId, KeyId, LimitId, MeterId, PlanId, TenantId},
        identity::{ApiKey, KeyHash},
        period::{Period, Window},
        plan::{MeterIx, MeterTerms, Overage, Plan, Quota},
        rate::Rate,
        rights::Rights,
        route::{Charge, Methods, Operation, Pattern, RouteTable},
        tenant::Tenant,
        time::{Epoch, UnixMillis, Version},
        units::{Allowance, Units},
    },
    ports::*,
};

pub fn at(text: &str) -> UnixMillis {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

pub fn units(n: u64) -> Units {
    Units::new(n).unwrap()
}

/// Units used and uncertain, by meter and window.
pub type UsedUnits = BTreeMap<(&'static str, Window), (u64, u64)>;

/// Everything a test may look at or break.
pub struct World {
    pub clock: Arc<ManualClock>,
    pub tenants: Mutex<BTreeMap<TenantId, Tenant>>,
    pub keys: Mutex<Vec<ApiKey>>,
    pub log: Mutex<Vec<(Command, Origin)>>,
    pub done: Mutex<BTreeMap<String, (String, Committed)>>,
    pub used: Mutex<UsedUnits>,
    pub rows: Mutex<Vec<UsageRow>>,
    pub asked_usage: Mutex<Vec<Period>>,
    pub nodes: Mutex<Vec<NodeRow>>,
    pub waited: Mutex<Vec<Version>>,
    pub pending: Mutex<Vec<String>>,
    pub failure: Mutex<Option<StoreError>>,
    pub panics: AtomicBool,
    pub version: AtomicU64,
    pub made: AtomicU64,
}

impl World {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: ManualClock::at(at("2026-11-22T10:00:00Z")),
            tenants: Mutex::default(),
            keys: Mutex::default(),
            log: Mutex::default(),
            done: Mutex::default(),
            used: Mutex::default(),
            rows: Mutex::default(),
            asked_usage: Mutex::default(),
            nodes: Mutex::default(),
            waited: Mutex::default(),
            pending: Mutex::default(),
            failure: Mutex::default(),
            panics: AtomicBool::new(false),
            version: AtomicU64::new(0),
            made: AtomicU64::new(0),
        })
    }

    pub fn state(self: &Arc<Self>, token: Option<&str>) -> AdminState {
        let world = Arc::new(Fake(Arc::clone(self)));
        let ready = Arc::clone(self);
        AdminState {
            tenants: world.clone(),
            nodes: world.clone(),
            policies: Arc::new(Fixed(catalog())),
            ledger: world.clone(),
            keys: world.clone(),
            barrier: world,
            clock: self.clock.clone(),
            metrics: Arc::new(|| "plangate_connections 1\n# EOF\n".to_owned()),
            readiness: Arc::new(move || {
                let reasons: Vec<String> =
                    ready.failure.lock().unwrap().iter().map(ToString::to_string).collect();
                Readiness { ready: reasons.is_empty(), reasons }
            }),
            token: token.map(str::to_owned),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        assert!(!self.panics.load(Ordering::SeqCst), "a defect that the test asked for");
        self.failure.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    pub fn last(&self) -> (Command, Origin) {
        self.log.lock().unwrap().last().unwrap().clone()
    }
}

struct Fixed(Arc<Catalog>);

impl Policies for Fixed {
    fn catalog(&self) -> Arc<Catalog> {
        self.0.clone()
    }
}

struct Fake(Arc<World>);

fn change(
    world: &World,
    command: &Command,
    origin: &Origin,
    version: Version,
) -> Result<Effect, ExecuteError> {
    let mut tenants = world.tenants.lock().unwrap();
    let id = &command.tenant;
    let created = !tenants.contains_key(id);
    if created && !matches!(command.change, Change::PutTenant { .. }) {
        return Err(ExecuteError::NoTenant(id.clone()));
    }
    let tenant = tenants.entry(id.clone()).or_insert_with(|| Tenant::new(id.clone(), origin.at));
    tenant.apply(&command.change, origin.at, version)?;
    tenant.version = version;
    let mut keys = world.keys.lock().unwrap();
    match &command.change {
        Change::DeleteTenant => {
            tenants.remove(id);
            return Ok(Effect::Deleted);
        }
        Change::CreateKey { id: key, name, expires_at, imported, hash } => {
            if *imported && hash.0 == [9; 32] {
                return Err(ExecuteError::KeyTaken);
            }
            keys.push(ApiKey {
                id: key.clone(),
                tenant: id.clone(),
                name: name.clone(),
                expires_at: *expires_at,
                imported: *imported,
                created_at: origin.at,
            });
            return Ok(Effect::KeyCreated(key.clone()));
        }
        Change::RevokeKey(key) => {
            let before = keys.len();
            keys.retain(|k| k.id != *key);
            if keys.len() == before {
                return Err(ExecuteError::NoKey(id.clone(), key.clone()));
            }
            return Ok(Effect::Deleted);
        }
        _ => {}
    }
    Ok(if created { Effect::Created } else { Effect::Updated })
}

#[async_trait]
impl TenantStore for Fake {
    async fn tenant(&self, id: &TenantId) -> Result<Snapshot<Option<Tenant>>, StoreError> {
        self.0.check()?;
        let value = self.0.tenants.lock().unwrap().get(id).cloned();
        Ok(Snapshot { version: Version(self.0.version.load(Ordering::SeqCst)), value })
    }

    async fn tenants(&self, after: Option<&TenantId>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        self.0.check()?;
        let all = self.0.tenants.lock().unwrap();
        Ok(all.values().filter(|t| after.is_none_or(|a| t.id > *a)).take(limit as usize).cloned().collect())
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<ApiKey>, StoreError> {
        self.0.check()?;
        Ok(self.0.keys.lock().unwrap().iter().filter(|k| k.tenant == *tenant).cloned().collect())
    }

    async fn execute(&self, command: &Command, origin: &Origin) -> Result<Committed, ExecuteError> {
        self.0.check()?;
        if let Some(idempotency) = &origin.idempotency
            && let Some((fingerprint, committed)) = self.0.done.lock().unwrap().get(&idempotency.key)
        {
            if *fingerprint != idempotency.fingerprint {
                return Err(ExecuteError::IdempotencyConflict);
            }
            return Ok(Committed { replayed: true, ..committed.clone() });
        }
        let version = Version(self.0.version.load(Ordering::SeqCst) + 1);
        let effect = change(&self.0, command, origin, version)?;
        self.0.version.store(version.0, Ordering::SeqCst);
        self.0.log.lock().unwrap().push((command.clone(), origin.clone()));
        let committed = Committed { version, effect, replayed: false };
        if let Some(idempotency) = &origin.idempotency {
            let entry = (idempotency.fingerprint.clone(), committed.clone());
            self.0.done.lock().unwrap().insert(idempotency.key.clone(), entry);
        }
        Ok(committed)
    }

    async fn changes(&self, after: Version, limit: u32) -> Result<Vec<ChangeRow>, StoreError> {
        let log = self.0.log.lock().unwrap();
        let rows = log.iter().zip(1u64..).map(|((command, origin), n)| ChangeRow {
            version: Version(n),
            tenant: command.tenant.clone(),
            kind: command.change.kind().to_owned(),
            at: origin.at,
        });
        Ok(rows.filter(|row| row.version > after).take(limit as usize).collect())
    }

    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let log = self.0.log.lock().unwrap();
        let rows = log.iter().zip(1u64..).map(|((command, origin), n)| AuditRow {
            cursor: n,
            version: Version(n),
            at: origin.at,
            actor: origin.actor.clone(),
            source: origin.source.clone(),
            tenant: Some(command.tenant.clone()),
            kind: command.change.kind().to_owned(),
            detail: serde_json::json!({}),
        });
        Ok(rows.filter(|row| row.cursor > after).take(limit as usize).collect())
    }

    async fn usage(&self, _: &TenantId, span: Period) -> Result<Vec<UsageRow>, StoreError> {
        self.0.check()?;
        self.0.asked_usage.lock().unwrap().push(span);
        Ok(self.0.rows.lock().unwrap().iter().filter(|row| span.contains(row.hour)).cloned().collect())
    }
}

#[async_trait]
impl NodeStore for Fake {
    async fn register(&self, _: &Registration) -> Result<Registered, RegisterError> {
        Ok(Registered { version: Version(0), epoch: Epoch(0) })
    }

    async fn poll(&self, _: &Heartbeat) -> Result<PollAnswer, StoreError> {
        Err(StoreError::Unavailable("not for this test".into()))
    }

    async fn deregister(&self, _: Incarnation) -> Result<(), StoreError> {
        Ok(())
    }

    async fn declare_lost(&self, name: &str, _: &Origin) -> Result<Lost, LostError> {
        self.0.check()?;
        match name {
            "a" => Ok(Lost { slots: 2, units: 7 }),
            _ => Err(LostError::Unknown(name.to_owned())),
        }
    }

    async fn left_behind(&self, _: &str, _: Incarnation) -> Result<Lost, StoreError> {
        Ok(Lost { slots: 0, units: 0 })
    }

    async fn open_file(&self, _: uuid::Uuid, _: u64) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.0.check()?;
        Ok(self.0.nodes.lock().unwrap().clone())
    }

    async fn changed(&self) {}
}

impl Ledger for Fake {
    fn charge(&self, _: &Arc<Rights>, _: &[Charge], _: UnixMillis) -> Answer<Hold, ChargeError> {
        panic!("the admin API charges nothing")
    }

    fn usage(&self, rights: &Arc<Rights>, now: UnixMillis) -> BoxFuture<Result<Vec<MeterUsage>, StoreError>> {
        let (world, rights) = (Arc::clone(&self.0), Arc::clone(rights));
        Box::pin(async move {
            world.check()?;
            let calendar = &rights.entitlement.as_ref().unwrap().calendar;
            let mut meters: BTreeMap<&str, Vec<WindowUsage>> = BTreeMap::new();
            for ((meter, window), (used, uncertain)) in world.used.lock().unwrap().iter() {
                meters.entry(meter).or_default().push(WindowUsage {
                    window: *window,
                    period: calendar.period(*window, now),
                    limit: None,
                    used: units(*used),
                    uncertain: units(*uncertain),
                });
            }
            let meters = meters.into_iter();
            Ok(meters
                .map(|(meter, windows)| MeterUsage {
                    meter: MeterId::parse(meter).unwrap(),
                    windows,
                    sources: Vec::new(),
                })
                .collect())
        })
    }
}

impl KeyIssuer for Fake {
    fn generate(&self) -> Result<NewKey, String> {
        let n = self.0.made.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(NewKey {
            id: KeyId::parse(&format!("k{n}")).unwrap(),
            secret: format!("pgk_secret{n}"),
            hash: KeyHash([1; 32]),
        })
    }

    fn import(&self, text: &str) -> Result<NewKey, String> {
        if text.len() < 16 {
            return Err("the key is too short: expected at least 128 random bits".into());
        }
        let hash = if text.starts_with("taken") { [9; 32] } else { [2; 32] };
        Ok(NewKey { secret: text.to_owned(), hash: KeyHash(hash), ..self.generate()? })
    }
}

#[async_trait]
impl Barrier for Fake {
    async fn applied(&self, version: Version) -> Applied {
        self.0.waited.lock().unwrap().push(version);
        Applied { nodes: 1, pending: self.0.pending.lock().unwrap().clone() }
    }
}

pub fn node(name: &str, applied: u64, digest: &str, age: Duration) -> NodeRow {
    NodeRow {
        name: name.to_owned(),
        incarnation: Incarnation(uuid::Uuid::nil()),
        applied: Version(applied),
        digest: Digest(digest.into()),
        beat_age: age,
        beat: UnixMillis(0),
    }
}

fn limited(n: u64) -> Allowance {
    Allowance::Limited(units(n))
}

fn plan(id: &str, features: &[u16], seats: u64, meters: [MeterTerms; 2]) -> (PlanId, Arc<Plan>) {
    let id = PlanId::parse(id).unwrap();
    let mut set = FeatureSet::empty(2);
    features.iter().for_each(|ix| set.insert(FeatureIx(*ix)));
    let plan = Plan {
        features: set,
        limits: [(LimitId::parse("seats").unwrap(), limited(seats))].into(),
        meters: Box::new(meters),
        ..Plan::empty(id.clone())
    };
    (id, Arc::new(plan))
}

fn routes() -> RouteTable {
    let mut table = RouteTable::default();
    let tokens = |n| Charge { meter: MeterIx(0), units: units(n) };
    let requests = |n| Charge { meter: MeterIx(1), units: units(n) };
    let mut add = |route: &str, public: bool, feature: Option<u16>, charge: Vec<Charge>| {
        let (methods, path) = route.split_once(' ').unwrap();
        let mut features = FeatureSet::empty(2);
        feature.into_iter().for_each(|ix| features.insert(FeatureIx(ix)));
        let (charge, settle) = (charge.into(), Box::default());
        let operation = Operation { name: route.to_owned(), public, features, charge, settle };
        let methods = Methods::Named(methods.split('|').map(str::to_owned).collect());
        table.add(&methods, &Pattern::parse(path).unwrap(), operation).unwrap();
    };
    add("GET /healthz", true, None, vec![]);
    add("GET /v1/messages/{id}", false, Some(0), vec![requests(1)]);
    add("GET /v1/export", false, Some(1), vec![requests(10)]);
    add("POST /v1/bulk", false, None, vec![requests(200)]);
    add("POST /v1/ai", false, None, vec![tokens(1), requests(1)]);
    table
}

/// Plans `free` (chat, 100 requests) and `pro` (chat and export, 1000 requests, tokens with overage).
fn catalog() -> Arc<Catalog> {
    let rate = Rate { limit: units(50), per: Duration::from_secs(1), burst: units(100) };
    let hard = |n, day| MeterTerms {
        quota: Some(Quota { day: Some(limited(day)), ..Quota::monthly(limited(n)) }),
        rate: Some(rate),
    };
    let soft = Quota { overage: Overage::Allow { cap: Some(units(5)) }, ..Quota::monthly(limited(10)) };
    let ids = ["chat", "export"];
    Arc::new(Catalog {
        features: ids.map(|id| Feature { id: FeatureId::parse(id).unwrap(), title: None }).into(),
        limits: vec![Limit { id: LimitId::parse("seats").unwrap(), title: None }],
        meters: ["ai_tokens", "requests"]
            .map(|id| Meter { id: MeterId::parse(id).unwrap(), title: None, unit: None })
            .into(),
        plans: [
            plan("free", &[0], 1, [MeterTerms::default(), hard(100, 20)]),
            plan("pro", &[0, 1], 5, [MeterTerms { quota: Some(soft), rate: None }, hard(1000, 200)]),
        ]
        .into(),
        routes: routes(),
        unmatched: Unmatched::Deny,
        ..Catalog::empty(Digest("d1".into()))
    })
}

/// The time now, for a look.
pub fn now(world: &World) -> UnixMillis {
    world.clock.now()
}
