//! Spend caps: what billed overage costs is taken with its units, all or nothing, and given back with them; random histories
//! against a plain recomputation, on one node and on two.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use proptest::prelude::*;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::world::*;
use crate::{
    clock::Clock,
    domain::{
        catalog::Catalog,
        denial::Denial,
        money::{Decimal, Price, Total},
        period::Window,
        plan::{MeterIx, Overage, Plan, Quota},
        rights::Rights,
        spend::{MoneyUnits, SpendCap, UnitCost},
        time::{UnixMillis, Version},
        units::Units,
    },
    ledger::{EscrowLedger, recall},
    ports::{BucketKey, ChargeError, Hold, Ledger, Span, SpendUsage},
};

/// What is included of a meter, and at what price there is more.
#[derive(Debug, Clone)]
struct Sale {
    included: u64,
    cap: Option<u64>,
    price: String,
    per: u64,
}

impl Sale {
    fn new(included: u64, price: &str, per: u64) -> Self {
        Self { included, cap: None, price: price.to_owned(), per }
    }

    fn price(&self) -> Decimal {
        self.price.parse().unwrap()
    }

    fn quota(&self) -> Quota {
        let overage = Overage::Bill { cap: self.cap.map(units), price: self.price(), per: units(self.per) };
        Quota { overage, ..monthly(self.included) }
    }

    fn cost(&self, n: u64) -> u64 {
        UnitCost::of(self.price(), units(self.per)).money.times(units(n)).units().get()
    }

    fn billed(&self, n: u64) -> Total {
        Total::metered(self.price(), units(self.per), units(n))
    }
}

fn cap(text: &str) -> SpendCap {
    text.parse().unwrap()
}

fn limited(money: u64) -> SpendCap {
    SpendCap::Limited(MoneyUnits::of(units(money)))
}

/// A catalog whose plan sells two meters, in dollars.
fn selling(sales: [&Sale; 2], spend_cap: SpendCap) -> Arc<Catalog> {
    let mut catalog = catalog(terms(sales[0].quota()), terms(sales[1].quota()));
    let price = Price { amount: "9.00".parse().unwrap(), currency: "USD".parse().unwrap() };
    let own = Arc::get_mut(&mut catalog).unwrap();
    let plans = std::mem::take(&mut own.plans);
    let sold = |plan: Arc<Plan>| Arc::new(Plan { price: Some(price), spend_cap, ..(*plan).clone() });
    own.plans = plans.into_iter().map(|(id, plan)| (id, sold(plan))).collect();
    catalog
}

fn rights_of(
    sales: [&Sale; 2],
    spend_cap: SpendCap,
    (version, epoch): (u64, u64),
    now: UnixMillis,
) -> Arc<Rights> {
    let catalog = selling(sales, spend_cap);
    Arc::new(Rights::compile(&tenant("acme", version, epoch), &catalog, now).unwrap())
}

fn sold(sale: &Sale, spend_cap: SpendCap) -> Arc<Rights> {
    rights_of([sale, &Sale::new(0, "0", 1)], spend_cap, (1, 1), START)
}

async fn spend(ledger: &EscrowLedger, rights: &Arc<Rights>, now: UnixMillis) -> Option<SpendUsage> {
    ledger.spend(rights, now).await.unwrap()
}

async fn spent(world: &World, rights: &Arc<Rights>) -> String {
    spend(&world.ledger, rights, world.now()).await.unwrap().spent.to_string()
}

fn reached(error: ChargeError) -> (String, String, String, String) {
    let ChargeError::Denied(Denial::SpendCapReached { meter, currency, cap, spent, period }) = error else {
        panic!("{error:?}")
    };
    assert!(period.contains(START) && period.end.to_string() == "2026-04-01T00:00:00Z");
    (meter.to_string(), currency.to_string(), cap.to_string(), spent.to_string())
}

fn told(meter: &str, cap: &str, spent: &str) -> (String, String, String, String) {
    (meter.into(), "USD".into(), cap.into(), spent.into())
}

