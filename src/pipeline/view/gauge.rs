//! How one quota stands in one window, and which of them ends first.

use std::cmp::{Ordering, Reverse};

use crate::{
    domain::{
        catalog::Meter,
        forecast,
        id::MeterId,
        period::{Period, Window},
        plan::{MeterIx, Overage, Quota},
        rights::{Entitlement, Source},
        time::UnixMillis,
        units::Units,
    },
    ports::{MeterUsage, WindowUsage},
};

/// How a quota stands in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gauge {
    pub(crate) meter: MeterId,
    pub(crate) title: Option<String>,
    pub(crate) unit: Option<String>,
    pub(crate) window: Window,
    /// Units used, over all sources.
    pub(crate) used: Units,
    /// Units that crashed nodes were granted and may have used: they count as used where it is asked what is left.
    pub(crate) uncertain: Units,
    /// What is included, with the grants in force; `None`: any number.
    pub(crate) limit: Option<Units>,
    /// What is left of it.
    pub(crate) remaining: Option<Units>,
    pub(crate) resets_at: UnixMillis,
    /// Percent of the limit, a whole number. More than 100 where units beyond the limit are let through.
    pub(crate) share: Option<u64>,
    /// When, at the pace so far, the next wall is reached: the limit, and behind it the end of what is let through beyond.
    pub(crate) ends_at: Option<UnixMillis>,
    /// What is let through beyond the limit.
    pub(crate) beyond: Option<Beyond>,
}

/// What is let through beyond a month's limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beyond {
    /// `allow` or `bill`.
    pub(crate) mode: &'static str,
    /// `None`: any number.
    pub(crate) cap: Option<Units>,
    pub(crate) used: Units,
    /// What is left of it; `None`: any number.
    pub(crate) remaining: Option<Units>,
}

/// How near the wall is: a lower one is nearer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    /// It is reached; the one that lasts longest comes first.
    Reached(Reverse<UnixMillis>),
    /// It will be, within the window.
    Ahead(UnixMillis),
    /// It will not be, as it goes; the one of which most is used comes first.
    Far(Reverse<u64>),
    /// There is none.
    Never,
}

impl Gauge {
    /// The gauges of a meter: its windows and the month.
    pub(super) fn of_meter(
        (ix, meter): (MeterIx, &Meter),
        given: &Entitlement,
        usage: Option<&MeterUsage>,
        now: UnixMillis,
    ) -> Vec<Self> {
        let Some(quota) = given.terms(ix).quota else { return Vec::new() };
        let windows = [(Window::Hour, quota.hour), (Window::Day, quota.day), (Window::Week, quota.week)];
        let shorter = windows.into_iter().filter_map(|(window, limit)| {
            let limit = limit?.limit();
            let known = usage.and_then(|usage| usage.windows.iter().find(|of| of.window == window));
            let period = known.map_or_else(|| given.calendar.period(window, now), |of| of.period);
            let (used, uncertain) = known.map_or((Units::ZERO, Units::ZERO), counted);
            let left = limit.map(|limit| limit.saturating_sub(used.saturating_add(uncertain)));
            Some(Self::new(meter, (window, period), (used, uncertain), (limit, left), None, now))
        });
        let mut gauges: Vec<Self> = shorter.collect();
        gauges.push(Self::of_month((ix, meter), &quota, given, usage, now));
        gauges
    }

