//! What happens in the simulated year: tenants of many zones, their requests, every kind of change, and nodes that die.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{billing::Billing, node::Node, policies::catalog, random::Random};
use crate::{
    app::{
        lifecycle::{Lifecycle, LifecycleParts, closing::Closer},
        meter_events::{MeterEventParts, MeterEventSettings, MeterEvents},
    },
    clock::{Clock, ManualClock},
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
    ports::{ExecuteError, Incarnation, Ledger, Origin, Policies, StripeStore, TenantStore},
    store::memory::Memory,
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

struct Fixed(Arc<Catalog>);

impl Policies for Fixed {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.0)
    }
}

pub(super) struct World {
    pub(super) random: Random,
    pub(super) clock: Arc<ManualClock>,
    pub(super) store: Arc<Memory>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) freshness: Arc<Freshness>,
    pub(super) nodes: Vec<Node>,
    pub(super) tenants: Vec<TenantId>,
    lifecycle: Lifecycle,
    closer: Closer,
    pub(super) exports: MeterEvents,
    pub(super) billing: Arc<Billing>,
    pub(super) served: Served,
    pub(super) said: BTreeMap<(TenantId, MeterId, UnixMillis), Said>,
    /// When each tenant was last changed: what is said of a month of two plans is no count of all of it.
    changed: BTreeMap<TenantId, UnixMillis>,
    /// What happened last.
    pub(super) last: String,
    pub(super) kills: u32,
    pub(super) refused: u32,
    pub(super) changes: BTreeMap<&'static str, u32>,
}

impl World {
    pub(super) async fn new(seed: u64, tenants: usize) -> Self {
        let clock = ManualClock::at(START);
        let store = Arc::new(Memory::with_clock(Arc::clone(&clock) as _).unwrap());
        let catalog = catalog();
        let policies: Arc<dyn Policies> = Arc::new(Fixed(Arc::clone(&catalog)));
        let freshness = Arc::new(Freshness::default());
        freshness.polled(clock.monotonic(), 2);
        let billing = Arc::new(Billing::default());
        let parts = |run| LifecycleParts {
            tenants: Arc::clone(&store) as _,
            lives: Arc::clone(&store) as _,
            events: Arc::clone(&store) as _,
            policies: Arc::clone(&policies),
            freshness: Arc::clone(&freshness),
            clock: Arc::clone(&clock) as _,
            run: Incarnation(uuid::Uuid::from_u128(run)),
        };
        let lifecycle = Lifecycle::new(parts(9));
        let closer = Closer::new(parts(8), Arc::clone(&store) as _);
        let exports = MeterEvents::new(MeterEventParts {
            store: Arc::clone(&store) as _,
            policies: Arc::clone(&policies),
            freshness: Arc::clone(&freshness),
            clock: Arc::clone(&clock) as _,
            settings: MeterEventSettings {
                base: "http://127.0.0.1:1".into(),
                key: "sk_test_year".into(),
                rest: Duration::from_secs(3_600),
                outgoing: Arc::clone(&billing) as _,
            },
        });
        let mut world = Self {
            random: Random(seed),
            nodes: vec![Node::new(1, &store, &clock).await, Node::new(2, &store, &clock).await],
            clock,
            store,
            catalog,
            freshness,
            tenants: Vec::new(),
            lifecycle,
            closer,
            exports,
            billing,
            served: BTreeMap::new(),
            said: BTreeMap::new(),
            changed: BTreeMap::new(),
            last: String::new(),
            kills: 0,
            refused: 0,
            changes: BTreeMap::new(),
        };
        for number in 0..tenants {
            world.enroll(number).await;
        }
        world
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
        self.clock.now()
    }