#[tokio::test]
async fn overage_is_let_through_up_to_the_cap_and_not_a_unit_further() {
    let world = World::new();
    let rights = sold(&Sale::new(10, "0.002", 1000), cap("0.0001"));
    let (passed, refused) = world.exhaust(&rights).await;
    assert_eq!(passed, 10 + 50);
    assert_eq!(reached(refused), told("requests", "0.0001", "0.0001"));
    let usage = spend(&world.ledger, &rights, START).await.unwrap();
    assert_eq!((usage.remaining(), usage.uncertain), (MoneyUnits::ZERO, MoneyUnits::ZERO));
    assert_eq!(usage.period.end.to_string(), "2026-04-01T00:00:00Z");
    // From memory, and the included units of another meter are to be had all the same.
    let queries = world.store.grants.load(Ordering::SeqCst);
    assert!(at_once(&world, &rights, &[charge(REQUESTS, 1)]).is_err());
    assert_eq!(world.store.grants.load(Ordering::SeqCst), queries);
    world.ledger.flush().await.unwrap();
    let key = BucketKey {
        meter: "usd".parse().unwrap(),
        span: Span::Spend,
        epoch: Version(0),
        ..bucket(&rights, "requests", Window::Month, START)
    };
    assert_eq!((world.store.net(&key), world.store.allocated(&key)), (100_000, 100_000));
    assert_eq!(world.ledger.known_used(&key), Some(units(100_000)));
    assert!(
        world.ledger.metrics().units().iter().all(|(meter, _)| meter.as_str() != "usd"),
        "no meter of the plans"
    );
}

#[tokio::test]
async fn what_does_not_fit_takes_nothing_of_anything() {
    let world = World::new();
    let sale = Sale { cap: Some(1000), ..Sale::new(4, "1", 1) };
    let rights = sold(&sale, cap("3.50"));
    let charged = |n| [charge(REQUESTS, n)];
    // Two included units and three of overage, then too many, then what is left.
    world.charge(&rights, &charged(2)).await.unwrap().keep();
    world.charge(&rights, &charged(3)).await.unwrap().keep();
    assert_eq!(spent(&world, &rights).await, "1.00");
    let refused = world.charge(&rights, &charged(3)).await.err().unwrap();
    assert_eq!(reached(refused), told("requests", "3.50", "1.00"));
    let refused = world.charge(&rights, &charged(900)).await.err().unwrap();
    assert_eq!(reached(refused), told("requests", "3.50", "1.00"));
    world.charge(&rights, &charged(2)).await.unwrap().keep();
    assert!(world.charge(&rights, &charged(1)).await.is_err(), "half a dollar is left");
    assert_eq!(spent(&world, &rights).await, "3.00");
    let sources = world.ledger.usage(&rights, START).await.unwrap().remove(1).sources;
    assert_eq!(sources.iter().map(|source| source.used.get()).collect::<Vec<_>>(), [4, 3]);
    // More units than there are is told of the quota, whatever they would cost.
    let refused = world.charge(&rights, &charged(2000)).await.err().unwrap();
    assert!(matches!(refused, ChargeError::Denied(Denial::QuotaExhausted { .. })));
}

#[tokio::test]
async fn what_is_given_back_gives_its_money_back() {
    let world = World::new();
    let rights = sold(&Sale::new(10, "0.25", 1), cap("1.00"));
    let hold = world.charge(&rights, &[charge(REQUESTS, 13)]).await.unwrap();
    assert_eq!(spent(&world, &rights).await, "0.75");
    hold.settle(&[charge(REQUESTS, 11)]);
    assert_eq!(spent(&world, &rights).await, "0.25");
    let hold = world.charge(&rights, &[charge(REQUESTS, 2)]).await.unwrap();
    assert_eq!(spent(&world, &rights).await, "0.75");
    hold.refund();
    assert_eq!(spent(&world, &rights).await, "0.25");
    // A reserve that spans both is settled to less than what is included.
    let hold = world.charge(&rights, &[charge(REQUESTS, 3)]).await.unwrap();
    assert_eq!(spent(&world, &rights).await, "1.00");
    assert!(world.charge(&rights, &[charge(REQUESTS, 1)]).await.is_err());
    // More than was reserved costs more, whatever the cap.
    hold.settle(&[charge(REQUESTS, 5)]);
    assert_eq!(spent(&world, &rights).await, "1.50");
    let usage = spend(&world.ledger, &rights, START).await.unwrap();
    assert_eq!(usage.remaining(), MoneyUnits::ZERO);
    world.ledger.flush().await.unwrap();
    assert_eq!(spent(&world, &rights).await, "1.50");
}

