//! Billing months and the shorter windows, in the tenant's own time zone.
//!
//! Every boundary is computed from the anchor and the calendar month, never from the boundary before it:
//! chaining "one month later" from 31 January would drift to the 28th for good.

use std::fmt;

use jiff::{
    civil::{Date, Weekday},
    tz::TimeZone,
};

use super::time::UnixMillis;

const DAY: i64 = 86_400_000;

/// The day of the month on which a tenant's periods begin; clamped in shorter months.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnchorDay(i8);

/// A day outside 1..=31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an anchor day: expected 1 to 31")]
pub struct InvalidAnchorDay(pub i64);

impl AnchorDay {
    /// The first day of the month.
    pub const FIRST: Self = Self(1);

    /// Takes a day of the month.
    ///
    /// # Errors
    /// [`InvalidAnchorDay`] outside 1..=31.
    pub fn new(day: i64) -> Result<Self, InvalidAnchorDay> {
        match i8::try_from(day) {
            Ok(day @ 1..=31) => Ok(Self(day)),
            _ => Err(InvalidAnchorDay(day)),
        }
    }

    /// The day on which `instant` falls in `zone`.
    #[must_use]
    pub fn of(instant: UnixMillis, zone: &Zone) -> Self {
        Self(zone.date(instant).day())
    }

    /// The plain number.
    #[must_use]
    pub fn get(self) -> i64 {
        i64::from(self.0)
    }
}

/// A time zone of the IANA database, with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// A name that is not in the time zone database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time zone: expected an IANA name such as Europe/Berlin or UTC")]
pub struct UnknownZone(pub String);

impl Zone {
    /// Coordinated universal time, the default.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// Looks a zone up by its IANA name.
    ///
    /// # Errors
    /// [`UnknownZone`] where the database has no such name.
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        let unknown = || UnknownZone(name.chars().take(80).collect());
        // `Local` and the like would make a tenant's months depend on the node's own setting.
        let zone = TimeZone::get(name).map_err(|_| unknown())?;
        zone.iana_name().is_some().then_some(Self(zone)).ok_or_else(unknown)
    }

    /// The IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The same local time so many days later.
    #[must_use]
    pub fn plus_days(&self, instant: UnixMillis, days: u16) -> UnixMillis {
        let zoned = instant.timestamp().to_zoned(self.0.clone());
        zoned
            .checked_add(jiff::Span::new().days(days))
            .map_or(UnixMillis(i64::MAX), |at| at.timestamp().into())
    }

    /// The local day of an instant: so many days after 1970-01-01.
    #[must_use]
    pub fn day(&self, instant: UnixMillis) -> i64 {
        instant.0.saturating_add(self.offset(instant)).div_euclid(DAY)
    }

    /// By how many milliseconds local time is ahead of UTC from `from` on, and from each later instant before `to` at which
    /// that changes.
    #[must_use]
    pub fn offsets(&self, from: UnixMillis, to: UnixMillis) -> Vec<(UnixMillis, i64)> {
        let mut offsets = vec![(from, self.offset(from))];
        let changes = self.0.following(from.timestamp()).map(|change| UnixMillis::from(change.timestamp()));
        // A zone changes its clocks a few times a year.
        offsets.extend(changes.take_while(|at| *at < to).take(16).map(|at| (at, self.offset(at))));
        offsets
    }

    fn offset(&self, instant: UnixMillis) -> i64 {
        i64::from(self.0.to_offset(instant.timestamp()).seconds()) * 1000
    }

    /// The local date of an instant.
    #[must_use]
    pub fn date(&self, instant: UnixMillis) -> Date {
        self.0.to_datetime(instant.timestamp()).date()
    }

    /// The first instant of a local day (which need not be 00:00 where clocks change at midnight).
    #[must_use]
    pub fn start_of_day(&self, date: Date) -> UnixMillis {
        date.to_zoned(self.0.clone()).map_or(UnixMillis(i64::MAX), |zoned| zoned.timestamp().into())
    }
}

