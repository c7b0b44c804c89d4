//! The ledger's counters: plain atomics in lanes, so that threads which count at the same time do not share a line.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::shared::lock;
use crate::domain::id::MeterId;

/// All threads that ever charge, on any machine that is not extraordinary.
const LANES: usize = 64;
/// The last lane is for all threads that found no other free.
const SHARED: usize = LANES - 1;

/// Lanes that no thread has.
struct Free {
    returned: Vec<usize>,
    unused: usize,
}

static FREE: Mutex<Free> = Mutex::new(Free { returned: Vec::new(), unused: 0 });

/// A thread's own lane, the same in all counters, for as long as the thread runs. So nobody else writes there, and a count
/// is no more than a load and a store.
struct Own(usize);

impl Own {
    fn take() -> Self {
        let mut free = lock(&FREE);
        Self(free.returned.pop().unwrap_or_else(|| {
            let lane = free.unused.min(SHARED);
            free.unused = lane + 1;
            lane
        }))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if self.0 < SHARED {
            lock(&FREE).returned.push(self.0);
        }
    }
}

thread_local! {
    static LANE: Own = Own::take();
}

/// What a unit was counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Admitted,
    Refunded,
    Overrun,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane([AtomicU64; 3]);

/// One meter's counters.
#[derive(Debug)]
pub(super) struct MeterUnits([Lane; LANES]);

impl Default for MeterUnits {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Lane::default()))
    }
}

impl MeterUnits {
    pub fn add(&self, kind: Kind, units: u64) {
        // A thread that is about to end has none any more.
        let lane = LANE.try_with(|lane| lane.0).unwrap_or(SHARED);
        let count = &self.0[lane].0[kind as usize];
        if lane < SHARED {
            count.store(count.load(Ordering::Relaxed).wrapping_add(units), Ordering::Relaxed);
        } else {
            count.fetch_add(units, Ordering::Relaxed);
        }
    }

    fn sum(&self, kind: Kind) -> u64 {
        self.0.iter().fold(0, |sum, lane| lane.0[kind as usize].load(Ordering::Relaxed).wrapping_add(sum))
    }
}

/// How many units of a meter passed, over all tenants, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnitCounts {
    /// Charged.
    pub admitted: u64,
    /// Given back.
    pub refunded: u64,
    /// Used above what was reserved.
    pub overrun: u64,
}

/// What the ledger has done since the start, for `/metrics`.
#[derive(Debug, Default)]
pub struct LedgerMetrics {
    meters: RwLock<BTreeMap<MeterId, Arc<MeterUnits>>>,
    pub(super) grants: AtomicU64,
    pub(super) recalls: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) lag_millis: AtomicU64,
}

impl LedgerMetrics {
    /// Units by meter.
    #[must_use]
    pub fn units(&self) -> Vec<(MeterId, UnitCounts)> {
        let meters = self.meters.read().unwrap_or_else(PoisonError::into_inner);
        let counts = |units: &MeterUnits| UnitCounts {
            admitted: units.sum(Kind::Admitted),
            refunded: units.sum(Kind::Refunded),
            overrun: units.sum(Kind::Overrun),
        };
        meters.iter().map(|(meter, units)| (meter.clone(), counts(units))).collect()
    }

    /// Grants received.
    #[must_use]
    pub fn grants(&self) -> u64 {
        self.grants.load(Ordering::Relaxed)
    }

    /// Leases given back because another node wanted units.
    #[must_use]
    pub fn recalls(&self) -> u64 {
        self.recalls.load(Ordering::Relaxed)
    }

    /// Statements that the store failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How long the oldest totals had waited when they were last flushed, or have waited by now where that fails.
    #[must_use]
    pub fn flush_lag_millis(&self) -> u64 {
        self.lag_millis.load(Ordering::Relaxed)
    }

    pub(super) fn meter(&self, meter: &MeterId) -> Arc<MeterUnits> {
        if let Some(units) = self.meters.read().unwrap_or_else(PoisonError::into_inner).get(meter) {
            return Arc::clone(units);
        }
        let mut meters = self.meters.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(meters.entry(meter.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_threads_than_lanes_are_all_counted() {
        let units = MeterUnits::default();
        let together = std::sync::Barrier::new(LANES + 20);
        std::thread::scope(|scope| {
            for _ in 0..LANES + 20 {
                scope.spawn(|| {
                    units.add(Kind::Admitted, 1);
                    // All of them have a lane now, or share the last.
                    together.wait();
                    (0..1000).for_each(|_| units.add(Kind::Admitted, 1));
                });
            }
        });
        assert_eq!(units.sum(Kind::Admitted), 1001 * (LANES as u64 + 20));
    }

    #[test]
    fn the_lanes_of_threads_that_have_ended_are_used_again() {
        let units = MeterUnits::default();
        for _ in 0..3 * LANES {
            std::thread::scope(|scope| {
                scope.spawn(|| units.add(Kind::Refunded, 2));
            });
        }
        assert_eq!(units.sum(Kind::Refunded), 6 * LANES as u64);
    }
}
