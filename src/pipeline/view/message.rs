//! What is most worth saying of how a tenant stands. The words are the languages' ([`super::super::language`]).

use super::{figures::Figures, gauge::Gauge};
use crate::domain::{money::Currency, spend::MoneyUnits, time::UnixMillis, transitions::State, units::Units};

/// One sentence's worth.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Message<'a> {
    Suspended,
    /// The subscription gives nothing.
    Inactive(State),
    /// A wall is reached.
    Stopped {
        gauge: &'a Gauge,
        limit: u64,
    },
    /// What may be spent on extra usage is spent.
    SpendCap {
        cap: MoneyUnits,
        currency: Currency,
        until: UnixMillis,
    },
    /// What is included is used up, and more is let through.
    Beyond {
        gauge: &'a Gauge,
        included: u64,
        beyond: u64,
    },
    /// A wall will be reached.
    Ending {
        gauge: &'a Gauge,
        limit: u64,
        at: UnixMillis,
    },
    /// It lasts.
    Enough {
        gauge: &'a Gauge,
        limit: u64,
    },
    Unlimited,
}

impl<'a> Message<'a> {
    pub(super) fn of(figures: &'a Figures) -> Self {
        if figures.suspended {
            return Self::Suspended;
        }
        if !figures.state.entitles() {
            return Self::Inactive(figures.state);
        }
        let nearest = figures.nearest();
        if let Some(gauge) = nearest.filter(|gauge| gauge.is_reached()) {
            return Self::Stopped { gauge, limit: total(gauge) };
        }
        if let Some(spend) = figures.spend.filter(|spend| spend.remaining() == MoneyUnits::ZERO) {
            return Self::SpendCap { cap: spend.cap, currency: spend.currency, until: spend.period.end };
        }
        let Some(gauge) = nearest else { return Self::Unlimited };
        let limit = gauge.limit.map_or(0, Units::get);
        match (&gauge.beyond, gauge.ends_at) {
            (Some(beyond), _) if gauge.remaining == Some(Units::ZERO) => {
                Self::Beyond { gauge, included: limit, beyond: beyond.used.get() }
            }
            (_, Some(at)) => Self::Ending { gauge, limit, at },
            (_, None) => Self::Enough { gauge, limit },
        }
    }
}

/// All that could be used.
fn total(gauge: &Gauge) -> u64 {
    let beyond = gauge.beyond.as_ref().and_then(|beyond| beyond.cap).unwrap_or(Units::ZERO);
    gauge.limit.unwrap_or(Units::ZERO).saturating_add(beyond).get()
}
