//! The whole: nodes over one store, what happens to them, and what is checked after every step.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::FutureExt;
use plangate::{
    clock::{Clock, ManualClock},
    domain::{
        denial::Denial,
        id::TenantId,
        time::{UnixMillis, Version},
    },
    ports::{ChargeError, Hold, LedgerStore},
    store::memory::Memory,
};

use super::{
    disk::Disk,
    network::{Network, carry_out},
    node::{Charged, Node},
    seed::{Seed, Trace},
    shadow::Shadow,
    tenants::{self, Limits, METERS, REQUESTS, TOKENS},
};

/// 2026-03-30T23:40:00Z: a day's and a month's end are near.
const START: UnixMillis = UnixMillis(1_774_914_000_000);

/// 2026-01-31T12:00:00Z.
pub const ENROLLED: UnixMillis = UnixMillis(1_769_860_800_000);

/// A tenant as the harness knows it.
pub struct Tenant {
    pub id: TenantId,
    pub limits: Limits,
    /// What P1 allows now: while a change is not answered, the greater of the old and the new.
    pub allowed: Limits,
    pub unanswered: Option<Version>,
}

pub struct World {
    pub seed: Seed,
    pub trace: Trace,
    pub store: Arc<Memory>,
    /// The database's.
    pub clock: Arc<ManualClock>,
    pub network: Arc<Mutex<Network>>,
    pub nodes: Vec<Node>,
    pub tenants: Vec<Tenant>,
    pub shadow: Arc<Mutex<Shadow>>,
    /// How rough the network is, in percent.
    pub rough: u64,
    pub kills: u64,
    /// A file was lost with what was not recorded yet: its leases stay debited.
    pub uncertain: bool,
    /// A node was declared lost: what it had not returned is spent.
    pub written_off: bool,
    pub admitted: u64,
    /// Now and then leases are taken from living nodes, as a time-out would: to see that it is noticed.
    pub sabotaged: bool,
}

impl World {
    pub fn new(seed: u64, told: bool, sabotaged: bool) -> Self {
        let (mut random, clock) = (Seed::new(seed), ManualClock::at(START));
        let store = Arc::new(Memory::with_clock(Arc::clone(&clock) as _).unwrap());
        let network: Arc<Mutex<Network>> = Arc::default();
        let rough = [0, 5, 20, 40][random.below(4)];
        let mut world = Self {
            seed: random,
            trace: Trace::new(told),
            store,
            clock,
            network,
            nodes: Vec::new(),
            tenants: Vec::new(),
            shadow: Arc::default(),
            rough,
            kills: 0,
            uncertain: false,
            written_off: false,
            admitted: 0,
            sabotaged,
        };
        for name in ["acme", "bolt"] {
            let (id, limits) = (TenantId::parse(name).unwrap(), world.limits());
            // On the 31st, the day on which the months begin that the histories come by.
            tenants::set_limits(&world.store, &id, ENROLLED, &limits);
            world.tenants.push(Tenant { id, limits, allowed: limits, unanswered: None });
        }
        let catalog = tenants::catalog();
        for me in 0..world.seed.below(2) + 2 {
            // Each node's clock is a little off.
            let off = i64::try_from(world.seed.below(1000)).unwrap() - 500;
            let node = Node {
                me,
                clock: ManualClock::at(UnixMillis(START.0 + off)),
                network: Arc::clone(&world.network),
                store: Arc::clone(&world.store),
                catalog: Arc::clone(&catalog),
                tenants: world.tenants.iter().map(|tenant| tenant.id.clone()).collect(),
                disk: Disk::new(),
                runs: 0,
                process: None,
            };
            world.nodes.push(node);
            world.start(me);
        }
        world
    }

    pub fn limits(&mut self) -> Limits {
        let mut limit = || if self.seed.chance(15) { 0 } else { self.seed.between(1, 20) };
        Limits { tokens: limit(), requests: limit(), requests_a_day: limit() }
    }

    /// Lets one thing happen, and looks whether all is as promised.
    pub fn step(&mut self) {
        match self.seed.below(100) {
            0..38 => self.request(),
            38..52 => self.end_a_hold(),
            52..62 => self.pass(),
            62..74 => self.poll(),
            74..80 => self.flush(),
            80..83 => self.change(),
            83..86 => self.pause(),
            93..95 => self.write_back(),
            95..97 => self.fail_over(),
            97 => self.declare_lost(),
            86..89 => self.kill_or_start(),
            89..91 => self.stop(),
            91..93 => self.leave_or_return(),
            _ => {}
        }
        if self.sabotaged && self.seed.chance(50) {
            let _ = self.store.flush(&self.shadow.lock().unwrap().open()).now_or_never();
        }
        self.drive();
        self.carry();
        self.answer_changes(false);
        self.check();
    }

