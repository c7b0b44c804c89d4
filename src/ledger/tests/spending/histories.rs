//! Random histories of two meters under one spend cap, on one node, against a plain recomputation.

use std::sync::Arc;

use proptest::prelude::*;

use super::{super::world::*, Sale, limited, rights_of, runtime, spend};
use crate::{
    domain::{
        denial::Denial,
        money::Total,
        plan::MeterIx,
        rights::Rights,
        spend::{MoneyUnits, SpendCap},
        time::Version,
    },
    ports::{ChargeError, Hold},
};

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

/// Some dozens of units of the dearer meter.
fn scale(sales: &[Sale; 2]) -> u64 {
    sales.iter().map(|sale| sale.cost(1)).max().unwrap_or(0).clamp(1, 100_000_000_000_000)
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
}
