//! What a node knows of what others use: exactly what they had recorded at one instant, however flushes, grants, looks,
//! seals and lost answers follow each other or overlap; and no older than the last look.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use proptest::prelude::*;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::world::*;
use crate::{
    domain::{period::Window, rights::Rights},
    ledger::{EscrowLedger, follow},
    ports::{BucketKey, Hold, Incarnation, Ledger},
};

const NODES: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Open,
    Keep,
    Refund,
}

#[derive(Debug, Clone)]
enum Step {
    Charge(usize, u64, End),
    EndOldest(usize, End),
    Flush(usize),
    /// It is carried out, and its answer lost.
    LostFlush(usize),
    Look(usize),
    /// Seals all words and records them.
    Seal(usize),
    Sweep(usize),
    /// The answer to a flush comes only after all this.
    SlowFlush(usize, Vec<Step>),
    /// The same of a look.
    SlowLook(usize, Vec<Step>),
}

/// Some nodes, and what is to be known on each.
struct Model {
    world: World,
    nodes: Vec<EscrowLedger>,
    rights: Vec<Arc<Rights>>,
    bucket: BucketKey,
    open: Vec<Vec<(Hold, u64)>>,
    /// Charged and not given back, on each.
    own: Vec<u64>,
    /// What the others of each have had recorded, one instant after the other,
    history: Vec<Vec<u64>>,
    /// and the first of those that it may still know.
    since: Vec<usize>,
    /// Whose flush waits for its answer: another beside it cannot tell what is whose.
    flushing: Option<usize>,
}

impl Model {
    fn new() -> Self {
        let mut world = World::new();
        world.store.nodes.store(u32::try_from(NODES).unwrap(), Ordering::SeqCst);
        world.freshness.polled(crate::clock::Clock::monotonic(&*world.clock), u32::try_from(NODES).unwrap());
        let nodes: Vec<EscrowLedger> =
            (0..NODES).map(|node| if node == 0 { world.ledger.clone() } else { world.other() }).collect();
        nodes.iter().for_each(|node| node.0.followed.accompany(true));
        let rights: Vec<Arc<Rights>> = nodes.iter().map(|_| requests(monthly(1_000_000))).collect();
        let bucket = bucket(&rights[0], "requests", Window::Month, START);
        Self {
            world,
            nodes,
            rights,
            bucket,
            open: (0..NODES).map(|_| Vec::new()).collect(),
            own: vec![0; NODES],
            history: vec![vec![0]; NODES],
            since: vec![0; NODES],
            flushing: None,
        }
    }

    fn recorded_by_others(&self, node: usize) -> u64 {
        let own = Incarnation(uuid::Uuid::from_u128(node as u128 + 1));
        let slots = self.world.store.slots.lock().unwrap();
        slots.iter().filter(|((_, owner, _), _)| *owner != own).map(|(_, row)| row.net()).sum()
    }

    /// What a node takes others to have used; `None`: it knows nothing of the bucket.
    fn elsewhere(&self, node: usize) -> Option<u64> {
        let known = self.nodes[node].known_used(&self.bucket)?.get();
        Some(known.checked_sub(self.own[node]).expect("its own are known to the unit"))
    }

    fn note(&mut self) {
        for node in 0..NODES {
            let recorded = self.recorded_by_others(node);
            self.history[node].push(recorded);
        }
    }

    fn check(&self) {
        for node in 0..NODES {
            let allowed = &self.history[node][self.since[node]..];
            if let Some(elsewhere) = self.elsewhere(node) {
                assert!(allowed.contains(&elsewhere), "node {node} knows of {elsewhere}, not of {allowed:?}");
            }
        }
    }

    /// From now on it knows all that was recorded.
    fn up_to_date(&mut self, node: usize) {
        self.since[node] = self.history[node].len() - 1;
    }

    async fn charge(&mut self, node: usize, n: u64, end: End) {
        let hold = charge_on(&self.nodes[node], &self.rights[node], &[charge(REQUESTS, n)], START).await;
        self.own[node] += n;
        self.open[node].push((hold.unwrap(), n));
        if end != End::Open {
            let last = self.open[node].len() - 1;
            self.end(node, last, end);
        }
    }

    fn end(&mut self, node: usize, place: usize, end: End) {
        let (hold, n) = self.open[node].remove(place);
        if end == End::Refund {
            hold.refund();
            self.own[node] -= n;
        } else {
            hold.keep();
        }
    }

