//! What happens in a simulated history: tenants of many zones, their requests, every kind of change, and nodes that die.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;

use super::{billing::Billing, ground::Ground, jobs::Jobs, node::Node, policies::catalog, random::Random};
use crate::{
    clock::Clock,
    domain::{
        catalog::Catalog,
        command::{Change, Command, Subscribe},
        id::{MeterId, TenantId},
        period::{AnchorDay, Period, Window, Zone},
        plan::MeterIx,
        rights::Rights,
        route::Charge,
        tenant::Tenant,
        time::UnixMillis,
        units::Units,
    },
    freshness::Freshness,
    ports::{BucketKey, ChargeError, ExecuteError, Hold, Ledger, Origin},
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
    alone: Option<usize>,
    month: Period,
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
    jobs: Vec<Jobs>,
    pub(super) tenants: Vec<TenantId>,
    pub(super) billing: Arc<Billing>,
    pub(super) served: Served,
    /// Months that began within an hour in which something was used, and those over whose start a node was dead: of a grant
    /// that goes on the hour is the grain, and what a dead node has used is recorded when it is back.
    pub(super) blurred: BTreeSet<(TenantId, MeterId, UnixMillis)>,
    pub(super) said: BTreeMap<(TenantId, MeterId, UnixMillis), Said>,
    /// When each tenant was last changed: what is said of a month of two plans is no count of all of it.
    changed: BTreeMap<TenantId, UnixMillis>,
    /// What buckets said that housekeeping has deleted.
    pub(super) tidied: Vec<(BucketKey, u64)>,
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
    fn any_store(&mut self) -> Arc<dyn Store> {
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

    async fn poll(&self) {
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

    /// Requests of a tenant: one, or now and then one of each node at once.
    async fn request(&mut self, place: usize, id: &TenantId) {
        // Some tenants always come to the same node.
        let alone = place.is_multiple_of(2);
        let me = if alone { 0 } else { self.random.below(self.nodes.len()) };
        let crowd = !alone && self.random.chance(15);
        let (meter, most) = if self.random.chance(50) { (REQUESTS, 40) } else { (TOKENS, 900) };
        let now = self.now();
        let (mut asked, mut charges) = (Vec::new(), Vec::new());
        for number in 0..self.nodes.len() {
            let ledger = self.nodes[number].ledger.clone().filter(|_| crowd || number == me);
            let Some(ledger) = ledger else { continue };
            // Each node has compiled them for itself: with them it remembers its own words.
            let (_, rights) = self.rights(id).await;
            let units = self.random.between(1, most);
            let charge = [Charge { meter, units: Units::saturating(units) }];
            asked.push((number, units, Arc::clone(&rights)));
            charges.push(ledger.charge(&rights, &charge, now).wait());
        }
        for ((node, units, rights), answer) in asked.into_iter().zip(self.answers(charges).await) {
            match answer {
                Ok(hold) => self.serve(id, &rights, (meter, units), hold, (alone, node)),
                Err(why) => {
                    self.last += &format!("{units} {} by node {node}: {why}; ", NAMES[usize::from(meter.0)]);
                    self.refused += 1;
                }
            }
        }
        if crowd {
            self.said.retain(|(whose, ..), _| whose != id);
        }
    }

    /// What becomes of charges. While they wait, nodes hear of each other's wishes, as in every quarter of a second.
    async fn answers<T>(&self, charges: Vec<T>) -> Vec<Result<Hold, String>>
    where
        T: Future<Output = Result<Hold, ChargeError>>,
    {
        let mut all = Box::pin(join_all(charges));
        for _ in 0..400 {
            if let Ok(answers) = tokio::time::timeout(Duration::from_millis(15), &mut all).await {
                return answers.into_iter().map(|answer| answer.map_err(|why| format!("{why:?}"))).collect();
            }
            self.poll().await;
            self.flush().await;
        }
        panic!("no answer to a charge; after {}", self.last);
    }

    /// A request was let through; what it cost is known now.
    fn serve(
        &mut self,
        id: &TenantId,
        rights: &Rights,
        (meter, units): (MeterIx, u64),
        hold: Hold,
        (alone, me): (bool, usize),
    ) {
        let (now, name) = (self.now(), NAMES[usize::from(meter.0)]);
        let month = rights.entitlement.as_ref().unwrap().calendar.month(now);
        let key = (id.clone(), MeterId::parse(name).unwrap(), month.start);
        let mut said = None;
        hold.standings(now, |standing| {
            if standing.window == Some(Window::Month) {
                said = Some((standing.remaining.get(), standing.quota.get()));
            }
        });
        let how = self.random.below(10);
        self.last += &format!("{how} of {units} {name} by node {me}; ");
        let served = match how {
            0 => {
                hold.refund();
                return;
            }
            1 => {
                let actual = self.random.between(0, units);
                self.last += &format!("that cost {actual}; ");
                hold.settle(&[Charge { meter, units: Units::saturating(actual) }]);
                said = None;
                actual
            }
            _ => {
                hold.keep();
                units
            }
        };
        self.count(&key, served);
        let whole = self.changed.get(id).is_none_or(|changed| *changed < month.start);
        match said.filter(|_| whole) {
            Some((remaining, limit)) => {
                self.said.insert(key, Said { remaining, limit, alone: alone.then_some(me), month });
            }
            None => drop(self.said.remove(&key)),
        }
    }

    /// Units that were served now.
    fn count(&mut self, key: &(TenantId, MeterId, UnixMillis), units: u64) {
        *self.served.entry(key.clone()).or_default() += units;
        if self.now().0.div_euclid(HOUR_MILLIS) * HOUR_MILLIS < key.2.0 {
            self.blurred.insert(key.clone());
        }
    }

    /// A node is killed with a request under way, which keeps what it has reserved, and starts again.
    async fn die(&mut self) {
        let me = self.random.below(self.nodes.len());
        let id = self.tenants[self.random.below(self.tenants.len())].clone();
        let (_, rights) = self.rights(&id).await;
        let mut under_way = None;
        if let (Some(ledger), Some(given)) = (self.nodes[me].ledger.clone(), &rights.entitlement) {
            let charges = [Charge { meter: REQUESTS, units: Units::saturating(3) }];
            let now = self.now();
            let charge = ledger.charge(&rights, &charges, now).wait();
            drop(ledger);
            if let Some(Ok(hold)) = self.answers(vec![charge]).await.pop() {
                std::mem::forget(hold);
                let month = given.calendar.month(now);
                let key = (id.clone(), MeterId::parse("requests").unwrap(), month.start);
                self.count(&key, 3);
                self.said.remove(&key);
                under_way = Some(key);
            }
        }
        drop(rights);
        self.last += &format!("the death of node {me}; ");
        let after = Duration::from_micros(self.random.between(0, 4_000));
        self.break_off(me).await;
        self.nodes[me].kill(after).await;
        self.kills += 1;
        if self.random.chance(40) {
            // It is away for a while.
            // Not so long that what it has not recorded is given up.
            let minutes = self.random.between(1, 40);
            self.pass(Duration::from_secs(minutes * 60)).await;
        }
        self.nodes[me].start().await;
        if let Some((tenant, meter, start)) = under_way
            && let (_, rights) = self.rights(&tenant).await
            && let Some(given) = &rights.entitlement
        {
            let month = given.calendar.month(self.now());
            if month.start != start {
                self.blurred.insert((tenant, meter, month.start));
            }
        }
    }

    /// The jobs of a node that dies end in the middle of a turn.
    async fn break_off(&mut self, me: usize) {
        if self.ground.is_database() {
            let after = Duration::from_micros(self.random.between(0, 6_000));
            let _ = tokio::time::timeout(after, self.jobs[me].turn()).await;
        }
    }
}

const HOUR_MILLIS: i64 = 3_600_000;
const RETENTION: Retention = Retention {
    usage_hours: Duration::from_secs(12 * 86_400),
    usage_days: Duration::from_secs(4_000 * 86_400),
    audit: Duration::from_secs(30 * 86_400),
};

/// Meters by their place.
pub(super) const TOKENS: MeterIx = MeterIx(0);
pub(super) const REQUESTS: MeterIx = MeterIx(1);
pub(super) const NAMES: [&str; 2] = ["ai_tokens", "requests"];
