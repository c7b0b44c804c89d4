//! What became of webhook deliveries on this node, and what waits.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Labels of `plangate_webhook_deliveries_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: &'static str,
}

/// The outcomes of a try.
const OUTCOMES: [&str; 4] = ["delivered", "retried", "failed", "disabled"];

/// The figures of one node.
#[derive(Debug)]
pub struct Deliveries {
    outcomes: Family<Labels, Counter>,
    waiting: Gauge,
    oldest: Gauge<f64, AtomicU64>,
    sent: AtomicU64,
}

impl Default for Deliveries {
    fn default() -> Self {
        let outcomes = Family::<Labels, Counter>::default();
        // All are shown from the start.
        for outcome in OUTCOMES {
            drop(outcomes.get_or_create(&Labels { outcome }));
        }
        Self { outcomes, waiting: Gauge::default(), oldest: Gauge::default(), sent: AtomicU64::new(0) }
    }
}

impl Deliveries {
    /// Registers them under their names.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        let outcomes = self.outcomes.clone();
        registry.register("plangate_webhook_deliveries", "Tries of webhook deliveries by outcome", outcomes);
        let waiting = self.waiting.clone();
        registry.register("plangate_webhook_waiting", "Webhook deliveries that wait, on all nodes", waiting);
        let oldest = self.oldest.clone();
        registry.register("plangate_webhook_oldest_seconds", "Age of the oldest that waits", oldest);
    }

    /// Counts a try: one of `delivered`, `retried`, `failed`, `disabled`.
    pub fn tried(&self, outcome: &'static str) {
        self.outcomes.get_or_create(&Labels { outcome }).inc();
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// How many tries were made.
    #[must_use]
    pub fn tries(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Says what waits.
    pub fn wait(&self, waiting: u64, oldest: std::time::Duration) {
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.oldest.set(oldest.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures() {
        let deliveries = Arc::new(Deliveries::default());
        deliveries.tried("delivered");
        deliveries.wait(3, std::time::Duration::from_millis(1500));
        let mut registry = Registry::default();
        deliveries.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "plangate_webhook_deliveries_total{outcome=\"delivered\"} 1\n",
            "plangate_webhook_deliveries_total{outcome=\"failed\"} 0\n",
            "plangate_webhook_waiting 3\n",
            "plangate_webhook_oldest_seconds 1.5\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
