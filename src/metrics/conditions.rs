//! Conditions that could not be told, by route. Rare; but who sends such requests may send many.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

use super::lanes::encode_count;

/// So many routes are told apart; over the life of a process there may be more, as policies change.
const MOST_ROUTES: usize = 1000;
/// What the others are counted by.
const OTHER: &str = "other";

/// Labels of `plangate_condition_errors_total`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    route: String,
}

/// The counts.
#[derive(Debug, Default)]
pub struct ConditionErrors(RwLock<BTreeMap<Box<str>, AtomicU64>>);

impl ConditionErrors {
    /// Counts one.
    pub fn count(&self, route: &str) {
        let one = |count: &AtomicU64| count.fetch_add(1, Ordering::Relaxed);
        if let Some(count) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(route) {
            one(count);
            return;
        }
        let mut counts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let route = if counts.len() < MOST_ROUTES { route } else { OTHER };
        one(counts.entry(route.into()).or_default());
    }
}

impl TypedMetric for ConditionErrors {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for ConditionErrors {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for (route, count) in &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            let labels = Labels { route: route.to_string() };
            encode_count(count.load(Ordering::Relaxed), encoder.encode_family(&labels)?)?;
        }
        Ok(())
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
    fn so_many_routes_are_told_apart() {
        let errors = Arc::new(ConditionErrors::default());
        for number in 0..MOST_ROUTES + 10 {
            errors.count(&format!("GET /{number}"));
        }
        errors.count("GET /1");
        let mut registry = Registry::default();
        registry.register("errors", "e", Shared(Arc::clone(&errors)));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("errors_total{route=\"GET /1\"} 2\n"), "{text}");
        assert!(text.contains("errors_total{route=\"other\"} 10\n"));
        assert_eq!(text.matches("errors_total{").count(), MOST_ROUTES + 1);
    }
}