    fn has_open_word(&self, node: usize) -> bool {
        let shared = &self.nodes[node].0;
        let watched = follow::ask(shared, &self.bucket, |cell| {
            cell.bucket(&self.bucket).is_some_and(|bucket| cell.is_watched(&bucket, shared.monotonic()))
        });
        watched == Some(true)
    }

    async fn flush(&mut self, node: usize) {
        let before = self.world.store.flushes.load(Ordering::SeqCst);
        self.nodes[node].flush().await.unwrap();
        self.note();
        let something = self.world.store.flushes.load(Ordering::SeqCst) > before;
        if something && self.flushing != Some(node) {
            self.up_to_date(node);
        }
    }

    /// Begins something whose answer is held back, does `meanwhile`, and lets it come.
    async fn slowly(&mut self, node: usize, is_flush: bool, meanwhile: Vec<Step>) {
        let store = Arc::clone(&self.world.store);
        let shut = Arc::new(Semaphore::new(0));
        let (gate, count) =
            if is_flush { (&store.flush_gate, &store.flushes) } else { (&store.look_gate, &store.lookups) };
        self.world.advance(Duration::from_secs(1));
        let before = count.load(Ordering::SeqCst);
        *gate.lock().unwrap() = Some(Arc::clone(&shut));
        let ledger = self.nodes[node].clone();
        let begun = TaskTracker::new().spawn(async move {
            if is_flush {
                ledger.flush().await.unwrap();
            } else {
                follow::look(&ledger.0).await.unwrap();
            }
        });
        while !begun.is_finished() && count.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
        *gate.lock().unwrap() = None;
        self.flushing = (is_flush && !begun.is_finished()).then_some(node);
        self.note();
        for step in meanwhile {
            Box::pin(self.step(step)).await;
        }
        shut.add_permits(1000);
        begun.await.unwrap();
        self.flushing = None;
        self.note();
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Charge(node, n, end) => self.charge(node, n, end).await,
            Step::EndOldest(node, end) if !self.open[node].is_empty() && end != End::Open => {
                self.end(node, 0, end);
            }
            Step::EndOldest(..) => {}
            Step::Flush(node) => self.flush(node).await,
            Step::LostFlush(node) => {
                self.world.store.lose_flushes.store(1, Ordering::SeqCst);
                let _ = self.nodes[node].flush().await;
                self.world.store.lose_flushes.store(0, Ordering::SeqCst);
            }
            Step::Look(node) => {
                self.world.advance(Duration::from_secs(1));
                follow::look(&self.nodes[node].0).await.unwrap();
            }
            Step::Seal(node) => self.nodes[node].apply_everything().await.unwrap(),
            Step::Sweep(node) => {
                let shared = &self.nodes[node].0;
                shared.accounts.sweep(shared, 0, 1);
            }
            Step::SlowFlush(node, meanwhile) => self.slowly(node, true, meanwhile).await,
            Step::SlowLook(node, meanwhile) => self.slowly(node, false, meanwhile).await,
        }
        self.note();
        self.check();
    }

    /// All is quiet: whoever has an open word knows the truth after one flush, or one look.
    async fn finish(&mut self) {
        for node in 0..NODES {
            self.flush(node).await;
            self.check();
        }
        self.world.advance(Duration::from_secs(1));
        for node in 0..NODES {
            let looks = self.has_open_word(node);
            follow::look(&self.nodes[node].0).await.unwrap();
            if looks {
                assert_eq!(self.elsewhere(node), Some(self.recorded_by_others(node)), "node {node}");
                let all: u64 = self.own.iter().sum();
                assert_eq!(self.nodes[node].known_used(&self.bucket).unwrap().get(), all);
            }
        }
    }
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Open), Just(End::Keep), Just(End::Refund)]
}

fn plain() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..NODES, 1u64..50, end()).prop_map(|(node, n, end)| Step::Charge(node, n, end)),
        // More than was granted before, so that more is asked for.
        1 => (0..NODES, 900u64..3000).prop_map(|(node, n)| Step::Charge(node, n, End::Keep)),
        2 => (0..NODES, end()).prop_map(|(node, end)| Step::EndOldest(node, end)),
        4 => (0..NODES).prop_map(Step::Flush),
        1 => (0..NODES).prop_map(Step::LostFlush),
        4 => (0..NODES).prop_map(Step::Look),
        2 => (0..NODES).prop_map(Step::Seal),
        2 => (0..NODES).prop_map(Step::Sweep),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let meanwhile = || prop::collection::vec(plain(), 0..6);
    prop_oneof![
        8 => plain(),
        1 => (0..NODES, meanwhile()).prop_map(|(node, steps)| Step::SlowFlush(node, steps)),
        1 => (0..NODES, meanwhile()).prop_map(|(node, steps)| Step::SlowLook(node, steps)),
    ]
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_node_knows_what_others_had_recorded_at_one_instant(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        runtime().block_on(async {
            let mut model = Model::new();
            for step in steps {
                model.step(step).await;
            }
            model.finish().await;
        });
    }
}

