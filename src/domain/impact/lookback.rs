//! What is looked up of a tenant: how much it used on which of its days, and of what.

use crate::domain::{
    id::MeterId,
    id::TenantId,
    period::{BillingCalendar, Window, Zone},
    rights::Source,
    time::{UnixMillis, Version},
};

/// The days of a tenant that count: its last billing month, the running one, and the days before that are in the same week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookback {
    /// Whose.
    pub tenant: TenantId,
    /// Where its days begin.
    pub zone: Zone,
    /// The first instant.
    pub from: UnixMillis,
    /// When the last billing month began.
    pub last: UnixMillis,
    /// When the running one did.
    pub month: UnixMillis,
}

/// Which part of a [`Lookback`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Before the last billing month.
    Before,
    /// In the last billing month.
    Last,
    /// In the running one.
    Running,
}

impl Part {
    /// As the stores tell it: 0, 1 or 2.
    #[must_use]
    pub const fn of(number: i64) -> Self {
        match number {
            0 => Self::Before,
            1 => Self::Last,
            _ => Self::Running,
        }
    }
}

/// What was used of a meter on one day. Usage is recorded by hours of UTC: an hour belongs to the day, and to the month,
/// in which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayUse {
    /// Of what.
    pub meter: MeterId,
    /// In which billing month.
    pub part: Part,
    /// The tenant's day, as [`Zone::day`] numbers them.
    pub day: i64,
    /// The counting to which it belongs; `None`: not known any more, as it was rolled up.
    pub epoch: Option<Version>,
    /// Units, less those given back: these may have been charged on a day before.
    pub units: i64,
}

/// What was used of a source of units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// Of what.
    pub meter: MeterId,
    /// The source.
    pub source: Source,
    /// When the span of its units began.
    pub start: UnixMillis,
    /// The counting to which it belongs; a grant's is its number.
    pub counting: Version,
    /// Units.
    pub used: u64,
}

impl Lookback {
    /// Of a tenant with these months.
    #[must_use]
    pub fn of(tenant: &TenantId, calendar: &BillingCalendar, now: UnixMillis) -> Self {
        let month = calendar.month(now).start;
        let last = calendar.month(UnixMillis(month.0.saturating_sub(1))).start;
        Self {
            tenant: tenant.clone(),
            zone: calendar.zone.clone(),
            from: calendar.period(Window::Week, last).start,
            last,
            month,
        }
    }

    /// The part in which an instant is.
    #[must_use]
    pub fn part(&self, at: UnixMillis) -> Part {
        if at >= self.month {
            Part::Running
        } else if at >= self.last {
            Part::Last
        } else {
            Part::Before
        }
    }
}