#[tokio::test]
async fn all_meters_share_the_cap() {
    let world = World::new();
    let (requests, tokens) = (Sale::new(0, "0.30", 1), Sale::new(1, "0.20", 1));
    let rights = rights_of([&requests, &tokens], cap("1.00"), (1, 1), START);
    let both = [charge(REQUESTS, 1), charge(TOKENS, 2)];
    world.charge(&rights, &both).await.unwrap().keep();
    assert_eq!(spent(&world, &rights).await, "0.50");
    let hold = world.charge(&rights, &both[..1]).await.unwrap();
    assert!(world.charge(&rights, &both).await.is_err(), "both together cost too much");
    world.charge(&rights, &both[..1]).await.err().unwrap();
    world.charge(&rights, &[charge(TOKENS, 1)]).await.unwrap().keep();
    assert_eq!(spent(&world, &rights).await, "1.00");
    hold.refund();
    assert_eq!(spent(&world, &rights).await, "0.70");
}

#[tokio::test]
async fn a_cap_that_is_set_later_knows_what_was_spent_before() {
    let world = World::new();
    let sale = Sale::new(1, "0.10", 1);
    let of = |cap, version| rights_of([&sale, &sale], cap, (version, version), START);
    let rights = of(SpendCap::Unlimited, 1);
    world.charge(&rights, &[charge(REQUESTS, 8)]).await.unwrap().keep();
    assert_eq!(spend(&world.ledger, &rights, START).await, None);
    world.ledger.flush().await.unwrap();
    let money = |row: &&(BucketKey, u64, super::store::Row)| row.0.span == Span::Spend;
    let rows = world.store.rows();
    let rows: Vec<_> = rows.iter().filter(money).map(|(.., row)| (row.granted, row.net())).collect();
    assert_eq!(rows, [(0, 700_000_000)], "money without a cap is counted, not granted");
    // With the change counting begins anew; what was spent stays so.
    world.ledger.apply(&rights.tenant, Version(2)).await.unwrap();
    let rights = of(cap("1.00"), 2);
    assert_eq!(spent(&world, &rights).await, "0.70");
    let (passed, refused) = world.exhaust(&rights).await;
    assert_eq!((passed, reached(refused)), (4, told("requests", "1.00", "1.00")));
    world.ledger.apply(&rights.tenant, Version(3)).await.unwrap();
    let rights = of(cap("1.50"), 3);
    assert_eq!(world.exhaust(&rights).await.0, 1 + 5);
    world.ledger.apply(&rights.tenant, Version(4)).await.unwrap();
    let rights = of(cap("0.50"), 4);
    let (passed, refused) = world.exhaust(&rights).await;
    assert_eq!(
        (passed, reached(refused)),
        (1, told("requests", "0.50", "1.50")),
        "what is included costs nothing"
    );
}

#[tokio::test]
async fn money_that_settles_above_its_reserve_on_a_sealed_word_is_borne_by_the_open_one() {
    let world = World::new();
    let sale = Sale::new(0, "0.10", 1);
    let of = |money, version| rights_of([&sale, &sale], cap(money), (version, version), START);
    let early = world.charge(&of("0.20", 1), &[charge(REQUESTS, 2)]).await.unwrap();
    world.ledger.apply(&of("0.20", 1).tenant, Version(2)).await.unwrap();
    let rights = of("0.50", 2);
    world.charge(&rights, &[charge(REQUESTS, 3)]).await.unwrap().refund();
    early.settle(&[charge(REQUESTS, 4)]);
    assert_eq!(world.exhaust(&rights).await.0, 1, "five in all");
    assert_eq!(spent(&world, &rights).await, "0.50");
}

