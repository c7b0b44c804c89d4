//! What is likely by the end of a period, if all goes on as it did so far.

use super::{period::Period, time::UnixMillis, units::Units};

/// Nothing is said from less than so much of a period: one busy minute is no pace.
pub const LEAST_MILLIS: i64 = 3_600_000;

/// How a forecast is made, in words.
pub const METHOD: &str = "plan and add-ons for the whole period, and what was used so far continued at the same pace to \
                          its end: what goes beyond the included units and the grants is priced as overage, up to the \
                          overage cap and the spend cap; in the first hour nothing is expected beyond what was used";

/// How much of a period has passed; `None`: too little, or nothing is left of it.
fn passed(period: Period, now: UnixMillis) -> Option<u128> {
    let passed = now.0.saturating_sub(period.start.0);
    (passed >= LEAST_MILLIS && now < period.end).then(|| u128::try_from(passed).unwrap_or(1))
}

fn length(period: Period) -> u128 {
    u128::try_from(period.end.0.saturating_sub(period.start.0)).unwrap_or(0)
}

/// Units used by the end of a period in which so many were used by `now`: rounded down, and never fewer than those.
#[must_use]
pub fn projected(used: Units, period: Period, now: UnixMillis) -> Units {
    let Some(passed) = passed(period, now) else { return used };
    let whole = u128::from(used.get()) * length(period) / passed;
    Units::saturating(u64::try_from(whole).unwrap_or(u64::MAX)).max(used)
}

/// When `limit` units are used up, of which so many were used by `now`; `None`: not in this period, as far as can be said.
#[must_use]
pub fn ends_at(used: Units, limit: Units, period: Period, now: UnixMillis) -> Option<UnixMillis> {
    if used >= limit {
        return Some(now);
    }
    let passed = passed(period, now)?;
    if used == Units::ZERO {
        return None;
    }
    // At this pace; the last unit is used at the end of its time.
    let needed = (u128::from(limit.get()) * passed).div_ceil(u128::from(used.get()));
    let at = UnixMillis(period.start.0.saturating_add(i64::try_from(needed).unwrap_or(i64::MAX)));
    (at < period.end).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000;
    const MONTH: Period = Period { start: UnixMillis(0), end: UnixMillis(720 * HOUR) };

    fn units(n: u64) -> Units {
        Units::saturating(n)
    }

    #[test]
    fn the_pace_goes_on() {
        let at = |hours: i64| UnixMillis(hours * HOUR);
        assert_eq!(projected(units(100), MONTH, at(72)), units(1_000));
        assert_eq!(projected(units(100), MONTH, at(720)), units(100), "over");
        assert_eq!(ends_at(units(100), units(500), MONTH, at(72)), Some(at(360)));
        assert_eq!(ends_at(units(100), units(1_000), MONTH, at(72)), None, "with the period's very end");
        assert_eq!(ends_at(units(0), units(10), MONTH, at(72)), None);
        assert_eq!(ends_at(units(10), units(10), MONTH, at(72)), Some(at(72)));
        assert_eq!(ends_at(units(0), units(0), MONTH, at(0)), Some(at(0)));
    }

    #[test]
    fn the_first_hour_says_nothing() {
        let early = UnixMillis(HOUR - 1);
        assert_eq!(projected(units(100), MONTH, early), units(100));
        assert_eq!(ends_at(units(100), units(101), MONTH, early), None);
        assert_eq!(ends_at(units(100), units(101), MONTH, UnixMillis(-5)), None);
    }

    proptest! {
        #[test]
        fn never_less_than_was_used_and_never_in_the_past(
            used in 0..=Units::MAX.get(),
            limit in 0..=Units::MAX.get(),
            now in -10_i64..800 * HOUR,
        ) {
            let now = UnixMillis(now);
            prop_assert!(projected(units(used), MONTH, now) >= units(used));
            if let Some(at) = ends_at(units(used), units(limit), MONTH, now) {
                prop_assert!(at >= now);
                prop_assert!(used >= limit || at < MONTH.end);
            }
        }
    }
}
