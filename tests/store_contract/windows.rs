//! A window that a plan begins to limit in its middle counts what was used before.

use std::collections::BTreeMap;

use plangate::ports::{GrantOutcome, Heartbeat, Registration};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::*;
use crate::Fixture;

const HOUR: i64 = 3_600_000;
const DAY_LIMIT: u64 = 100;

/// What happens to the two nodes.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A node takes units, in an hour of the day.
    Charge(usize, u64, i64),
    /// A node gives some back.
    Refund(usize, u64),
    /// A node reports; the report is under way.
    Flush(usize),
    /// One of the reports under way arrives, and may arrive again.
    Deliver(usize, bool),
    /// The day's limit is switched on or off.
    Switch,
    /// A node learns of it.
    Apply(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..2usize, 1..12u64, 0..24i64).prop_map(|(node, units, hour)| Step::Charge(node, units, hour)),
        1 => (0..2usize, 1..8u64).prop_map(|(node, units)| Step::Refund(node, units)),
        2 => (0..2usize).prop_map(Step::Flush),
        3 => (0..20usize, any::<bool>()).prop_map(|(which, again)| Step::Deliver(which, again)),
        1 => Just(Step::Switch),
        2 => (0..2usize).prop_map(Step::Apply),
    ];
    prop::collection::vec(step, 1..40)
}

/// A word on a node.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    granted: u64,
    used: u64,
    refunded: u64,
}

/// One node's words of the version that it works by.
struct Node {
    seq: u64,
    version: Version,
    limited: bool,
    hour: i64,
    month: Word,
    day: Word,
}

struct Scene<'a> {
    on: &'a Fixture,
    month: BucketKey,
    day: BucketKey,
    version: Version,
    limited: bool,
    nodes: [Node; 2],
    under_way: Vec<SlotTotals>,
    /// What all nodes took, truly.
    taken: u64,
    /// What they took while they knew of no limit.
    unlimited: u64,
    /// Day words that were sealed: what they used.
    sealed: u64,
}

