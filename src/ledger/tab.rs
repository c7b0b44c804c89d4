//! A tab: everything that one charge of one tenant touches, looked up once. As long as its slots are open and its time lasts,
//! a charge is a few steps on it, and its holds are clones of it.
//!
//! A tab never changes. Where a word was sealed, a period has ended or the nodes have become more or fewer, another one is
//! made; what is given back goes to the words of the tab that the hold came from.

use std::sync::Arc;

use super::{
    account::MeterAccount,
    cell::Wish,
    desk::Desk,
    metrics::MeterUnits,
    shared::{Home, Shared},
    slot::Slot,
};
use crate::{
    domain::{
        denial::Denial,
        period::{Period, Window, Windows},
        plan::MeterIx,
        rate::{Pace, Rate},
        rights::{Entitlement, Rights},
        route::Charge,
        time::UnixMillis,
        units::Units,
    },
    ports::{ChargeError, Ready},
};

/// At least one of something, mostly just one: that one lies in the tab itself.
#[derive(Debug, Clone)]
pub(super) struct Few<T> {
    pub first: T,
    pub more: Box<[T]>,
}

impl<T> Few<T> {
    fn of(all: Vec<T>) -> Option<Self> {
        let mut all = all.into_iter();
        all.next().map(|first| Self { first, more: all.collect() })
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.more)
    }
}

/// A rate as a charge asks it.
#[derive(Debug, Clone, Copy)]
pub(super) struct LineRate {
    /// As the plan has it.
    pub plan: Rate,
    /// What the units take of this node's share of it.
    pub pace: Pace,
}

/// One charged meter.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub ix: MeterIx,
    pub units: Units,
    pub meter: Arc<MeterAccount>,
    pub counts: Arc<MeterUnits>,
    pub rate: Option<LineRate>,
}

/// One word that is charged.
#[derive(Debug)]
pub(super) struct Stake {
    pub slot: Arc<Slot>,
    pub units: Units,
    /// Its line's number.
    pub line: usize,
}

#[derive(Debug)]
pub(super) struct Tab {
    /// Within the period of every slot.
    time: Period,
    /// The nodes among which its rates are shared; 0: it has none.
    nodes: u32,
    /// Every slot is just what the rights ask for, so that others may be charged by this tab.
    regular: bool,
    pub lines: Few<Line>,
    /// In the order in which they are charged: the shortest window first.
    pub stakes: Few<Stake>,
    pub home: Arc<Home>,
    /// What the callers keep ready.
    pub ready: Ready,
}

impl Tab {
    /// Finds what these charges touch, and opens what is missing. `None`: they charge nothing.
    pub fn open(
        shared: &Shared,
        desk: &Desk,
        rights: &Rights,
        charges: &[Charge],
        now: UnixMillis,
    ) -> Result<Option<Arc<Self>>, ChargeError> {
        let entitlement = entitlement(rights)?;
        let live = shared.world.freshness.live_nodes();
        let mut nodes = 0;
        let mut lines = Vec::with_capacity(charges.len());
        for charge in charges {
            let id = &rights.catalog.meter(charge.meter).ok_or(ChargeError::Outdated)?.id;
            let terms = entitlement.terms(charge.meter);
            if terms.quota.is_none() {
                return Err(Denial::MeterNotInPlan { meter: id.clone() }.into());
            }
            let rate = terms.rate.map(|plan| {
                nodes = live;
                LineRate { plan, pace: plan.shared_by(live).pace(charge.units) }
            });
            let meter = desk.account.meter(id, &shared.metrics);
            let counts = Arc::clone(&meter.units);
            lines.push(Line { ix: charge.meter, units: charge.units, meter, counts, rate });
        }
        match Few::of(lines) {
            None => Ok(None),
            Some(lines) => Self::over(shared, desk, rights, lines, nodes, now).map(Some),
        }
    }

