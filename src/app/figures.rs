//! Everything that is measured, in one text for Prometheus (contract, section 7).

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{
    clock::Clock,
    freshness::{Freshness, Knowledge},
    ledger::LedgerMetrics,
    metrics::Metrics,
    policy::Watched,
};

/// Where the figures come from.
pub struct FigureSources {
    /// The request path.
    pub metrics: Arc<Metrics>,
    /// What this node has heard.
    pub freshness: Arc<Freshness>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The folder.
    pub policies: Arc<Watched>,
}

/// Renders the figures; the ledger's join once there is a ledger.
#[derive(Clone)]
pub struct Figures {
    registry: Arc<RwLock<Registry>>,
}

impl Figures {
    /// Registers everything but the ledger.
    #[must_use]
    pub fn new(sources: FigureSources) -> Self {
        let mut registry = Registry::default();
        sources.metrics.register(&mut registry);
        registry.register_collector(Box::new(NodeFigures(sources)));
        Self { registry: Arc::new(RwLock::new(registry)) }
    }

    /// Adds the ledger's.
    pub fn add_ledger(&self, ledger: Arc<LedgerMetrics>) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(LedgerFigures(ledger)));
    }

    /// The text of now.
    #[must_use]
    pub fn render(&self) -> String {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &registry) {
            tracing::error!("metrics cannot be written: {error}");
        }
        text
    }
}

struct NodeFigures(FigureSources);

impl std::fmt::Debug for NodeFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeFigures")
    }
}

impl Collector for NodeFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let FigureSources { freshness, clock, policies, .. } = &self.0;
        let age = match freshness.knowledge(clock.monotonic()) {
            Knowledge::Fresh => 0.0,
            Knowledge::Stale(age) => age.as_secs_f64().min(1e9),
        };
        let mut gauge = |name, help, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        gauge("plangate_rights_age_seconds", "Since the last good poll, 0 while fresh", age)?;
        let status = policies.status();
        let good = if status.last_error.is_none() { 1.0 } else { 0.0 };
        gauge("plangate_policies_good", "1: the folder as it is now is in force", good)?;
        for (name, help, value) in [
            ("plangate_policy_reloads", "Changes of the folder that came into force", status.reloads),
            ("plangate_policy_reload_failures", "Changes that were refused", status.reload_failures),
        ] {
            let encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(encoder)?;
        }
        Ok(())
    }
}

struct LedgerFigures(Arc<LedgerMetrics>);

impl std::fmt::Debug for LedgerFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LedgerFigures")
    }
}

impl Collector for LedgerFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let ledger = &self.0;
        let mut units =
            encoder.encode_descriptor("plangate_quota_units", "Units by meter", None, MetricType::Counter)?;
        for (meter, counts) in ledger.units() {
            for (kind, value) in
                [("admitted", counts.admitted), ("refunded", counts.refunded), ("overrun", counts.overrun)]
            {
                let labels = [("meter", meter.as_str()), ("kind", kind)];
                ConstCounter::new(value).encode(units.encode_family(&labels)?)?;
            }
        }
        for (name, help, value) in [
            ("plangate_ledger_grants", "Grants by the database", ledger.grants()),
            ("plangate_ledger_recalls", "Leases given back because somebody wanted them", ledger.recalls()),
            ("plangate_ledger_failures", "Statements of the ledger that failed", ledger.failures()),
        ] {
            let encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(encoder)?;
        }
        let encoder = encoder.encode_descriptor(
            "plangate_ledger_flush_lag_seconds",
            "Age of the oldest total that is not recorded",
            None,
            MetricType::Gauge,
        )?;
        let lag = Duration::from_millis(ledger.flush_lag_millis()).as_secs_f64();
        ConstGauge::new(lag).encode(encoder)
    }
}
