//! What is measured (contract, section 7). What the request path counts is counted in lanes, one for each thread, and
//! summed when it is scraped; no label holds a tenant.

mod conditions;
mod deliveries;
mod histogram;
mod lanes;
mod requests;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::Counter, family::Family},
    registry::Registry,
};

pub use conditions::ConditionErrors;
pub use deliveries::Deliveries;
pub use histogram::DurationHistogram;
pub use lanes::Tally;
pub use requests::{Code, Outcome, PlanLabel, RequestLabels, Requests};

use crate::domain::{id::PlanId, settlement::Untold};

/// A shared handle of a metric: one in the registry, one where it is written.
#[derive(Debug, Default)]
pub struct Shared<M>(pub Arc<M>);

impl<M: EncodeMetric> EncodeMetric for Shared<M> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}

/// Labels of `plangate_settle_kept_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeptLabels {
    /// `missing` or `invalid`: the header that should have told the cost.
    pub reason: &'static str,
}

/// Reserves kept as the cost, by reason.
#[derive(Debug, Default)]
pub struct Kept {
    missing: Tally,
    invalid: Tally,
}

impl Kept {
    const fn of(&self, reason: Untold) -> &Tally {
        match reason {
            Untold::Missing => &self.missing,
            Untold::Invalid => &self.invalid,
        }
    }
}

impl EncodeMetric for Kept {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        // Both are shown from the start.
        for reason in [Untold::Missing, Untold::Invalid] {
            let labels = KeptLabels { reason: reason.as_str() };
            self.of(reason).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// Labels of `plangate_streams_ended_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndedLabels {
    /// The problem code that a request would have got.
    pub code: &'static str,
}

/// Everything that the request path writes. Gauges that are read from elsewhere are registered by the application.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests by outcome.
    pub requests: Arc<Requests>,
    /// Reserves kept as the cost, as the answer told none.
    pub settle_kept: Arc<Kept>,
    /// From the parsed request to the grant.
    pub decision: Arc<DurationHistogram>,
    /// From forwarding to the upstream's head.
    pub upstream: Arc<DurationHistogram>,
    /// From a change's commit to its being in force on this node.
    pub change_applied: Arc<DurationHistogram>,
    /// Rights found in memory.
    pub rights_hits: Arc<Tally>,
    /// Rights that had to be read.
    pub rights_misses: Arc<Tally>,
    /// Exchanges under way that were ended, by the code of the refusal that a request would have got.
    pub streams_ended: Arc<Family<EndedLabels, Counter>>,
    /// Conditions and amounts that could not be told, by route.
    pub condition_errors: Arc<ConditionErrors>,
    /// Connections open on the data listener.
    pub connections: Arc<AtomicUsize>,
    /// Webhook deliveries.
    pub deliveries: Arc<Deliveries>,
}

/// A gauge that is computed when it is scraped.
struct Computed<F>(F);

impl<F: Fn() -> f64> fmt::Debug for Computed<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Computed({})", (self.0)())
    }
}

impl<F: Fn() -> f64> EncodeMetric for Computed<F> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.encode_gauge(&(self.0)())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

impl Metrics {
    /// Registers everything under the contract's names.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("plangate_requests", "Requests by outcome", Shared(Arc::clone(&self.requests)));
        let kept = Shared(Arc::clone(&self.settle_kept));
        registry.register("plangate_settle_kept", "Reserves kept, as the answer told no cost", kept);
        for (name, help, histogram) in [
            ("plangate_decision_seconds", "From the parsed request to the grant", &self.decision),
            ("plangate_upstream_seconds", "From forwarding to the upstream's head", &self.upstream),
            (
                "plangate_change_applied_seconds",
                "From a commit to its being in force here",
                &self.change_applied,
            ),
        ] {
            registry.register(name, help, Shared(Arc::clone(histogram)));
        }
        for (name, help, tally) in [
            ("plangate_rights_cache_hits", "Rights found in memory", &self.rights_hits),
            ("plangate_rights_cache_misses", "Rights read", &self.rights_misses),
        ] {
            registry.register(name, help, Shared(Arc::clone(tally)));
        }
        let ended = Shared(Arc::clone(&self.streams_ended));
        registry.register("plangate_streams_ended", "Exchanges under way that were ended", ended);
        let errors = Shared(Arc::clone(&self.condition_errors));
        registry.register("plangate_condition_errors", "Conditions that could not be told", errors);
        self.deliveries.register(registry);
        let connections = Arc::clone(&self.connections);
        let read = move || f64::from(u32::try_from(connections.load(Ordering::Relaxed)).unwrap_or(u32::MAX));
        registry.register("plangate_connections", "Open connections on the data listener", Computed(read));
    }

    /// Counts reserves that were kept as the cost.
    pub fn kept(&self, reason: Untold, count: u64) {
        self.settle_kept.of(reason).inc_by(count);
    }

    /// Counts an exchange under way that was ended. Rare: one word for all threads will do.
    pub fn stream_ended(&self, code: &'static str) {
        self.streams_ended.get_or_create(&EndedLabels { code }).inc();
    }

    /// Counts a condition or an amount of a route that could not be told.
    pub fn condition_failed(&self, route: &str) {
        self.condition_errors.count(route);
    }

    /// Counts one request.
    #[inline]
    pub fn request(&self, outcome: Outcome, code: Option<Code>, plan: Option<&PlanId>) {
        self.requests.count(outcome, code, plan);
    }
}
