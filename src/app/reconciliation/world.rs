//! What happens in a simulated history: tenants of many zones, their requests, every kind of change, and nodes that die.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;

use super::{
    billing::Billing, events::Charged, ground::Ground, jobs::Jobs, node::Node, policies::catalog,
    random::Random,
};
use crate::{
    clock::Clock,
    domain::{
        catalog::Catalog,
        command::{Change, Command, Subscribe},
        id::{MeterId, TenantId},
        period::{AnchorDay, Period, Zone},
        plan::MeterIx,
        rights::Rights,
        tenant::Tenant,
        time::UnixMillis,
    },
    freshness::Freshness,
    ports::{BucketKey, ExecuteError, Origin},
    store::{Retention, Store},
};

/// 2025-12-20T00:00:00Z.
pub(super) const START: UnixMillis = UnixMillis(1_766_188_800_000);
pub(super) const ZONES: [&str; 8] = [
    "UTC",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "Australia/Lord_Howe",
    "Europe/Berlin",
];
pub(super) const PLANS: [&str; 4] = ["free", "basic", "pro", "max"];

/// Units that were let through, by tenant, meter and the start of their month.
pub(super) type Served = BTreeMap<(TenantId, MeterId, UnixMillis), u64>;

/// What a tenant's last answer said of a meter in a month.
pub(super) struct Said {
    pub(super) remaining: u64,
    pub(super) limit: u64,
    /// Only one node has served it in this month, so it knew all.
    pub(super) alone: Option<usize>,
    pub(super) month: Period,
}

impl Said {
    /// Who said it knew all.
    pub(super) const fn is_exact(&self) -> bool {
        self.alone.is_some()
    }
}

/// How large a history is, and how fast time passes in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    pub(super) days: i64,
    pub(super) tenants: usize,
    pub(super) nodes: u8,
    /// The longest time between two things that happen.
    pub(super) longest_minutes: u64,
    /// How many times the usual a request costs: where time passes faster there are fewer of them in a month.
    pub(super) cost: u64,
    /// Closed statements that every tenant has in the end.
    pub(super) statements: usize,
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) course: Course,
    pub(super) ground: Arc<Ground>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) freshness: Arc<Freshness>,
    pub(super) nodes: Vec<Node>,
    /// Of each node.
    pub(super) jobs: Vec<Jobs>,
    pub(super) tenants: Vec<TenantId>,
    pub(super) billing: Arc<Billing>,
    pub(super) served: Served,
    /// Months that began within an hour in which something was used, and those over whose start a node was dead: of a grant
    /// that goes on the hour is the grain, and what a dead node has used is recorded when it is back.
    pub(super) blurred: BTreeSet<(TenantId, MeterId, UnixMillis)>,
    pub(super) said: BTreeMap<(TenantId, MeterId, UnixMillis), Said>,
    /// When each tenant was last changed: what is said of a month of two plans is no count of all of it.
    pub(super) changed: BTreeMap<TenantId, UnixMillis>,
    /// What buckets said that housekeeping has deleted.
    pub(super) tidied: Vec<(BucketKey, u64)>,
    /// Usage events that were sent, and those that were charged.
    pub(super) sent: u32,
    pub(super) charged: Vec<Charged>,
    /// What happened last.
    pub(super) last: String,
    pub(super) kills: u32,
    pub(super) refused: u32,
    pub(super) changes: BTreeMap<&'static str, u32>,
}

impl World {
    pub(super) async fn new(seed: u64, course: Course, ground: Ground) -> Self {
        let ground = Arc::new(ground);
        let catalog = catalog();
        let freshness = Arc::new(Freshness::default());
        freshness.polled(ground.clock.monotonic(), u32::from(course.nodes));
        let billing = Arc::new(Billing::default());
        let (mut nodes, mut jobs) = (Vec::new(), Vec::new());
        for number in 1..=u128::from(course.nodes) {
            nodes.push(Node::new(number, &ground).await);
            jobs.push(Jobs::new(number, &ground, &catalog, &freshness, &billing).await);
        }
        let mut world = Self {
            random: Random(seed),
            course,
            ground,
            catalog,
            freshness,
            nodes,
            jobs,
            tenants: Vec::new(),
            billing,
            served: BTreeMap::new(),
            blurred: BTreeSet::new(),
            said: BTreeMap::new(),
            changed: BTreeMap::new(),
            tidied: Vec::new(),
            sent: 0,
            charged: Vec::new(),
            last: String::new(),
            kills: 0,
            refused: 0,
            changes: BTreeMap::new(),
        };
        for number in 0..course.tenants {
            world.enroll(number).await;
        }
        world
    }

    /// As some node's administrator reaches it.
    pub(super) fn any_store(&mut self) -> Arc<dyn Store> {
        let place = self.random.below(self.jobs.len());
        Arc::clone(&self.jobs[place].store)
    }

    /// As the first node's administrator reaches it.
    pub(super) fn store(&self) -> &dyn Store {
        &*self.jobs[0].store
    }

