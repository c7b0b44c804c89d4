//! A pledge: the money that a charge takes of its tenant's spend cap, for those of its units that are billed overage.
//!
//! It is one word beside the sources, as a shorter window is, but for all meters of the charge together: what each of them
//! takes of its overage costs so much a unit. What is given back of an overage gives its money back to the same word, what
//! is used above a reserve takes it. Without a cap the money is only counted, so that a cap that is set later knows what
//! the month has cost before.

use std::sync::Arc;

use super::{
    account::MeterAccount,
    bucket::Outlook,
    few::Few,
    purse::Asker,
    shared::{Shared, lock},
    slot::Slot,
    tab::{Line, Stake},
    wish::{Place, Wish},
};
use crate::{
    domain::{
        denial::Denial,
        id::MeterId,
        money::Currency,
        period::Windows,
        spend::{MoneyUnits, UnitCost},
        units::Units,
    },
    ports::{ChargeError, Span},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Pledge {
    /// The tenant's money in this month.
    pub slot: Arc<Slot>,
    /// What the slot belongs to.
    pub owner: Arc<MeterAccount>,
    /// What the charge takes of it.
    pub money: Units,
    /// A cap is in force: nothing is taken that was not granted before.
    pub bounded: bool,
    currency: Currency,
    /// The meter of the first part, by which a refusal is told.
    meter: MeterId,
    parts: Box<[Part]>,
}

/// What one line's overage costs.
#[derive(Debug)]
struct Part {
    line: usize,
    /// Of one unit.
    cost: MoneyUnits,
}

/// Whether a stake is the overage of its meter.
fn is_overage(stake: &Stake) -> bool {
    stake.slot.bucket.key.span == Span::Overage
}

impl Pledge {
    /// What the overage among these stakes costs, and the word that it is taken from; with it, whether that is just what the
    /// rights ask for. `None`: nothing is billed.
    pub fn open(
        asker: &Asker<'_>,
        lines: &Few<Line>,
        stakes: &[Stake],
    ) -> Result<Option<(Box<Self>, bool)>, ChargeError> {
        if !stakes.iter().any(is_overage) {
            return Ok(None);
        }
        let Some(terms) = asker.entitlement.offer.spend() else { return Ok(None) };
        let (mut parts, mut money, mut first) = (Vec::new(), MoneyUnits::ZERO, None);
        for stake in stakes.iter().filter(|stake| is_overage(stake)) {
            let Some(line) = lines.iter().nth(stake.line) else { continue };
            let cost = UnitCost::of_meter(&asker.entitlement.terms(line.ix)).map(|cost| cost.money);
            let Some(cost) = cost.filter(|cost| *cost > MoneyUnits::ZERO) else { continue };
            money = money.plus(cost.times(stake.units));
            parts.push(Part { line: stake.line, cost });
            first.get_or_insert_with(|| line.meter.meter.clone());
        }
        let Some(meter) = first else { return Ok(None) };
        let wish = Wish {
            rights: asker.rights,
            entitlement: asker.entitlement,
            place: Place::Spend,
            limit: terms.cap.map(MoneyUnits::units),
            ceiling: None,
            counted: Windows::default(),
            now: asker.now,
        };
        let name = terms.meter().map_err(|_| ChargeError::Unavailable)?;
        let account = &asker.desk.account;
        let owner = account.money(&name);
        let slot = owner.ask(wish.place, |cell| cell.slot(asker.shared, (&account.tenant, &*owner), wish))?;
        let regular = wish.is_met_by(&slot);
        let bounded = slot.is_bounded();
        let (money, currency, parts) = (money.units(), terms.currency, parts.into_boxed_slice());
        Ok(Some((Box::new(Self { slot, owner, money, bounded, currency, meter, parts }), regular)))
    }

    /// What so many units of a stake cost; nothing, where it is no billed overage.
    pub fn cost(&self, stake: &Stake, units: Units) -> Units {
        let part = self.parts.iter().find(|part| part.line == stake.line && is_overage(stake));
        part.map_or(Units::ZERO, |part| part.cost.times(units).units())
    }

    /// Whether no grant can ever be large enough.
    pub fn is_above_cap(&self) -> bool {
        self.slot.limit().is_some_and(|cap| self.money > cap)
    }

    /// The refusal, as too little money is left.
    pub fn refuse(&self, shared: &Shared) -> Denial {
        let slot = &self.slot;
        let cap = slot.limit().unwrap_or(Units::MAX);
        if slot.bucket.watch() {
            lock(&shared.watched).push(Arc::clone(&slot.bucket));
        }
        // What this node holds is not spent yet.
        let held = slot.word.granted().saturating_sub(slot.word.totals().net());
        let counted = slot.counted_out(shared.monotonic()).saturating_sub(held);
        let spent = Units::saturating(slot.used().max(counted));
        Denial::SpendCapReached {
            meter: self.meter.clone(),
            currency: self.currency,
            cap: MoneyUnits::of(cap),
            spent: MoneyUnits::of(spent),
            period: slot.period,
        }
    }

    /// What the database would say to another `need`.
    pub fn outlook(&self, shared: &Shared, need: u64) -> Outlook {
        let terms = self.slot.terms();
        terms.map_or(Outlook::Unknown, |terms| self.slot.bucket.outlook(terms, need, shared.monotonic()))
    }
}
