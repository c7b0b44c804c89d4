//! Requests by outcome, code and plan. Where each is counted is found once for each thread and plan; counting then is one
//! addition in a line that no other thread writes.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

use super::lanes::{LANES, Lane, encode_count};
use crate::domain::id::PlanId;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream answered.
    Forwarded,
    /// It was refused.
    Refused,
    /// It would have been refused.
    Observed,
    /// The upstream did not answer.
    Failed,
}

const OUTCOMES: [&str; 4] = ["forwarded", "refused", "observed", "failed"];

/// The classes of an upstream's status, and the problem codes of the contract.
const CODES: [&str; 27] = [
    "1xx",
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "credential-missing",
    "credential-invalid",
    "credential-expired",
    "credential-ambiguous",
    "path-ambiguous",
    "request-malformed",
    "head-too-large",
    "method-not-allowed",
    "tenant-unknown",
    "tenant-suspended",
    "subscription-inactive",
    "route-not-covered",
    "condition-failed",
    "feature-not-in-plan",
    "rate-limited",
    "quota-exhausted",
    "ledger-unavailable",
    "rights-unavailable",
    "overloaded",
    "upstream-unreachable",
    "upstream-timeout",
    // For those that a later version adds and forgets here.
    "other",
];

/// What requests are counted by beside outcome and plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(u8);

impl Code {
    /// The class of an upstream's status, such as `2xx`.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status / 100 {
            1 => Self(0),
            2 => Self(1),
            3 => Self(2),
            4 => Self(3),
            _ => Self(4),
        }
    }

    /// A problem's code; `None`: it is none of the contract's.
    #[must_use]
    pub fn of_problem(code: &str) -> Option<Self> {
        let place = CODES[..OTHER].iter().position(|known| *known == code)?;
        u8::try_from(place).ok().map(Self)
    }
}

const OTHER: usize = CODES.len() - 1;
const SLOTS: usize = OUTCOMES.len() * CODES.len();

/// Labels of `plangate_requests_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// `forwarded`, `refused`, `observed` (would have been refused) or `failed` (the upstream did not answer).
    pub outcome: &'static str,
    /// The problem code, or the class of the upstream's status such as `2xx`.
    pub code: &'static str,
    /// The plan, empty where none is known.
    pub plan: PlanLabel,
}

/// A plan as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PlanLabel(pub Option<PlanId>);

impl EncodeLabelValue for PlanLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.as_ref().map_or("", PlanId::as_str).encode(encoder)
    }
}

/// What one thread counted of one plan.
#[repr(align(128))]
struct Counts([AtomicU64; SLOTS]);

impl Default for Counts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// One plan's counts.
#[derive(Default)]
struct OfPlan([OnceLock<Box<Counts>>; LANES]);

impl OfPlan {
    fn count(&self, slot: usize) {
        let lane = Lane::here();
        let counts = self.0[lane.place()].get_or_init(Box::default);
        lane.add(&counts.0[slot], 1);
    }

    fn sum(&self, slot: usize) -> u64 {
        let counts = self.0.iter().filter_map(OnceLock::get);
        counts.fold(0, |sum, counts| counts.0[slot].load(Ordering::Relaxed).wrapping_add(sum))
    }
}