    pub fn node(&mut self) -> usize {
        self.seed.below(self.nodes.len())
    }

    pub fn request(&mut self) {
        // Most of it on one tenant, so that limits are met.
        let (me, whose) = (self.node(), usize::from(self.seed.chance(25)));
        let charges = match self.seed.below(4) {
            0 => vec![tenants::charge(REQUESTS, 1), tenants::charge(TOKENS, self.seed.between(1, 5))],
            1 => vec![tenants::charge(TOKENS, self.seed.between(0, 8))],
            _ => vec![tenants::charge(REQUESTS, self.seed.between(1, 3))],
        };
        let tenant = self.tenants[whose].id.clone();
        let node = &mut self.nodes[me];
        let clock = Arc::clone(&node.clock);
        let Some(process) = node.active() else { return };
        self.trace.note(format_args!("node {me}: {tenant} asks for {charges:?}"));
        process.charge(&tenant, charges, &clock);
    }

    pub fn end_a_hold(&mut self) {
        let (me, how, actual) = (self.node(), self.seed.below(4), self.seed.between(0, 9));
        let pick = self.seed.next();
        let Some(process) = self.nodes[me].active() else { return };
        if process.holds.is_empty() {
            return;
        }
        let at = usize::try_from(pick % process.holds.len() as u64).unwrap();
        let (hold, charged) = process.holds.remove(at);
        self.trace.note(format_args!("node {me}: a request ends, {how} {actual}"));
        match how {
            0 => hold.keep(),
            1 => {
                hold.refund();
                for charge in charged.charges.clone() {
                    self.give_back(&charged, charge.meter, charge.units.get());
                }
            }
            _ => {
                hold.settle(&[tenants::charge(TOKENS, actual)]);
                self.settle(&charged, actual);
            }
        }
    }

    pub fn settle(&mut self, charged: &Charged, actual: u64) {
        let Some(reserved) = charged.charges.iter().find(|charge| charge.meter == TOKENS) else { return };
        let reserved = reserved.units.get();
        if actual < reserved {
            self.give_back(charged, TOKENS, reserved - actual);
        } else {
            for bucket in tenants::buckets(&charged.rights, "ai_tokens", charged.now) {
                self.shadow.lock().unwrap().admitted.entry(bucket).or_default().overrun += actual - reserved;
            }
        }
    }

    pub fn give_back(&mut self, charged: &Charged, meter: plangate::domain::plan::MeterIx, units: u64) {
        for bucket in tenants::buckets(&charged.rights, METERS[usize::from(meter.0)].1, charged.now) {
            self.shadow.lock().unwrap().admitted.entry(bucket).or_default().refunded += units;
        }
    }

    /// Time passes on all clocks, also on those of processes that do not notice.
    pub fn pass(&mut self) {
        let by = match self.seed.below(10) {
            0 => Duration::from_secs(11),
            1 => Duration::from_secs(self.seed.between(60, 1_300)),
            2 => Duration::from_secs(86_400),
            _ => Duration::from_millis(self.seed.between(1, 2_000)),
        };
        self.trace.note(format_args!("{by:?} pass"));
        self.wait(by);
    }

    pub fn wait(&mut self, by: Duration) {
        self.clock.advance(by);
        for node in &mut self.nodes {
            node.clock.advance(by);
            if let Some(process) = &mut node.process {
                process.pass(by);
            }
        }
    }

    pub fn poll(&mut self) {
        let me = self.node();
        if !self.network.lock().unwrap().away && !self.seed.chance(self.rough) {
            self.trace.note(format_args!("node {me} polls"));
            self.nodes[me].poll();
        }
    }

    pub fn flush(&mut self) {
        let me = self.node();
        if let Some(process) = self.nodes[me].active() {
            self.trace.note(format_args!("node {me} flushes"));
            process.flush();
        }
    }

    pub fn change(&mut self) {
        let (whose, limits) = (self.seed.below(self.tenants.len()), self.limits());
        let tenant = &mut self.tenants[whose];
        self.trace.note(format_args!("{}: {limits:?}", tenant.id));
        tenant.unanswered = Some(tenants::set_limits(&self.store, &tenant.id, self.clock.now(), &limits));
        tenant.limits = limits;
        tenant.allowed = tenant.allowed.or(limits);
        if self.seed.chance(30) {
            self.answer_changes(true);
        }
    }