#[tokio::test]
async fn the_next_month_has_a_cap_of_its_own() {
    let world = World::new();
    let rights = sold(&Sale::new(0, "1", 1), cap("2"));
    assert_eq!(world.exhaust(&rights).await.0, 2);
    world.advance(Duration::from_secs(17 * 86_400));
    assert_eq!(world.exhaust(&rights).await.0, 2);
}

#[tokio::test]
async fn without_the_database_money_is_spent_as_far_as_it_is_held() {
    let world = World::new();
    let rights = sold(&Sale::new(5, "0.01", 1), cap("1000"));
    for _ in 0..6 {
        world.charge(&rights, &[charge(REQUESTS, 1)]).await.unwrap().keep();
    }
    world.store.away.store(true, Ordering::SeqCst);
    let (passed, refused) = world.exhaust(&rights).await;
    assert!(passed < 100_000 - 1, "{passed}");
    assert_eq!(refused, ChargeError::Unavailable);
    assert_eq!(MoneyUnits::of(units(10_000_000 * (passed + 1))).to_string(), spent_here(&world, &rights));
}

fn spent_here(world: &World, rights: &Arc<Rights>) -> String {
    let key = BucketKey {
        meter: "usd".parse().unwrap(),
        span: Span::Spend,
        epoch: Version(0),
        ..bucket(rights, "requests", Window::Month, START)
    };
    MoneyUnits::of(world.ledger.known_used(&key).unwrap()).to_string()
}

#[tokio::test]
async fn a_price_beyond_all_caps_lets_nothing_through_and_breaks_nothing() {
    let world = World::new();
    let sale = Sale::new(0, "999999999999999999", 1);
    let rights = sold(&sale, cap("9000000"));
    for n in [1, 7, Units::MAX.get()] {
        let refused = world.charge(&rights, &[charge(REQUESTS, n)]).await.err().unwrap();
        assert_eq!(reached(refused), told("requests", "9000000.00", "0.00"), "{n}");
    }
    // Without a cap everybody is let through, however it is counted.
    let world = World::new();
    let rights = sold(&sale, SpendCap::Unlimited);
    for _ in 0..3 {
        world.charge(&rights, &[charge(REQUESTS, 3)]).await.unwrap().refund();
        world.charge(&rights, &[charge(REQUESTS, 3)]).await.unwrap().keep();
    }
    world.ledger.flush().await.unwrap();
}

#[derive(Debug, Clone, Copy)]
enum End {
    Open,
    Keep,
    Refund,
    Settle(u64, u64),
}

#[derive(Debug, Clone)]
enum Step {
    Charge([u64; 2], End),
    EndOldest(End),
    Cap(Option<u64>, bool, bool),
    Flush,
    Sweep,
    Restart,
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        2 => Just(End::Open),
        4 => Just(End::Keep),
        1 => Just(End::Refund),
        2 => (0u64..12, 0u64..12).prop_map(|(a, b)| End::Settle(a, b)),
    ]
}

/// Prices of all kinds, most of them so that some dozens of units reach the cap.
fn sale() -> impl Strategy<Value = Sale> {
    let price = (0u64..5_000, 0usize..13).prop_map(|(digits, scale)| {
        let text = format!("{digits:0width$}", width = scale + 1);
        let (whole, fraction) = text.split_at(text.len() - scale);
        if scale == 0 { whole.to_owned() } else { format!("{whole}.{fraction}") }
    });
    let per = prop_oneof![Just(1u64), 1u64..12, Just(1000)];
    (0u64..12, proptest::option::weighted(0.3, 0u64..30), price, per)
        .prop_map(|(included, cap, price, per)| Sale { included, cap, price, per })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        14 => (1u64..9, 0u64..5, end()).prop_map(|(a, b, end)| Step::Charge([a, b], end)),
        4 => end().prop_map(Step::EndOldest),
        2 => (proptest::option::weighted(0.8, 0u64..60), any::<bool>(), any::<bool>())
            .prop_map(|(cap, anew, apply)| Step::Cap(cap, anew, apply)),
        1 => Just(Step::Flush),
        1 => Just(Step::Sweep),
        1 => Just(Step::Restart),
    ]
}

