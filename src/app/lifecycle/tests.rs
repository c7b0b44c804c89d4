//! The job over a store in memory, with time that only the test lets pass.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;

use super::*;
use crate::{
    clock::ManualClock,
    domain::{
        catalog::{Catalog, Digest, Meter},
        command::{NewGrant, Subscribe, TrialOffer, When},
        event::EventKind,
        identity::ApiKey,
        period::{Period, Zone},
        plan::{Existing, MeterTerms, Plan, PlanRef, PlanVersion, Quota, Rollover},
        subscription::UsageRule,
        tenant::Tenant,
        time::Version,
        transitions::State,
        units::{Allowance, Units},
    },
    ports::{AuditRow, ChangeRow, Committed, EventRow, GrantRow, Snapshot, UsageRow, WhichEvents},
    store::memory::Memory,
};

const START: UnixMillis = UnixMillis(1_760_000_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn tenant(id: &str) -> TenantId {
    id.parse().unwrap()
}

/// A store that counts what it is asked, and fails as it is told.
struct Watched {
    memory: Memory,
    asked: Mutex<BTreeMap<&'static str, u32>>,
    /// Whose changes fail, and how.
    bad: Mutex<BTreeMap<TenantId, StoreError>>,
    away: AtomicBool,
}

impl Watched {
    fn asked(&self, what: &'static str) -> Result<(), StoreError> {
        *self.asked.lock().unwrap().entry(what).or_default() += 1;
        if self.away.load(Ordering::SeqCst) { Err(StoreError::Unavailable("away".into())) } else { Ok(()) }
    }

    fn take(&self) -> BTreeMap<&'static str, u32> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

#[async_trait]
impl TenantStore for Watched {
    async fn tenant(&self, id: &TenantId) -> Result<Snapshot<Option<Tenant>>, StoreError> {
        self.asked("tenant")?;
        self.memory.tenant(id).await
    }
    async fn tenants(&self, after: Option<&TenantId>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        self.memory.tenants(after, limit).await
    }
    async fn keys(&self, tenant: &TenantId) -> Result<Vec<ApiKey>, StoreError> {
        self.memory.keys(tenant).await
    }
    async fn execute(&self, command: &Command, origin: &Origin) -> Result<Committed, ExecuteError> {
        self.asked("execute")?;
        let bad = self.bad.lock().unwrap().get(&command.tenant).cloned();
        match bad {
            Some(error) => Err(error.into()),
            None => self.memory.execute(command, origin).await,
        }
    }
    async fn changes(&self, after: Version, limit: u32) -> Result<Vec<ChangeRow>, StoreError> {
        self.memory.changes(after, limit).await
    }
    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        self.memory.audit(after, limit).await
    }
    async fn usage(&self, tenant: &TenantId, span: Period) -> Result<Vec<UsageRow>, StoreError> {
        self.memory.usage(tenant, span).await
    }
}

#[async_trait]
impl LifecycleStore for Watched {
    async fn grants(
        &self,
        tenant: &TenantId,
        before: Option<Version>,
        limit: u32,
    ) -> Result<Vec<GrantRow>, StoreError> {
        self.memory.grants(tenant, before, limit).await
    }
    async fn due(&self, now: UnixMillis, limit: u32) -> Result<Vec<TenantId>, StoreError> {
        self.asked("due")?;
        self.memory.due(now, limit).await
    }
    async fn upcoming(
        &self,
        after: Option<&(UnixMillis, TenantId)>,
        limit: u32,
    ) -> Result<Vec<Tenant>, StoreError> {
        self.memory.upcoming(after, limit).await
    }
    async fn on_older_version(
        &self,
        plan: &PlanRef,
        after: Option<&TenantId>,
        limit: u32,
    ) -> Result<Vec<Tenant>, StoreError> {
        self.asked("on_older_version")?;
        self.memory.on_older_version(plan, after, limit).await
    }
    async fn to_roll_over(
        &self,
        plans: &[crate::domain::id::PlanId],
        ended: UnixMillis,
        limit: u32,
    ) -> Result<Vec<TenantId>, StoreError> {
        self.asked("to_roll_over")?;
        self.memory.to_roll_over(plans, ended, limit).await
    }
    async fn tenants_by_plan(&self) -> Result<Vec<(PlanRef, u64)>, StoreError> {
        self.memory.tenants_by_plan().await
    }
}

#[async_trait]
impl EventStore for Watched {
    async fn events(&self, after: u64, limit: u32, which: &WhichEvents) -> Result<Vec<EventRow>, StoreError> {
        self.memory.events(after, limit, which).await
    }
    async fn tell_trial_ends(&self, now: UnixMillis, limit: u32) -> Result<bool, StoreError> {
        self.asked("tell_trial_ends")?;
        self.memory.tell_trial_ends(now, limit).await
    }
}

struct Catalogs(Mutex<Arc<Catalog>>);

impl Policies for Catalogs {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.0.lock().unwrap())
    }
}