/// A half-open span of time: `start` is in it, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Period {
    /// The first instant.
    pub start: UnixMillis,
    /// The first instant after it.
    pub end: UnixMillis,
}

impl Period {
    /// Whether the instant is in the period.
    #[must_use]
    pub fn contains(&self, instant: UnixMillis) -> bool {
        self.start <= instant && instant < self.end
    }

    /// Its length in whole seconds, rounded up.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.start.seconds_until(self.end)
    }
}

/// The span over which a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// A clock hour in the tenant's zone.
    Hour,
    /// A day from local midnight.
    Day,
    /// Monday to Sunday (ISO 8601).
    Week,
    /// The billing month.
    Month,
}

impl Window {
    /// All windows, the shortest first: the order in which they are checked.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// The word used in files, headers and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// Whether each window of this kind lies within one of the other kind: all but weeks lie within months.
    #[must_use]
    pub fn lies_in(self, other: Self) -> bool {
        self == other || (self < other && self != Self::Week)
    }
}

/// Some of the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Windows(u8);

impl Windows {
    /// Those for which `counts` holds.
    #[must_use]
    pub fn of(counts: impl Fn(Window) -> bool) -> Self {
        Self(Window::ALL.into_iter().filter(|window| counts(*window)).fold(0, |all, w| all | 1 << w as u8))
    }

    /// Those of a number that [`Windows::bits`] gave; what it cannot give is left out.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0b1111)
    }

    /// As a number under 16.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether `window` is one of them.
    #[must_use]
    pub const fn contains(self, window: Window) -> bool {
        self.0 & (1 << window as u8) != 0
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a tenant's periods are computed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillingCalendar {
    /// The tenant's zone.
    pub zone: Zone,
    /// The day on which months begin.
    pub anchor: AnchorDay,
    /// A month that does not begin or end as the anchor says, as anchor or zone were changed in it. It ends with a month
    /// of the calendar, so that months stay contiguous.
    pub odd_month: Option<Period>,
}

impl BillingCalendar {
    /// A calendar without an odd month.
    #[must_use]
    pub const fn new(zone: Zone, anchor: AnchorDay) -> Self {
        Self { zone, anchor, odd_month: None }
    }

    /// The calendar after a change of anchor or zone at `now`: the month that runs then keeps its start, and ends where
    /// the next month of the new calendar begins.
    #[must_use]
    pub fn changed_at(&self, zone: Zone, anchor: AnchorDay, now: UnixMillis) -> Self {
        if zone == self.zone && anchor == self.anchor {
            return self.clone();
        }
        let mut after = Self::new(zone, anchor);
        let (running, natural) = (self.month(now), after.month(now));
        after.odd_month =
            (running.start != natural.start).then_some(Period { start: running.start, end: natural.end });
        after
    }

    /// The period of `window` that contains `now`.
    #[must_use]
    pub fn period(&self, window: Window, now: UnixMillis) -> Period {
        match window {
            Window::Hour => self.hour(now),
            Window::Day => {
                let today = self.zone.date(now);
                self.days(today, today.tomorrow().unwrap_or(Date::MAX))
            }
            Window::Week => {
                let today = self.zone.date(now);
                let monday = i32::from(today.weekday().since(Weekday::Monday));
                let start = add_days(today, -monday);
                self.days(start, add_days(start, 7))
            }
            Window::Month => self.month(now),
        }
    }

    fn days(&self, from: Date, to: Date) -> Period {
        Period { start: self.zone.start_of_day(from), end: self.zone.start_of_day(to) }
    }