const METERS: [MeterIx; 2] = [REQUESTS, TOKENS];

/// What a charge took of each meter: included, and beyond. A meter that was not charged has none.
type Taken = [Option<[u64; 2]>; 2];

struct Model {
    world: World,
    sales: [Sale; 2],
    cap: Option<u64>,
    /// The tenant's version, and that at which counting began.
    version: (u64, u64),
    rights: Arc<Rights>,
    used: [[u64; 2]; 2],
    spent: u64,
    /// All overage of the month, whatever counting it belongs to.
    beyond: [u64; 2],
    /// Something cost more than was reserved, or was spent before the cap was what it is.
    overrun: bool,
    /// With the counting to which each belongs.
    open: Vec<(Hold, Taken, u64)>,
}

impl Model {
    fn new(sales: [Sale; 2], cap: Option<u64>) -> Self {
        let (version, world) = ((1, 1), World::new());
        let rights =
            rights_of([&sales[0], &sales[1]], cap.map_or(SpendCap::Unlimited, limited), version, START);
        let used = [[0; 2]; 2];
        Self {
            world,
            sales,
            cap,
            version,
            rights,
            used,
            spent: 0,
            beyond: [0; 2],
            overrun: cap.is_none(),
            open: Vec::new(),
        }
    }

    /// What a charge takes, and whether there are enough units of all meters.
    fn plan(&self, n: [u64; 2]) -> (Taken, bool) {
        let (mut taken, mut enough) = ([None; 2], true);
        for (meter, n) in n.into_iter().enumerate().filter(|(_, n)| *n > 0) {
            let [included, beyond] = self.used[meter];
            let sale = &self.sales[meter];
            let part = n.min(sale.included.saturating_sub(included));
            enough &= sale.cap.is_none_or(|cap| n - part <= cap.saturating_sub(beyond));
            taken[meter] = Some([part, n - part]);
        }
        (taken, enough)
    }

    fn cost(&self, taken: &Taken) -> u64 {
        let beyond = |meter: usize| taken[meter].map_or(0, |taken| taken[1]);
        (0..2).map(|meter| self.sales[meter].cost(beyond(meter))).sum()
    }

