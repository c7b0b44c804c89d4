//! What one request has taken: the words it came from, so that what is given back goes to those and no others.

use std::sync::Arc;

use super::{account::MeterAccount, metrics::Kind, refill, shared::Shared, slot::Slot, word::Spend};
use crate::{
    domain::{period::Window, plan::MeterIx, rate::Rate, route::Charge, time::UnixMillis, units::Units},
    ports::{HoldEntry, Standing},
};

/// A rate that units were taken from.
#[derive(Debug, Clone, Copy)]
pub(super) struct TakenRate {
    /// As the plan has it.
    pub plan: Rate,
    /// This node's share of it, by which the units were taken.
    pub share: Rate,
}

/// One charged meter.
#[derive(Debug)]
pub(super) struct Line {
    pub ix: MeterIx,
    pub meter: Arc<MeterAccount>,
    pub units: Units,
    pub rate: Option<TakenRate>,
    /// By [`Window`].
    pub slots: [Option<Arc<Slot>>; 4],
}

impl Line {
    /// Gives `units` back to the rate and to every word.
    fn give_back(&self, units: Units) {
        if let Some(rate) = &self.rate {
            self.meter.rate.give_back(&rate.share, units);
        }
        for slot in self.slots.iter().flatten() {
            give_back(slot, units.get());
        }
    }
}

fn give_back(slot: &Slot, units: u64) {
    slot.word.refund(units);
    if slot.word.is_sealed() {
        // The open slot of the bucket cannot spend these: the database gets them back and can grant them again.
        slot.bucket.free();
    }
}

/// All meters of one charge. Most charges have one or two: these need no memory of their own.
#[derive(Debug, Default)]
pub(super) struct Lines {
    first: [Option<Line>; 2],
    more: Vec<Line>,
}

impl Lines {
    pub fn push(&mut self, line: Line) {
        match self.first.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(line),
            None => self.more.push(line),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Line> {
        self.first.iter().flatten().chain(&self.more)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Line> {
        self.first.iter_mut().flatten().chain(&mut self.more)
    }

    /// Gives the rates back what was taken from them.
    pub fn release_rates(&mut self) {
        for line in self.iter_mut() {
            if let Some(rate) = line.rate.take() {
                line.meter.rate.give_back(&rate.share, line.units);
            }
        }
    }

    /// Takes the units of every line from every word, the shortest windows first; all or nothing.
    pub fn take(&self, shared: &Arc<Shared>) -> bool {
        for (place, window) in Window::ALL.into_iter().enumerate() {
            for (nth, line) in self.iter().enumerate() {
                let Some(slot) = &line.slots[window as usize] else { continue };
                match slot.word.spend(line.units.get(), slot.is_bounded()) {
                    Spend::Taken { left } => {
                        if refill::is_low(&slot.low_water, left) {
                            refill::prefetch(shared, slot);
                        }
                    }
                    Spend::Short { .. } | Spend::Sealed | Spend::Full => {
                        self.untake(shared, place, nth);
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Gives back what [`Lines::take`] had taken before it failed at a window and line.
    fn untake(&self, shared: &Shared, place: usize, nth: usize) {
        for (earlier, window) in Window::ALL.into_iter().enumerate().take(place + 1) {
            let lines = if earlier < place { usize::MAX } else { nth };
            for slot in self.iter().take(lines).filter_map(|line| {
                line.slots[window as usize].as_ref().inspect(|slot| give_back(slot, line.units.get()))
            }) {
                shared.soil(slot);
            }
        }
    }
}

/// The ledger's side of a [`crate::ports::Hold`]: one allocation per metered request.
pub(super) struct Entry {
    shared: Arc<Shared>,
    lines: Lines,
}

impl Entry {
    /// Takes charge of units that were taken.
    pub fn new(shared: &Arc<Shared>, lines: Lines) -> Box<Self> {
        for line in lines.iter() {
            line.meter.units.add(Kind::Admitted, line.units.get());
            for slot in line.slots.iter().flatten() {
                shared.soil(slot);
            }
        }
        Box::new(Self { shared: Arc::clone(shared), lines })
    }

    fn give_back(&self, line: &Line, units: Units) {
        if units == Units::ZERO {
            return;
        }
        line.give_back(units);
        line.meter.units.add(Kind::Refunded, units.get());
        self.soil(line);
    }

    fn overrun(&self, line: &Line, units: Units) {
        for slot in line.slots.iter().flatten() {
            slot.word.overrun(units.get());
        }
        line.meter.units.add(Kind::Overrun, units.get());
        self.soil(line);
    }

    fn soil(&self, line: &Line) {
        for slot in line.slots.iter().flatten() {
            self.shared.soil(slot);
        }
    }
}

impl HoldEntry for Entry {
    fn keep(self: Box<Self>) {}

    fn refund(self: Box<Self>) {
        for line in self.lines.iter() {
            self.give_back(line, line.units);
        }
    }

    fn settle(self: Box<Self>, actual: &[Charge]) {
        for line in self.lines.iter() {
            let mut named = actual.iter().filter(|charge| charge.meter == line.ix).peekable();
            if named.peek().is_none() {
                continue;
            }
            let cost = named.fold(Units::ZERO, |sum, charge| sum.saturating_add(charge.units));
            if cost < line.units {
                self.give_back(line, line.units.saturating_sub(cost));
            } else if cost > line.units {
                self.overrun(line, cost.saturating_sub(line.units));
            }
        }
    }

    fn standings(&self, now: UnixMillis, show: &mut dyn FnMut(Standing<'_>)) {
        for line in self.lines.iter() {
            let meter = line.meter.meter.as_str();
            for window in Window::ALL.into_iter().rev() {
                let Some(slot) = &line.slots[window as usize] else { continue };
                let Some(quota) = slot.limit else { continue };
                show(Standing {
                    meter,
                    window: Some(window),
                    quota,
                    seconds: slot.period.seconds().max(1),
                    remaining: quota.saturating_sub(Units::saturating(slot.used())),
                    resets_in: now.seconds_until(slot.period.end),
                });
            }
            if let Some(rate) = &line.rate {
                let (remaining, whole) = line.meter.rate.left(&rate.share, self.shared.monotonic());
                show(Standing {
                    meter,
                    window: None,
                    quota: rate.plan.limit,
                    seconds: ceil_seconds(rate.plan.per).max(1),
                    remaining,
                    resets_in: ceil_seconds(whole),
                });
            }
        }
    }
}

fn ceil_seconds(duration: std::time::Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
