//! When, at the pace so far, units come to their end.

use super::{period::Period, time::UnixMillis, units::Units};

/// A pace is told only after this part of a period: before, a single request says more than it means.
const TOLD_AFTER: i64 = 100;

/// The instant at which `left` units are used up, if as many are used on average as the `used` ones so far in the period.
/// `None`: not within the period, or it is too early to tell, or none are left.
#[must_use]
pub fn ends_at(period: Period, used: Units, left: Units, now: UnixMillis) -> Option<UnixMillis> {
    let length = period.end.0.saturating_sub(period.start.0);
    let elapsed = now.0.saturating_sub(period.start.0);
    if left == Units::ZERO || used == Units::ZERO || elapsed <= 0 || elapsed < length / TOLD_AFTER {
        return None;
    }
    let wait = i128::from(left.get()) * i128::from(elapsed) / i128::from(used.get());
    let end = i64::try_from(i128::from(now.0).saturating_add(wait)).ok()?;
    (end < period.end.0).then_some(UnixMillis(end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERIOD: Period = Period { start: UnixMillis(1000), end: UnixMillis(101_000) };

    fn told(used: u64, left: u64, now: i64) -> Option<i64> {
        ends_at(PERIOD, Units::saturating(used), Units::saturating(left), UnixMillis(now)).map(|at| at.0)
    }

    #[test]
    fn the_average_goes_on() {
        // Half of it in a quarter of the time.
        assert_eq!(told(50, 50, 26_000), Some(51_000));
        assert_eq!(told(1, 99, 2_000), None, "just at the period's end is not within it");
        assert_eq!(told(2, 98, 2_000), Some(51_000));
    }

    #[test]
    fn what_lasts_has_no_end() {
        assert_eq!(told(10, 90, 26_000), None);
        assert_eq!(told(0, 100, 26_000), None);
        assert_eq!(told(100, 0, 26_000), None, "it has ended already");
    }

    #[test]
    fn nothing_is_told_too_early() {
        assert_eq!(told(50, 50, 1_999), None);
        assert_eq!(told(50, 50, 1_000), None);
        assert_eq!(told(50, 50, 0), None);
    }

    proptest! {
        #[test]
        fn an_end_is_between_now_and_the_periods_end(
            used in 0..=Units::MAX.get(), left in 0..=Units::MAX.get(), now in any::<i64>(),
            start in any::<i64>(), end in any::<i64>(),
        ) {
            let period = Period { start: UnixMillis(start), end: UnixMillis(end) };
            let told = ends_at(period, Units::saturating(used), Units::saturating(left), UnixMillis(now));
            if let Some(at) = told {
                prop_assert!(UnixMillis(now) <= at && at < period.end);
            }
        }
    }
}