/// An installation of any number of nodes.
struct World {
    store: Arc<Watched>,
    policies: Arc<Catalogs>,
    clock: Arc<ManualClock>,
    freshness: Arc<Freshness>,
}

/// A catalog of one meter and these plans, each with 100 units a month.
fn catalog(plans: impl IntoIterator<Item = Plan>) -> Arc<Catalog> {
    let mut catalog = Catalog::empty(Digest("d".into()));
    catalog.meters.push(Meter { id: "requests".parse().unwrap(), title: None, unit: None });
    for mut plan in plans {
        if plan.meters.is_empty() {
            plan.meters = [terms(None)].into();
        }
        catalog.plans.insert(plan.id.clone(), Arc::new(plan));
    }
    Arc::new(catalog)
}

fn terms(rollover: Option<Rollover>) -> MeterTerms {
    let month = Quota::monthly(Allowance::Limited(Units::saturating(100)));
    MeterTerms { quota: Some(Quota { rollover, ..month }), rate: None }
}

fn plan(reference: &str) -> Plan {
    let PlanRef { id, version } = reference.parse().unwrap();
    Plan { version, ..Plan::empty(id) }
}

impl World {
    fn new(plans: impl IntoIterator<Item = Plan>) -> Self {
        let clock = ManualClock::at(START);
        let store = Watched {
            memory: Memory::with_clock(clock.clone()).unwrap(),
            asked: Mutex::default(),
            bad: Mutex::default(),
            away: AtomicBool::new(false),
        };
        let policies = Catalogs(Mutex::new(catalog(plans)));
        Self { store: Arc::new(store), policies: Arc::new(policies), clock, freshness: Arc::default() }
    }

    fn node(&self, number: u64) -> Lifecycle {
        Lifecycle::new(LifecycleParts {
            tenants: Arc::clone(&self.store) as _,
            lives: Arc::clone(&self.store) as _,
            events: Arc::clone(&self.store) as _,
            policies: Arc::clone(&self.policies) as _,
            freshness: Arc::clone(&self.freshness),
            clock: Arc::clone(&self.clock) as _,
            run: Incarnation(uuid::Uuid::from_u64_pair(7, number)),
        })
    }

    async fn change(&self, id: &str, change: Change) {
        let origin =
            Origin { at: self.clock.now(), actor: "a".into(), source: "s".into(), idempotency: None };
        let command = Command { tenant: tenant(id), change };
        self.store.memory.execute(&command, &origin).await.unwrap();
    }

    async fn subscribed(&self, id: &str, plan: &str) {
        self.change(id, Change::PutTenant { name: None, zone: None, attributes: None }).await;
        self.change(id, Change::Subscribe(Subscribe::to(plan.parse().unwrap()))).await;
    }

    /// One that ends in so long.
    async fn ends_in(&self, id: &str, wait: Duration) {
        self.subscribed(id, "pro").await;
        self.change(id, Change::Cancel(When::At(self.clock.now() + wait))).await;
    }

    /// So much later all nodes have heard of the database.
    fn later(&self, by: Duration) {
        self.clock.advance(by);
        self.freshness.polled(self.clock.monotonic(), 1);
    }

    async fn read(&self, id: &str) -> Tenant {
        self.store.memory.tenant(&tenant(id)).await.unwrap().value.unwrap()
    }

    /// Lines of the audit log of a kind.
    async fn written(&self, kind: &str) -> usize {
        self.store.memory.audit(0, 100_000).await.unwrap().iter().filter(|row| row.kind == kind).count()
    }
}

/// Turns until nothing is left to do.
async fn all(node: &mut Lifecycle) {
    for _ in 0..1_000 {
        if !node.turn().await.unwrap() {
            return;
        }
    }
    panic!("it never ends");
}

