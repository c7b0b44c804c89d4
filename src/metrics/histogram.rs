//! A histogram of durations, in lanes.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

use super::lanes::{LANES, Lane};
use crate::domain::time::Monotonic;

/// Upper bounds of the buckets in nanoseconds.
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

const BUCKETS: usize = BOUNDS.len() + 1;

#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts {
    nanos: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct DurationHistogram([Counts; LANES]);

impl DurationHistogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        self.observe_nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts the time between two instants.
    #[inline]
    pub fn observe_between(&self, earlier: Monotonic, later: Monotonic) {
        self.observe_nanos(later.0.saturating_sub(earlier.0));
    }

    fn observe_nanos(&self, nanos: u64) {
        let lane = Lane::here();
        let counts = &self.0[lane.place()];
        let place = BOUNDS.partition_point(|bound| *bound < nanos);
        lane.add(&counts.buckets[place], 1);
        lane.add(&counts.nanos, nanos);
    }

    fn sum(&self, number: impl Fn(&Counts) -> &AtomicU64) -> u64 {
        self.0.iter().fold(0, |sum, counts| number(counts).load(Ordering::Relaxed).wrapping_add(sum))
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
            .enumerate()
            .map(|(place, bound)| (bound, self.sum(|counts| &counts.buckets[place])))
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(self.sum(|counts| &counts.nanos));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus_client::registry::Registry;

    use super::{super::Shared, *};

    #[test]
    fn a_histogram_ends_with_infinity_and_counts_everything() {
        let mut registry = Registry::default();
        let histogram = Arc::new(DurationHistogram::default());
        for nanos in [1, 500, 501] {
            histogram.observe(Duration::from_nanos(nanos));
        }
        let elsewhere = Arc::clone(&histogram);
        let late = move || elsewhere.observe_between(Monotonic(5), Monotonic(20_000_000_005));
        std::thread::spawn(late).join().unwrap();
        registry.register("h_seconds", "h", Shared(histogram));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("h_seconds_bucket{le=\"5e-7\"} 2\n"), "{text}");
        assert!(text.contains("h_seconds_bucket{le=\"0.000001\"} 3\n"), "{text}");
        assert!(text.contains("h_seconds_bucket{le=\"+Inf\"} 4\n"), "{text}");
        assert!(text.contains("h_seconds_count 4\n"), "{text}");
        assert!(text.contains("h_seconds_sum 20.000001002\n"), "{text}");
    }
}
