//! Random sequences: the databases answer as the memory does, and what all of them say adds up.

use std::collections::HashMap;

use plangate::{
    domain::{command::Change, period::Period},
    ports::{ExecuteError, GrantOutcome, Registration},
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
        want: u64,
        spend: u64,
        old_facts: bool,
        wrong: bool,
    },
    Flush(Vec<(SlotChoice, u64, u64, bool, i64)>),
    /// An earlier step's message arrives again.
    Again(usize),
    Subscribe(bool),
    Suspend,
    Recreate,
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

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let flush = (slots(), 0..60u64, 0..20u64, prop::bool::weighted(0.2), 0..4i64);
    let grant = (
        slots(),
        1..120u64,
        0..40u64,
        0..60u64,
        0..20u64,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(slot, limit, need, want, spend, old_facts, wrong)| Step::Grant {
            slot,
            limit,
            need,
            want,
            spend,
            old_facts,
            wrong,
        });
    let step = prop_oneof![
        6 => grant,
        4 => prop::collection::vec(flush, 1..5).prop_map(Step::Flush),
        3 => (0..20usize).prop_map(Step::Again),
        1 => any::<bool>().prop_map(Step::Subscribe),
        1 => Just(Step::Suspend),
        1 => Just(Step::Recreate),
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
}

impl Known {
    fn holds(self) -> u64 {
        let net = self.used.saturating_sub(self.refunded);
        if self.sealed { net } else { self.granted.max(net) }
    }
}

#[derive(Debug, Clone)]
enum Message {
    Grant(GrantRequest),
    Flush(Vec<SlotTotals>),
}

struct Case<'a> {
    stores: [&'a dyn Store; 3],
    tenant: String,
    version: Version,
    known: HashMap<SlotKey, Known>,
    sent: Vec<Message>,
}

impl Case<'_> {
    fn slot(&self, choice: SlotChoice) -> SlotKey {
        let window = if choice.day { Window::Day } else { Window::Month };
        let bucket = BucketKey { window, ..bucket(&self.tenant, choice.bucket) };
        SlotKey { bucket, incarnation: node(choice.of), seq: choice.seq }
    }

    fn report(&self, slot: SlotKey, used: u64, refunded: u64, sealed: bool, hour: i64) -> SlotTotals {
        SlotTotals {
            slot,
            end: UnixMillis(START.0 + 1_000_000),
            granted: 0,
            used,
            refunded: refunded.min(used),
            at: UnixMillis(START.0 + hour * 3_600_000),
            sealed,
            counted: Windows::default(),
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
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Grant { slot, limit, need, want, spend, old_facts, wrong } => {
                let slot = self.slot(slot);
                let known = self.known.get(&slot).copied().unwrap_or_default();
                let used = (known.used + spend).min(known.granted + known.refunded);
                let request = GrantRequest {
                    totals: self.report(slot, used.max(known.used), known.refunded, false, 0),
                    limit: Units::saturating(limit),
                    version: if old_facts { Version(self.version.0 - 1) } else { self.version },
                    granted: if wrong { known.granted + 1 } else { known.granted },
                    need,
                    demand: need,
                    want,
                };
                self.send(Message::Grant(request)).await;
            }
            Step::Flush(rows) => {
                let totals = rows
                    .into_iter()
                    .map(|(slot, used, refunded, sealed, hour)| {
                        self.report(self.slot(slot), used, refunded, sealed, hour)
                    })
                    .collect();
                self.send(Message::Flush(totals)).await;
            }
            Step::Again(place) => {
                if let Some(message) = self.sent.get(place).cloned() {
                    self.send(message).await;
                }
            }
            Step::Subscribe(reset) => {
                let usage = if reset { UsageRule::Reset } else { UsageRule::Keep };
                let plan = PlanId::parse("pro").unwrap();
                self.execute(Change::Subscribe { plan, anchor: None, usage }).await;
            }
            Step::Suspend => self.execute(Change::Suspend).await,
            Step::Recreate => {
                self.execute(Change::DeleteTenant).await;
                self.execute(Change::PutTenant { name: None, zone: None }).await;
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
                self.note(&request.totals);
                self.check_grant(&request, &answers[0]);
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
        let known = self.known.entry(totals.slot.clone()).or_default();
        known.used = known.used.max(totals.used);
        known.refunded = known.refunded.max(totals.refunded);
        known.sealed |= totals.sealed;
    }

    fn check_grant(&mut self, request: &GrantRequest, answer: &GrantOutcome) {
        let slot = &request.totals.slot;
        let held = |case: &Self| -> u64 {
            let of_bucket = case.known.iter().filter(|(key, _)| key.bucket == slot.bucket);
            of_bucket.map(|(_, known)| known.holds()).sum()
        };
        let left = request.limit.get().saturating_sub(held(self));
        let known = self.known[slot];
        match *answer {
            GrantOutcome::Granted { granted, .. } => {
                assert!(!known.sealed && request.version == self.version);
                assert_eq!(known.granted, request.granted);
                assert!(granted >= known.granted + request.need.max(1), "not less than needed");
                self.known.get_mut(slot).unwrap().granted = granted;
                assert!(held(self) <= request.limit.get(), "more than the limit");
            }
            GrantOutcome::Exhausted { left: said, .. } => {
                assert_eq!(said, left);
                assert!(left < request.need.max(1));
            }
            GrantOutcome::Refused { granted } => {
                assert_eq!(granted, known.granted);
                assert!(known.sealed || known.granted != request.granted);
            }
            GrantOutcome::Stale => assert_ne!(request.version, self.version),
            GrantOutcome::Withheld => panic!("nobody failed over"),
        }
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
            let used: u64 = self
                .known
                .iter()
                .filter(|(slot, _)| of_others(slot))
                .map(|(_, known)| known.used.saturating_sub(known.refunded))
                .sum();
            assert_eq!(others.used.get(), used);
        }
    }
}

// What the bucket says is what its slots say.
const MISMATCHES: &str = "SELECT count(*) FROM buckets b WHERE \
    b.allocated <> (SELECT coalesce(sum(CASE WHEN s.sealed = 1 OR s.used - s.refunded > s.granted \
                    THEN s.used - s.refunded ELSE s.granted END), 0) FROM slots s WHERE s.bucket_id = b.id) \
    OR b.used <> (SELECT coalesce(sum(s.used - s.refunded), 0) FROM slots s WHERE s.bucket_id = b.id)";
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
    let registration = Registration { name: "a".into(), incarnation: node(2), file: node(9).0, digest };
    for one in all {
        runtime.block_on(one.store.register(&registration)).unwrap();
    }
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
                let mut case =
                    Case { stores, tenant: id, version: Version(0), known: HashMap::new(), sent: Vec::new() };
                case.execute(Change::PutTenant { name: None, zone: None }).await;
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
