//! Whether this node wants traffic, and if not, why: one answer for the load balancer, the operator and the log.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use super::in_force::InForce;
use crate::{
    clock::Clock,
    freshness::{Freshness, Knowledge},
    policy::Watched,
    ports::Readiness,
    sync::Feed,
};

/// What the node is doing.
#[derive(Clone)]
enum Phase {
    Starting(String),
    Serving(Arc<Feed>, Arc<InForce>),
    Stopping,
}

/// Answers whether this node wants traffic.
pub struct ReadinessBoard {
    phase: RwLock<Phase>,
    freshness: Arc<Freshness>,
    clock: Arc<dyn Clock>,
    policies: Arc<Watched>,
    serve_stale: Duration,
}

impl ReadinessBoard {
    pub(super) fn new(
        freshness: Arc<Freshness>,
        clock: Arc<dyn Clock>,
        policies: Arc<Watched>,
        serve_stale: Duration,
    ) -> Self {
        let phase = RwLock::new(Phase::Starting("starting".to_owned()));
        Self { phase, freshness, clock, policies, serve_stale }
    }

    fn set(&self, phase: Phase) {
        *self.phase.write().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    pub(super) fn waiting_for(&self, what: impl Into<String>) {
        self.set(Phase::Starting(what.into()));
    }

    pub(super) fn serving(&self, feed: Arc<Feed>, policies: Arc<InForce>) {
        self.set(Phase::Serving(feed, policies));
    }

    pub(super) fn stopping(&self) {
        self.set(Phase::Stopping);
    }

    /// The answer. Reasons may also stand beside a yes: what an operator should look at.
    #[must_use]
    pub fn read(&self) -> Readiness {
        let phase = self.phase.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (feed, in_force) = match phase {
            Phase::Starting(reason) => return Readiness::no(reason),
            Phase::Stopping => return Readiness::no("this node is stopping"),
            Phase::Serving(feed, in_force) => (feed, in_force),
        };
        let mut reasons = Vec::new();
        let ready = match self.freshness.knowledge(self.clock.monotonic()) {
            Knowledge::Fresh => true,
            Knowledge::Stale(Duration::MAX) => {
                reasons.push("another process took this node's name".to_owned());
                false
            }
            Knowledge::Stale(age) => {
                reasons.push(format!("the database has not answered for {} s", age.as_secs()));
                age <= self.serve_stale
            }
        };
        if let Some(off) = feed.clock_is_off() {
            reasons.push(format!("this machine's clock is {off} ms off the database's"));
        }
        let awaited = feed.awaited();
        if !awaited.is_empty() {
            reasons.push(format!(
                "the database failed over, and no units are granted until these nodes have recorded what they used: {}; \
                 start them, or write them off with `plangate node lost NAME`",
                awaited.join(", ")
            ));
        }
        if self.policies.status().last_error.is_some() {
            reasons.push("the policy folder has errors; the last good policies are in force".to_owned());
        }
        let empty = in_force.is_empty();
        if empty {
            reasons.push("no policies were applied yet: run `plangate policy apply DIR`".to_owned());
        }
        reasons.extend(in_force.remarks());
        Readiness { ready: ready && !empty, reasons }
    }
}