    async fn charge(&mut self, n: [u64; 2], end: End) {
        let charges: Vec<_> =
            (0..2).filter(|meter| n[*meter] > 0).map(|meter| charge(METERS[meter], n[meter])).collect();
        let answer = self.world.charge(&self.rights, &charges).await;
        let (taken, enough) = self.plan(n);
        let cost = self.cost(&taken);
        let left = self.cap.map_or(u64::MAX, |cap| cap.saturating_sub(self.spent));
        match answer {
            Ok(hold) => {
                assert!(enough && cost <= left, "{cost} of {left} were let through");
                self.spent += cost;
                for ((used, taken), all) in self.used.iter_mut().zip(&taken).zip(&mut self.beyond) {
                    let [included, beyond] = taken.unwrap_or_default();
                    *all += beyond;
                    *used = [used[0] + included, used[1] + beyond];
                }
                self.open.push((hold, taken, self.version.1));
                self.end(self.open.len() - 1, end);
            }
            Err(ChargeError::Denied(Denial::SpendCapReached { cap, spent, .. })) => {
                assert!(cost > left, "{cost} of {left} were refused");
                assert_eq!((Some(cap.units().get()), spent.units().get()), (self.cap, self.spent));
            }
            Err(ChargeError::Denied(Denial::QuotaExhausted { .. })) => assert!(!enough),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn end(&mut self, at: usize, end: End) {
        if matches!(end, End::Open) || at >= self.open.len() {
            return;
        }
        let (hold, taken, counting) = self.open.remove(at);
        let actual = match end {
            End::Open | End::Keep => return hold.keep(),
            End::Refund => [0, 0],
            End::Settle(a, b) => [a, b],
        };
        match end {
            End::Refund => hold.refund(),
            _ => hold.settle(&[charge(REQUESTS, actual[0]), charge(TOKENS, actual[1])]),
        }
        for meter in 0..2 {
            let Some([included, beyond]) = taken[meter] else { continue };
            let all = included + beyond;
            let (mut back, more) = (all.saturating_sub(actual[meter]), actual[meter].saturating_sub(all));
            let from_beyond = back.min(beyond);
            back -= from_beyond;
            // The last burnt bears what is above the reserve.
            let more = if beyond > 0 { [0, more] } else { [more, 0] };
            self.overrun |= more[1] > 0;
            self.beyond[meter] = self.beyond[meter] + more[1] - from_beyond;
            self.spent = self.spent + self.sales[meter].cost(more[1]) - self.sales[meter].cost(from_beyond);
            if counting == self.version.1 {
                let used = &mut self.used[meter];
                *used = [used[0] + more[0] - back, used[1] + more[1] - from_beyond];
            }
        }
    }

    async fn change(&mut self, cap: Option<u64>, anew: bool, apply: bool) {
        let version = self.version.0 + 1;
        self.version = (version, if anew { version } else { self.version.1 });
        if anew {
            self.used = [[0; 2]; 2];
        }
        self.cap = cap;
        let tenant = self.rights.tenant.clone();
        self.world.store.versions.lock().unwrap().insert(tenant.clone(), Version(version));
        if apply {
            self.world.ledger.apply(&tenant, Version(version)).await.unwrap();
        }
        let sales = [&self.sales[0], &self.sales[1]];
        self.rights = rights_of(sales, cap.map_or(SpendCap::Unlimited, limited), self.version, START);
    }

    async fn step(&mut self, step: Step, scale: u64) {
        match step {
            Step::Charge(n, end) => self.charge(n, end).await,
            Step::EndOldest(end) => self.end(0, end),
            Step::Cap(cap, anew, apply) => {
                let cap = cap.map(|cap| cap * scale);
                self.change(cap, anew, apply).await;
                self.overrun |= cap.is_none_or(|cap| self.spent > cap);
            }
            Step::Flush => self.world.ledger.flush().await.unwrap(),
            Step::Sweep => {
                let shared = &self.world.ledger.0;
                shared.accounts.sweep(shared, 0, 1);
            }
            Step::Restart => {
                self.open.drain(..).for_each(|(hold, ..)| hold.keep());
                self.world.restart().await;
                let sales = [&self.sales[0], &self.sales[1]];
                let cap = self.cap.map_or(SpendCap::Unlimited, limited);
                self.rights = rights_of(sales, cap, self.version, START);
            }
        }
        let known = spend(&self.world.ledger, &self.rights, START).await;
        assert_eq!(known.map(|usage| usage.spent.units().get()), self.cap.map(|_| self.spent));
    }
}

impl Model {
    /// What is billed is never more than was taken, nor that more than the cap.
    fn check(&self) {
        let billed = self.sales.iter().zip(self.beyond).map(|(sale, beyond)| sale.billed(beyond));
        assert!(billed.fold(Total::default(), Total::plus) <= MoneyUnits::of(units(self.spent)).total());
        assert!(self.overrun || self.cap.is_some_and(|cap| self.spent <= cap));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Some dozens of units of the dearer meter.
fn scale(sales: &[Sale; 2]) -> u64 {
    sales.iter().map(|sale| sale.cost(1)).max().unwrap_or(0).clamp(1, 100_000_000_000_000)
}

#[allow(clippy::too_many_lines, reason = "one history of two nodes")]
async fn two_nodes(sale: Sale, cap: u64, steps: Vec<(usize, u64, Option<u64>)>) {
    let mut world = World::new();
    world.store.nodes.store(2, Ordering::SeqCst);
    world.freshness.polled(world.clock.monotonic(), 2);
    let nodes = [world.ledger.clone(), world.other()];
    let rights = [(); 2].map(|()| sold(&sale, limited(cap)));
    let (stop, polled, store) = (CancellationToken::new(), nodes.clone(), world.store.clone());
    let (stopped, limit) = (stop.clone(), sale.included);
    *world.store.limit.lock().unwrap() = limit;
    TaskTracker::new().spawn(async move {
        while !stopped.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            polled.iter().for_each(|node| node.recall(&store.polled(limit)));
        }
    });
    let charge_at = async |node: usize, n: u64| {
        let charges = [charge(REQUESTS, n)];
        let again = || charge_on(&nodes[node], &rights[node], &charges, START);
        match again().await {
            Err(ChargeError::Denied(_)) => {
                // What the other node gave back to its own words is heard of with the next look, and what it still holds
                // with the next recall: nothing is refused for longer than that.
                for node in &nodes {
                    node.flush().await.unwrap();
                }
                recall::look_again(&nodes[node].0).await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
                again().await
            }
            answer => answer,
        }
    };
    let mut used = 0;
    let money = |used: u64| sale.cost(used.saturating_sub(sale.included));
    let mut open: Vec<(Hold, u64)> = Vec::new();
    for (node, n, end) in steps {
        match charge_at(node, n).await {
            Ok(hold) => {
                used += n;
                assert!(money(used) <= cap, "{} of {cap} were spent", money(used));
                open.push((hold, n));
            }
            Err(ChargeError::Denied(_)) => {
                assert!(money(used + n) > cap, "{n} refused, {} of {cap} spent", money(used));
            }
            Err(error) => panic!("{error:?}"),
        }
        if let (Some(actual), false) = (end, open.is_empty()) {
            let (hold, taken) = open.remove(0);
            let actual = actual.min(taken);
            // Units of overage may come back before included ones of another charge: only the last one is settled so.
            if used <= sale.included || open.is_empty() {
                hold.settle(&[charge(REQUESTS, actual)]);
                used -= taken - actual;
            } else {
                hold.keep();
            }
        }
    }
    open.into_iter().for_each(|(hold, _)| hold.keep());
    let mut refused = 0;
    for node in [0, 1].into_iter().cycle() {
        match charge_at(node, 1).await {
            Ok(hold) => {
                hold.keep();
                (used, refused) = (used + 1, 0);
            }
            Err(ChargeError::Denied(_)) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
        if refused == 2 {
            break;
        }
    }
    assert!(money(used) <= cap && money(used + 1) > cap, "{used} used, {} of {cap} spent", money(used));
    for node in &nodes {
        node.flush().await.unwrap();
        let usage = spend(node, &rights[1], START).await.unwrap();
        assert_eq!(usage.spent.units().get(), money(used));
    }
    assert!(sale.billed(used.saturating_sub(sale.included)) <= MoneyUnits::of(units(cap)).total());
    stop.cancel();
    drop(world);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn money_is_spent_just_as_a_recomputation_says_and_never_past_the_cap(
        sales in [sale(), sale()],
        cap in proptest::option::weighted(0.9, 0u64..60),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let scale = scale(&sales);
        runtime().block_on(async {
            let mut model = Model::new(sales, cap.map(|cap| cap * scale));
            for step in steps {
                model.step(step, scale).await;
                model.check();
            }
        });
    }

    #[test]
    fn two_nodes_spend_the_whole_cap_and_no_more(
        included in 0u64..40,
        price in 1u64..2_000,
        per in 1u64..12,
        cap in 0u64..90_000,
        steps in prop::collection::vec((0usize..2, 1u64..9, proptest::option::of(0u64..9)), 1..40),
    ) {
        let sale = Sale { included, ..Sale::new(0, &format!("0.{price:09}"), per) };
        runtime().block_on(two_nodes(sale, cap, steps));
    }
}
