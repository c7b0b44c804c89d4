//! Random histories over several sources against a plain recomputation: on one node each unit comes from just the source
//! that it should, on two nodes no source is ever exceeded and nothing is refused while enough remains.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use proptest::prelude::*;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    sources::{burnt, compiled, grant, holder},
    world::*,
};
use crate::{
    clock::Clock,
    domain::{
        denial::Denial,
        grant::Grant,
        plan::{Overage, Quota},
        rights::{Rights, Source, SourceTerms},
        tenant::Tenant,
        time::{UnixMillis, Version},
    },
    ledger::{EscrowLedger, recall},
    ports::{ChargeError, Hold},
};

#[derive(Debug, Clone, Copy)]
enum End {
    Open,
    Keep,
    Refund,
    Settle(u64),
}

#[derive(Debug, Clone, Copy)]
struct Gift {
    units: u64,
    priority: u16,
    hours: Option<u64>,
    recurring: bool,
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    plan: u64,
    /// `Some(None)`: without a cap.
    overage: Option<Option<u64>>,
}

impl Shape {
    fn quota(self) -> Quota {
        let overage = self.overage.map_or(Overage::Block, |cap| Overage::Allow { cap: cap.map(units) });
        Quota { overage, ..monthly(self.plan) }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Charge(u64, End),
    EndOldest(End),
    Pass(u64),
    Change { shape: Shape, gift: Option<Gift>, void: bool, apply: bool },
    Flush,
    Sweep,
    Restart,
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        2 => Just(End::Open),
        4 => Just(End::Keep),
        1 => Just(End::Refund),
        2 => (0u64..12).prop_map(End::Settle),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    let overage = proptest::option::of(proptest::option::weighted(0.8, 0u64..9));
    (0u64..12, overage).prop_map(|(plan, overage)| Shape { plan, overage })
}

fn gift() -> impl Strategy<Value = Gift> {
    let hours = prop_oneof![3 => Just(None), 2 => (1u64..900).prop_map(Some)];
    (0u64..9, 98u16..103, hours, proptest::bool::weighted(0.3))
        .prop_map(|(units, priority, hours, recurring)| Gift { units, priority, hours, recurring })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        14 => (0u64..9, end()).prop_map(|(n, end)| Step::Charge(n, end)),
        4 => end().prop_map(Step::EndOldest),
        3 => prop_oneof![3 => 0u64..2, 2 => 1u64..100, 1 => Just(31 * 24)].prop_map(Step::Pass),
        2 => (shape(), proptest::option::of(gift()), any::<bool>(), any::<bool>())
            .prop_map(|(shape, gift, void, apply)| Step::Change { shape, gift, void, apply }),
        1 => Just(Step::Flush),
        1 => Just(Step::Sweep),
        1 => Just(Step::Restart),
    ]
}

/// A source in one period.
type Place = (Source, UnixMillis);

/// A plain recomputation.
struct Model {
    world: World,
    tenant: Tenant,
    shape: Shape,
    rights: Arc<Rights>,
    used: HashMap<Place, u64>,
    /// Holds, with what each took from where, the last burnt last.
    open: Vec<(Hold, Vec<(Place, u64)>)>,
}

fn in_force(rights: &Rights, now: UnixMillis) -> Vec<SourceTerms> {
    let mut sources = rights.entitlement.as_ref().unwrap().sources(REQUESTS, now);
    sources.retain(|terms| terms.period.end > now);
    sources
}

fn place(terms: &SourceTerms) -> Place {
    (terms.source, terms.period.start)
}

impl Model {
    fn new(shape: Shape, gifts: &[Gift]) -> Self {
        let world = World::new();
        let grants: Vec<Grant> =
            gifts.iter().zip(2..).map(|(gift, number)| given(*gift, number, START)).collect();
        let tenant = holder(1, &grants);
        let rights = compiled(&tenant, shape.quota(), START);
        Self { world, tenant, shape, rights, used: HashMap::new(), open: Vec::new() }
    }

    fn used(&self, terms: &SourceTerms) -> u64 {
        self.used.get(&place(terms)).copied().unwrap_or(0)
    }

    /// What a charge takes from where; `None`: fewer remain.
    fn plan(&self, n: u64) -> Option<Vec<(Place, u64)>> {
        let mut sources = in_force(&self.rights, self.world.now());
        let last = sources.len() - 1;
        let mut at = 0..;
        sources.retain(|terms| at.next() == Some(last) || terms.limit != Some(units(0)));
        if n == 0 {
            return Some(vec![(place(&sources[0]), 0)]);
        }
        let mut left = n;
        let mut taken = Vec::new();
        for terms in &sources {
            let there = terms.limit.map_or(left, |limit| limit.get().saturating_sub(self.used(terms)));
            let part = there.min(left);
            left -= part;
            if part > 0 {
                taken.push((place(terms), part));
            }
        }
        (left == 0).then_some(taken)
    }