impl Scene<'_> {
    fn totals(&self, of: usize, window: Window, sealed: bool) -> SlotTotals {
        let node = &self.nodes[of];
        let (bucket, word) =
            if window == Window::Day { (&self.day, node.day) } else { (&self.month, node.month) };
        SlotTotals {
            slot: SlotKey { bucket: bucket.clone(), incarnation: super::node(1 + of as u128), seq: node.seq },
            end: UnixMillis(self.day.start.0 + 24 * HOUR),
            granted: 0,
            used: word.used,
            refunded: word.refunded,
            at: UnixMillis(self.day.start.0 + node.hour * HOUR + 5),
            sealed,
            counted: Windows::of(|one| node.limited && one == Window::Day),
            counting: bucket.epoch,
            marks: None,
        }
    }

    fn flush(&mut self, of: usize, sealed: bool) {
        self.under_way.push(self.totals(of, Window::Month, sealed));
        if self.nodes[of].limited {
            self.under_way.push(self.totals(of, Window::Day, sealed));
        }
    }

    async fn deliver(&mut self, which: usize, again: bool) {
        if self.under_way.is_empty() {
            return;
        }
        let place = which % self.under_way.len();
        let report = if again { self.under_way[place].clone() } else { self.under_way.swap_remove(place) };
        self.on.store.flush(&[report]).await.unwrap();
    }

    /// Seals what it has, sees all of it recorded, and then says that it works by the newest version.
    async fn apply(&mut self, of: usize) {
        self.flush(of, true);
        while !self.under_way.is_empty() {
            self.deliver(self.under_way.len() / 2, false).await;
        }
        let node = &mut self.nodes[of];
        self.sealed += node.day.used - node.day.refunded;
        *node = Node {
            seq: node.seq + 1,
            version: self.version,
            limited: self.limited,
            hour: node.hour,
            month: Word::default(),
            day: Word::default(),
        };
        let beat = Heartbeat {
            incarnation: super::node(1 + of as u128),
            applied: self.version,
            digest: plangate::domain::catalog::Digest("d".into()),
            reasserted: Epoch(0),
        };
        self.on.store.poll(&beat).await.unwrap();
        self.on.raw("UPDATE nodes SET beat_ms = 9000000000000").await;
    }

    /// Units that the day's bucket must have debited by now, at least.
    fn debits(&self) -> u64 {
        self.unlimited + self.sealed + self.nodes.iter().map(|node| node.day.granted).sum::<u64>()
    }

    async fn charge(&mut self, of: usize, units: u64, hour: i64) {
        self.nodes[of].hour = self.nodes[of].hour.max(hour);
        if self.nodes[of].limited && !self.granted(of, units).await {
            return;
        }
        let node = &mut self.nodes[of];
        node.month.used += units;
        if node.limited {
            node.day.used += units;
        } else {
            self.unlimited += units;
        }
        self.taken += units;
    }

    async fn granted(&mut self, of: usize, units: u64) -> bool {
        let node = &self.nodes[of];
        let missing = (node.day.used - node.day.refunded + units).saturating_sub(node.day.granted);
        if missing == 0 {
            return true;
        }
        let request = GrantRequest {
            limit: Units::saturating(DAY_LIMIT),
            ..ask(self.totals(of, Window::Day, false), node.version, node.day.granted, missing)
        };
        match self.on.store.grant(&[request]).await.unwrap().remove(0) {
            GrantOutcome::Granted { granted, .. } => {
                self.nodes[of].day.granted = granted;
                assert!(self.debits() <= DAY_LIMIT, "{} of {DAY_LIMIT} are out", self.debits());
                true
            }
            GrantOutcome::Exhausted { .. } | GrantOutcome::Stale => false,
            GrantOutcome::Withheld => {
                assert!(self.nodes.iter().any(|node| node.version != self.version), "nobody is behind");
                false
            }
            other @ GrantOutcome::Refused { .. } => panic!("{other:?}"),
        }
    }

    fn refund(&mut self, of: usize, units: u64) {
        let node = &mut self.nodes[of];
        let units = units.min(node.month.used - node.month.refunded);
        node.month.refunded += units;
        if node.limited {
            node.day.refunded += units;
        } else {
            self.unlimited -= units;
        }
        self.taken -= units;
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Charge(of, units, hour) => self.charge(of, units, hour).await,
            Step::Refund(of, units) => self.refund(of, units),
            Step::Flush(of) => self.flush(of, false),
            Step::Deliver(which, again) => self.deliver(which, again).await,
            Step::Switch => {
                self.limited = !self.limited;
                self.version = done(&*self.on.store, &put(self.day.tenant.as_str())).await.version;
            }
            Step::Apply(of) => self.apply(of).await,
        }
    }
}

async fn play(on: &Fixture, id: &str, steps: &[Step]) {
    let version = done(&*on.store, &put(id)).await.version;
    let start = UnixMillis(START.0.div_euclid(24 * HOUR) * 24 * HOUR);
    let month = BucketKey { start: UnixMillis(start.0 - 240 * HOUR), ..bucket(id, version.0) };
    let day = BucketKey { span: Window::Day.into(), start, ..month.clone() };
    let node =
        || Node { seq: 0, version, limited: false, hour: 0, month: Word::default(), day: Word::default() };
    let mut scene = Scene {
        on,
        month,
        day,
        version,
        limited: false,
        nodes: [node(), node()],
        under_way: Vec::new(),
        taken: 0,
        unlimited: 0,
        sealed: 0,
    };
    for step in steps {
        scene.take(*step).await;
    }
    // In the end everything is recorded, and everybody knows of the limit.
    if !scene.limited {
        scene.take(Step::Switch).await;
    }
    scene.apply(0).await;
    scene.apply(1).await;
    scene.charge(0, 1, 23).await;
    scene.apply(0).await;
    let used = on.store.others(super::node(9), &[scene.day.clone()]).await.unwrap()[0].used.get();
    assert_eq!(used, scene.taken);
    let next = BucketKey { start: UnixMillis(start.0 + 24 * HOUR), ..scene.day.clone() };
    let mut tomorrow = ask(totals(&next, 1, 0, 0), scene.version, 0, DAY_LIMIT);
    tomorrow.totals.end = UnixMillis(next.start.0 + 24 * HOUR);
    let whole = GrantOutcome::Granted { granted: DAY_LIMIT, used: 0 };
    assert!(scene.nodes[1].version == scene.version);
    assert_eq!(on.store.grant(&[tomorrow]).await.unwrap(), [whole], "the next day is whole");
}

