//! Random histories of one node, with changes, restarts and a failing database: never above the limit, all of it usable,
//! and everything recorded.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use proptest::prelude::*;

use super::world::*;
use crate::{
    domain::{
        denial::Denial,
        period::Window,
        plan::{MeterIx, Quota},
        rights::Rights,
        route::Charge,
        time::{UnixMillis, Version},
        units::Allowance,
    },
    ports::{BucketKey, ChargeError, Hold},
};

#[derive(Debug, Clone)]
enum Step {
    Charge { requests: u64, tokens: u64, end: End },
    EndOldest(End),
    Pass(u64),
    Change { requests: Limits, tokens: Limits, reset: bool, apply: bool },
    Flush,
    Sweep,
    Restart,
    Away(bool),
    LoseAnswer,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Open,
    Keep,
    Refund,
    Settle(u64),
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    month: Option<u64>,
    hour: Option<u64>,
}

impl Limits {
    fn quota(self) -> Quota {
        let of = |n: Option<u64>| n.map_or(Allowance::Unlimited, |n| Allowance::Limited(units(n)));
        Quota { hour: self.hour.map(|n| of(Some(n))), ..Quota::monthly(of(self.month)) }
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    (proptest::option::weighted(0.8, 0u64..60), proptest::option::of(0u64..30))
        .prop_map(|(month, hour)| Limits { month, hour })
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        2 => Just(End::Open),
        4 => Just(End::Keep),
        1 => Just(End::Refund),
        1 => (0u64..6).prop_map(End::Settle),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0u64..6, 0u64..4, end()).prop_map(|(requests, tokens, end)| Step::Charge { requests, tokens, end }),
        3 => end().prop_map(Step::EndOldest),
        3 => prop_oneof![0u64..2000, Just(700_000), Just(3_600_000)].prop_map(Step::Pass),
        2 => (limits(), limits(), proptest::bool::weighted(0.2), any::<bool>())
            .prop_map(|(requests, tokens, reset, apply)| Step::Change { requests, tokens, reset, apply }),
        2 => Just(Step::Flush),
        1 => Just(Step::Sweep),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::Away),
        1 => Just(Step::LoseAnswer),
    ]
}

/// What a run must have recorded.
struct Model {
    world: World,
    rights: Arc<Rights>,
    version: u64,
    epoch: u64,
    used: HashMap<BucketKey, u64>,
    /// How much of that was above a reserve: no promise of the limit, but counted against what comes after.
    overrun: HashMap<BucketKey, u64>,
    open: Vec<(Hold, UnixMillis, Arc<Rights>, [Charge; 2])>,
}

const METERS: [(MeterIx, &str); 2] = [(REQUESTS, "requests"), (TOKENS, "ai_tokens")];
const WINDOWS: [Window; 2] = [Window::Hour, Window::Month];

impl Model {
    fn new() -> Self {
        let world = World::new();
        let rights = rights(1, &catalog(terms(monthly(40)), terms(monthly(40))));
        Self {
            world,
            rights,
            version: 1,
            epoch: 1,
            used: HashMap::new(),
            overrun: HashMap::new(),
            open: vec![],
        }
    }

    fn keys(rights: &Rights, ix: MeterIx, now: UnixMillis) -> Vec<(Window, BucketKey, Option<u64>)> {
        let name = METERS.iter().find(|(of, _)| *of == ix).unwrap().1;
        let quota = rights.entitlement.as_ref().unwrap().terms(ix).quota.unwrap();
        WINDOWS
            .into_iter()
            .filter(|window| quota.counts(*window))
            .map(|window| {
                (window, bucket(rights, name, window, now), quota.hard_limit(window).map(|limit| limit.get()))
            })
            .collect()
    }

    fn add(&mut self, rights: &Rights, ix: MeterIx, now: UnixMillis, by: i64) {
        for (_, key, _) in Self::keys(rights, ix, now) {
            let used = self.used.entry(key).or_default();
            *used = used.checked_add_signed(by).unwrap();
        }
    }

    async fn charge(&mut self, requests: u64, tokens: u64, end: End) {
        let now = self.world.now();
        let charges = [charge(REQUESTS, requests), charge(TOKENS, tokens)];
        let rights = self.rights.clone();
        let over = |owed: &HashMap<BucketKey, u64>| {
            charges.iter().any(|charge| {
                Self::keys(&rights, charge.meter, now).iter().any(|(_, key, limit)| {
                    let of = |counts: &HashMap<BucketKey, u64>| counts.get(key).copied().unwrap_or(0);
                    let used = of(&self.used) - of(owed);
                    charge.units.get() > 0 && limit.is_some_and(|limit| used + charge.units.get() > limit)
                })
            })
        };
        let (over_limit, over_with_overrun) = (over(&self.overrun), over(&HashMap::new()));
        match self.world.charge(&rights, &charges).await {
            Ok(hold) => {
                assert!(!over_limit, "over-admitted");
                for charge in &charges {
                    self.add(&rights, charge.meter, now, i64::try_from(charge.units.get()).unwrap());
                }
                self.open.push((hold, now, rights, charges));
                let last = self.open.len() - 1;
                self.end(last, end);
            }
            Err(ChargeError::Denied(Denial::QuotaExhausted { .. })) => {
                assert!(over_with_overrun, "units remain")
            }
            Err(error) => {
                let failing = self.world.store.away.load(Ordering::SeqCst);
                assert!(failing && error == ChargeError::Unavailable, "{error:?}");
            }
        }
    }

