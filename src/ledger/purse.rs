//! A purse: the sources of one meter's month, where there are several, and what a charge takes from which of them.
//!
//! The first in burn order that is not known to be exhausted is charged. One that has too few for the charge gives what it
//! has, the next gives the rest. Those that were passed over are remembered: when one of them may have units again, the
//! meter's stir tells, and the purse is opened anew.

use std::sync::Arc;

use super::{
    account::MeterAccount,
    bucket::Outlook,
    desk::Desk,
    shared::{Shared, lock},
    slot::Slot,
    tab::{Line, Stake},
    wish::{Place, Wish},
    word::Spend,
};
use crate::{
    domain::{
        denial::Denial,
        period::{Period, Window, Windows},
        plan::{Overage, Quota},
        rights::{Entitlement, Rights, Source, SourceTerms},
        time::{Monotonic, UnixMillis},
        units::Units,
    },
    ports::{ChargeError, Span},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Purse {
    /// Its line's number.
    pub line: usize,
    pub month: Period,
    /// Units in all sources together; `None`: any number.
    pub limit: Option<Units>,
    /// As far as was known, all sources together had too few.
    pub spent: bool,
    /// In burn order.
    pockets: Box<[Pocket]>,
    meter: Arc<MeterAccount>,
    /// The meter's stir before it was looked into the sources.
    stir: u64,
}

/// One source.
#[derive(Debug)]
struct Pocket {
    limit: Option<Units>,
    /// Where this node has one.
    slot: Option<Arc<Slot>>,
    /// It had nothing to give.
    passed: bool,
}

/// What a purse is opened for.
pub(super) struct Asker<'a> {
    pub shared: &'a Shared,
    pub desk: &'a Desk,
    pub rights: &'a Rights,
    pub entitlement: &'a Entitlement,
    pub now: UnixMillis,
    /// Only what the node holds, as the database cannot be asked; but what is charged without limit anyway is charged to
    /// what the plan includes, as long as that is not known to be exhausted. The database finds out later how much of it
    /// was overage.
    pub beyond: bool,
}

/// What a charge of some units takes from a purse.
pub(super) struct Opened {
    pub purse: Purse,
    /// In burn order; at least one.
    pub stakes: Vec<Stake>,
    /// Every slot is just what the rights ask for, and one takes it all.
    pub regular: bool,
}

/// What both a month and its overage may come to.
pub(super) fn ceiling(quota: &Quota) -> Option<Units> {
    quota.hard_limit(Window::Month)
}

/// The windows in which a meter is counted.
pub(super) fn counted(quota: &Quota) -> Windows {
    Windows::of(|window| quota.counts(window))
}

/// The sources of a meter that may have units, in burn order; `None`: the plan alone.
pub(super) fn sources(
    entitlement: &Entitlement,
    line: &Line,
    quota: &Quota,
    now: UnixMillis,
) -> Option<Vec<SourceTerms>> {
    let alone = quota.overage == Overage::Block && entitlement.grants.iter().all(|g| g.meter != line.ix);
    if alone || quota.month.limit().is_none() {
        return None;
    }
    let mut sources = entitlement.sources(line.ix, now);
    sources.retain(|terms| terms.period.end > now);
    let only_plan = sources.iter().all(|terms| terms.source == Source::Plan);
    (!only_plan).then_some(sources)
}

/// How much a source gives of what is wanted.
enum Part {
    /// All of it, as far as is known.
    All,
    /// So much, and more is not to be had.
    Some(u64),
    /// All of it, though nobody has granted it.
    Beyond,
}