    async fn charge(&mut self, n: u64, end: End) {
        let expected = self.plan(n);
        match (self.world.charge(&self.rights, &[charge(REQUESTS, n)]).await, expected) {
            (Ok(hold), Some(taken)) => {
                for (place, part) in &taken {
                    *self.used.entry(*place).or_default() += part;
                }
                self.open.push((hold, taken));
                self.end(self.open.len() - 1, end);
            }
            (Err(ChargeError::Denied(Denial::QuotaExhausted { limit, used, .. })), None) => {
                let sources = in_force(&self.rights, self.world.now());
                let all: u64 = sources.iter().map(|terms| terms.limit.unwrap().get()).sum();
                assert_eq!(limit.get(), all);
                assert!(used.get() + n > all, "{used} of {all} for {n}");
            }
            (answer, expected) => panic!("{:?}, expected {expected:?}", answer.map(|_| ())),
        }
    }

    fn end(&mut self, at: usize, end: End) {
        if matches!(end, End::Open) || at >= self.open.len() {
            return;
        }
        let (hold, taken) = self.open.remove(at);
        let all: u64 = taken.iter().map(|(_, part)| part).sum();
        let mut back = match end {
            End::Open | End::Keep => {
                hold.keep();
                return;
            }
            End::Refund => {
                hold.refund();
                all
            }
            End::Settle(actual) => {
                hold.settle(&[charge(REQUESTS, actual)]);
                let (last, _) = taken[taken.len() - 1];
                *self.used.entry(last).or_default() += actual.saturating_sub(all);
                all.saturating_sub(actual)
            }
        };
        for (place, part) in taken.iter().rev() {
            let some = back.min(*part);
            back -= some;
            *self.used.get_mut(place).unwrap() -= some;
        }
    }

    /// Rights for this time.
    fn resolve(&mut self) {
        self.rights = compiled(&self.tenant, self.shape.quota(), self.world.now());
    }

    async fn change(&mut self, shape: Shape, gift: Option<Gift>, void: bool, apply: bool) {
        let (now, version) = (self.world.now(), Version(self.tenant.version.0 + 10));
        self.tenant.advance(now);
        self.tenant.version = version;
        self.shape = shape;
        if void && !self.tenant.grants.is_empty() {
            self.tenant.grants.remove(0);
        }
        self.tenant.grants.extend(gift.map(|gift| given(gift, version.0, now)));
        self.world.store.versions.lock().unwrap().insert(self.tenant.id.clone(), version);
        if apply {
            self.world.ledger.apply(&self.tenant.id, version).await.unwrap();
        }
        self.resolve();
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Charge(n, end) => self.charge(n, end).await,
            Step::EndOldest(end) => self.end(0, end),
            Step::Pass(hours) => {
                self.world.advance(Duration::from_secs(hours * 3600 + 1));
                if self.world.now() >= self.rights.until {
                    self.resolve();
                }
            }
            Step::Change { shape, gift, void, apply } => self.change(shape, gift, void, apply).await,
            Step::Flush => self.world.ledger.flush().await.unwrap(),
            Step::Sweep => {
                let shared = &self.world.ledger.0;
                shared.accounts.sweep(shared, 0, 1);
            }
            Step::Restart => {
                self.open.drain(..).for_each(|(hold, _)| hold.keep());
                self.world.restart().await;
                // A new process has no rights of the old one.
                self.resolve();
            }
        }
        let now = self.world.now();
        let expected: Vec<(Source, u64)> =
            in_force(&self.rights, now).iter().map(|terms| (terms.source, self.used(terms))).collect();
        assert_eq!(burnt(&self.world.ledger, &self.rights, now).await, expected);
    }
}