    /// The same charges on the words that are open now.
    pub fn again(
        &self,
        shared: &Shared,
        desk: &Desk,
        rights: &Rights,
        now: UnixMillis,
    ) -> Result<Arc<Self>, ChargeError> {
        Self::over(shared, desk, rights, self.lines.clone(), self.nodes, now)
    }

    fn over(
        shared: &Shared,
        desk: &Desk,
        rights: &Rights,
        lines: Few<Line>,
        nodes: u32,
        now: UnixMillis,
    ) -> Result<Arc<Self>, ChargeError> {
        let entitlement = entitlement(rights)?;
        let mut time = Period { start: UnixMillis(i64::MIN), end: UnixMillis(i64::MAX) };
        let mut regular = true;
        let mut stakes = Vec::with_capacity(lines.more.len() + 1);
        for window in Window::ALL {
            for (number, line) in lines.iter().enumerate() {
                let Some(quota) = entitlement.terms(line.ix).quota.filter(|quota| quota.counts(window))
                else {
                    continue;
                };
                let counted = match window {
                    Window::Month => Windows::of(|window| quota.counts(window)),
                    Window::Hour | Window::Day | Window::Week => Windows::default(),
                };
                let wish = Wish { rights, entitlement, limit: quota.hard_limit(window), counted, now };
                let owner = (&desk.account.tenant, &line.meter.meter);
                let slot = line.meter.cell_or_new(window).slot(shared, owner, window, wish)?;
                regular &= wish.is_met_by(&slot);
                time.start = time.start.max(slot.period.start);
                time.end = time.end.min(slot.period.end);
                stakes.push(Stake { slot, units: line.units, line: number });
            }
        }
        // Every meter is counted by the month at least.
        let stakes = Few::of(stakes).ok_or(ChargeError::Outdated)?;
        let (home, ready) = (Arc::clone(&shared.home), Ready::default());
        Ok(Arc::new(Self { time, nodes, regular, lines, stakes, home, ready }))
    }

    /// Whether it is for these charges.
    pub fn is_for(&self, charges: &[Charge]) -> bool {
        charges.len() == self.lines.more.len() + 1
            && self.lines.iter().zip(charges).all(|(line, charge)| line.is_of(charge))
    }

    /// Whether it is for the same charges.
    pub fn is_like(&self, other: &Self) -> bool {
        self.lines.more.len() == other.lines.more.len()
            && self.lines.iter().zip(other.lines.iter()).all(|(a, b)| a.ix == b.ix && a.units == b.units)
    }

    /// Whether it can still be charged at this instant. The words themselves say whether they can.
    pub fn serves(&self, shared: &Shared, now: UnixMillis) -> bool {
        self.time.contains(now) && (self.nodes == 0 || self.nodes == shared.world.freshness.live_nodes())
    }

    /// Whether others than the request that it was made for may be charged by it.
    pub fn is_regular(&self) -> bool {
        self.regular
    }

    /// Whether it takes from any rate.
    pub fn has_rates(&self) -> bool {
        self.nodes > 0
    }

    /// Whether it was made for a time after the other's.
    pub fn is_later_than(&self, other: &Self) -> bool {
        self.time.start > other.time.start
    }

    /// Whether one of its words is charged no more.
    pub fn is_over(&self) -> bool {
        self.stakes.iter().any(|stake| stake.slot.word.is_sealed())
    }

    /// The words of one line, the longest window first.
    pub fn stakes_of(&self, line: usize) -> impl Iterator<Item = &Stake> {
        self.stakes.iter().rev().filter(move |stake| stake.line == line)
    }

    /// The rate of a line as this node shares it.
    pub fn share(&self, rate: &LineRate) -> Rate {
        rate.plan.shared_by(self.nodes)
    }
}

impl Line {
    fn is_of(&self, charge: &Charge) -> bool {
        self.ix == charge.meter && self.units == charge.units
    }
}

pub(super) fn entitlement(rights: &Rights) -> Result<&Entitlement, ChargeError> {
    Ok(rights.entitlement()?)
}