#[tokio::test]
async fn what_is_due_is_written_once_by_any_number_of_nodes() {
    let world = World::new([plan("pro")]);
    for number in 0..130 {
        world.ends_in(&format!("t{number}"), Duration::from_secs(10)).await;
    }
    world.ends_in("later", DAY).await;
    let mut nodes = [1, 2, 3].map(|number| world.node(number));
    world.later(Duration::from_millis(10_499));
    for node in &mut nodes {
        assert!(!node.turn().await.unwrap());
    }
    assert_eq!(world.written("subscription.canceled").await, 0, "not before it is in force by every clock");
    world.later(Duration::from_millis(1));
    let mut turns = 0;
    while turns == 0 || world.written("subscription.canceled").await < 130 {
        for node in &mut nodes {
            node.turn().await.unwrap();
        }
        turns += 1;
        assert!(turns < 6);
    }
    assert!(turns < 5, "they help each other: {turns} turns");
    for node in &mut nodes {
        all(node).await;
    }
    assert_eq!(world.written("subscription.canceled").await, 130);
    assert_eq!(world.read("t7").await.state(), State::Canceled);
    assert_eq!(world.read("later").await.state(), State::Active);
    let log = world.store.memory.audit(0, 100_000).await.unwrap();
    let line = log.iter().find(|row| row.kind == "subscription.canceled").unwrap();
    assert_eq!((line.actor.as_str(), line.source.as_str()), ("system", "schedule"));
    assert_eq!(line.detail["at"], (START + Duration::from_secs(10)).to_string());
}

#[tokio::test]
async fn whoever_fails_does_not_hold_up_the_others() {
    let world = World::new([plan("pro")]);
    // They are due longest, and more than are asked for at once.
    for number in 0..150 {
        let id = format!("bad{number}");
        world.ends_in(&id, Duration::from_secs(1)).await;
        let corrupt = StoreError::Corrupt("life of tenant".into());
        world.store.bad.lock().unwrap().insert(tenant(&id), corrupt);
    }
    world.ends_in("good", Duration::from_secs(5)).await;
    let mut node = world.node(1);
    world.later(Duration::from_secs(6));
    all(&mut node).await;
    assert_eq!(world.read("good").await.state(), State::Canceled);
    assert_eq!(world.store.take()["execute"], 151);
    // They are left alone for a while, and for longer each time.
    for (wait, tries) in [(4, 0), (1, 150), (9, 0), (1, 150), (19, 0)] {
        world.later(Duration::from_secs(wait));
        all(&mut node).await;
        assert_eq!(world.store.take().get("execute").copied().unwrap_or(0), tries);
    }
    world.store.bad.lock().unwrap().clear();
    world.later(Duration::from_secs(1));
    all(&mut node).await;
    assert_eq!(world.written("subscription.canceled").await, 151);
}

#[tokio::test]
async fn a_store_that_is_away_is_not_asked_for_each() {
    let world = World::new([plan("pro")]);
    for number in 0..20 {
        let id = format!("t{number}");
        world.ends_in(&id, Duration::from_secs(1)).await;
        world.store.bad.lock().unwrap().insert(tenant(&id), StoreError::Unavailable("locked".into()));
    }
    let mut node = world.node(1);
    world.later(Duration::from_secs(2));
    assert!(matches!(node.turn().await, Err(StoreError::Unavailable(_))));
    assert_eq!(world.store.take()["execute"], 3);
    world.store.away.store(true, Ordering::SeqCst);
    assert!(node.turn().await.is_err());
    world.store.away.store(false, Ordering::SeqCst);
    world.store.bad.lock().unwrap().clear();
    world.later(Duration::from_secs(6));
    all(&mut node).await;
    assert_eq!(world.written("subscription.canceled").await, 20);
}

#[tokio::test]
async fn who_has_just_thawed_waits_for_a_poll() {
    let world = World::new([plan("pro")]);
    world.ends_in("acme", Duration::from_secs(1)).await;
    let mut node = world.node(1);
    world.later(Duration::from_secs(1));
    world.clock.advance(DAY);
    assert!(!node.turn().await.unwrap());
    assert!(world.store.take().is_empty());
    world.later(Duration::ZERO);
    all(&mut node).await;
    assert_eq!(world.written("subscription.canceled").await, 1);
}