impl Asker<'_> {
    /// Finds what a line's charge takes from these sources.
    pub fn open(
        &self,
        number: usize,
        line: &Line,
        quota: &Quota,
        sources: &[SourceTerms],
    ) -> Result<Opened, ChargeError> {
        let stir = line.meter.stir.count();
        let monotonic = self.shared.monotonic();
        let soft = sources.iter().any(|terms| terms.limit.is_none()) && !self.is_capped(quota);
        let mut regular = !self.beyond;
        let mut wanted = Some(line.units.get());
        let mut pockets = Vec::with_capacity(sources.len());
        let mut stakes: Vec<Stake> = Vec::with_capacity(1);
        for (place, terms) in sources.iter().enumerate() {
            let nothing = terms.limit == Some(Units::ZERO) && place + 1 < sources.len();
            let Some(units) = wanted.filter(|_| !nothing) else {
                pockets.push(self.untouched(line, terms));
                continue;
            };
            let wish = self.wish(quota, terms);
            let owner = (&self.desk.account.tenant, &*line.meter);
            let slot = line.meter.ask(wish.place, |cell| cell.slot(self.shared, owner, wish))?;
            regular &= wish.is_met_by(&slot);
            let part = self.part(&slot, units, soft && terms.source == Source::Plan, monotonic);
            let bounded = slot.is_bounded() && !matches!(part, Part::Beyond);
            let given = if let Part::Some(some) = part { some } else { units };
            if given > 0 || units == 0 {
                stakes.push(Stake {
                    slot: Arc::clone(&slot),
                    units: Units::saturating(given),
                    line: number,
                    bounded,
                });
            }
            pockets.push(Pocket { limit: slot.limit(), slot: Some(slot), passed: given == 0 && units > 0 });
            wanted = matches!(part, Part::Some(_)).then(|| units - given);
        }
        // What nobody is known to have is asked of the last: whoever is charged by this finds out whether to wait.
        let spent = wanted.is_some();
        if let Some(rest) = wanted {
            if self.beyond {
                return Err(ChargeError::Unavailable);
            }
            ask_the_last(&mut stakes, &mut pockets, rest, number);
        }
        regular &= stakes.len() == 1;
        let month = self.entitlement.calendar.month(self.now);
        let meter = Arc::clone(&line.meter);
        let limit = sum(&pockets);
        let purse = Purse { line: number, month, limit, spent, pockets: pockets.into(), meter, stir };
        Ok(Opened { purse, stakes, regular })
    }

    /// Whether overage ends where the spend cap does: then it is not without limit.
    fn is_capped(&self, quota: &Quota) -> bool {
        matches!(quota.overage, Overage::Bill { .. })
            && self.entitlement.offer.spend().is_some_and(|terms| terms.cap.is_some())
    }

    fn wish(&self, quota: &Quota, terms: &SourceTerms) -> Wish<'_> {
        Wish {
            rights: self.rights,
            entitlement: self.entitlement,
            place: Place::of(terms),
            limit: terms.limit,
            ceiling: if matches!(terms.source, Source::Grant(_)) { None } else { ceiling(quota) },
            counted: counted(quota),
            now: self.now,
        }
    }

    /// A source that need not be asked.
    fn untouched(&self, line: &Line, terms: &SourceTerms) -> Pocket {
        let place = Place::of(terms);
        let slot = line.meter.ask(place, |cell| cell.current()).filter(|slot| {
            slot.version == self.rights.version && slot.period == terms.period && slot.limit() == terms.limit
        });
        Pocket { limit: terms.limit, slot, passed: false }
    }

    fn part(&self, slot: &Slot, units: u64, may_owe: bool, now: Monotonic) -> Part {
        let peek = || slot.word.peek(units, slot.is_bounded());
        if !matches!(peek(), Spend::Short { .. }) {
            return Part::All;
        }
        slot.bucket.pass();
        // What came free before that may not have told anybody.
        let Spend::Short { need } = peek() else { return Part::All };
        let Some(terms) = slot.terms() else { return Part::All };
        let unknown = slot.bucket.outlook(terms, need, now) == Outlook::Unknown;
        match (unknown, self.beyond) {
            (true, false) => Part::All,
            (true, true) if may_owe => Part::Beyond,
            (_, true) => Part::Some(units.saturating_sub(need)),
            // `need` is more than it has left, or nothing is to be had of it at all.
            (false, false) => {
                Part::Some((units + slot.bucket.last_left(terms)).saturating_sub(need).min(units - 1))
            }
        }
    }
}

