//! A month's recorded days under other terms: what would have been let through, and when it would have ended.

use std::collections::BTreeMap;

use jiff::civil::{Date, date};

use crate::domain::{period::Window, units::Units};

/// Units that may be used in each window; `None`: any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// In the month, from all sources together.
    pub month: Option<Units>,
    /// In a week.
    pub week: Option<Units>,
    /// In a day.
    pub day: Option<Units>,
}

/// The first day on which more was used than was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    /// The day, as [`crate::domain::period::Zone::day`] numbers them.
    pub day: i64,
    /// The window in which there was too little left.
    pub window: Window,
}

impl Exhausted {
    /// The day as a date of the tenant's calendar.
    #[must_use]
    pub fn date(&self) -> Date {
        date(1970, 1, 1).checked_add(jiff::Span::new().days(self.day)).unwrap_or(Date::MAX)
    }
}

/// What becomes of the month's days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Units that are let through.
    pub admitted: u64,
    /// When it first ends; `None`: everything is let through.
    pub out: Option<Exhausted>,
}

/// The week of a day, from Monday; the day 0, 1970-01-01, was a Thursday.
pub(super) const fn week(day: i64) -> i64 {
    (day + 3).div_euclid(7)
}

/// Replays a month: its days in order, after the days of its first week that are in the month before.
#[must_use]
pub fn replay(days: &BTreeMap<i64, u64>, earlier: &BTreeMap<i64, u64>, terms: Terms) -> Replayed {
    let left =
        |limit: Option<Units>, used: u64| limit.map_or(u64::MAX, |limit| limit.get().saturating_sub(used));
    let mut weeks: BTreeMap<i64, u64> = BTreeMap::new();
    for (day, used) in earlier {
        let sum = weeks.entry(week(*day)).or_default();
        *sum = sum.saturating_add(*used);
    }
    let mut replayed = Replayed { admitted: 0, out: None };
    for (day, asked) in days {
        let of_week = weeks.entry(week(*day)).or_default();
        // Where several are spent, the longest is what has to be waited for.
        let room = [
            (left(terms.month, replayed.admitted), Window::Month),
            (left(terms.week, *of_week), Window::Week),
            (left(terms.day, 0), Window::Day),
        ];
        let (least, window) = room
            .into_iter()
            .reduce(|least, next| if next.0 < least.0 { next } else { least })
            .unwrap_or(room[0]);
        let admitted = (*asked).min(least);
        if admitted < *asked && replayed.out.is_none() {
            replayed.out = Some(Exhausted { day: *day, window });
        }
        *of_week = of_week.saturating_add(admitted);
        replayed.admitted = replayed.admitted.saturating_add(admitted);
    }
    replayed
}

/// Units by day without any below zero: what was given back on a later day than it was charged is taken from the days
/// before, so that the sum is what was used.
pub(super) fn net(days: BTreeMap<i64, i64>) -> BTreeMap<i64, u64> {
    let mut owed = 0_i64;
    let netted = days.into_iter().rev().filter_map(|(day, units)| {
        let net = units.saturating_add(owed);
        owed = net.min(0);
        u64::try_from(net).ok().filter(|units| *units > 0).map(|units| (day, units))
    });
    netted.collect()
}