#[tokio::test]
async fn an_idle_node_asks_once_a_turn() {
    let rolling = Plan { meters: [terms(Some(Rollover::Percent(20)))].into(), ..plan("pro") };
    let moving = ["a@2", "b@2", "c@2"]
        .map(|name| Plan { existing: Existing::On("2030-01-01".parse().unwrap()), ..plan(name) });
    for (plans, asked) in [
        (vec![plan("pro"), plan("basic@7")], vec![("due", 30), ("tell_trial_ends", 10)]),
        (
            [vec![rolling], moving.into()].concat(),
            vec![("due", 30), ("on_older_version", 12), ("tell_trial_ends", 10), ("to_roll_over", 10)],
        ),
    ] {
        let world = World::new(plans);
        world.subscribed("acme", "pro").await;
        world.ends_in("other", DAY).await;
        let mut node = world.node(1);
        for _ in 0..30 {
            world.later(EACH);
            assert!(!node.turn().await.unwrap());
        }
        assert_eq!(world.store.take().into_iter().collect::<Vec<_>>(), asked, "in two minutes");
    }
}

#[tokio::test]
async fn months_are_rolled_over_when_all_leases_are_back() {
    let rolling = Plan { meters: [terms(Some(Rollover::Percent(20)))].into(), ..plan("pro") };
    let world = World::new([rolling, plan("basic")]);
    world.subscribed("acme", "pro").await;
    world.subscribed("other", "basic").await;
    let quotas =
        Quota { rollover: Some(Rollover::Units(Units::saturating(70))), ..terms(None).quota.unwrap() };
    let mut overrides = crate::domain::tenant::Overrides::default();
    overrides.quotas.insert("requests".parse().unwrap(), quotas);
    world.subscribed("own", "pro").await;
    world.change("own", Change::SetOverrides(overrides)).await;
    let mut nodes = [1, 2].map(|number| world.node(number));
    let end = world.read("acme").await.subscription.unwrap().rolls_at;
    let wait = Duration::from_millis(u64::try_from(end.0 - START.0).unwrap());
    world.later(wait + Duration::from_millis(20_500));
    for node in &mut nodes {
        all(node).await;
    }
    assert_eq!(world.written("quota.rolled_over").await, 0);
    world.later(Duration::from_secs(10));
    for node in &mut nodes {
        all(node).await;
    }
    assert_eq!(world.written("quota.rolled_over").await, 2);
    let given = async |id: &str| {
        let tenant = world.read(id).await;
        tenant.grants.iter().map(|grant| grant.units.get()).collect::<Vec<_>>()
    };
    assert_eq!((given("acme").await, given("own").await), (vec![20], vec![70]));
    assert!(given("other").await.is_empty());
}

#[tokio::test]
async fn a_month_whose_tenant_cannot_be_read_is_not_lost() {
    let rolling = Plan { meters: [terms(Some(Rollover::Percent(20)))].into(), ..plan("pro") };
    let world = World::new([rolling]);
    world.subscribed("acme", "pro").await;
    let mut node = world.node(1);
    let end = world.read("acme").await.subscription.unwrap().rolls_at;
    world.later(Duration::from_millis(u64::try_from(end.0 - START.0).unwrap() + 30_000));
    world.store.bad.lock().unwrap().insert(tenant("acme"), StoreError::Unavailable("locked".into()));
    all(&mut node).await;
    assert!(world.read("acme").await.grants.is_empty());
    world.store.bad.lock().unwrap().clear();
    world.later(Duration::from_secs(11));
    all(&mut node).await;
    assert_eq!(world.read("acme").await.grants[0].units.get(), 20);
}