    fn end(&mut self, place: usize, end: End) {
        if matches!(end, End::Open) || place >= self.open.len() {
            return;
        }
        let (hold, at, rights, charges) = self.open.remove(place);
        match end {
            End::Open => {}
            End::Keep => hold.keep(),
            End::Refund => {
                hold.refund();
                for charge in &charges {
                    self.add(&rights, charge.meter, at, -i64::try_from(charge.units.get()).unwrap());
                }
            }
            End::Settle(actual) => {
                hold.settle(&[charge(TOKENS, actual)]);
                let taken = i64::try_from(charges[1].units.get()).unwrap();
                let actual = i64::try_from(actual).unwrap();
                self.add(&rights, TOKENS, at, actual - taken);
                for (_, key, _) in Self::keys(&rights, TOKENS, at) {
                    *self.overrun.entry(key).or_default() += u64::try_from(actual - taken).unwrap_or(0);
                }
            }
        }
    }

    async fn change(&mut self, requests: Limits, tokens: Limits, reset: bool, apply: bool) {
        self.version += 1;
        self.epoch += u64::from(reset);
        let catalog = catalog(terms(requests.quota()), terms(tokens.quota()));
        let tenant = tenant("acme", self.version, self.epoch);
        self.rights = Arc::new(Rights::compile(&tenant, &catalog, START).unwrap());
        self.world.store.versions.lock().unwrap().insert(tenant.id.clone(), Version(self.version));
        if apply {
            let applied = self.world.ledger.apply(&tenant.id, Version(u64::MAX)).await;
            assert!(applied.is_ok() || self.world.store.away.load(Ordering::SeqCst));
        }
    }

    /// The database is back, and the node has noticed.
    async fn recover(&mut self) {
        self.world.store.away.store(false, Ordering::SeqCst);
        self.world.store.lose_answers.store(0, Ordering::SeqCst);
        self.world.advance(Duration::from_secs(2));
    }

    async fn restart(&mut self) {
        self.recover().await;
        self.open.drain(..).for_each(|(hold, ..)| hold.keep());
        self.world.restart().await;
        // A new process has no rights of the old one.
        let entitlement = self.rights.entitlement.as_ref().unwrap();
        let (requests, tokens) = (entitlement.terms(REQUESTS), entitlement.terms(TOKENS));
        let catalog = catalog(requests, tokens);
        self.rights =
            Arc::new(Rights::compile(&tenant("acme", self.version, self.epoch), &catalog, START).unwrap());
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Charge { requests, tokens, end } => self.charge(requests, tokens, end).await,
            Step::EndOldest(end) => self.end(0, end),
            Step::Pass(millis) => self.world.advance(Duration::from_millis(millis)),
            Step::Change { requests, tokens, reset, apply } => {
                self.change(requests, tokens, reset, apply).await
            }
            Step::Flush => {
                let flushed = self.world.ledger.flush().await;
                assert!(flushed.is_ok() || self.world.store.away.load(Ordering::SeqCst));
            }
            Step::Sweep => {
                let shared = &self.world.ledger.0;
                (0..16).for_each(|part| shared.accounts.sweep(shared, part, 16));
            }
            Step::Restart => self.restart().await,
            Step::Away(true) => self.world.store.away.store(true, Ordering::SeqCst),
            Step::Away(false) => self.recover().await,
            Step::LoseAnswer => {
                // Like an outage: the request that meets it is answered that the ledger is not available.
                self.world.store.lose_answers.store(1, Ordering::SeqCst);
                let _ = self.world.charge(&self.rights.clone(), &[]).await;
                let now = self.world.now();
                let rights = self.rights.clone();
                if let Ok(hold) = self.world.charge(&rights, &[charge(REQUESTS, 1)]).await {
                    hold.keep();
                    self.add(&rights, REQUESTS, now, 1);
                }
                if !self.world.store.away.load(Ordering::SeqCst) {
                    self.recover().await;
                }
            }
        }
    }

    async fn check(mut self) {
        self.recover().await;
        let now = self.world.now();
        for (ix, name) in METERS {
            for (window, key, _) in Self::keys(&self.rights, ix, now) {
                let used = self.world.used(&self.rights, name, window).await.used.get();
                assert_eq!(used, self.used.get(&key).copied().unwrap_or(0), "{name} {window}");
            }
        }
        self.open.drain(..).for_each(|(hold, ..)| hold.keep());
        self.world.ledger.drain().await;
        for (key, used) in &self.used {
            assert_eq!(self.world.store.net(key), *used, "{key:?}");
            assert_eq!(self.world.store.allocated(key), *used, "{key:?}");
        }
        for (key, ..) in self.world.store.rows() {
            assert_eq!(self.world.store.net(&key), self.used.get(&key).copied().unwrap_or(0), "{key:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn exact_through_everything(steps in proptest::collection::vec(step(), 1..120)) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new();
            for step in steps {
                model.step(step).await;
            }
            model.check().await;
        });
    }
}