    /// A change, put in force on every running node before anything else happens. What the tenant's state forbids is not
    /// made.
    pub(super) async fn change(&mut self, tenant: &TenantId, change: Change) {
        let kind = change.kind();
        let command = Command { tenant: tenant.clone(), change };
        let origin = Origin { at: self.now(), actor: "a".into(), source: "s".into(), idempotency: None };
        self.last += &format!("{command:?}");
        match self.store.execute(&command, &origin).await {
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
        self.store.link_customer(tenant, &format!("cus_{tenant}"), &origin).await.unwrap();
    }

    async fn poll(&mut self) {
        for node in &mut self.nodes {
            node.poll().await;
        }
    }

    /// Time passes; nodes record, and the jobs have their turns.
    pub(super) async fn pass(&mut self, by: Duration) {
        // As every second: what was used is recorded in the hour in which it was.
        for node in &self.nodes {
            node.flush().await;
        }
        self.clock.advance(by);
        self.freshness.polled(self.clock.monotonic(), 2);
        self.poll().await;
        // Everything is looked at once in sixteen ticks: what has ended is returned.
        tokio::time::sleep(Duration::from_secs(18)).await;
        for node in &self.nodes {
            node.flush().await;
        }
        self.jobs().await;
        self.poll().await;
    }

    async fn jobs(&mut self) {
        while self.lifecycle.turn().await.unwrap() {}
        while self.closer.turn().await.unwrap() {}
        self.exports.turn().await.unwrap();
    }

    pub(super) async fn rights(&self, id: &TenantId) -> (Tenant, Arc<Rights>) {
        let tenant = self.store.tenant(id).await.unwrap().value.unwrap();
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
                let minutes = self.random.between(20, 700);
                self.pass(Duration::from_secs(minutes * 60)).await;
            }
        }
    }

    async fn request(&mut self, place: usize, id: &TenantId) {
        let (_, rights) = self.rights(id).await;
        // Some tenants always come to the same node.
        let me = if place.is_multiple_of(2) { 0 } else { self.random.below(2) };
        let Some(ledger) = self.nodes[me].ledger.clone() else { return };
        let (meter, most) = if self.random.chance(50) { (REQUESTS, 40) } else { (TOKENS, 900) };
        let units = self.random.between(1, most);
        let charges = [Charge { meter, units: Units::saturating(units) }];
        let now = self.now();
        let charge = ledger.charge(&rights, &charges, now).wait();
        let hold = match tokio::time::timeout(Duration::from_secs(5), charge).await {
            Ok(Ok(hold)) => hold,
            other => {
                self.last += &format!(
                    "{units} {} by node {me}: {:?}",
                    NAMES[usize::from(meter.0)],
                    other.map(|o| o.err())
                );
                self.refused += 1;
                return;
            }
        };
        let name = MeterId::parse(NAMES[usize::from(meter.0)]).unwrap();
        let month = rights.entitlement.as_ref().unwrap().calendar.month(now);
        let key = (id.clone(), name, month.start);
        let mut said = None;
        hold.standings(now, |standing| {
            if standing.window == Some(Window::Month) {
                said = Some((standing.remaining.get(), standing.quota.get()));
            }
        });
        let how = self.random.below(10);
        self.last += &format!("{how} of {units} {} by node {me}", NAMES[usize::from(meter.0)]);
        let served = match how {
            0 => {
                hold.refund();
                return;
            }
            1 => {
                let actual = self.random.between(0, units);
                self.last += &format!(" that cost {actual}");
                hold.settle(&[Charge { meter, units: Units::saturating(actual) }]);
                said = None;
                actual
            }
            _ => {
                hold.keep();
                units
            }
        };
        *self.served.entry(key.clone()).or_default() += served;
        // Those of an odd place come to any node.
        let alone = place.is_multiple_of(2).then_some(me);
        let whole = self.changed.get(id).is_none_or(|changed| *changed < month.start);
        match said.filter(|_| whole) {
            Some((remaining, limit)) => {
                self.said.insert(key, Said { remaining, limit, alone, month });
            }
            None => drop(self.said.remove(&key)),
        }
    }

    /// A node is killed with a request under way, which keeps what it has reserved, and starts again.
    async fn die(&mut self) {
        let me = self.random.below(2);
        let id = self.tenants[self.random.below(self.tenants.len())].clone();
        let (_, rights) = self.rights(&id).await;
        if let (Some(ledger), Some(given)) = (self.nodes[me].ledger.clone(), &rights.entitlement) {
            let charges = [Charge { meter: REQUESTS, units: Units::saturating(3) }];
            let now = self.now();
            let charge = ledger.charge(&rights, &charges, now).wait();
            if let Ok(Ok(hold)) = tokio::time::timeout(Duration::from_secs(5), charge).await {
                std::mem::forget(hold);
                let month = given.calendar.month(now);
                let key = (id, MeterId::parse("requests").unwrap(), month.start);
                *self.served.entry(key.clone()).or_default() += 3;
                self.said.remove(&key);
            }
        }
        drop(rights);
        self.last += &format!("the death of node {me}");
        self.nodes[me].kill().await;
        self.kills += 1;
        if self.random.chance(40) {
            // It is away for a while.
            // Not so long that what it has not recorded is given up.
            let minutes = self.random.between(1, 40);
            self.pass(Duration::from_secs(minutes * 60)).await;
        }
        self.nodes[me].start().await;
    }
}

/// Meters by their place.
pub(super) const TOKENS: MeterIx = MeterIx(0);
pub(super) const REQUESTS: MeterIx = MeterIx(1);
pub(super) const NAMES: [&str; 2] = ["ai_tokens", "requests"];
