//! What is measured (contract, section 7). Histograms are plain atomics; no label holds a tenant.

use std::{
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use prometheus_client::{
    encoding::{
        EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder, MetricEncoder, NoLabelSet,
    },
    metrics::{MetricType, TypedMetric, counter::Counter, family::Family},
    registry::Registry,
};

use crate::domain::{id::PlanId, settlement::Untold};

/// Upper bounds of a histogram's buckets in nanoseconds.
const BOUNDS: [u64; 18] = [
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    2_500_000_000,
    10_000_000_000,
];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct DurationHistogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl DurationHistogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|bound| *bound < nanos);
        self.buckets[place].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl TypedMetric for DurationHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

#[allow(clippy::cast_precision_loss, reason = "a metric in seconds is a float")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

impl EncodeMetric for DurationHistogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let buckets: Vec<(f64, u64)> = BOUNDS
            .iter()
            .map(|bound| seconds(*bound))
            .chain(std::iter::once(f64::INFINITY))
            .zip(self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(self.nanos.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// A shared handle of a metric: one in the registry, one where it is written.
#[derive(Debug, Default)]
pub struct Shared<M>(pub std::sync::Arc<M>);

impl<M: EncodeMetric> EncodeMetric for Shared<M> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}

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

/// Labels of `plangate_settle_kept_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KeptLabels {
    /// `missing` or `invalid`: the header that should have told the cost.
    pub reason: &'static str,
}

/// A plan as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PlanLabel(pub Option<PlanId>);

impl EncodeLabelValue for PlanLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.as_ref().map_or("", PlanId::as_str).encode(encoder)
    }
}

/// Everything that the request path writes. Gauges that are read from elsewhere are registered by the application.
#[derive(Default)]
pub struct Metrics {
    /// Requests by outcome.
    pub requests: Family<RequestLabels, Counter>,
    /// Reserves kept as the cost, as the answer told none.
    pub settle_kept: Family<KeptLabels, Counter>,
    /// From the parsed request to the grant.
    pub decision: std::sync::Arc<DurationHistogram>,
    /// From forwarding to the upstream's head.
    pub upstream: std::sync::Arc<DurationHistogram>,
    /// From a change's commit to its being in force on this node.
    pub change_applied: std::sync::Arc<DurationHistogram>,
    /// Rights found in memory.
    pub rights_hits: Counter,
    /// Rights that had to be read.
    pub rights_misses: Counter,
    /// Connections open on the data listener.
    pub connections: std::sync::Arc<AtomicUsize>,
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
        let requests = self.requests.clone();
        registry.register("plangate_requests", "Requests by outcome", requests);
        for reason in [Untold::Missing, Untold::Invalid] {
            // Both are shown from the start.
            self.kept(reason, 0);
        }
        let kept = self.settle_kept.clone();
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
            registry.register(name, help, Shared(std::sync::Arc::clone(histogram)));
        }
        registry.register("plangate_rights_cache_hits", "Rights found in memory", self.rights_hits.clone());
        registry.register("plangate_rights_cache_misses", "Rights read", self.rights_misses.clone());
        let connections = std::sync::Arc::clone(&self.connections);
        let read = move || f64::from(u32::try_from(connections.load(Ordering::Relaxed)).unwrap_or(u32::MAX));
        registry.register("plangate_connections", "Open connections on the data listener", Computed(read));
    }

    /// Counts reserves that were kept as the cost.
    pub fn kept(&self, reason: Untold, count: u64) {
        self.settle_kept.get_or_create(&KeptLabels { reason: reason.as_str() }).inc_by(count);
    }

    /// Counts one request.
    pub fn request(&self, outcome: &'static str, code: &'static str, plan: Option<&PlanId>) {
        let labels = RequestLabels { outcome, code, plan: PlanLabel(plan.cloned()) };
        self.requests.get_or_create(&labels).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_ends_with_infinity_and_counts_everything() {
        let mut registry = Registry::default();
        let histogram = std::sync::Arc::new(DurationHistogram::default());
        for nanos in [1, 500, 501, 20_000_000_000] {
            histogram.observe(Duration::from_nanos(nanos));
        }
        registry.register("h_seconds", "h", Shared(histogram));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("h_seconds_bucket{le=\"5e-7\"} 2\n"), "{text}");
        assert!(text.contains("h_seconds_bucket{le=\"0.000001\"} 3\n"), "{text}");
        assert!(text.contains("h_seconds_bucket{le=\"+Inf\"} 4\n"), "{text}");
        assert!(text.contains("h_seconds_count 4\n"), "{text}");
    }
}