    /// A local clock hour, cut where the zone's offset changes by less than an hour.
    fn hour(&self, now: UnixMillis) -> Period {
        const HOUR: i64 = 3_600_000;
        let at = now.timestamp();
        let offset = i64::from(self.zone.0.to_offset(at).seconds()) * 1000;
        let start = (now.0 + offset).div_euclid(HOUR) * HOUR - offset;
        let instant = |t: jiff::tz::TimeZoneTransition<'_>| t.timestamp().as_millisecond();
        // `preceding` is strict, and a change at this very instant begins a new hour.
        let next = jiff::Timestamp::from_millisecond(now.0 + 1).unwrap_or(at);
        let before = self.zone.0.preceding(next).next().map_or(i64::MIN, instant);
        let after = self.zone.0.following(at).next().map_or(i64::MAX, instant);
        Period { start: UnixMillis(start.max(before)), end: UnixMillis((start + HOUR).min(after)) }
    }

    /// The billing month that contains `now`.
    #[must_use]
    pub fn month(&self, now: UnixMillis) -> Period {
        let Some(odd) = self.odd_month else { return self.natural_month(now) };
        if odd.contains(now) {
            return odd;
        }
        let month = self.natural_month(now);
        // The one before the odd one ends where that begins.
        if now < odd.start && odd.start < month.end { Period { end: odd.start, ..month } } else { month }
    }

    fn natural_month(&self, now: UnixMillis) -> Period {
        let today = self.zone.date(now);
        let this = self.anchored(today.year(), today.month());
        if today < this {
            let (year, month) = previous(today.year(), today.month());
            self.days(self.anchored(year, month), this)
        } else {
            let (year, month) = following(today.year(), today.month());
            self.days(this, self.anchored(year, month))
        }
    }

    fn anchored(&self, year: i16, month: i8) -> Date {
        let first = Date::new(year, month, 1).unwrap_or(Date::MAX);
        let day = self.anchor.0.min(first.days_in_month());
        Date::new(year, month, day).unwrap_or(Date::MAX)
    }
}

fn add_days(date: Date, days: i32) -> Date {
    date.checked_add(jiff::Span::new().days(days)).unwrap_or(Date::MAX)
}

fn previous(year: i16, month: i8) -> (i16, i8) {
    if month == 1 { (year - 1, 12) } else { (year, month - 1) }
}