/// Adds a rest to what is taken of the last source that was asked.
fn ask_the_last(stakes: &mut Vec<Stake>, pockets: &mut [Pocket], rest: u64, line: usize) {
    let last = pockets.iter_mut().rev().find(|pocket| pocket.slot.is_some());
    let Some((pocket, slot)) = last.and_then(|pocket| pocket.slot.clone().map(|slot| (pocket, slot))) else {
        return;
    };
    pocket.passed = false;
    match stakes.last_mut().filter(|stake| Arc::ptr_eq(&stake.slot, &slot)) {
        Some(stake) => stake.units = stake.units.saturating_add(Units::saturating(rest)),
        None => {
            let bounded = slot.is_bounded();
            stakes.push(Stake { slot, units: Units::saturating(rest), line, bounded });
        }
    }
}

fn sum(pockets: &[Pocket]) -> Option<Units> {
    pockets.iter().try_fold(Units::ZERO, |sum, pocket| Some(sum.saturating_add(pocket.limit?)))
}

impl Purse {
    /// Whether nothing has come back to a source since that was passed over.
    pub fn is_current(&self) -> bool {
        self.meter.stir.count() == self.stir
    }

    /// Has the database asked from time to time whether anything came back to what is passed over, as those who know may
    /// not be heard.
    pub fn watch_passed(&self, shared: &Shared) {
        self.watch(shared, |pocket| pocket.passed);
    }

    fn watch(&self, shared: &Shared, which: impl Fn(&Pocket) -> bool) {
        for slot in self.pockets.iter().filter(|pocket| which(pocket)).filter_map(|p| p.slot.as_ref()) {
            if slot.bucket.watch() {
                lock(&shared.watched).push(Arc::clone(&slot.bucket));
            }
        }
    }

    /// Whether one of its words is charged no more.
    pub fn is_over(&self) -> bool {
        self.slots().any(|slot| slot.word.is_sealed())
    }

    fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.pockets.iter().filter_map(|pocket| pocket.slot.as_ref())
    }

    /// The sources that others may be giving back units of.
    pub fn recalling(&self, now: Monotonic) -> impl Iterator<Item = &Arc<Slot>> {
        self.slots().filter(move |slot| {
            slot.terms().is_some_and(|terms| slot.bucket.outlook(terms, u64::MAX, now) == Outlook::Recalling)
        })
    }

    /// Those of them that are burnt before overage.
    pub fn recalling_included(&self, now: Monotonic) -> impl Iterator<Item = &Arc<Slot>> {
        self.recalling(now).filter(|slot| slot.bucket.key.span != Span::Overage)
    }

    /// What is left of all sources, as far as is known here; `None`: any number.
    pub fn remaining(&self) -> Option<Units> {
        self.pockets.iter().try_fold(Units::ZERO, |sum, pocket| {
            let used = pocket.slot.as_ref().map_or(0, |slot| slot.used());
            Some(sum.saturating_add(pocket.limit?.saturating_sub(Units::saturating(used))))
        })
    }

    /// The refusal, as all sources together have too few.
    pub fn refuse(&self, shared: &Shared, now: Monotonic) -> Denial {
        self.watch(shared, |_| true);
        let used = self
            .pockets
            .iter()
            .map(|pocket| pocket.slot.as_ref().map_or(0, |slot| slot.used().max(slot.counted_out(now))));
        Denial::QuotaExhausted {
            meter: self.meter.meter.clone(),
            window: Window::Month,
            limit: self.limit.unwrap_or(Units::MAX),
            used: Units::saturating(used.fold(0, u64::saturating_add)),
            period: self.month,
        }
    }
}
