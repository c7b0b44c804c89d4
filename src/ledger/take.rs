//! Takes the units of a tab from its words: the rates first, then every window of every meter, all or nothing.

use std::sync::{Arc, atomic::Ordering};

use super::{
    bucket::Outlook,
    hold::give_back,
    metrics::Kind,
    pledge::Pledge,
    purse::Purse,
    refill,
    shared::{Shared, lock},
    slot::Slot,
    tab::{Stake, Tab},
    word::Spend,
};
use crate::{
    domain::{denial::Denial, period::Window, time::Monotonic, units::Units},
    ports::{ChargeError, Span},
};

/// Requests that may wait for what others give back, a bucket.
const RECALL_WAITERS: u32 = 256;

/// What became of an attempt to take the units of a tab.
pub(super) enum Take {
    Taken,
    /// Somebody else was faster on one of the words: to be tried again.
    Again,
    /// One of the words is charged no more: another tab is needed.
    Moved,
    Refused(ChargeError),
    Short(Vec<Want>),
}

/// What a word is short of.
pub(super) struct Want {
    pub slot: Arc<Slot>,
    pub need: u64,
    /// The database has too few; others were asked to give theirs back.
    pub recalling: bool,
}

impl Tab {
    /// Takes the units of every rate; none, where one refuses.
    #[inline]
    pub fn take_rates(&self, now: impl FnOnce() -> Monotonic) -> Result<(), ChargeError> {
        if !self.has_rates() {
            return Ok(());
        }
        let now = now();
        for (number, line) in self.lines.iter().enumerate() {
            let Some(rate) = line.rate.as_ref().filter(|_| line.units > Units::ZERO) else { continue };
            if let Err(retry_after) = line.meter.rate.take(&rate.pace, now) {
                self.give_rates_back(number);
                let meter = line.meter.meter.clone();
                return Err(Denial::RateLimited { meter, rate: rate.plan, retry_after }.into());
            }
        }
        Ok(())
    }

    /// Gives the first so many lines' rates back what was taken from them.
    pub fn give_rates_back(&self, lines: usize) {
        for line in self.lines.iter().take(lines) {
            if let Some(rate) = &line.rate {
                line.meter.rate.give_back(&self.share(rate), line.units);
            }
        }
    }

    /// Takes the units of every word. `waited`: the request has waited for others to give back units, and does not again.
    #[inline]
    pub fn take(&self, shared: &Arc<Shared>, waited: bool) -> Take {
        // One word alone says it when it is asked.
        if !self.alone
            && let Err(unfit) = self.look(shared, waited)
        {
            return unfit;
        }
        for (number, stake) in self.stakes.iter().enumerate() {
            let Spend::Taken { left } = stake.slot.word.spend(stake.units.get(), stake.bounded) else {
                self.untake(shared, number);
                return self.look(shared, waited).err().unwrap_or(Take::Again);
            };
            if refill::is_low(&stake.slot.low_water, left) {
                refill::prefetch(shared, &stake.slot);
            }
        }
        if let Some(pledge) = &self.pledge {
            let Spend::Taken { left } = pledge.slot.word.spend(pledge.money.get(), pledge.bounded) else {
                self.untake(shared, usize::MAX);
                return self.look(shared, waited).err().unwrap_or(Take::Again);
            };
            if refill::is_low(&pledge.slot.low_water, left) {
                refill::prefetch(shared, &pledge.slot);
            }
            shared.soil(&pledge.slot);
        }
        for line in self.lines.iter() {
            line.counts.add(Kind::Admitted, line.units.get());
        }
        for stake in self.stakes.iter() {
            shared.soil(&stake.slot);
        }
        Take::Taken
    }

    /// Asks every word whether it would do, before any is charged.
    fn look(&self, shared: &Shared, waited: bool) -> Result<(), Take> {
        let mut short = Vec::new();
        for stake in self.stakes.iter() {
            let Stake { slot, units, bounded, .. } = stake;
            match slot.word.peek(units.get(), *bounded) {
                Spend::Taken { .. } => {}
                Spend::Sealed => return Err(Take::Moved),
                Spend::Full => return Err(full(slot)),
                Spend::Short { need } => match self.purse_of(stake) {
                    Some(purse) => self.ask_purse(shared, purse, (slot, need), waited, &mut short)?,
                    None => {
                        let recalling =
                            ask_or_refuse(shared, slot, *units, need, waited).map_err(Take::Refused)?;
                        short.push(Want { slot: Arc::clone(slot), need, recalling });
                    }
                },
            }
        }
        if let Some(pledge) = &self.pledge {
            self.ask_pledge(shared, pledge, waited, &mut short)?;
        }
        if short.is_empty() { Ok(()) } else { Err(Take::Short(short)) }
    }

    /// Whether there is money enough, or the database is to be asked for more, or others are giving theirs back.
    fn ask_pledge(
        &self,
        shared: &Shared,
        pledge: &Pledge,
        waited: bool,
        short: &mut Vec<Want>,
    ) -> Result<(), Take> {
        let slot = &pledge.slot;
        let need = match slot.word.peek(pledge.money.get(), pledge.bounded) {
            Spend::Taken { .. } => return Ok(()),
            Spend::Sealed => return Err(Take::Moved),
            // More than the cap is asked for all the same, so that it is known what was spent of it.
            Spend::Full if pledge.is_above_cap() => pledge.money.get(),
            Spend::Full => return Err(full(slot)),
            Spend::Short { need } => need,
        };
        let recalling = match pledge.outlook(shared, need) {
            Outlook::Unknown => false,
            Outlook::Recalling if !waited && may_wait(slot) => true,
            Outlook::Recalling | Outlook::Exhausted { .. } => {
                return self.refuse_money(shared, pledge, waited, short);
            }
        };
        let now = shared.monotonic();
        if !recalling && (shared.outage.is_on(now) || shared.is_adrift(now)) {
            return Err(Take::Refused(ChargeError::Unavailable));
        }
        short.push(Want { slot: Arc::clone(slot), need, recalling });
        Ok(())
    }

