//! What one request has taken: its tab, so that what is given back goes to the words it came from and no others.

use std::{sync::Arc, time::Duration};

use super::{
    account::MeterAccount,
    metrics::Kind,
    slot::Slot,
    tab::{Line, Tab},
};
use crate::{
    domain::{
        period::Window,
        route::Charge,
        time::{Monotonic, UnixMillis},
        units::Units,
    },
    ports::{HoldEntry, Ready, Span, Standing},
};

/// Gives back what was charged to a slot.
pub(super) fn give_back(slot: &Slot, units: u64) {
    slot.word.refund(units);
    if slot.word.is_sealed() {
        // The open slot of the bucket cannot spend these: the database gets them back and can grant them again.
        slot.bucket.free();
    } else {
        slot.bucket.rouse();
    }
}

impl Tab {
    fn return_units(&self, number: usize, line: &Line, units: Units) {
        if units == Units::ZERO {
            return;
        }
        if let Some(rate) = &line.rate {
            line.meter.rate.give_back(&self.share(rate), units);
        }
        let mut rest = units;
        for stake in self.stakes_of(number) {
            if stake.slot.bucket.key.span.is_source() {
                // The sources come first, the last burnt before the others; together they gave all units.
                let part = rest.min(stake.units);
                rest = rest.saturating_sub(part);
                give_back(&stake.slot, part.get());
                if let Some(pledge) = &self.pledge {
                    give_back(&pledge.slot, pledge.cost(stake, part).get());
                }
            } else {
                give_back(&stake.slot, units.get());
            }
        }
        line.counts.add(Kind::Refunded, units.get());
        self.soil(number);
    }

    fn overrun(&self, number: usize, line: &Line, units: Units) {
        let mut booked = false;
        for stake in self.stakes_of(number) {
            // Of several sources the last burnt bears it.
            if stake.slot.bucket.key.span.is_source() && std::mem::replace(&mut booked, true) {
                continue;
            }
            self.bear(&line.meter, &stake.slot, units);
            if let Some(pledge) = &self.pledge {
                self.bear(&pledge.owner, &pledge.slot, pledge.cost(stake, units));
            }
        }
        line.counts.add(Kind::Overrun, units.get());
        self.soil(number);
    }

    /// Records units that were used above what was taken of a slot. Where that is sealed, the bucket's open slot bears them:
    /// it may hold units that were granted before anybody knew of these, and would spend them beside these.
    fn bear(&self, owner: &MeterAccount, slot: &Arc<Slot>, units: Units) {
        let heir =
            slot.word.is_sealed().then(|| owner.ask_known(&slot.bucket.key, |cell| cell.open_of(slot)));
        let Some(heir) = heir.flatten().flatten() else {
            slot.word.overrun(units.get());
            return;
        };
        heir.word.overrun(units.get());
        if let Some(shared) = self.home.ledger() {
            shared.soil(&heir);
        }
    }

    fn soil(&self, number: usize) {
        // With the ledger gone nobody is left to record it; the word in the file has it.
        let Some(shared) = self.home.ledger() else { return };
        for stake in self.stakes_of(number) {
            shared.soil(&stake.slot);
        }
        if let Some(pledge) = &self.pledge {
            shared.soil(&pledge.slot);
        }
    }
}

impl HoldEntry for Tab {
    fn refund(&self) {
        for (number, line) in self.lines.iter().enumerate() {
            self.return_units(number, line, line.units);
        }
    }

    fn settle(&self, actual: &[Charge]) {
        for (number, line) in self.lines.iter().enumerate() {
            let mut named = actual.iter().filter(|charge| charge.meter == line.ix).peekable();
            if named.peek().is_none() {
                continue;
            }
            let cost = named.fold(Units::ZERO, |sum, charge| sum.saturating_add(charge.units));
            if cost < line.units {
                self.return_units(number, line, line.units.saturating_sub(cost));
            } else if cost > line.units {
                self.overrun(number, line, cost.saturating_sub(line.units));
            }
        }
    }

    fn standings(&self, now: UnixMillis, at: Option<Monotonic>, show: &mut dyn FnMut(Standing<'_>)) {
        for (number, line) in self.lines.iter().enumerate() {
            let meter = line.meter.meter.as_str();
            let purse = self.purse(number);
            if let Some((purse, quota, remaining)) =
                purse.and_then(|purse| Some((purse, purse.limit?, purse.remaining()?)))
            {
                show(Standing {
                    meter,
                    window: Some(Window::Month),
                    quota,
                    seconds: purse.month.seconds().max(1),
                    remaining,
                    resets_in: now.seconds_until(purse.month.end),
                });
            }
            for stake in self.stakes_of(number) {
                let Span::Window(window) = stake.slot.bucket.key.span else { continue };
                if purse.is_some() && window == Window::Month {
                    continue;
                }
                let Some(quota) = stake.slot.limit() else { continue };
                show(Standing {
                    meter,
                    window: Some(window),
                    quota,
                    seconds: stake.slot.period.seconds().max(1),
                    remaining: quota.saturating_sub(Units::saturating(stake.slot.used())),
                    resets_in: now.seconds_until(stake.slot.period.end),
                });
            }
            if let Some(rate) = &line.rate {
                let at = at.unwrap_or_else(|| self.home.monotonic());
                let (remaining, whole) = line.meter.rate.left(&rate.pace, at);
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

    fn ready(&self) -> Option<&Ready> {
        Some(&self.ready)
    }
}

fn ceil_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