/// Counters of requests.
pub struct Requests {
    /// Tells these from others that the same threads count in.
    number: u64,
    plans: RwLock<BTreeMap<Option<PlanId>, Arc<OfPlan>>>,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Default for Requests {
    fn default() -> Self {
        Self { number: NEXT.fetch_add(1, Ordering::Relaxed), plans: RwLock::default() }
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}

/// A plan whose counts this thread has found before.
struct Known {
    requests: u64,
    plan: Option<PlanId>,
    counts: Arc<OfPlan>,
}

impl Known {
    /// By the text's place: the entry keeps it, so that no other can have it. The same plan at another place (of another
    /// catalog) is another entry with the same counts.
    fn is(&self, requests: u64, plan: Option<&PlanId>) -> bool {
        self.requests == requests
            && match (&self.plan, plan) {
                (None, None) => true,
                (Some(known), Some(plan)) => std::ptr::eq(known.as_str(), plan.as_str()),
                _ => false,
            }
    }
}

/// So many plans a thread remembers.
const REMEMBERED: usize = 32;

#[derive(Default)]
struct Remembered {
    known: Vec<Known>,
    oldest: usize,
}

thread_local! {
    static REMEMBERED_HERE: RefCell<Remembered> = RefCell::default();
}

impl Requests {
    /// Counts one request. `None` is a code that is not known.
    pub fn count(&self, outcome: Outcome, code: Option<Code>, plan: Option<&PlanId>) {
        let code = code.map_or(OTHER, |code| usize::from(code.0));
        let slot = outcome as usize * CODES.len() + code;
        let counted = REMEMBERED_HERE.try_with(|remembered| {
            let Ok(mut remembered) = remembered.try_borrow_mut() else { return false };
            match remembered.known.iter().find(|known| known.is(self.number, plan)) {
                Some(known) => known.counts.count(slot),
                None => remembered.learn(self.number, plan, self.of(plan)).count(slot),
            }
            true
        });
        if counted != Ok(true) {
            self.of(plan).count(slot);
        }
    }

    fn of(&self, plan: Option<&PlanId>) -> Arc<OfPlan> {
        let plan = plan.cloned();
        if let Some(counts) = self.plans.read().unwrap_or_else(PoisonError::into_inner).get(&plan) {
            return Arc::clone(counts);
        }
        let mut plans = self.plans.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(plans.entry(plan).or_default())
    }
}

impl Remembered {
    fn learn(&mut self, requests: u64, plan: Option<&PlanId>, counts: Arc<OfPlan>) -> Arc<OfPlan> {
        let known = Known { requests, plan: plan.cloned(), counts: Arc::clone(&counts) };
        if self.known.len() < REMEMBERED {
            self.known.push(known);
        } else {
            self.oldest = (self.oldest + 1) % REMEMBERED;
            self.known[self.oldest] = known;
        }
        counts
    }
}

impl TypedMetric for Requests {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for Requests {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let plans = self.plans.read().unwrap_or_else(PoisonError::into_inner);
        for (plan, counts) in &*plans {
            for slot in 0..SLOTS {
                let count = counts.sum(slot);
                if count == 0 {
                    continue;
                }
                let (outcome, code) = (OUTCOMES[slot / CODES.len()], CODES[slot % CODES.len()]);
                let labels = RequestLabels { outcome, code, plan: PlanLabel(plan.clone()) };
                encode_count(count, encoder.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::{super::Shared, *};

    fn text(requests: &Arc<Requests>) -> String {
        let mut registry = Registry::default();
        registry.register("requests", "r", Shared(Arc::clone(requests)));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn each_is_counted_by_its_labels_whichever_thread_saw_it() {
        let requests = Arc::new(Requests::default());
        let plan = |name: usize| PlanId::parse(&format!("plan-{name}")).unwrap();
        let plans: Vec<PlanId> = (0..REMEMBERED + 10).map(plan).collect();
        let see = |requests: &Requests| {
            for _ in 0..3 {
                for plan in &plans {
                    requests.count(Outcome::Forwarded, Some(Code::of_status(204)), Some(plan));
                }
                // The same name at another place.
                requests.count(Outcome::Forwarded, Some(Code::of_status(200)), Some(&plan(0)));
                requests.count(Outcome::Refused, Code::of_problem("credential-missing"), None);
                requests.count(Outcome::Failed, Code::of_problem("no-such-code"), None);
            }
        };
        see(&requests);
        std::thread::scope(|scope| drop(scope.spawn(|| see(&requests)).join()));
        let text = text(&requests);
        for line in [
            "requests_total{outcome=\"forwarded\",code=\"2xx\",plan=\"plan-0\"} 12\n",
            "requests_total{outcome=\"forwarded\",code=\"2xx\",plan=\"plan-41\"} 6\n",
            "requests_total{outcome=\"refused\",code=\"credential-missing\",plan=\"\"} 6\n",
            "requests_total{outcome=\"failed\",code=\"other\",plan=\"\"} 6\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert_eq!(text.matches("requests_total{").count(), REMEMBERED + 12);
    }

    #[test]
    fn one_set_of_counters_knows_nothing_of_another() {
        let (one, other) = (Arc::new(Requests::default()), Arc::new(Requests::default()));
        one.count(Outcome::Observed, Code::of_problem("rate-limited"), None);
        other.count(Outcome::Observed, Code::of_problem("rate-limited"), None);
        assert!(text(&one).contains("code=\"rate-limited\",plan=\"\"} 1\n"));
        assert!(text(&other).contains("code=\"rate-limited\",plan=\"\"} 1\n"));
    }
}
