//! Spend caps: what billed overage costs is taken with its units, all or nothing, and given back with them. Random histories
//! against a plain recomputation are in `histories`, those of two nodes in `two_nodes`.

mod histories;
mod two_nodes;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::world::*;
use crate::{
    domain::{
        catalog::Catalog,
        denial::Denial,
        money::{Decimal, Price, Total},
        period::Window,
        plan::{Overage, Plan, Quota},
        rights::Rights,
        spend::{MoneyUnits, SpendCap, UnitCost},
        time::{UnixMillis, Version},
        units::Units,
    },
    ledger::EscrowLedger,
    ports::{BucketKey, ChargeError, Ledger, Span, SpendUsage},
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

/// One thread whose time goes on by itself while nothing is to be done.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}
