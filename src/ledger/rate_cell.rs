//! The one instant that a tenant's rate of a meter is kept in (see [`crate::domain::rate`]), shared by all threads.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::domain::{
    rate::{Pace, Rate, RateStep},
    time::Monotonic,
    units::Units,
};

/// A theoretical arrival time.
#[derive(Debug, Default)]
pub(super) struct RateCell(AtomicU64);

impl RateCell {
    /// Lets what the pace is of pass, or says when it would (`None`: never).
    pub fn take(&self, pace: &Pace, now: Monotonic) -> Result<(), Option<Duration>> {
        let mut arrival = self.0.load(Ordering::Relaxed);
        loop {
            match pace.step(Monotonic(arrival), now) {
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
    pub fn left(&self, pace: &Pace, now: Monotonic) -> (Units, Duration) {
        pace.left(Monotonic(self.0.load(Ordering::Relaxed)), now)
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
        let take = |units| cell.take(&rate.pace(Units::saturating(units)), now);
        assert!(cell.is_idle(now));
        assert_eq!(take(3), Ok(()));
        assert!(!cell.is_idle(now));
        assert_eq!(take(1), Err(Some(Duration::from_secs(1))));
        assert_eq!(take(4), Err(None));
        cell.give_back(&rate, Units::saturating(2));
        assert_eq!(cell.left(&rate.pace(Units::ONE), now), (Units::saturating(2), Duration::from_secs(1)));
        assert_eq!(take(2), Ok(()));
    }
}
