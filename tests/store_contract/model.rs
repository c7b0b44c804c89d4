//! Random sequences: the databases answer as the memory does, and what all of them say adds up.

use std::collections::{HashMap, HashSet};

use plangate::{
    domain::{
        command::{Change, Subscribe},
        period::Period,
    },
    ports::{ExecuteError, GrantOutcome, Heartbeat, Registration, Span},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::*;
use crate::Fixture;

/// One step; slots are named by small numbers so that they meet often.
#[derive(Debug, Clone)]
enum Step {
    Grant {
        slot: SlotChoice,
        limit: u64,
        need: u64,
        demand: u64,
        want: u64,
        spend: u64,
        old_facts: bool,
        wrong: bool,
    },
    Flush(Vec<Row>),
    /// An earlier step's message arrives again.
    Again(usize),
    /// The node that is behind has applied everything.
    CatchUp,
    Subscribe(bool),
    Suspend,
    Recreate,
}

/// What a flush says of a slot.
#[derive(Debug, Clone, Copy)]
struct Row {
    slot: SlotChoice,
    granted: u64,
    used: u64,
    refunded: u64,
    sealed: bool,
    hour: i64,
    counted: bool,
}

#[derive(Debug, Clone, Copy)]
struct SlotChoice {
    of: u128,
    seq: u64,
    bucket: u64,
    day: bool,
}

fn slots() -> impl Strategy<Value = SlotChoice> {
    (1..4u128, 0..2u64, 0..2u64, any::<bool>()).prop_map(|(of, seq, bucket, day)| SlotChoice {
        of,
        seq,
        bucket,
        day,
    })
}

fn rows() -> impl Strategy<Value = Row> {
    let claim = prop_oneof![4 => Just(0), 1 => 0..50u64];
    (slots(), claim, 0..60u64, 0..20u64, prop::bool::weighted(0.2), 0..4i64, any::<bool>()).prop_map(
        |(slot, granted, used, refunded, sealed, hour, counted)| Row {
            slot,
            granted,
            used,
            refunded,
            sealed,
            hour,
            counted,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let grant = (
        slots(),
        1..120u64,
        (0..40u64, 0..50u64, 0..60u64),
        0..20u64,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(slot, limit, (need, demand, want), spend, old_facts, wrong)| Step::Grant {
            slot,
            limit,
            need,
            demand,
            want,
            spend,
            old_facts,
            wrong,
        });
    let step = prop_oneof![
        8 => grant,
        4 => prop::collection::vec(rows(), 1..5).prop_map(Step::Flush),
        3 => (0..20usize).prop_map(Step::Again),
        1 => any::<bool>().prop_map(Step::Subscribe),
        1 => Just(Step::Suspend),
        1 => Just(Step::Recreate),
        2 => Just(Step::CatchUp),
    ];
    prop::collection::vec(step, 1..24)
}

/// What the test itself knows of a slot, told apart from the stores' own rules.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    granted: u64,
    used: u64,
    refunded: u64,
    sealed: bool,
    /// The earliest hour that was reported.
    since: Option<i64>,
}

impl Known {
    fn net(self) -> u64 {
        self.used - self.refunded
    }

    fn holds(self) -> u64 {
        if self.sealed { self.net() } else { self.granted.max(self.net()) }
    }
}

/// Nodes 1 and 2 are alive as long as the test lasts; node 3 never was.
const LIVE: [u128; 2] = [1, 2];
/// Hours of usage from [`START`]'s own on that a day of the test covers.
const DAY_HOURS: i64 = 2;

#[derive(Debug, Clone)]
enum Message {
    Grant(GrantRequest),
    Flush(Vec<SlotTotals>),
}

struct Case<'a> {
    all: [&'a Fixture; 3],
    stores: [&'a dyn Store; 3],
    tenant: String,
    version: Version,
    known: HashMap<SlotKey, Known>,
    sent: Vec<Message>,
    /// What the node that is behind has applied.
    behind: u64,
    wanted: HashSet<BucketKey>,
    /// Versions with which days were granted from.
    confirmed: HashMap<BucketKey, u64>,
    /// What was used in the day without being counted in it, by epoch of counting.
    uncounted: HashMap<Version, i64>,
}

impl Case<'_> {
    fn slot(&self, choice: SlotChoice) -> SlotKey {
        let window = if choice.day { Window::Day } else { Window::Month };
        let bucket = BucketKey { span: window.into(), ..bucket(&self.tenant, choice.bucket) };
        SlotKey { bucket, incarnation: node(choice.of), seq: choice.seq }
    }

    fn report(&self, row: Row) -> SlotTotals {
        SlotTotals {
            slot: self.slot(row.slot),
            end: UnixMillis(START.0 + 1_000_000),
            granted: row.granted,
            used: row.used,
            refunded: row.refunded.min(row.used),
            at: UnixMillis(START.0 + row.hour * 3_600_000),
            sealed: row.sealed,
            counted: Windows::of(|window| row.counted && window == Window::Day),
            counting: self.slot(row.slot).bucket.epoch,
            marks: None,
        }
    }

    async fn execute(&mut self, command: Change) {
        let command = change(&self.tenant, command);
        let mut answers: Vec<Result<Committed, ExecuteError>> = Vec::new();
        for store in self.stores {
            answers.push(store.execute(&command, &origin()).await);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{command:?}: {answers:?}");
        if let Ok(done) = &answers[0] {
            self.version = done.version;
            // The first node applies everything at once.
            let digest = plangate::domain::catalog::Digest("d".into());
            let beat =
                Heartbeat { incarnation: node(1), applied: done.version, digest, reasserted: Epoch(0) };
            for store in self.stores {
                store.poll(&beat).await.unwrap();
            }
            keep_alive(&self.all).await;
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Grant { slot: choice, limit, need, demand, want, spend, old_facts, wrong } => {
                let known = self.known.get(&self.slot(choice)).copied().unwrap_or_default();
                let used = (known.used + spend).min(known.granted + known.refunded).max(known.used);
                let row = Row {
                    slot: choice,
                    granted: 0,
                    used,
                    refunded: known.refunded,
                    sealed: false,
                    hour: 0,
                    counted: false,
                };
                let request = GrantRequest {
                    policies: Version(0),
                    totals: self.report(row),
                    limit: Units::saturating(limit),
                    ceiling: None,
                    version: if old_facts { Version(self.version.0 - 1) } else { self.version },
                    granted: if wrong { known.granted + 1 } else { known.granted },
                    need,
                    demand,
                    want,
                };
                self.send(Message::Grant(request)).await;
            }
            Step::CatchUp => {
                self.behind = self.version.0;
                let beat = Heartbeat {
                    incarnation: node(2),
                    applied: self.version,
                    digest: plangate::domain::catalog::Digest("d".into()),
                    reasserted: Epoch(0),
                };
                for store in self.stores {
                    store.poll(&beat).await.unwrap();
                }
                keep_alive(&self.all).await;
            }
            Step::Flush(rows) => {
                let totals = rows.into_iter().map(|row| self.report(row)).collect();
                self.send(Message::Flush(totals)).await;
            }
            Step::Again(place) => {
                if let Some(message) = self.sent.get(place).cloned() {
                    self.send(message).await;
                }
            }
            Step::Subscribe(reset) => {
                let usage = if reset { UsageRule::Reset } else { UsageRule::Keep };
                let plan = Subscribe::to("pro".parse().unwrap());
                self.execute(Change::Subscribe(Subscribe { usage: Some(usage), ..plan })).await;
            }
            Step::Suspend => self.execute(Change::Suspend).await,
            Step::Recreate => {
                self.execute(Change::DeleteTenant).await;
                self.execute(Change::PutTenant { name: None, zone: None, attributes: None }).await;
            }
        }
    }

    async fn send(&mut self, message: Message) {
        self.sent.push(message.clone());
        match message {
            Message::Grant(request) => {
                let mut answers = Vec::new();
                for store in self.stores {
                    answers.push(store.grant(std::slice::from_ref(&request)).await.unwrap().remove(0));
                }
                assert!(answers.iter().all(|answer| *answer == answers[0]), "{request:?}: {answers:?}");
                let seeded = self.seeded(&request.totals.slot.bucket);
                self.note(&request.totals);
                let expected = self.expect(&request, seeded);
                assert_eq!(answers[0], expected, "{request:?}");
                if matches!(expected, GrantOutcome::Exhausted { held: 1.., .. }) {
                    keep_wanted(&self.all).await;
                }
            }
            Message::Flush(totals) => {
                for store in self.stores {
                    store.flush(&totals).await.unwrap();
                }
                totals.iter().for_each(|totals| self.note(totals));
            }
        }
    }

    fn note(&mut self, totals: &SlotTotals) {
        let hour = (totals.at.0 - START.0) / 3_600_000;
        let known = self.known.entry(totals.slot.clone()).or_default();
        let before = i64::try_from(known.net()).unwrap();
        if !known.sealed {
            known.granted = known.granted.max(totals.granted);
        }
        known.used = known.used.max(totals.used);
        known.refunded = known.refunded.max(totals.refunded);
        known.sealed |= totals.sealed;
        let since = known.since.map_or(hour, |since| since.min(hour));
        known.since = Some(since);
        let difference = i64::try_from(known.net()).unwrap() - before;
        let charged = if difference > 0 { hour } else { since };
        let bucket = &totals.slot.bucket;
        if bucket.span == Span::MONTH && !totals.counted.contains(Window::Day) && charged < DAY_HOURS {
            *self.uncounted.entry(bucket.epoch).or_default() += difference;
        }
    }

    fn seeded(&self, bucket: &BucketKey) -> u64 {
        if bucket.span == Span::MONTH {
            return 0;
        }
        u64::try_from(self.uncounted.get(&bucket.epoch).copied().unwrap_or(0)).unwrap_or(0)
    }

    fn sum(&self, bucket: &BucketKey, of: impl Fn(&SlotKey, Known) -> u64) -> u64 {
        let own = self.known.iter().filter(|(slot, _)| slot.bucket == *bucket);
        own.map(|(slot, known)| of(slot, *known)).sum()
    }

    /// What the port promises, put together from what was sent, without the rules that the stores share.
    fn expect(&mut self, request: &GrantRequest, seeded: u64) -> GrantOutcome {
        let slot = &request.totals.slot;
        let (bucket, known) = (&slot.bucket, self.known[slot]);
        if request.version != self.version {
            return GrantOutcome::Stale;
        }
        if known.sealed || known.granted != request.granted {
            return GrantOutcome::Refused { granted: known.granted };
        }
        let confirmed = self.confirmed.get(bucket).copied().unwrap_or(0);
        if bucket.span == Window::Day.into()
            && request.version.0 > confirmed
            && request.version != bucket.epoch
        {
            if self.behind < request.version.0 {
                return GrantOutcome::Withheld;
            }
            self.confirmed.insert(bucket.clone(), request.version.0);
        }
        let used = seeded + self.sum(bucket, |_, known| known.net());
        let others = seeded + self.sum(bucket, |key, known| if key == slot { 0 } else { known.holds() });
        let left = request.limit.get().saturating_sub(others).saturating_sub(known.granted);
        let need = request.need.max(1);
        if left < need {
            let held = self.sum(bucket, |key, known| {
                let live = LIVE.iter().any(|live| key.incarnation == node(*live));
                let theirs = key.incarnation != slot.incarnation && live && !known.sealed;
                if theirs { known.granted.saturating_sub(known.net()) } else { 0 }
            });
            if held > 0 {
                self.wanted.insert(bucket.clone());
            }
            return GrantOutcome::Exhausted { left, used, held };
        }
        let beyond = if self.wanted.contains(bucket) {
            request.demand
        } else {
            request.want.min(left / (2 * LIVE.len() as u64))
        };
        let granted = known.granted + need.max(beyond).min(left);
        assert!(others + granted <= request.limit.get(), "more than the limit");
        self.known.get_mut(slot).unwrap().granted = granted;
        GrantOutcome::Granted { granted, used }
    }

    async fn compare(&self) {
        let mut buckets: Vec<BucketKey> = self.known.keys().map(|slot| slot.bucket.clone()).collect();
        buckets.sort();
        buckets.dedup();
        let span = Period { start: UnixMillis(0), end: UnixMillis(i64::MAX) };
        let mut seen = Vec::new();
        for store in self.stores {
            let others = store.others(node(1), &buckets).await.unwrap();
            let usage = store.usage(&tenant(&self.tenant), span).await.unwrap();
            seen.push((others, usage, store.tenant(&tenant(&self.tenant)).await.unwrap()));
        }
        assert!(seen.iter().all(|one| *one == seen[0]), "{seen:#?}");
        for (bucket, others) in buckets.iter().zip(&seen[0].0) {
            let of_others = |slot: &SlotKey| slot.bucket == *bucket && slot.incarnation != node(1);
            let used: u64 =
                self.known.iter().filter(|(slot, _)| of_others(slot)).map(|(_, known)| known.net()).sum();
            assert_eq!(others.used.get(), used + self.seeded(bucket));
            let uncertain = self.sum(bucket, |slot, known| {
                let gone = slot.incarnation == node(3) && !known.sealed;
                if gone { known.granted.saturating_sub(known.net()) } else { 0 }
            });
            assert_eq!(others.uncertain.get(), uncertain);
        }
    }
}

/// However slow the machine is, nobody dies and no wish is over before the test is.
async fn keep_alive(all: &[&Fixture; 3]) {
    for one in all {
        one.raw("UPDATE nodes SET beat_ms = 9000000000000").await;
    }
}

async fn keep_wanted(all: &[&Fixture; 3]) {
    for one in all {
        one.raw("UPDATE buckets SET wanted_until_ms = 9000000000000 WHERE wanted_until_ms IS NOT NULL").await;
    }
}

// What the bucket says is what its slots say.
const MISMATCHES: &str = "SELECT count(*) FROM buckets b WHERE \
    b.allocated <> b.seeded + (SELECT coalesce(sum(CASE WHEN s.sealed = 1 OR s.used - s.refunded > s.granted \
                    THEN s.used - s.refunded ELSE s.granted END), 0) FROM slots s WHERE s.bucket_id = b.id) \
    OR b.used <> b.seeded + (SELECT coalesce(sum(s.used - s.refunded), 0) FROM slots s WHERE s.bucket_id = b.id)";
// Usage, hour by hour, adds up to what the months' slots used.
const UNACCOUNTED: &str = "SELECT CAST((SELECT coalesce(sum(units), 0) FROM usage_hours) - \
    (SELECT coalesce(sum(used), 0) FROM buckets WHERE span = 'month') AS BIGINT)";

#[test]
fn the_databases_answer_as_the_memory_does() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (memory, sqlite, postgres) =
        runtime.block_on(async { (Fixture::memory(), Fixture::sqlite().await, Fixture::postgres().await) });
    let all = [&memory, &sqlite, &postgres];
    let digest = plangate::domain::catalog::Digest("d".into());
    for (name, of) in [("a", 1), ("b", 2)] {
        let (incarnation, file) = (node(of), node(of + 8).0);
        let registration = Registration { name: name.into(), incarnation, file, digest: digest.clone() };
        for one in all {
            runtime.block_on(one.store.register(&registration)).unwrap();
        }
    }
    runtime.block_on(keep_alive(&all));
    let mut number = 0;
    let config = Config { cases: 60, failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let cell = std::cell::RefCell::new(&mut number);
    runner
        .run(&steps(), |steps| {
            **cell.borrow_mut() += 1;
            let id = format!("t{}", **cell.borrow());
            runtime.block_on(async {
                let stores = all.map(|one| &*one.store as &dyn Store);
                let mut case = Case {
                    all,
                    stores,
                    tenant: id,
                    version: Version(0),
                    known: HashMap::new(),
                    sent: Vec::new(),
                    behind: 0,
                    wanted: HashSet::new(),
                    confirmed: HashMap::new(),
                    uncounted: HashMap::new(),
                };
                case.execute(Change::PutTenant { name: None, zone: None, attributes: None }).await;
                for step in steps {
                    case.take(step).await;
                }
                case.compare().await;
            });
            Ok(())
        })
        .unwrap();
    for one in [&sqlite, &postgres] {
        assert_eq!(runtime.block_on(one.raw(MISMATCHES)), Some(0));
        assert_eq!(runtime.block_on(one.raw(UNACCOUNTED)), Some(0));
    }
}
