//! A tab: everything that one charge of one tenant touches, looked up once. As long as its slots are open and its time lasts,
//! a charge is a few steps on it, and its holds are clones of it.
//!
//! A tab never changes. Where a word was sealed, a period has ended or the nodes have become more or fewer, another one is
//! made; what is given back goes to the words of the tab that the hold came from.

use std::sync::Arc;

use super::{
    account::MeterAccount,
    desk::Desk,
    metrics::MeterUnits,
    pledge::Pledge,
    purse::{self, Asker, Opened, Purse},
    shared::{Home, Shared},
    slot::Slot,
    wish::{Place, Wish},
};
use crate::{
    domain::{
        denial::Denial,
        period::{Period, Window, Windows},
        plan::{MeterIx, Quota},
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
    /// Nothing is taken that was not granted before.
    pub bounded: bool,
}

#[derive(Debug)]
pub(super) struct Tab {
    /// Within the period of every slot, and the month.
    time: Period,
    /// It has neither rates nor purses: within its time nothing but a seal ends it.
    plain: bool,
    /// The nodes among which its rates are shared; 0: it has none.
    nodes: u32,
    /// Every slot is just what the rights ask for, so that others may be charged by this tab.
    regular: bool,
    /// It is for one request, and so are those that take its place.
    once: bool,
    pub lines: Few<Line>,
    /// In the order in which they are charged: the shortest window first, a month's sources in burn order.
    pub stakes: Few<Stake>,
    /// The sources of those lines whose month has several.
    pub purses: Box<[Purse]>,
    /// The money that its overage costs, where that is billed.
    pub pledge: Option<Box<Pledge>>,
    /// It takes from one word: that says it when it is asked.
    pub alone: bool,
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
            Some(lines) => {
                let tab = Self::over(shared, desk, rights, lines, (nodes, false), now)?;
                Ok(Some(Arc::new(tab)))
            }
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
        let tab = Self::over(shared, desk, rights, self.lines.clone(), (self.nodes, false), now)?;
        Ok(Arc::new(Self { once: self.once, ..tab }))
    }

    /// The same charges on what this node holds, as the database cannot be asked; see [`Asker::beyond`].
    pub fn beyond(
        &self,
        shared: &Shared,
        desk: &Desk,
        rights: &Rights,
        now: UnixMillis,
    ) -> Result<Arc<Self>, ChargeError> {
        let tab = Self::over(shared, desk, rights, self.lines.clone(), (self.nodes, true), now)?;
        Ok(Arc::new(Self { once: self.once, ..tab }))
    }

    /// The same for other units, of just the meters for which it is.
    pub fn with(&self, charges: &[Charge]) -> Arc<Self> {
        let units = |number: usize| charges.get(number).map_or(Units::ZERO, |charge| charge.units);
        let line = |number: usize, line: &Line| {
            let units = units(number);
            let rate = line
                .rate
                .map(|LineRate { plan, .. }| LineRate { plan, pace: plan.shared_by(self.nodes).pace(units) });
            Line { units, rate, ..line.clone() }
        };
        let stake = |stake: &Stake| Stake {
            slot: Arc::clone(&stake.slot),
            units: units(stake.line),
            line: stake.line,
            bounded: stake.bounded,
        };
        let Self { time, plain, nodes, regular, .. } = *self;
        Arc::new(Self {
            time,
            plain,
            nodes,
            regular,
            once: true,
            lines: Few {
                first: line(0, &self.lines.first),
                more: (1..).zip(&self.lines.more).map(|(number, one)| line(number, one)).collect(),
            },
            stakes: Few {
                first: stake(&self.stakes.first),
                more: self.stakes.more.iter().map(stake).collect(),
            },
            purses: Box::default(),
            pledge: None,
            alone: self.alone,
            home: Arc::clone(&self.home),
            ready: Ready::default(),
        })
    }

    fn over(
        shared: &Shared,
        desk: &Desk,
        rights: &Rights,
        lines: Few<Line>,
        (nodes, beyond): (u32, bool),
        now: UnixMillis,
    ) -> Result<Self, ChargeError> {
        let entitlement = entitlement(rights)?;
        let asker = Asker { shared, desk, rights, entitlement, now, beyond };
        let mut found = Finding::new(lines.more.len() + 1);
        for window in Window::ALL {
            for (number, line) in lines.iter().enumerate() {
                let Some(quota) = entitlement.terms(line.ix).quota.filter(|quota| quota.counts(window))
                else {
                    continue;
                };
                let several = if window == Window::Month {
                    purse::sources(entitlement, line, &quota, now)
                } else {
                    None
                };
                match several {
                    Some(sources) => found.add(asker.open(number, line, &quota, &sources)?),
                    None => found.one(&asker, (number, line), window, &quota)?,
                }
            }
        }
        let pledge = found.pledge(&asker, &lines)?;
        let Finding { time, regular, stakes, purses } = found;
        // Every meter is counted by the month at least.
        let stakes = Few::of(stakes).ok_or(ChargeError::Outdated)?;
        let plain = nodes == 0 && purses.is_empty();
        let alone = stakes.more.is_empty() && pledge.is_none();
        let (home, ready) = (Arc::clone(&shared.home), Ready::default());
        let purses = purses.into_boxed_slice();
        let once = false;
        Ok(Self { time, plain, nodes, regular, once, lines, stakes, purses, pledge, alone, home, ready })
    }

    /// Whether it is for these charges.
    pub fn is_for(&self, charges: &[Charge]) -> bool {
        charges.len() == self.lines.more.len() + 1
            && self.lines.iter().zip(charges).all(|(line, charge)| line.is_of(charge))
    }

    /// Whether it is for the same meters, and all its words give all their units themselves: those of a purse share them.
    pub fn is_on(&self, charges: &[Charge]) -> bool {
        self.purses.is_empty()
            && charges.len() == self.lines.more.len() + 1
            && self.lines.iter().zip(charges).all(|(line, charge)| line.ix == charge.meter)
    }

    /// Whether it is for one request.
    pub fn is_once(&self) -> bool {
        self.once
    }

    /// Whether it is for the same charges.
    pub fn is_like(&self, other: &Self) -> bool {
        self.lines.more.len() == other.lines.more.len()
            && self.lines.iter().zip(other.lines.iter()).all(|(a, b)| a.ix == b.ix && a.units == b.units)
    }

    /// Whether it can still be charged at this instant. The words themselves say whether they can.
    pub fn serves(&self, shared: &Shared, now: UnixMillis) -> bool {
        self.time.contains(now) && (self.plain || self.still_serves(shared))
    }

    fn still_serves(&self, shared: &Shared) -> bool {
        if self.nodes > 0 && self.nodes != shared.world.freshness.live_nodes() {
            return false;
        }
        self.purses.iter().for_each(|purse| purse.watch_passed(shared));
        self.purses.iter().all(Purse::is_current)
    }

    /// The sources that a stake is one of, where there are several.
    pub fn purse_of(&self, stake: &Stake) -> Option<&Purse> {
        if !stake.slot.bucket.key.span.is_source() {
            return None;
        }
        self.purse(stake.line)
    }

    /// The sources of a line's month, where there are several.
    pub fn purse(&self, line: usize) -> Option<&Purse> {
        self.purses.iter().find(|purse| purse.line == line)
    }

    /// Whether nothing that is charged by it is ever refused for want of units: then nobody waits for long.
    pub fn is_soft(&self) -> bool {
        let refuses = |stake: &Stake| match self.purse_of(stake) {
            Some(purse) => purse.limit.is_some(),
            None => stake.bounded,
        };
        !self.stakes.iter().any(refuses) && !self.pledge.as_ref().is_some_and(|pledge| pledge.bounded)
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
            || self.purses.iter().any(Purse::is_over)
            || self.pledge.as_ref().is_some_and(|pledge| pledge.slot.word.is_sealed())
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

/// What was found so far of a tab.
struct Finding {
    time: Period,
    regular: bool,
    stakes: Vec<Stake>,
    purses: Vec<Purse>,
}

impl Finding {
    fn new(lines: usize) -> Self {
        let time = Period { start: UnixMillis(i64::MIN), end: UnixMillis(i64::MAX) };
        Self { time, regular: true, stakes: Vec::with_capacity(lines), purses: Vec::new() }
    }

    fn within(&mut self, start: UnixMillis, end: UnixMillis) {
        self.time.start = self.time.start.max(start);
        self.time.end = self.time.end.min(end);
    }

    /// The one word of a line in a window.
    fn one(
        &mut self,
        asker: &Asker<'_>,
        (number, line): (usize, &Line),
        window: Window,
        quota: &Quota,
    ) -> Result<(), ChargeError> {
        let month = window == Window::Month;
        let wish = Wish {
            rights: asker.rights,
            entitlement: asker.entitlement,
            place: Place::Window(window),
            // Beside it there is no overage: it is the month's hard limit.
            limit: if month { quota.month.limit() } else { quota.hard_limit(window) },
            ceiling: if month { purse::ceiling(quota) } else { None },
            counted: if month { purse::counted(quota) } else { Windows::default() },
            now: asker.now,
        };
        let owner = (&asker.desk.account.tenant, &*line.meter);
        let slot = line.meter.ask(wish.place, |cell| cell.slot(asker.shared, owner, wish))?;
        self.regular &= wish.is_met_by(&slot);
        self.within(slot.period.start, slot.period.end);
        let bounded = slot.is_bounded();
        self.stakes.push(Stake { slot, units: line.units, line: number, bounded });
        Ok(())
    }

    /// The money that the overage among its words costs.
    fn pledge(&mut self, asker: &Asker<'_>, lines: &Few<Line>) -> Result<Option<Box<Pledge>>, ChargeError> {
        let Some((pledge, regular)) = Pledge::open(asker, lines, &self.stakes)? else { return Ok(None) };
        self.regular &= regular;
        self.within(pledge.slot.period.start, pledge.slot.period.end);
        Ok(Some(pledge))
    }

    /// The words of a line in its month.
    fn add(&mut self, Opened { purse, stakes, regular }: Opened) {
        self.regular &= regular;
        self.within(purse.month.start, purse.month.end);
        // A grant may have been given a moment later than the request came by another clock: only its end matters.
        stakes.iter().for_each(|stake| self.within(purse.month.start, stake.slot.period.end));
        self.stakes.extend(stakes);
        self.purses.push(purse);
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