    async fn enroll(&mut self, number: usize) {
        let id: TenantId = format!("t{number}").parse().unwrap();
        self.tenants.push(id.clone());
        let zone = Some(Zone::named(ZONES[number % ZONES.len()]).unwrap());
        self.change(&id, Change::PutTenant { name: None, zone, attributes: None }).await;
        let anchor = AnchorDay::new(i64::try_from(self.random.between(1, 31)).unwrap()).ok();
        let plan = PLANS[self.random.below(PLANS.len())];
        let subscribe = Subscribe { anchor, ..Subscribe::to(plan.parse().unwrap()) };
        self.change(&id, Change::Subscribe(subscribe)).await;
        self.link(&id).await;
    }

    pub(super) fn now(&self) -> UnixMillis {
        self.ground.clock.now()
    }

    /// A change, put in force on every running node before anything else happens. What the tenant's state forbids is not
    /// made.
    pub(super) async fn change(&mut self, tenant: &TenantId, change: Change) {
        let kind = change.kind();
        let command = Command { tenant: tenant.clone(), change };
        let origin = Origin { at: self.now(), actor: "a".into(), source: "s".into(), idempotency: None };
        self.last += &format!("{command:?}");
        match self.any_store().execute(&command, &origin).await {
            Ok(_) => *self.changes.entry(kind).or_default() += 1,
            Err(ExecuteError::Refused(_)) => return,
            Err(error) => panic!("{error}"),
        }
        let now = self.now();
        self.said.retain(|(whose, ..), said| whose != tenant || !said.month.contains(now));
        self.changed.insert(tenant.clone(), now);
        self.poll().await;
    }

    /// The billing system knows the tenant.
    async fn link(&mut self, tenant: &TenantId) {
        let origin = Origin { at: self.now(), actor: "a".into(), source: "s".into(), idempotency: None };
        self.store().link_customer(tenant, &format!("cus_{tenant}"), &origin).await.unwrap();
    }

    pub(super) async fn poll(&self) {
        join_all(self.nodes.iter().map(Node::poll)).await;
    }

    pub(super) async fn flush(&self) {
        join_all(self.nodes.iter().map(Node::flush)).await;
    }

    /// Time passes; nodes record, and the jobs have their turns.
    pub(super) async fn pass(&mut self, by: Duration) {
        // As every second: what was used is recorded in the hour in which it was.
        self.flush().await;
        self.ground.advance(by).await;
        let nodes = u32::from(self.course.nodes);
        self.freshness.polled(self.ground.clock.monotonic(), nodes);
        self.poll().await;
        // Everything is looked at once in sixteen ticks: what has ended is returned.
        if self.ground.is_database() {
            join_all(self.nodes.iter().map(Node::look_at_all)).await;
        } else {
            tokio::time::sleep(Duration::from_secs(18)).await;
            self.flush().await;
        }
        self.work().await;
        self.poll().await;
        if self.random.chance(8) {
            self.tidy().await;
        }
    }

    /// The jobs of all nodes that live, at once.
    async fn work(&mut self) {
        let living = self.jobs.iter_mut().zip(&self.nodes).filter(|(_, node)| node.ledger.is_some());
        join_all(living.map(|(jobs, _)| jobs.turn())).await;
    }

    /// Housekeeping, and what the buckets said that it deletes.
    async fn tidy(&mut self) {
        let before = self.ground.recorded().await;
        while self.store().tidy(&RETENTION).await.unwrap().more {}
        let left: BTreeSet<BucketKey> =
            self.ground.recorded().await.into_iter().map(|(key, _)| key).collect();
        self.tidied.extend(before.into_iter().filter(|(key, _)| !left.contains(key)));
    }

    pub(super) async fn rights(&self, id: &TenantId) -> (Tenant, Arc<Rights>) {
        let tenant = self.store().tenant(id).await.unwrap().value.unwrap();
        let rights = Arc::new(Rights::compile(&tenant, &self.catalog, self.now()).unwrap());
        (tenant, rights)
    }

    /// One of: requests, a change, a death, time.
    pub(super) async fn step(&mut self) {
        let place = self.random.below(self.tenants.len());
        let id = self.tenants[place].clone();
        let before = std::mem::take(&mut self.last);
        self.last = format!(
            "{}\na step of {id} at {}: ",
            before
                .lines()
                .rev()
                .take(14)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
                .join("\n"),
            self.now()
        );
        match self.random.below(100) {
            // Of those that always come to one node nothing is used elsewhere.
            0..6 if !place.is_multiple_of(2) => self.tell(&id).await,
            0..66 => self.request(place, &id).await,
            // One of them is left alone for months on end.
            66..74 if place > 0 || self.random.chance(4) => {
                let change = self.any_change(&id).await;
                if let Some(change) = change {
                    self.change(&id, change).await;
                }
            }
            74..77 => self.die().await,
            _ => {
                let minutes = self.random.between(20, self.course.longest_minutes);
                self.pass(Duration::from_secs(minutes * 60)).await;
            }
        }
    }
}

const RETENTION: Retention = Retention {
    usage_hours: Duration::from_secs(12 * 86_400),
    usage_days: Duration::from_secs(4_000 * 86_400),
    audit: Duration::from_secs(30 * 86_400),
};

/// Meters by their place.
pub(super) const TOKENS: MeterIx = MeterIx(0);
pub(super) const REQUESTS: MeterIx = MeterIx(1);
pub(super) const NAMES: [&str; 2] = ["ai_tokens", "requests"];
