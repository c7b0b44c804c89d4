//! Ports in memory, as small as the tests allow.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use super::policies::catalog;
use crate::{
    admin::AdminState,
    clock::{Clock, ManualClock},
    domain::{
        catalog::{Catalog, Digest},
        command::{Change, Command},
        id::{KeyId, MeterId, PlanId, TenantId},
        identity::{ApiKey, KeyHash},
        impact::{DayUse, Lookback, Spent},
        period::{Period, Window},
        plan::PlanRef,
        revision::PolicyFiles,
        rights::{Rights, Source},
        route::Charge,
        tenant::Tenant,
        time::{Epoch, UnixMillis, Version},
        transitions::State,
        units::Units,
    },
    pipeline::refusals::Refusals,
    ports::*,
};

pub fn at(text: &str) -> UnixMillis {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

pub fn units(n: u64) -> Units {
    Units::new(n).unwrap()
}

/// Units used and uncertain of what is beside the plan's, by meter and source.
pub type UsedOfSources = BTreeMap<(&'static str, Source), (u64, u64)>;

/// Units used and uncertain, by meter and window; the month's are the plan's own.
pub type UsedUnits = BTreeMap<(&'static str, Window), (u64, u64)>;

/// Everything a test may look at or break.
pub struct World {
    pub clock: Arc<ManualClock>,
    pub catalog: Mutex<Arc<Catalog>>,
    pub tenants: Mutex<BTreeMap<TenantId, Tenant>>,
    pub grants: Mutex<BTreeMap<TenantId, Vec<GrantRow>>>,
    pub keys: Mutex<Vec<ApiKey>>,
    pub log: Mutex<Vec<(Command, Origin)>>,
    pub done: Mutex<BTreeMap<String, (String, Committed)>>,
    pub used: Mutex<UsedUnits>,
    pub beside: Mutex<UsedOfSources>,
    pub rows: Mutex<Vec<UsageRow>>,
    pub asked_usage: Mutex<Vec<Period>>,
    pub nodes: Mutex<Vec<NodeRow>>,
    pub waited: Mutex<Vec<Version>>,
    pub pending: Mutex<Vec<String>>,
    pub failure: Mutex<Option<StoreError>>,
    pub panics: AtomicBool,
    pub version: AtomicU64,
    pub made: AtomicU64,
    /// What the compiler makes of files with a `routes.yaml`; `None`: the catalog of these tests.
    pub candidate: Mutex<Option<Catalog>>,
    pub days: Mutex<HashMap<TenantId, Vec<DayUse>>>,
    pub spent: Mutex<HashMap<TenantId, Vec<Spent>>>,
    /// Holds a survey up until something is sent.
    pub held: Mutex<Option<tokio::sync::oneshot::Receiver<()>>>,
    pub events: Arc<super::usage_events::Events>,
}

impl World {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: ManualClock::at(at("2026-11-22T10:00:00Z")),
            catalog: Mutex::new(catalog()),
            tenants: Mutex::default(),
            grants: Mutex::default(),
            keys: Mutex::default(),
            log: Mutex::default(),
            done: Mutex::default(),
            used: Mutex::default(),
            beside: Mutex::default(),
            rows: Mutex::default(),
            asked_usage: Mutex::default(),
            nodes: Mutex::default(),
            waited: Mutex::default(),
            pending: Mutex::default(),
            failure: Mutex::default(),
            panics: AtomicBool::new(false),
            version: AtomicU64::new(0),
            made: AtomicU64::new(0),
            candidate: Mutex::default(),
            days: Mutex::default(),
            spent: Mutex::default(),
            held: Mutex::default(),
            events: Arc::default(),
        })
    }

    pub fn state(self: &Arc<Self>, token: Option<&str>) -> AdminState {
        let world = Arc::new(Fake(Arc::clone(self)));
        let ready = Arc::clone(self);
        AdminState {
            tenants: world.clone(),
            lifecycle: world.clone(),
            events: Arc::new(crate::admin::tests::event_log::Told),
            exports: Arc::new(crate::store::memory::Memory::new().unwrap()),
            nodes: world.clone(),
            policies: world.clone(),
            compiler: world.clone(),
            revisions: Arc::new(crate::admin::tests::no_revisions::NoRevisions),
            shadow: Arc::new(crate::admin::tests::no_revisions::NoRevisions),
            webhooks: Arc::new(crate::store::memory::Memory::with_clock(self.clock.clone()).unwrap()),
            outgoing: Arc::new(crate::admin::tests::webhooks::Endpoints::default()),
            folder: Arc::new(|| None),
            stripe: Arc::new(crate::admin::tests::no_stripe::NoStripe),
            survey: world.clone(),
            usage_events: self.events.clone(),
            statements: Arc::new(crate::admin::tests::no_revisions::NoRevisions),
            bills: Arc::new(crate::admin::tests::no_revisions::NoRevisions),
            previews: world.clone(),
            ledger: world.clone(),
            keys: world.clone(),
            barrier: world,
            clock: self.clock.clone(),
            node: "a".to_owned(),
            age: Arc::new(|| Some(Duration::from_millis(85))),
            refusals: Arc::new(Refusals::of_workers(1)),
            metrics: Arc::new(|| "plangate_connections 1\n# EOF\n".to_owned()),
            readiness: Arc::new(move || {
                let reasons: Vec<String> =
                    ready.failure.lock().unwrap().iter().map(ToString::to_string).collect();
                Readiness { ready: reasons.is_empty(), reasons }
            }),
            audit: Arc::new(Fake(Arc::clone(self))),
            tokens: Arc::new(crate::store::memory::Memory::new().unwrap()),
            token_issuer: Arc::new(Fake(Arc::clone(self))),
            trusts: Arc::new(|_| false),
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

struct Fake(Arc<World>);

impl Policies for Fake {
    fn catalog(&self) -> Arc<Catalog> {
        self.0.catalog.lock().unwrap().clone()
    }
}

impl PolicyCompiler for Fake {
    fn compile(&self, files: &PolicyFiles) -> Result<(Catalog, Vec<Finding>), Vec<Finding>> {
        // The adapter is not this room's to know; whoever gives files of this name gets the catalog of the tests.
        match files.0.get("routes.yaml") {
            Some(_) => {
                let candidate = self.0.candidate.lock().unwrap().clone();
                Ok((candidate.unwrap_or_else(|| Catalog::clone(&catalog())), Vec::new()))
            }
            None => Err(vec![Finding {
                severity: "error",
                code: "file-missing",
                message: "the folder has no routes.yaml".to_owned(),
                help: None,
                file: "routes.yaml".to_owned(),
                place: None,
                source: None,
            }]),
        }
    }
}

#[async_trait]
impl SurveyStore for Fake {
    async fn used_of(
        &self,
        tenants: &[Lookback],
        _: UnixMillis,
    ) -> Result<HashMap<TenantId, Vec<DayUse>>, StoreError> {
        self.0.check()?;
        let held = self.0.held.lock().unwrap().take();
        if let Some(held) = held {
            let _ = held.await;
        }
        let days = self.0.days.lock().unwrap();
        let of = |one: &Lookback| Some((one.tenant.clone(), days.get(&one.tenant)?.clone()));
        Ok(tenants.iter().filter_map(of).collect())
    }

    async fn spent_of(
        &self,
        _: &[Lookback],
        _: UnixMillis,
    ) -> Result<HashMap<TenantId, Vec<Spent>>, StoreError> {
        Ok(self.0.spent.lock().unwrap().clone())
    }

    async fn told_of(
        &self,
        _: &[TenantId],
    ) -> Result<HashMap<TenantId, Vec<crate::domain::stripe::StripeEvent>>, StoreError> {
        Ok(HashMap::new())
    }
}

#[async_trait]
impl Previews for Fake {
    async fn preview(&self, catalog: Catalog) -> Result<Catalog, StoreError> {
        self.0.check()?;
        Ok(catalog)
    }
}

fn keep_grants(world: &World, before: &Tenant, after: &Tenant, at: UnixMillis) {
    let mut grants = world.grants.lock().unwrap();
    let history = grants.entry(after.id.clone()).or_default();
    let is_of = |tenant: &Tenant, row: &GrantRow| tenant.grants.iter().any(|grant| grant.id == row.grant.id);
    for row in history.iter_mut().filter(|row| is_of(before, row) && !is_of(after, row)) {
        row.ended_at = Some(at);
    }
    let given = after.grants.iter().filter(|grant| !before.grants.contains(grant));
    history.extend(given.map(|grant| GrantRow { grant: grant.clone(), ended_at: None }));
}

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
    let before = tenants.get(id).cloned().unwrap_or_else(|| Tenant::new(id.clone(), origin.at));
    let mut tenant = before.clone();
    if command.change.is_of_tenant() {
        tenant.apply(&command.change, origin.at, version)?;
    }
    keep_grants(world, &before, &tenant, origin.at);
    tenants.insert(id.clone(), tenant);
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
        Change::Grant(_) => {
            let given = tenants[id].grants.last().unwrap().id.clone();
            return Ok(Effect::GrantCreated(given));
        }
        Change::Attach { addon, .. } if before.addons.iter().all(|had| had.addon != *addon) => {
            return Ok(Effect::Created);
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
            tenant: Some(command.tenant.clone()),
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
impl LifecycleStore for Fake {
    async fn grants(
        &self,
        tenant: &TenantId,
        before: Option<Version>,
        limit: u32,
    ) -> Result<Vec<GrantRow>, StoreError> {
        self.0.check()?;
        let grants = self.0.grants.lock().unwrap();
        let mut rows: Vec<GrantRow> = grants.get(tenant).into_iter().flatten().rev().cloned().collect();
        rows.retain(|row| before.is_none_or(|before| row.grant.number < before));
        // Those of one number are on one page.
        let last = rows.get(limit as usize - 1).map(|row| row.grant.number);
        rows.retain(|row| last.is_none_or(|last| row.grant.number >= last));
        Ok(rows)
    }

    async fn due(&self, _: UnixMillis, _: u32) -> Result<Vec<TenantId>, StoreError> {
        panic!("the admin API writes down nothing by itself")
    }

    async fn upcoming(
        &self,
        after: Option<&(UnixMillis, TenantId)>,
        limit: u32,
    ) -> Result<Vec<Tenant>, StoreError> {
        self.0.check()?;
        let tenants = self.0.tenants.lock().unwrap();
        let all = tenants.values().filter_map(|tenant| Some((tenant.next_instant()?, tenant.id.clone())));
        let mut places: Vec<_> = all.filter(|place| after.is_none_or(|after| place > after)).collect();
        places.sort();
        Ok(places.into_iter().take(limit as usize).map(|(_, id)| tenants[&id].clone()).collect())
    }

    async fn on_older_version(
        &self,
        _: &PlanRef,
        _: Option<&TenantId>,
        _: u32,
    ) -> Result<Vec<Tenant>, StoreError> {
        panic!("the admin API moves nobody")
    }

    async fn to_roll_over(&self, _: &[PlanId], _: UnixMillis, _: u32) -> Result<Vec<TenantId>, StoreError> {
        panic!("the admin API rolls nothing over")
    }

    async fn tenants_by_plan(&self) -> Result<Vec<(PlanRef, u64)>, StoreError> {
        self.0.check()?;
        let mut counts = BTreeMap::<PlanRef, u64>::new();
        for tenant in self.0.tenants.lock().unwrap().values() {
            let subscription = tenant.subscription.iter();
            for subscription in subscription.filter(|s| s.state.state() != State::Canceled) {
                *counts.entry(subscription.plan.clone()).or_default() += 1;
            }
        }
        Ok(counts.into_iter().collect())
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
            let (used, beside) = (world.used.lock().unwrap(), world.beside.lock().unwrap());
            let names: BTreeSet<&str> =
                used.keys().map(|(meter, _)| *meter).chain(beside.keys().map(|(meter, _)| *meter)).collect();
            let usage = |meter: &str| {
                let windows = used.iter().filter(|((of, _), _)| *of == meter);
                let windows = windows.map(|((_, window), (used, uncertain))| WindowUsage {
                    window: *window,
                    period: calendar.period(*window, now),
                    limit: None,
                    used: units(*used),
                    uncertain: units(*uncertain),
                });
                let month = used.iter().filter(|((of, window), _)| (*of, *window) == (meter, Window::Month));
                let month = month.map(|(_, used)| (Source::Plan, *used));
                let beside = beside.iter().filter(|((of, _), _)| *of == meter);
                let sources = month.chain(beside.map(|((_, source), used)| (*source, *used)));
                let sources = sources.map(|(source, (used, uncertain))| SourceUsage {
                    source,
                    period: calendar.month(now),
                    limit: None,
                    used: units(used),
                    uncertain: units(uncertain),
                });
                let (windows, sources) = (windows.collect(), sources.collect());
                MeterUsage { meter: MeterId::parse(meter).unwrap(), windows, sources }
            };
            Ok(names.into_iter().map(usage).collect())
        })
    }
}

#[async_trait]
impl AuditStore for Fake {
    async fn audit_lines(
        &self,
        after: u64,
        limit: u32,
        only: &AuditFilter,
    ) -> Result<Vec<AuditLine>, StoreError> {
        let rows = self.audit(after, u32::MAX).await?.into_iter().map(|row| AuditLine {
            cursor: row.cursor,
            version: row.version.0,
            at: row.at,
            actor: row.actor,
            source: row.source,
            tenant: row.tenant.map(|tenant| tenant.to_string()),
            kind: row.kind,
            detail: row.detail,
            before: serde_json::Value::Null,
            after: serde_json::Value::Null,
            previous: None,
            hash: None,
        });
        let fits = |line: &AuditLine| only.kind.as_ref().is_none_or(|kind| *kind == line.kind);
        Ok(rows.filter(fits).take(limit as usize).collect())
    }

    async fn audit_head(&self) -> Result<AuditHead, StoreError> {
        self.0.check()?;
        let link = AuditLink { cursor: 0, hash: "0".repeat(64) };
        Ok(AuditHead { head: link.clone(), at: None, start: 0, anchor: link })
    }
}

impl TokenIssuer for Fake {
    fn generate(&self) -> Result<IssuedToken, String> {
        let n = self.0.made.fetch_add(1, Ordering::SeqCst) + 1;
        let secret = format!("pga_{n}");
        let hash = TokenIssuer::hash(self, secret.as_bytes()).unwrap();
        Ok(IssuedToken { id: format!("tok_{n}"), secret, hash })
    }

    fn hash(&self, presented: &[u8]) -> Option<KeyHash> {
        let mut hash = [0; 32];
        let rest = presented.strip_prefix(b"pga_").filter(|rest| rest.len() <= 32)?;
        hash[..rest.len()].copy_from_slice(rest);
        Some(KeyHash(hash))
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
        Ok(NewKey { secret: text.to_owned(), hash: KeyHash(hash), ..KeyIssuer::generate(self)? })
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

/// The time now, for a look.
pub fn now(world: &World) -> UnixMillis {
    world.clock.now()
}
