//! The one instant that a tenant's rate of a meter is kept in (see [`crate::domain::rate`]), shared by all threads.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::domain::{
    rate::{Rate, RateStep},
    time::Monotonic,
    units::Units,
};

/// A theoretical arrival time.
#[derive(Debug, Default)]
pub(super) struct RateCell(AtomicU64);

impl RateCell {
    /// Lets `units` pass, or says when they would (`None`: never).
    pub fn take(&self, rate: &Rate, units: Units, now: Monotonic) -> Result<(), Option<Duration>> {
        if units == Units::ZERO {
            return Ok(());
        }
        let mut arrival = self.0.load(Ordering::Relaxed);
        loop {
            match rate.step(Monotonic(arrival), now, units) {
                RateStep::Refused(after) => return Err(after),
                RateStep::Allowed(next) => {
                    match self.0.compare_exchange_weak(arrival, next.0, Ordering::Relaxed, Ordering::Relaxed)
                    {
                        Ok(_) => return Ok(()),
                        Err(other) => arrival = other,
                    }
                }
            }
        }
    }

    /// Gives `units` back.
    pub fn give_back(&self, rate: &Rate, units: Units) {
        let step = |arrival| Some(rate.give_back(Monotonic(arrival), units).0);
        // The closure never declines, so there is nothing to handle.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }

    /// Units that would pass at once, and the time until the whole burst would.
    pub fn left(&self, rate: &Rate, now: Monotonic) -> (Units, Duration) {
        rate.left(Monotonic(self.0.load(Ordering::Relaxed)), now)
    }

    /// Whether the cell says no more than a new one would.
    pub fn is_idle(&self, now: Monotonic) -> bool {
        self.0.load(Ordering::Relaxed) <= now.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_a_burst_and_takes_it_back() {
        let rate = Rate { limit: Units::ONE, per: Duration::from_secs(1), burst: Units::saturating(3) };
        let (cell, now) = (RateCell::default(), Monotonic(1_000_000_000_000));
        assert!(cell.is_idle(now));
        assert_eq!(cell.take(&rate, Units::saturating(3), now), Ok(()));
        assert!(!cell.is_idle(now));
        assert_eq!(cell.take(&rate, Units::ONE, now), Err(Some(Duration::from_secs(1))));
        assert_eq!(cell.take(&rate, Units::ZERO, now), Ok(()));
        assert_eq!(cell.take(&rate, Units::saturating(4), now), Err(None));
        cell.give_back(&rate, Units::saturating(2));
        assert_eq!(cell.left(&rate, now), (Units::saturating(2), Duration::from_secs(1)));
        assert_eq!(cell.take(&rate, Units::saturating(2), now), Ok(()));
    }
}