    /// Answers changes that all running nodes have applied, or with `pending` all.
    pub fn answer_changes(&mut self, pending: bool) {
        for tenant in &mut self.tenants {
            let Some(version) = tenant.unanswered else { continue };
            let mut running = self.nodes.iter().filter_map(|node| node.process.as_ref());
            let applied = running.all(|process| process.applied >= version);
            if !applied && !pending {
                continue;
            }
            self.trace.note(format_args!("{}: {version} is answered", tenant.id));
            tenant.unanswered = None;
            tenant.allowed = tenant.limits;
            let mut shadow = self.shadow.lock().unwrap();
            for bucket in shadow.buckets().into_iter().filter(|bucket| bucket.tenant == tenant.id) {
                // What nodes without the change hold counts as admitted.
                let held = if applied { 0 } else { shadow.held(&bucket) };
                let admitted = shadow.admitted.entry(bucket).or_default();
                admitted.floor = admitted.promised().max(held);
            }
        }
    }

    /// Lets every process do what it can, and notes what became of requests.
    pub fn drive(&mut self) {
        for me in 0..self.nodes.len() {
            let Some(process) = &mut self.nodes[me].process else { continue };
            for (outcome, charged) in process.drive() {
                self.learn(me, outcome, charged);
            }
        }
    }

    pub fn learn(&mut self, me: usize, outcome: Result<Hold, ChargeError>, charged: Charged) {
        match outcome {
            Ok(hold) => {
                self.trace.note(format_args!("node {me}: admitted"));
                for charge in &charged.charges {
                    let meter = METERS[usize::from(charge.meter.0)].1;
                    for bucket in tenants::buckets(&charged.rights, meter, charged.now) {
                        self.shadow.lock().unwrap().admitted.entry(bucket).or_default().charged +=
                            charge.units.get();
                        self.admitted += charge.units.get();
                    }
                }
                let process = self.nodes[me].process.as_mut().expect("it has just answered");
                process.holds.push((hold, charged));
            }
            Err(ChargeError::Denied(Denial::QuotaExhausted { meter, window, .. })) => {
                self.trace.note(format_args!("node {me}: no {meter} left for this {window}"));
            }
            Err(error) => self.trace.note(format_args!("node {me}: {error}")),
        }
    }

    /// Lets the network do something with what is on its way.
    pub fn carry(&mut self) {
        let calm = self.seed.chance(50);
        for _ in 0..3 {
            if calm && !self.network.lock().unwrap().away {
                self.deliver_all();
            } else {
                self.carry_some();
            }
            self.drive();
        }
    }

    /// Everything arrives.
    pub fn deliver_all(&mut self) {
        let mut network = self.network.lock().unwrap();
        while !network.calls.is_empty() {
            self.trace.note(format_args!("{} arrives", network.calls[0].request));
            network.accept(0, &self.store, &mut self.shadow.lock().unwrap(), false);
        }
        while !network.returns.is_empty() {
            network.answer(0);
        }
    }

    pub fn carry_some(&mut self) {
        let (store, shadow, random) = (&self.store, &mut *self.shadow.lock().unwrap(), &mut self.seed);
        let mut network = self.network.lock().unwrap();
        if !network.calls.is_empty() {
            let at = random.below(network.calls.len());
            if network.away {
                network.lose_call(at, random.chance(20));
            } else if random.chance(self.rough) {
                self.trace.note(format_args!("{} is lost", network.calls[at].request));
                network.lose_call(at, random.chance(30));
            } else {
                self.trace.note(format_args!("{} arrives", network.calls[at].request));
                network.accept(at, store, shadow, random.chance(self.rough));
            }
        }
        if !network.returns.is_empty() && random.chance(70) {
            let at = random.below(network.returns.len());
            let node = network.returns[at].node;
            if random.chance(self.rough) {
                network.lose_return(at, random.chance(30));
                self.trace.note(format_args!("an answer to node {node} is lost"));
            } else {
                network.answer(at);
                self.trace.note(format_args!("an answer to node {node} arrives"));
            }
        }
        if !network.copies.is_empty() && !network.away && random.chance(30) {
            let at = random.below(network.copies.len());
            let copy = network.copies.remove(at);
            self.trace.note(format_args!("{copy} arrives again"));
            let _ = carry_out(store, shadow, &copy);
        }
    }

    /// What must hold at any time.
    pub fn check(&mut self) {
        let shadow = self.shadow.lock().unwrap();
        for (bucket, admitted) in &shadow.admitted {
            let tenant = self.tenants.iter().find(|tenant| tenant.id == bucket.tenant).unwrap();
            let limit = tenant.allowed.of(bucket.meter.as_str(), bucket.span).unwrap();
            let promised = admitted.promised();
            assert!(
                promised <= limit.max(admitted.floor),
                "P1: {promised} units of a limit of {limit} were admitted, {admitted:?} in {bucket:?}"
            );
            let (recorded, held) = (shadow.net(bucket), shadow.held(bucket));
            let gross = admitted.charged + admitted.overrun;
            assert!(recorded <= gross, "P3: {recorded} units are recorded, {admitted:?} in {bucket:?}");
            assert!(promised <= held, "{promised} units were admitted and {held} are debited in {bucket:?}");
        }
    }
}
