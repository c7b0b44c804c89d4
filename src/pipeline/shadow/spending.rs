//! Money under tried policies: whether their spend cap would have let a request pass.
//!
//! What would have been spent is reckoned from units, as the rest of the shadow is: what each meter would have used beyond
//! what it includes, at the price that the tried policies have. So a cap that is tried in the middle of a month knows what
//! the month has cost before, and prices that are tried with it count for the whole of it.

use super::tried::{Asked, Standing, Tried};
use crate::domain::{
    denial::Denial,
    period::Window,
    plan::MeterIx,
    rights::{Entitlement, Rights},
    spend::{MoneyUnits, UnitCost},
    units::Units,
};

/// What one unit of a meter costs beyond what is included; `None`: nothing.
fn cost(entitlement: &Entitlement, meter: MeterIx) -> Option<MoneyUnits> {
    let cost = UnitCost::of_meter(&entitlement.terms(meter))?.money;
    (cost > MoneyUnits::ZERO).then_some(cost)
}

impl Standing {
    /// Of so many units in a month those beyond what is included and granted.
    fn beyond(&self, used: Units) -> Units {
        self.included.map_or(Units::ZERO, |included| used.saturating_sub(included))
    }
}

impl Tried {
    /// Whether enough money would be left for what a request takes beyond what is included.
    pub(super) fn afford(
        &mut self,
        rights: &Rights,
        entitlement: &Entitlement,
        asked: &Asked<'_>,
        meters: &[usize],
        standings: &[Vec<Standing>],
    ) -> Result<(), Denial> {
        let Some(terms) = entitlement.offer.spend() else { return Ok(()) };
        let Some(cap) = terms.cap else { return Ok(()) };
        let (mut needs, mut first) = (MoneyUnits::ZERO, None);
        for (place, standings) in meters.iter().zip(standings) {
            let Some(charge) = asked.found.charge_of(&self.meters[*place].meter) else { continue };
            let month = standings.iter().find(|standing| standing.window == Window::Month);
            let (Some(month), Some(cost)) = (month, cost(entitlement, charge.meter)) else { continue };
            let used = self.used(*place, month, asked);
            let more = month.beyond(used.saturating_add(charge.units)).saturating_sub(month.beyond(used));
            if more > Units::ZERO {
                needs = needs.plus(cost.times(more));
                first.get_or_insert((*place, month.period));
            }
        }
        let Some((place, period)) = first else { return Ok(()) };
        let spent = self.spent(rights, entitlement, asked);
        if needs <= cap.less(spent) {
            return Ok(());
        }
        let meter = self.meters[place].meter.clone();
        Err(Denial::SpendCapReached { meter, currency: terms.currency, cap, spent, period })
    }

    /// What all meters would have cost before this request.
    fn spent(&mut self, rights: &Rights, entitlement: &Entitlement, asked: &Asked<'_>) -> MoneyUnits {
        let mut spent = MoneyUnits::ZERO;
        for (ix, meter) in (0..).map(MeterIx).zip(&rights.catalog.meters) {
            let Some(cost) = cost(entitlement, ix) else { continue };
            // One that no request of the trial has charged is known from now on, so that its use is learned.
            let place = self.place(&meter.id);
            let standings = self.standings(place, rights, entitlement, asked);
            let month = standings.iter().find(|standing| standing.window == Window::Month);
            let beyond = month.map_or(Units::ZERO, |month| month.beyond(self.used(place, month, asked)));
            spent = spent.plus(cost.times(beyond));
        }
        spent
    }
}