fn registration(of: u128) -> Registration {
    let digest = plangate::domain::catalog::Digest("d".into());
    Registration { name: format!("n{of}"), incarnation: node(of), file: node(of + 8).0, digest }
}

#[test]
fn a_day_counts_what_was_used_in_it_whenever_its_limit_began() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (memory, sqlite, postgres) =
        runtime.block_on(async { (Fixture::memory(), Fixture::sqlite().await, Fixture::postgres().await) });
    let all = BTreeMap::from([("memory", &memory), ("sqlite", &sqlite), ("postgres", &postgres)]);
    for on in all.values() {
        for of in [1, 2] {
            runtime.block_on(on.store.register(&registration(of))).unwrap();
        }
        runtime.block_on(on.raw("UPDATE nodes SET beat_ms = 9000000000000"));
    }
    let config = Config { cases: 40, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let number = std::cell::Cell::new(0);
    TestRunner::new(config)
        .run(&steps(), |steps| {
            number.set(number.get() + 1);
            for on in all.values() {
                runtime.block_on(play(on, &format!("t{}", number.get()), &steps));
            }
            Ok(())
        })
        .unwrap();
}

on_every_store!(a_shorter_window_waits_for_who_is_behind, hours_of_another_epoch_do_not_count);

async fn a_shorter_window_waits_for_who_is_behind(on: &Fixture) {
    let epoch = done(&*on.store, &put("acme")).await.version;
    for of in [1, 2] {
        on.store.register(&registration(of)).await.unwrap();
    }
    let day = BucketKey { span: Window::Day.into(), ..bucket("acme", epoch.0) };
    let try_grant = async |version, granted| {
        on.store.grant(&[ask(totals(&day, 1, 0, 0), version, granted, 1)]).await.unwrap().remove(0)
    };
    let granted = |granted| GrantOutcome::Granted { granted, used: 0 };
    assert_eq!(try_grant(epoch, 0).await, granted(1), "counting began with this version");
    let version = done(&*on.store, &put("acme")).await.version;
    assert_eq!(try_grant(version, 1).await, GrantOutcome::Withheld);
    let poll = async |of| {
        on.store.poll(&Heartbeat { applied: version, ..nodes::beat(of, 0) }).await.unwrap();
    };
    poll(1).await;
    assert_eq!(try_grant(version, 1).await, GrantOutcome::Withheld);
    poll(2).await;
    assert_eq!(try_grant(version, 1).await, granted(2));
    // Who is dead is not waited for.
    let version = done(&*on.store, &put("acme")).await.version;
    assert_eq!(try_grant(version, 2).await, GrantOutcome::Withheld);
    on.let_six_seconds_pass().await;
    assert_eq!(try_grant(version, 2).await, granted(3));
}

async fn hours_of_another_epoch_do_not_count(on: &Fixture) {
    let version = done(&*on.store, &put("acme")).await.version;
    let (old, new) = (bucket("acme", 0), bucket("acme", version.0));
    on.store.flush(&[totals(&old, 1, 30, 0), totals(&new, 1, 7, 0)]).await.unwrap();
    let day = BucketKey { span: Window::Day.into(), ..new };
    let request = ask(totals(&day, 1, 0, 0), version, 0, 94);
    let refused = GrantOutcome::Exhausted { left: 93, used: 7, held: 0 };
    assert_eq!(on.store.grant(&[request]).await.unwrap(), [refused]);
}