fn given(gift: Gift, number: u64, now: UnixMillis) -> Grant {
    Grant {
        priority: gift.priority,
        since: now,
        expires_at: gift.hours.map(|hours| now + Duration::from_secs(hours * 3600)),
        recurring: gift.recurring,
        ..grant(number, gift.units)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Two nodes, told of what is wanted as by polls.
struct Two {
    world: World,
    nodes: [EscrowLedger; 2],
    rights: [Arc<Rights>; 2],
    stop: CancellationToken,
}

impl Two {
    fn new(quota: Quota, gifts: &[Gift]) -> Self {
        let mut world = World::new();
        world.store.nodes.store(2, Ordering::SeqCst);
        world.freshness.polled(world.clock.monotonic(), 2);
        let nodes = [world.ledger.clone(), world.other()];
        let gifts = gifts.iter().map(|gift| Gift { hours: None, ..*gift });
        let grants: Vec<Grant> = gifts.zip(2..).map(|(gift, number)| given(gift, number, START)).collect();
        let rights = [(); 2].map(|()| compiled(&holder(1, &grants), quota, START));
        let (stop, polled, store) = (CancellationToken::new(), nodes.clone(), world.store.clone());
        let stopped = stop.clone();
        let limit = quota.month.limit().unwrap().get();
        *world.store.limit.lock().unwrap() = limit;
        TaskTracker::new().spawn(async move {
            while !stopped.is_cancelled() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                polled.iter().for_each(|node| node.recall(&store.polled(limit)));
            }
        });
        Self { world, nodes, rights, stop }
    }

    async fn charge(&self, node: usize, n: u64) -> Result<Hold, ChargeError> {
        let charges = [charge(REQUESTS, n)];
        let again = || charge_on(&self.nodes[node], &self.rights[node], &charges, START);
        match again().await {
            Err(ChargeError::Denied(_)) => {
                // What the other node gave back to its own words is heard of with the next look.
                for node in &self.nodes {
                    node.flush().await.unwrap();
                }
                recall::look_again(&self.nodes[node].0).await.unwrap();
                again().await
            }
            answer => answer,
        }
    }

    /// Charges unit by unit, by turns, until both are refused.
    async fn exhaust(&self) -> u64 {
        let mut passed = 0;
        let mut refused = 0;
        for node in [0, 1].into_iter().cycle() {
            match self.charge(node, 1).await {
                Ok(hold) => {
                    hold.keep();
                    passed += 1;
                    refused = 0;
                }
                Err(ChargeError::Denied(_)) => refused += 1,
                Err(error) => panic!("{error:?}"),
            }
            if refused == 2 {
                break;
            }
        }
        passed
    }
}

async fn two_nodes(shape: Shape, gifts: Vec<Gift>, steps: Vec<(usize, u64, End)>) {
    // Every source has an end here.
    let cap = shape.overage.flatten();
    let shape = Shape { plan: shape.plan * 40, overage: cap.map(Some) };
    let gifts: Vec<Gift> = gifts.into_iter().map(|gift| Gift { units: gift.units * 30, ..gift }).collect();
    let two = Two::new(shape.quota(), &gifts);
    let sources = in_force(&two.rights[0], START);
    let all: u64 = sources.iter().map(|terms| terms.limit.unwrap().get()).sum();
    let mut used = 0;
    let mut open: Vec<(Hold, u64)> = Vec::new();
    for (node, n, end) in steps {
        let n = n * 11;
        match two.charge(node, n).await {
            Ok(hold) => {
                used += n;
                assert!(used <= all, "{used} of {all} were admitted");
                open.push((hold, n));
            }
            Err(ChargeError::Denied(_)) => assert!(used + n > all, "{n} refused, {used} of {all} used"),
            Err(error) => panic!("{error:?}"),
        }
        if open.is_empty() || matches!(end, End::Open) {
            continue;
        }
        let (hold, taken) = open.remove(0);
        match end {
            End::Open | End::Keep => hold.keep(),
            End::Refund => {
                hold.refund();
                used -= taken;
            }
            End::Settle(actual) => {
                let actual = actual.min(taken);
                hold.settle(&[charge(REQUESTS, actual)]);
                used -= taken - actual;
            }
        }
    }
    open.into_iter().for_each(|(hold, _)| hold.keep());
    assert_eq!(two.exhaust().await, all - used, "to the last unit");
    for node in &two.nodes {
        node.flush().await.unwrap();
    }
    let full: Vec<(Source, u64)> = sources.iter().map(|t| (t.source, t.limit.unwrap().get())).collect();
    assert_eq!(burnt(&two.nodes[1], &two.rights[1], START).await, full, "each to its last unit");
    two.stop.cancel();
    drop(two.world);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    #[test]
    fn each_unit_comes_from_the_source_that_a_recomputation_says(
        shape in shape(),
        gifts in prop::collection::vec(gift(), 0..4),
        steps in prop::collection::vec(step(), 1..50),
    ) {
        runtime().block_on(async {
            let mut model = Model::new(shape, &gifts);
            for step in steps {
                model.step(step).await;
            }
        });
    }

    #[test]
    fn two_nodes_use_every_source_up_and_exceed_none(
        shape in shape(),
        gifts in prop::collection::vec(gift(), 0..4),
        steps in prop::collection::vec((0usize..2, 0u64..9, end()), 1..40),
    ) {
        runtime().block_on(two_nodes(shape, gifts, steps));
    }
}