#[tokio::test]
async fn tenants_come_to_a_newer_version_when_it_comes_into_force() {
    let world = World::new([plan("pro")]);
    world
        .change(
            "far",
            Change::PutTenant {
                name: None,
                zone: Some(Zone::named("Pacific/Auckland").unwrap()),
                attributes: None,
            },
        )
        .await;
    world.change("far", Change::Subscribe(Subscribe::to("pro".parse().unwrap()))).await;
    for number in 0..600 {
        world.subscribed(&format!("t{number}"), "pro").await;
    }
    let mut nodes = [1, 2].map(|number| world.node(number));
    let on = async |id: &str| world.read(id).await.subscription.unwrap().plan.version;
    world.later(Duration::from_secs(1));
    all(&mut nodes[0]).await;
    // It is 2025-10-09, 08:53 in UTC.
    let second = Plan { existing: Existing::On("2025-10-10".parse().unwrap()), ..plan("pro@2") };
    *world.policies.0.lock().unwrap() = catalog([second]);
    let mut hours = async |hours: u64, sweeps: bool| {
        world.later(Duration::from_secs(hours * 3_600));
        for node in &mut nodes {
            // Page after page, also where nobody is moved.
            for _ in 0..5 {
                all(node).await;
            }
        }
        assert_eq!(world.store.take().contains_key("on_older_version"), sweeps);
    };
    hours(0, true).await;
    assert_eq!((on("far").await, on("t7").await), (PlanVersion(1), PlanVersion(1)));
    hours(0, false).await;
    hours(3, true).await;
    assert_eq!((on("far").await, on("t7").await), (PlanVersion(2), PlanVersion(1)), "their day began sooner");
    hours(13, true).await;
    assert_eq!((on("t7").await, on("t599").await), (PlanVersion(2), PlanVersion(2)));
    assert_eq!(world.written("plan.moved").await, 601);
}

#[tokio::test]
async fn a_deleted_tenant_is_nobodys_trouble() {
    let world = World::new([plan("pro")]);
    world.ends_in("acme", Duration::from_secs(1)).await;
    let grant = NewGrant {
        meter: "requests".parse().unwrap(),
        units: Units::ONE,
        priority: 1,
        expires_at: None,
        recurring: false,
        reason: None,
    };
    world.change("acme", Change::Grant(grant)).await;
    let mut node = world.node(1);
    world.later(Duration::from_secs(5));
    world.change("acme", Change::DeleteTenant).await;
    let gone = node.make(tenant("acme"), Change::Advance, world.clock.now()).await;
    assert_eq!((gone, node.aside.count()), (Ok(false), 0));
}

#[tokio::test(start_paused = true)]
async fn it_takes_turns_until_the_end() {
    let world = World::new([plan("pro")]);
    world.later(Duration::ZERO);
    let end = CancellationToken::new();
    let ends = async {
        tokio::time::sleep(Duration::from_secs(19)).await;
        end.cancel();
    };
    // Its share of the first pause is a half.
    tokio::join!(world.node(500).run(end.clone()), ends);
    assert_eq!(world.store.take()["due"], 5);
}

#[tokio::test]
async fn the_end_of_a_trial_is_told_in_time_by_any_number_of_nodes() {
    let world = World::new([plan("pro")]);
    let trial = |days| {
        let usage = UsageRule::Keep;
        let trial = TrialOffer { days, then: None, usage, asked: true, again: true };
        Change::Subscribe(Subscribe { trial: Some(trial), ..Subscribe::to("pro".parse().unwrap()) })
    };
    for (id, days) in [("long", 14), ("short", 1), ("bought", 14), ("extended", 14)] {
        world.change(id, Change::PutTenant { name: None, zone: None, attributes: None }).await;
        world.change(id, trial(days)).await;
    }
    let mut nodes = [1, 2, 3].map(|number| world.node(number));
    let mut told = async |wait: Duration| {
        world.later(wait);
        for node in &mut nodes {
            all(node).await;
        }
        let which = WhichEvents { kind: Some(EventKind::TrialWillEnd), tenant: None };
        let all = world.store.memory.events(0, 100, &which).await.unwrap();
        all.into_iter().map(|row| (row.tenant.to_string(), row.at)).collect::<Vec<_>>()
    };
    let second = Duration::from_secs(1);
    let at = |wait: Duration| UnixMillis((START + wait).0 - SETTLED_MILLIS);
    let short = ("short".to_owned(), at(second));
    assert_eq!(told(second).await, std::slice::from_ref(&short), "it is shorter than the notice");
    assert_eq!(told(DAY * 9).await, std::slice::from_ref(&short));
    world.change("bought", Change::Subscribe(Subscribe::to("pro".parse().unwrap()))).await;
    world.change("extended", trial(14)).await;
    assert_eq!(told(DAY * 2 - second * 2).await, std::slice::from_ref(&short));
    let long = ("long".to_owned(), at(DAY * 11 + TRIALS_EACH));
    assert_eq!(told(second + TRIALS_EACH).await, [short.clone(), long.clone()]);
    assert_eq!(told(DAY * 5).await, [short.clone(), long.clone()]);
    let told = told(DAY * 5).await;
    assert_eq!((told.len(), told[2].0.as_str()), (3, "extended"));
}