    /// Too little money is left; but what others give back of the included units costs none.
    fn refuse_money(
        &self,
        shared: &Shared,
        pledge: &Pledge,
        waited: bool,
        short: &mut Vec<Want>,
    ) -> Result<(), Take> {
        if !self.purses.iter().all(Purse::is_current) {
            return Err(Take::Moved);
        }
        let now = shared.monotonic();
        if !waited {
            let included = self.purses.iter().flat_map(|purse| purse.recalling_included(now));
            let before = short.len();
            let want = |slot: &Arc<Slot>| Want { slot: Arc::clone(slot), need: 1, recalling: true };
            short.extend(included.filter(|slot| may_wait(slot)).map(want));
            if short.len() > before {
                return Ok(());
            }
        }
        // Included units may come back to their owners without anybody being told.
        self.purses.iter().for_each(|purse| purse.watch_passed(shared));
        Err(Take::Refused(pledge.refuse(shared).into()))
    }

    /// One of several sources is short of units: whether the database is to be asked for more, or others are giving theirs
    /// back; or it is to be looked anew which sources have some; or none has.
    fn ask_purse(
        &self,
        shared: &Shared,
        purse: &Purse,
        (slot, need): (&Arc<Slot>, u64),
        waited: bool,
        short: &mut Vec<Want>,
    ) -> Result<(), Take> {
        let now = shared.monotonic();
        let units = self.lines.iter().nth(purse.line).map_or(Units::ZERO, |line| line.units);
        if purse.limit.is_some_and(|limit| units > limit) {
            return Err(Take::Refused(purse.refuse(shared, now).into()));
        }
        if !purse.is_current() {
            return Err(Take::Moved);
        }
        let unknown =
            slot.terms().is_none_or(|terms| slot.bucket.outlook(terms, need, now) == Outlook::Unknown);
        if unknown {
            if shared.outage.is_on(now) || shared.is_adrift(now) {
                return Err(Take::Refused(ChargeError::Unavailable));
            }
            short.push(Want { slot: Arc::clone(slot), need, recalling: false });
            return Ok(());
        }
        if !purse.spent {
            return Err(Take::Moved);
        }
        let before = short.len();
        if !waited {
            // What others give back of any source may be what is missing.
            let some = purse.recalling(now).filter(|slot| may_wait(slot));
            short.extend(some.map(|slot| Want { slot: Arc::clone(slot), need, recalling: true }));
        }
        if short.len() == before {
            return Err(Take::Refused(purse.refuse(shared, now).into()));
        }
        Ok(())
    }

    /// Gives the first so many words back what was taken from them.
    fn untake(&self, shared: &Shared, stakes: usize) {
        for Stake { slot, units, .. } in self.stakes.iter().take(stakes) {
            give_back(slot, units.get());
            shared.soil(slot);
        }
    }
}

/// It has counted as far as it can: the next one goes on. A new one that is full at once has been asked for more than any can
/// count.
fn full(slot: &Slot) -> Take {
    if slot.word.totals().used == 0 || !slot.word.seal() {
        return Take::Refused(ChargeError::Unavailable);
    }
    Take::Moved
}

fn may_wait(slot: &Slot) -> bool {
    slot.bucket.waiting.load(Ordering::Relaxed) < RECALL_WAITERS
}

/// Refuses where it is of no use to ask the database for more units. Otherwise whether it was asked, and others are giving
/// theirs back.
fn ask_or_refuse(
    shared: &Shared,
    slot: &Slot,
    units: Units,
    need: u64,
    waited: bool,
) -> Result<bool, ChargeError> {
    let Some(limit) = slot.limit() else { return Ok(false) };
    if units > limit {
        return Err(exhausted(slot, limit, None).into());
    }
    let now = shared.monotonic();
    let Some(terms) = slot.terms() else { return Ok(false) };
    match slot.bucket.outlook(terms, need, now) {
        Outlook::Recalling if !waited && may_wait(slot) => return Ok(true),
        known @ (Outlook::Recalling | Outlook::Exhausted { .. }) => {
            if slot.bucket.watch() {
                lock(&shared.watched).push(Arc::clone(&slot.bucket));
            }
            let left = if let Outlook::Exhausted { left } = known { left } else { None };
            return Err(exhausted(slot, limit, left).into());
        }
        Outlook::Unknown => {}
    }
    if shared.outage.is_on(now) || shared.is_adrift(now) {
        return Err(ChargeError::Unavailable);
    }
    Ok(false)
}

/// `left`: what the database has left, where nobody holds any: then all others count as used, recorded or not.
fn exhausted(slot: &Slot, limit: Units, left: Option<u64>) -> Denial {
    let counted = left.map_or(0, |left| limit.get().saturating_sub(left));

    Denial::QuotaExhausted {
        meter: slot.bucket.key.meter.clone(),
        // Of several sources the purse refuses.
        window: if let Span::Window(window) = slot.bucket.key.span { window } else { Window::Month },
        limit,
        used: Units::saturating(slot.used().max(counted)),
        period: slot.period,
    }
}
