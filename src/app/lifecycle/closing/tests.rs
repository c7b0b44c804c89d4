//! The job over a store in memory, with time that only the test lets pass.

use std::sync::Mutex;

use super::*;
use crate::{
    clock::{Clock, ManualClock},
    domain::{
        catalog::{Catalog, Digest, Meter},
        command::{Change, Command, Subscribe, When},
        money::Price,
        period::Windows,
        plan::{MeterTerms, Overage, Plan, Quota},
        time::{Epoch, Version},
        units::{Allowance, Units},
    },
    freshness::Freshness,
    ports::{
        BucketKey, Heartbeat, Incarnation, LedgerStore, NodeStore, Origin, Policies, Registration, SlotKey,
        SlotTotals, Span, TenantStore,
    },
    store::memory::Memory,
};

const DAY: Duration = Duration::from_secs(86_400);

struct Fixed(Mutex<Arc<Catalog>>);

impl Policies for Fixed {
    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.0.lock().unwrap())
    }
}

struct World {
    store: Arc<Memory>,
    clock: Arc<ManualClock>,
    policies: Arc<Fixed>,
    freshness: Arc<Freshness>,
}

fn catalog(price: &str) -> Arc<Catalog> {
    let mut catalog = Catalog::empty(Digest("d".into()));
    catalog.meters.push(Meter { id: "requests".parse().unwrap(), title: None, unit: None });
    let overage = Overage::Bill { cap: None, price: "0.05".parse().unwrap(), per: Units::ONE };
    let quota = Quota { overage, ..Quota::monthly(Allowance::Limited(Units::saturating(100))) };
    let plan = Plan {
        price: Some(Price { amount: price.parse().unwrap(), currency: "USD".parse().unwrap() }),
        meters: [MeterTerms { quota: Some(quota), rate: None }].into(),
        ..Plan::empty("pro".parse().unwrap())
    };
    catalog.plans.insert(plan.id.clone(), Arc::new(plan));
    Arc::new(catalog)
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

impl World {
    fn new() -> Self {
        let start: UnixMillis = "2026-11-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap().into();
        let clock = ManualClock::at(start);
        Self {
            store: Arc::new(Memory::with_clock(clock.clone()).unwrap()),
            clock,
            policies: Arc::new(Fixed(Mutex::new(catalog("10.00")))),
            freshness: Arc::default(),
        }
    }

    fn node(&self, number: u64) -> Closer {
        let parts = LifecycleParts {
            tenants: Arc::clone(&self.store) as _,
            lives: Arc::clone(&self.store) as _,
            events: Arc::clone(&self.store) as _,
            policies: Arc::clone(&self.policies) as _,
            freshness: Arc::clone(&self.freshness),
            clock: Arc::clone(&self.clock) as _,
            run: Incarnation(uuid::Uuid::from_u64_pair(7, number)),
        };
        Closer::new(parts, Arc::clone(&self.store) as _)
    }

    async fn change(&self, id: &str, change: Change) {
        let origin =
            Origin { at: self.clock.now(), actor: "a".into(), source: "s".into(), idempotency: None };
        let command = Command { tenant: id.parse().unwrap(), change };
        self.store.execute(&command, &origin).await.unwrap();
    }

    async fn subscribed(&self, id: &str) {
        self.change(id, Change::PutTenant { name: None, zone: None, attributes: None }).await;
        self.change(id, Change::Subscribe(Subscribe::to("pro".parse().unwrap()))).await;
    }

    fn later(&self, by: Duration) {
        self.clock.advance(by);
        self.freshness.polled(self.clock.monotonic(), 1);
    }

    async fn closed(&self, id: &str) -> Vec<String> {
        let heads = self.store.closed_statements(&id.parse().unwrap(), None, 100).await.unwrap();
        heads.into_iter().map(|head| format!("{} {}", head.name, head.total)).collect()
    }

    /// What a run has used beyond what is included, of the month that began with the test.
    async fn used(&self, run: u128, used: u64, sealed: bool) {
        let tenant = self.store.tenant(&acme()).await.unwrap().value.unwrap();
        let own = tenant.subscription.unwrap();
        let month = own
            .calendar(&tenant.zone)
            .month("2026-11-02T00:00:00Z".parse::<jiff::Timestamp>().unwrap().into());
        let bucket = BucketKey {
            tenant: acme(),
            meter: "requests".parse().unwrap(),
            span: Span::Overage,
            start: month.start,
            epoch: own.epoch,
        };
        let slot = SlotKey { bucket, incarnation: Incarnation(uuid::Uuid::from_u128(run)), seq: 0 };
        let totals = SlotTotals {
            slot,
            end: month.end,
            granted: 60,
            used,
            refunded: 0,
            at: self.clock.now(),
            sealed,
            counted: Windows::default(),
            counting: own.epoch,
            marks: None,
        };
        self.store.flush(&[totals]).await.unwrap();
    }
}

async fn turns(nodes: &mut [Closer]) {
    for _ in 0..20 {
        for node in &mut *nodes {
            node.turn().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_period_is_closed_once_by_any_number_of_nodes() {
    let world = World::new();
    for number in 0..60 {
        world.subscribed(&format!("t{number}")).await;
    }
    world.change("t7", Change::Cancel(When::PeriodEnd)).await;
    let mut nodes = [1, 2, 3].map(|number| world.node(number));
    world.later(30 * DAY + Duration::from_secs(19));
    turns(&mut nodes).await;
    assert_eq!(world.closed("t0").await, [""; 0], "not so soon");
    world.later(Duration::from_secs(2));
    turns(&mut nodes).await;
    for number in 0..60 {
        assert_eq!(world.closed(&format!("t{number}")).await, ["2026-11-01 10.00"]);
    }
    assert_eq!(world.store.told("statement.closed").len(), 60);
    // Other prices change nothing that is closed.
    *world.policies.0.lock().unwrap() = catalog("20.00");
    world.later(62 * DAY);
    turns(&mut nodes).await;
    assert_eq!(world.closed("t0").await, ["2027-01-01 20.00", "2026-12-01 20.00", "2026-11-01 10.00"]);
    assert_eq!(world.closed("t7").await, ["2026-11-01 10.00"], "it is over");
    // Who comes back is billed again.
    world.change("t7", Change::Subscribe(Subscribe::to("pro".parse().unwrap()))).await;
    world.later(40 * DAY);
    turns(&mut nodes).await;
    assert_eq!(world.closed("t7").await.len(), 2);
    let told = world.store.told("statement.closed");
    assert_eq!(told.len(), 60 + 2 * 59 + 60, "{}", told.len());
}

#[tokio::test]
async fn a_node_that_lives_is_waited_for_and_what_comes_too_late_changes_nothing() {
    let world = World::new();
    world.subscribed("acme").await;
    let run = Incarnation(uuid::Uuid::from_u128(1));
    let digest = Digest("d".into());
    let registration =
        Registration { name: "n".into(), incarnation: run, file: run.0, digest: digest.clone() };
    world.store.register(&registration).await.unwrap();
    world.used(1, 10, false).await;
    let mut nodes = [world.node(1)];
    world.later(30 * DAY + Duration::from_secs(2 * 3_600));
    let beat = Heartbeat { incarnation: run, applied: Version(2), digest, reasserted: Epoch(0) };
    world.store.poll(&beat).await.unwrap();
    turns(&mut nodes).await;
    assert_eq!(world.closed("acme").await, [""; 0], "however long it takes");
    world.later(Duration::from_secs(60));
    turns(&mut nodes).await;
    assert_eq!(world.closed("acme").await, ["2026-11-01 10.50"]);
    let body = world.store.closed_statement(&acme(), "2026-11-").await.unwrap().unwrap().body;
    let read: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&read["usage"][0]["overage"], &read["usage"][0]["uncertain"]), (&json!(10), &json!(50)));
    // What comes in afterwards changes nothing.
    world.used(1, 30, true).await;
    world.later(Duration::from_secs(3_600));
    turns(&mut nodes).await;
    assert_eq!(world.store.closed_statement(&acme(), "2026-11-01").await.unwrap().unwrap().body, body);
}

#[tokio::test]
async fn a_node_that_is_gone_is_waited_for_an_hour() {
    let world = World::new();
    world.subscribed("acme").await;
    world.used(1, 10, false).await;
    let mut nodes = [world.node(1)];
    world.later(30 * DAY + Duration::from_secs(3_500));
    turns(&mut nodes).await;
    assert_eq!(world.closed("acme").await, [""; 0]);
    world.later(Duration::from_secs(100));
    turns(&mut nodes).await;
    assert_eq!(world.closed("acme").await, ["2026-11-01 10.50"]);
}

#[tokio::test]
async fn what_was_given_back_in_time_is_closed_at_once() {
    let world = World::new();
    world.subscribed("acme").await;
    world.used(1, 12, true).await;
    let mut nodes = [world.node(1), world.node(2)];
    world.later(30 * DAY + Duration::from_secs(21));
    turns(&mut nodes).await;
    assert_eq!(world.closed("acme").await, ["2026-11-01 10.60"]);
    assert_eq!(
        world.store.next_to_close(&acme()).await.unwrap().unwrap().start.to_string(),
        "2026-12-01T00:00:00Z"
    );
}