    fn of_month(
        (ix, meter): (MeterIx, &Meter),
        quota: &Quota,
        given: &Entitlement,
        usage: Option<&MeterUsage>,
        now: UnixMillis,
    ) -> Self {
        let (mut used, mut uncertain) = (Units::ZERO, Units::ZERO);
        let (mut limit, mut left) = (Some(Units::ZERO), Some(Units::ZERO));
        let mut beyond = None;
        for terms in given.sources(ix, now) {
            // What of a grant was lost is neither used nor left.
            if terms.source != Source::Plan && terms.period.end <= now {
                continue;
            }
            let known = usage.and_then(|usage| usage.sources.iter().find(|of| of.source == terms.source));
            let (of_it, unsure) = known.map_or((Units::ZERO, Units::ZERO), |of| (of.used, of.uncertain));
            used = used.saturating_add(of_it);
            uncertain = uncertain.saturating_add(unsure);
            let rest = terms.limit.map(|limit| limit.saturating_sub(of_it.saturating_add(unsure)));
            if terms.source == Source::Overage {
                beyond = Some((terms.limit, of_it, rest));
            } else {
                limit = plus(limit, terms.limit);
                left = plus(left, rest);
            }
        }
        let beyond = match quota.overage {
            Overage::Block => None,
            Overage::Allow { .. } | Overage::Bill { .. } => beyond.map(|(cap, used, remaining)| Beyond {
                mode: quota.overage.mode(),
                cap,
                used,
                remaining,
            }),
        };
        let month = (Window::Month, given.calendar.month(now));
        Self::new(meter, month, (used, uncertain), (limit, left), beyond, now)
    }

    pub(super) fn new(
        meter: &Meter,
        (window, period): (Window, Period),
        (used, uncertain): (Units, Units),
        (limit, remaining): (Option<Units>, Option<Units>),
        beyond: Option<Beyond>,
        now: UnixMillis,
    ) -> Self {
        let counted = used.saturating_add(uncertain);
        let ahead = match (remaining, &beyond) {
            (Some(Units::ZERO), Some(beyond)) => beyond.remaining,
            (left, _) => left,
        };
        Self {
            meter: meter.id.clone(),
            title: meter.title.clone(),
            unit: meter.unit.clone(),
            window,
            used,
            uncertain,
            limit,
            remaining,
            resets_at: period.end,
            share: limit.map(|limit| share(counted, limit)),
            ends_at: ahead.and_then(|left| ends_at(counted, left, period, now)),
            beyond,
        }
    }

    /// The meter's name for people.
    pub(crate) fn name(&self) -> &str {
        self.title.as_deref().unwrap_or(self.meter.as_str())
    }

    /// Whether a request that needs units of it is refused.
    pub(crate) fn is_reached(&self) -> bool {
        self.remaining == Some(Units::ZERO)
            && self.beyond.as_ref().is_none_or(|beyond| beyond.remaining == Some(Units::ZERO))
    }

    fn nearness(&self) -> Nearness {
        match (self.share, self.ends_at) {
            (Some(_), _) if self.is_reached() => Nearness::Reached(Reverse(self.resets_at)),
            (_, Some(at)) => Nearness::Ahead(at),
            (Some(share), None) => Nearness::Far(Reverse(share)),
            (None, None) => Nearness::Never,
        }
    }

    /// The one whose wall is nearer comes first; of two that are as near, the one of the shorter window.
    pub(super) fn by_nearness(&self, other: &Self) -> Ordering {
        let order = |gauge: &Self| (gauge.nearness(), gauge.window);
        order(self).cmp(&order(other)).then_with(|| self.meter.cmp(&other.meter))
    }

    /// Whether there is a wall at all.
    pub(super) const fn is_limited(&self) -> bool {
        self.limit.is_some()
    }
}

const fn counted(of: &WindowUsage) -> (Units, Units) {
    (of.used, of.uncertain)
}

const fn plus(sum: Option<Units>, more: Option<Units>) -> Option<Units> {
    match (sum, more) {
        (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
        _ => None,
    }
}

/// When what is left is used up, by the rule of the rights of the admin API; `None` also where nothing is left.
fn ends_at(counted: Units, left: Units, period: Period, now: UnixMillis) -> Option<UnixMillis> {
    let limit = counted.saturating_add(left);
    forecast::ends_at(counted, limit, period, now).filter(|_| left > Units::ZERO)
}

/// Rounded down, so that 100 means all. Of nothing, all is used.
const fn share(counted: Units, limit: Units) -> u64 {
    match (counted.get() as u128 * 100).checked_div(limit.get() as u128) {
        // At most 2^53 times a hundred.
        Some(share) => share as u64,
        None => 100,
    }
}
