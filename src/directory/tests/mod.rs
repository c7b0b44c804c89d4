//! The directory over a store that the test holds in its hand.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;

mod fronts;

use super::*;
use crate::{
    clock::ManualClock,
    domain::{
        catalog::{Catalog, Digest, Unmatched},
        command::{Change, Command},
        identity::{ApiKey, Credential},
        period::{AnchorDay, Period},
        plan::Plan,
        subscription::Subscription,
        tenant::Tenant,
        time::UnixMillis,
    },
    ports::{AuditRow, ChangeRow, Committed, Effect, ExecuteError, Origin, Snapshot, StoreError, UsageRow},
};

#[derive(Default)]
struct FakeStore {
    tenants: Mutex<BTreeMap<TenantId, Tenant>>,
    version: AtomicU64,
    reads: AtomicU64,
    away: AtomicBool,
    gate: Mutex<Option<Arc<tokio::sync::Notify>>>,
}

#[async_trait]
impl TenantStore for FakeStore {
    async fn tenant(&self, id: &TenantId) -> Result<Snapshot<Option<Tenant>>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let value = self.tenants.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        let version = Version(self.version.load(Ordering::SeqCst));
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(gate) = gate {
            gate.notified().await;
        }
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("away".into()));
        }
        Ok(Snapshot { version, value })
    }
    async fn tenants(&self, _: Option<&TenantId>, _: u32) -> Result<Vec<Tenant>, StoreError> {
        Ok(Vec::new())
    }
    async fn keys(&self, _: &TenantId) -> Result<Vec<ApiKey>, StoreError> {
        Ok(Vec::new())
    }
    async fn execute(&self, command: &Command, _: &Origin) -> Result<Committed, ExecuteError> {
        let Change::Enroll { plan } = &command.change else { panic!("unexpected {command:?}") };
        self.put_one(command.tenant.as_str(), Some(plan.id.as_str()));
        let version = Version(self.version.load(Ordering::SeqCst));
        Ok(Committed { version, effect: Effect::Created, replayed: false })
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

impl FakeStore {
    /// Puts the tenant `acme` on a plan (or away), at the next version, and returns it.
    fn put(&self, plan: Option<&str>) -> Version {
        self.put_one("acme", plan)
    }

    fn put_one(&self, name: &str, plan: Option<&str>) -> Version {
        let version = Version(self.version.fetch_add(1, Ordering::SeqCst) + 1);
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let id = TenantId::parse(name).unwrap();
        match plan {
            Some(plan) => tenants.insert(id.clone(), tenant(id, plan, version)),
            None => tenants.remove(&id),
        };
        version
    }
}

fn tenant(id: TenantId, plan: &str, version: Version) -> Tenant {
    Tenant {
        subscription: Some(Subscription::active(
            plan.parse().unwrap(),
            AnchorDay::new(1).unwrap(),
            version,
            UnixMillis(0),
        )),
        version,
        ..Tenant::new(id, UnixMillis(0))
    }
}

fn catalog() -> Arc<Catalog> {
    let plan = |name: &str| {
        let id = PlanId::parse(name).unwrap();
        let plan = Plan {
            features: Default::default(),
            limits: Default::default(),
            meters: Box::default(),
            ..Plan::empty(id.clone())
        };
        (id, Arc::new(plan))
    };
    Arc::new(Catalog {
        features: Vec::new(),
        limits: Vec::new(),
        meters: Vec::new(),
        plans: [plan("free"), plan("pro")].into_iter().collect(),
        routes: Default::default(),
        unmatched: Unmatched::Deny,
        ..Catalog::empty(Digest("d".into()))
    })
}

struct Scene {
    store: Arc<FakeStore>,
    freshness: Arc<Freshness>,
    clock: Arc<ManualClock>,
    directory: TenantDirectory,
    catalog: Arc<Catalog>,
}

fn scene(unknown: UnknownTenants) -> Scene {
    scene_of(unknown, 100)
}

fn scene_of(unknown: UnknownTenants, capacity: u64) -> Scene {
    let store = Arc::new(FakeStore::default());
    let freshness = Arc::new(Freshness::default());
    let clock = ManualClock::at(UnixMillis(1_000_000));
    freshness.polled(clock.monotonic(), 1);
    let settings = Settings { capacity, serve_stale: Duration::from_secs(600), unknown };
    let directory = TenantDirectory::new(
        Arc::clone(&store) as Arc<dyn TenantStore>,
        Arc::clone(&freshness),
        Arc::clone(&clock) as Arc<dyn Clock>,
        Arc::default(),
        settings,
    );
    Scene { store, freshness, clock, directory, catalog: catalog() }
}

fn identity(credential: Credential) -> Arc<Identity> {
    Identity::new(TenantId::parse("acme").unwrap(), credential)
}

impl Scene {
    async fn plan(&self) -> Result<String, ResolveError> {
        let rights = self
            .directory
            .resolve(&identity(Credential::Jwt), &self.catalog, self.clock.monotonic(), self.clock.now())
            .wait()
            .await?;
        Ok(rights.entitlement.as_ref().unwrap().plan.to_string())
    }

    fn is_in_memory(&self) -> bool {
        matches!(
            self.directory.resolve(
                &identity(Credential::Jwt),
                &self.catalog,
                self.clock.monotonic(),
                self.clock.now()
            ),
            Answer::Ready(Ok(_))
        )
    }
}

#[tokio::test]
async fn a_hit_does_not_ask_the_store_and_a_change_does() {
    let scene = scene(UnknownTenants::Deny);
    scene.store.put(Some("free"));
    assert_eq!(scene.plan().await.unwrap(), "free");
    assert!(scene.is_in_memory());
    assert_eq!(scene.store.reads.load(Ordering::SeqCst), 1);
    let version = scene.store.put(Some("pro"));
    scene.freshness.outdate(&TenantId::parse("acme").unwrap(), version);
    assert!(!scene.is_in_memory());
    assert_eq!(scene.plan().await.unwrap(), "pro");
    assert_eq!(scene.store.reads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_fill_that_began_before_a_change_is_not_used_after_it() {
    let scene = Arc::new(scene(UnknownTenants::Deny));
    scene.store.put(Some("free"));
    let gate = Arc::new(tokio::sync::Notify::new());
    *scene.store.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let change = async {
        while scene.store.reads.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let version = scene.store.put(Some("pro"));
        scene.freshness.outdate(&TenantId::parse("acme").unwrap(), version);
        gate.notify_one();
    };
    let (plan, ()) = tokio::join!(scene.plan(), change);
    assert_eq!(plan.unwrap(), "pro");
}

#[tokio::test]
async fn many_requests_share_one_read() {
    let scene = scene(UnknownTenants::Deny);
    scene.store.put(Some("free"));
    let plans = futures_util::future::join_all((0..50).map(|_| scene.plan())).await;
    assert!(plans.iter().all(|plan| plan.as_deref() == Ok("free")));
    assert_eq!(scene.store.reads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_new_catalog_recompiles_without_the_store() {
    let mut scene = scene(UnknownTenants::Deny);
    scene.store.put(Some("free"));
    scene.plan().await.unwrap();
    scene.store.away.store(true, Ordering::SeqCst);
    scene.catalog = catalog();
    assert!(scene.is_in_memory());
    assert_eq!(scene.store.reads.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stale_node_waits_once_then_serves_what_it_knows_for_a_while() {
    let scene = scene(UnknownTenants::Deny);
    scene.store.put(Some("free"));
    scene.plan().await.unwrap();
    scene.clock.advance(Duration::from_secs(2));
    assert!(!scene.is_in_memory());
    assert_eq!(scene.plan().await.unwrap(), "free");
    assert!(scene.freshness.waited_in_vain(scene.clock.monotonic()));
    scene.clock.advance(Duration::from_secs(700));
    assert_eq!(scene.plan().await, Err(ResolveError::Unavailable));
    scene.freshness.polled(scene.clock.monotonic(), 1);
    assert!(!scene.freshness.waited_in_vain(scene.clock.monotonic()));
    assert!(scene.is_in_memory());
    scene.freshness.retire();
    assert_eq!(scene.plan().await, Err(ResolveError::Unavailable));
}

#[tokio::test]
async fn unknown_tenants_are_refused_or_enrolled_by_a_token_only() {
    let denying = scene(UnknownTenants::Deny);
    assert_eq!(denying.plan().await, Err(ResolveError::TenantUnknown));
    let version = denying.store.put(Some("free"));
    denying.freshness.outdate(&TenantId::parse("acme").unwrap(), version);
    assert_eq!(denying.plan().await.unwrap(), "free");

    let enrolling = scene(UnknownTenants::Enroll(PlanId::parse("free").unwrap()));
    let key = identity(Credential::ApiKey { id: crate::domain::id::KeyId::parse("k").unwrap() });
    let Answer::Pending(pending) = enrolling.directory.resolve(
        &key,
        &enrolling.catalog,
        enrolling.clock.monotonic(),
        enrolling.clock.now(),
    ) else {
        panic!()
    };
    assert_eq!(pending.await.unwrap_err(), ResolveError::TenantUnknown);
    assert_eq!(enrolling.plan().await.unwrap(), "free");
    assert!(enrolling.is_in_memory());
}

#[tokio::test]
async fn a_store_that_is_away_is_not_a_missing_tenant() {
    let scene = scene(UnknownTenants::Deny);
    scene.store.put(Some("free"));
    scene.store.away.store(true, Ordering::SeqCst);
    assert_eq!(scene.plan().await, Err(ResolveError::Unavailable));
    scene.store.away.store(false, Ordering::SeqCst);
    assert_eq!(scene.plan().await.unwrap(), "free");
}

#[tokio::test]
async fn a_plan_that_the_policies_lost_is_not_the_tenants_fault() {
    let scene = scene(UnknownTenants::Deny);
    scene.store.put(Some("gone"));
    assert_eq!(scene.plan().await, Err(ResolveError::Unavailable));
}

#[tokio::test]
async fn what_is_known_beforehand_comes_into_force_without_the_store() {
    use crate::domain::subscription::{Scheduled, Upcoming};

    let scene = scene(UnknownTenants::Deny);
    scene.store.put(Some("pro"));
    let due = UnixMillis(scene.clock.now().0 + 500);
    let scheduled = Scheduled {
        at: due,
        at_period_end: false,
        version: Version(1),
        what: Upcoming::Plan { plan: "free".parse().unwrap(), anchor: None, usage: Default::default() },
    };
    if let Some(tenant) = scene.store.tenants.lock().unwrap().get_mut("acme") {
        tenant.subscription.as_mut().unwrap().scheduled = Some(scheduled);
    }
    let front = scene.directory.front();
    let who = identity(Credential::Jwt);
    let plan = |now: UnixMillis| {
        let asked = front.resolve(&who, &scene.catalog, scene.clock.monotonic(), now);
        async move { asked.wait().await.unwrap().entitlement.as_ref().unwrap().plan.to_string() }
    };
    assert_eq!(plan(scene.clock.now()).await, "pro");
    scene.store.away.store(true, Ordering::SeqCst);
    scene.clock.advance(Duration::from_millis(499));
    assert_eq!(plan(scene.clock.now()).await, "pro");
    scene.clock.advance(Duration::from_millis(1));
    assert_eq!(plan(scene.clock.now()).await, "free", "at the instant");
    assert_eq!(plan(UnixMillis(due.0 - 1)).await, "pro", "for one that arrived before it");
    assert_eq!(plan(due).await, "free");
    assert_eq!(scene.store.reads.load(Ordering::SeqCst), 1);
    assert_eq!(scene.plan().await.unwrap(), "free");
}