/// Two nodes that both have charged, with all of it recorded and known.
async fn two() -> Model {
    let mut model = Model::new();
    for node in [0, 1] {
        model.charge(node, 5, End::Keep).await;
    }
    for node in [0, 1, 0] {
        model.flush(node).await;
    }
    model.charge(0, 1, End::Keep).await;
    model.flush(0).await;
    assert_eq!(model.elsewhere(0), Some(5), "a flush says what others have recorded");
    model
}

#[tokio::test(start_paused = true)]
async fn a_flush_tells_what_others_use_without_another_statement() {
    let mut model = two().await;
    let looked = model.world.store.lookups.load(Ordering::SeqCst);
    model.charge(1, 7, End::Keep).await;
    model.flush(1).await;
    model.charge(0, 1, End::Keep).await;
    model.flush(0).await;
    assert_eq!((model.elsewhere(0), model.elsewhere(1)), (Some(12), Some(6)));
    assert_eq!(model.world.store.lookups.load(Ordering::SeqCst), looked);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_charged_is_looked_up_as_long_as_its_word_is_open() {
    let mut model = two().await;
    let lookups = |model: &Model| model.world.store.lookups.load(Ordering::SeqCst);
    model.charge(1, 7, End::Keep).await;
    model.flush(1).await;
    assert_eq!(follow::look(&model.nodes[0].0).await.unwrap(), 0, "it was learnt just now");
    model.world.advance(Duration::from_secs(1));
    assert_eq!(follow::look(&model.nodes[0].0).await.unwrap(), 1);
    assert_eq!((model.elsewhere(0), lookups(&model)), (Some(12), 1));
    model.world.advance(Duration::from_secs(1));
    assert_eq!(follow::look(&model.nodes[0].0).await.unwrap(), 1, "again and again");
    model.nodes[0].apply_everything().await.unwrap();
    model.world.advance(Duration::from_secs(1));
    assert_eq!(follow::look(&model.nodes[0].0).await.unwrap(), 0, "what is returned is of no interest");
    model.charge(0, 1, End::Keep).await;
    model.world.advance(Duration::from_secs(1));
    assert_eq!(follow::look(&model.nodes[0].0).await.unwrap(), 1, "until it is charged again");
}

#[tokio::test(start_paused = true)]
async fn a_node_alone_looks_nothing_up_and_one_with_company_does() {
    let model = two().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let (ledger, ended) = (model.nodes[0].clone(), stop.clone());
    let running = TaskTracker::new().spawn(async move { follow::run(&ledger.0, ended).await });
    let pass = async |seconds: u64| {
        for _ in 0..seconds * 4 {
            model.world.advance(Duration::from_millis(250));
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        model.world.store.lookups.load(Ordering::SeqCst)
    };
    assert!((2..=6).contains(&pass(3).await), "twice in a second at most");
    let monotonic = crate::clock::Clock::monotonic(&*model.world.clock);
    model.world.freshness.polled(monotonic, 1);
    let before = pass(7).await;
    assert_eq!(pass(5).await, before, "nobody else is there any more");
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_looked_up_where_all_is_used_up() {
    let mut world = World::new();
    let (ledger, other) = (world.ledger.clone(), world.other());
    ledger.0.followed.accompany(true);
    let rights = requests(monthly(10));
    charge_on(&other, &requests(monthly(10)), &[charge(REQUESTS, 4)], START).await.unwrap().keep();
    // All that is left is granted to one of them.
    charge_on(&ledger, &rights, &[charge(REQUESTS, 2)], START).await.unwrap().keep();
    other.apply_everything().await.unwrap();
    let (passed, _) = world.exhaust(&rights).await;
    assert_eq!(passed, 4);
    world.advance(Duration::from_secs(1));
    assert_eq!(follow::look(&ledger.0).await.unwrap(), 0);
    assert_eq!(world.store.lookups.load(Ordering::SeqCst), 0);
}