fn following(year: i16, month: i8) -> (i16, i8) {
    if month == 12 { (year + 1, 1) } else { (year, month + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn calendar(zone: &str, anchor: i64) -> BillingCalendar {
        BillingCalendar::new(Zone::named(zone).unwrap(), AnchorDay::new(anchor).unwrap())
    }

    fn at(text: &str) -> UnixMillis {
        text.parse::<jiff::Timestamp>().unwrap().into()
    }

    #[test]
    fn the_anchor_is_clamped_and_never_drifts() {
        let calendar = calendar("UTC", 31);
        let mut start = at("2027-01-31T00:00:00Z");
        for day in ["2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31"] {
            let period = calendar.period(Window::Month, start);
            assert_eq!(period.start, start);
            assert_eq!(period.end, at(&format!("{day}T00:00:00Z")));
            start = period.end;
        }
        let leap = calendar.period(Window::Month, at("2028-02-28T12:00:00Z"));
        assert_eq!(leap.end, at("2028-02-29T00:00:00Z"));
    }

    #[test]
    fn daylight_saving_moves_the_instant_not_the_midnight() {
        let calendar = calendar("Europe/Berlin", 15);
        let period = calendar.period(Window::Month, at("2026-03-20T00:00:00Z"));
        assert_eq!(period.start, at("2026-03-14T23:00:00Z"));
        assert_eq!(period.end, at("2026-04-14T22:00:00Z"));
    }

    #[test]
    fn weeks_begin_on_monday() {
        let period = calendar("UTC", 1).period(Window::Week, at("2026-11-22T23:59:59Z"));
        assert_eq!(period.start, at("2026-11-16T00:00:00Z"));
        assert_eq!(period.end, at("2026-11-23T00:00:00Z"));
    }

    #[test]
    fn zones_are_named() {
        assert!(Zone::named("Mars/Olympus").is_err());
        assert!(Zone::named("").is_err());
        assert_eq!(Zone::named("Asia/Shanghai").unwrap().name(), "Asia/Shanghai");
    }

    const ZONES: [&str; 12] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Sao_Paulo",
        "Asia/Shanghai",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "Pacific/Apia",
        "Pacific/Auckland",
        "America/St_Johns",
        "Asia/Beirut",
    ];

    #[test]
    fn months_are_contiguous_for_every_anchor_and_zone() {
        for zone in ZONES {
            for anchor in 1..=31 {
                let calendar = calendar(zone, anchor);
                let mut period = calendar.period(Window::Month, at("1950-01-01T00:00:00Z"));
                for _ in 0..200 * 12 {
                    let next = calendar.period(Window::Month, period.end);
                    assert_eq!(next.start, period.end, "{zone} {anchor}");
                    assert!(next.end > next.start);
                    assert_eq!(calendar.period(Window::Month, UnixMillis(next.end.0 - 1)), next);
                    period = next;
                }
            }
        }
    }

    #[test]
    fn a_month_in_which_the_anchor_changes_keeps_its_start_and_ends_with_the_new_calendar() {
        let before = calendar("UTC", 5);
        let after = before.changed_at(Zone::UTC, AnchorDay::new(20).unwrap(), at("2027-01-10T12:00:00Z"));
        let month = |time: &str| after.period(Window::Month, at(time));
        let span = |from: &str, to: &str| Period { start: at(from), end: at(to) };
        assert_eq!(
            month("2027-01-10T12:00:00Z"),
            span("2027-01-05T00:00:00Z", "2027-01-20T00:00:00Z"),
            "shorter"
        );
        assert_eq!(month("2027-01-20T00:00:00Z"), span("2027-01-20T00:00:00Z", "2027-02-20T00:00:00Z"));
        let later = before.changed_at(Zone::UTC, AnchorDay::new(9).unwrap(), at("2027-01-10T12:00:00Z"));
        assert_eq!(
            later.month(at("2027-01-10T12:00:00Z")),
            span("2027-01-05T00:00:00Z", "2027-02-09T00:00:00Z"),
            "longer"
        );
        assert_eq!(before.changed_at(Zone::UTC, before.anchor, at("2027-01-10T12:00:00Z")), before);
    }

    proptest! {
        #[test]
        fn months_stay_contiguous_whatever_is_changed(
            changes in prop::collection::vec((0..ZONES.len(), 1i64..=31, 0i64..70 * 86_400_000), 1..6),
        ) {
            let mut now = at("2026-11-23T09:00:00Z");
            let mut current = calendar("UTC", 23);
            let mut month = current.month(now);
            for (zone, anchor, wait) in changes {
                // Time passes, month by month.
                now = UnixMillis(now.0 + wait);
                while month.end <= now {
                    let next = current.month(month.end);
                    prop_assert_eq!(next.start, month.end);
                    prop_assert!(next.end > next.start);
                    month = next;
                }
                prop_assert_eq!(current.month(now), month);
                let zone = Zone::named(ZONES[zone]).unwrap();
                current = current.changed_at(zone, AnchorDay::new(anchor).unwrap(), now);
                let changed = current.month(now);
                prop_assert_eq!(changed.start, month.start, "the running month keeps its start");
                prop_assert!(changed.contains(now));
                prop_assert_eq!(current.month(changed.end).start, changed.end);
                month = changed;
            }
        }

        #[test]
        fn windows_tile_the_time_line(
            zone in 0..ZONES.len(),
            anchor in 1i64..=31,
            now in -631_152_000_000i64..5_680_281_600_000,
            window in 0usize..4,
        ) {
            let calendar = calendar(ZONES[zone], anchor);
            let now = UnixMillis(now);
            let window = Window::ALL[window];
            let period = calendar.period(window, now);
            prop_assert!(period.contains(now));
            prop_assert_eq!(calendar.period(window, period.start), period);
            prop_assert_eq!(calendar.period(window, UnixMillis(period.end.0 - 1)), period);
            prop_assert_eq!(calendar.period(window, period.end).start, period.end);
        }
    }
}
