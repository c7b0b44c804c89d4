//! Rates by the generic cell rate algorithm (ITU-T I.371): one instant per tenant and meter, no counters to reset.

use std::time::Duration;

use super::time::Monotonic;
use super::units::Units;

/// How fast units may be used: `limit` per `per`, with up to `burst` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Units in each `per`.
    pub limit: Units,
    /// The span the limit is for; never zero.
    pub per: Duration,
    /// Units that may come at once after a pause.
    pub burst: Units,
}

/// What one step of the algorithm says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateStep {
    /// The units fit; this is the new theoretical arrival time.
    Allowed(Monotonic),
    /// They do not; they would after so long. `None`: never, they are more than the burst.
    Refused(Option<Duration>),
}

impl Rate {
    /// Nanoseconds that `units` units take at this rate.
    fn span(&self, units: u64) -> u64 {
        let per = self.per.as_nanos();
        if self.limit == Units::ZERO {
            return u64::MAX;
        }
        let nanos = u128::from(units) * per / u128::from(self.limit.get());
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// The same rate shared by `nodes` nodes that each see a part of the traffic.
    #[must_use]
    pub fn shared_by(self, nodes: u32) -> Self {
        let nodes = nodes.max(1);
        Self {
            per: self.per.saturating_mul(nodes),
            burst: if self.burst == Units::ZERO {
                Units::ZERO
            } else {
                Units::saturating((self.burst.get() / u64::from(nodes)).max(1))
            },
            ..self
        }
    }

    /// Reckons beforehand what `units` units at a time take of this rate.
    #[must_use]
    pub fn pace(&self, units: Units) -> Pace {
        Pace {
            passes: units <= self.burst && self.limit > Units::ZERO,
            units: self.span(units.get()),
            one: self.span(1).max(1),
            whole: self.span(self.burst.get()),
            burst: self.burst,
        }
    }

    /// Decides whether `units` may pass `now`, where `tat` is the theoretical arrival time left by the last step.
    #[must_use]
    pub fn step(&self, tat: Monotonic, now: Monotonic, units: Units) -> RateStep {
        self.pace(units).step(tat, now)
    }

    /// The arrival time after `units` are given back.
    #[must_use]
    pub fn give_back(&self, tat: Monotonic, units: Units) -> Monotonic {
        Monotonic(tat.0.saturating_sub(self.span(units.get())))
    }
}

/// A rate for so many units at a time, its divisions done: what a charge that comes again and again asks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Whether so many units pass at all, after however long a pause.
    passes: bool,
    /// Nanoseconds that the units take.
    units: u64,
    /// And one alone.
    one: u64,
    /// And the whole burst.
    whole: u64,
    burst: Units,
}

impl Pace {
    /// Decides whether the units may pass `now`, where `tat` is the theoretical arrival time left by the last step.
    #[must_use]
    pub fn step(&self, tat: Monotonic, now: Monotonic) -> RateStep {
        if !self.passes {
            return RateStep::Refused(None);
        }
        let next = tat.0.max(now.0).saturating_add(self.units);
        let allowed = now.0.saturating_add(self.whole);
        if next <= allowed {
            RateStep::Allowed(Monotonic(next))
        } else {
            RateStep::Refused(Some(Duration::from_nanos(next - allowed)))
        }
    }

    /// Units that would pass at once, and the time until all of the burst would.
    #[must_use]
    pub fn left(&self, tat: Monotonic, now: Monotonic) -> (Units, Duration) {
        let ahead = tat.0.saturating_sub(now.0);
        let room = self.whole.saturating_sub(ahead);
        (Units::saturating((room / self.one).min(self.burst.get())), Duration::from_nanos(ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(limit: u64, per: u64, burst: u64) -> Rate {
        Rate {
            limit: Units::saturating(limit),
            per: Duration::from_secs(per),
            burst: Units::saturating(burst),
        }
    }

    const START: u64 = 1_000_000_000_000;

    #[test]
    fn a_burst_then_the_steady_rate() {
        let rate = rate(10, 1, 3);
        let mut tat = Monotonic(0);
        let now = Monotonic(START);
        for _ in 0..3 {
            let RateStep::Allowed(next) = rate.step(tat, now, Units::ONE) else { panic!() };
            tat = next;
        }
        assert_eq!(rate.step(tat, now, Units::ONE), RateStep::Refused(Some(Duration::from_millis(100))));
        assert!(matches!(rate.step(tat, Monotonic(START + 100_000_000), Units::ONE), RateStep::Allowed(_)));
        let left = |tat| rate.pace(Units::ONE).left(tat, now);
        assert_eq!(left(tat), (Units::ZERO, Duration::from_millis(300)));
        assert_eq!(left(rate.give_back(tat, Units::ONE)), (Units::ONE, Duration::from_millis(200)));
        assert_eq!(left(Monotonic(0)), (Units::saturating(3), Duration::ZERO));
    }

    #[test]
    fn zero_and_more_than_the_burst_never_pass() {
        assert_eq!(rate(0, 1, 5).step(Monotonic(0), Monotonic(START), Units::ONE), RateStep::Refused(None));
        assert_eq!(
            rate(10, 1, 5).step(Monotonic(0), Monotonic(START), Units::saturating(6)),
            RateStep::Refused(None)
        );
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_rate(
            limit in 1u64..1000, burst in 1u64..1000,
            gaps in proptest::collection::vec(0u64..50_000_000, 1..300),
        ) {
            let rate = rate(limit, 1, burst);
            let mut tat = Monotonic(0);
            let mut now = START;
            let mut passed = 0u64;
            for gap in gaps {
                now += gap;
                if let RateStep::Allowed(next) = rate.step(tat, Monotonic(now), Units::ONE) {
                    tat = next;
                    passed += 1;
                }
                // One more for the rounding of a unit's span to whole nanoseconds.
                let most = burst + 1 + limit * (now - START) / 1_000_000_000;
                prop_assert!(passed <= most, "{passed} > {most}");
            }
        }
    }
}
