//! A tenant's spend cap as it stands, and what a request would take of it.

use serde::Serialize;
use utoipa::ToSchema;

use super::grounds::{Ground, Question};
use crate::{
    domain::{
        denial::Denial,
        id::MeterId,
        rights::Entitlement,
        spend::{MoneyUnits, UnitCost},
        units::Units,
    },
    ports::SpendUsage,
};

/// The spend cap of a billing month.
#[derive(Serialize, ToSchema)]
#[schema(as = SpendCap)]
pub(super) struct SpendView {
    /// The most that billed overage may cost in the month: a decimal, as the other amounts.
    limit: String,
    /// What it has cost so far, over all meters and nodes, each unit rounded up to a billionth.
    spent: String,
    /// What is left; what crashed nodes may have spent counts as spent.
    remaining: String,
    /// The currency of all amounts.
    currency: String,
}

impl From<&SpendUsage> for SpendView {
    fn from(usage: &SpendUsage) -> Self {
        Self {
            limit: usage.cap.to_string(),
            spent: usage.spent.to_string(),
            remaining: usage.remaining().to_string(),
            currency: usage.currency.to_string(),
        }
    }
}

/// The spend cap that a charge would be held against.
#[derive(Serialize, ToSchema)]
pub(super) struct SpendCheck {
    /// What the units beyond what is included would cost.
    needs: String,
    /// The cap as it stands.
    #[serde(flatten)]
    cap: SpendView,
    /// When the month ends.
    resets_at: String,
    /// Whether it would let the request through.
    ok: bool,
    /// On what ground the cap is what it is.
    #[serde(flatten)]
    pub(super) ground: Ground,
}

impl Question<'_> {
    /// What the request takes of the spend cap, and the refusal. `None`: no cap is in force, or the request costs nothing.
    pub(super) fn spend(&self, given: &Entitlement) -> Option<(SpendCheck, Option<Denial>)> {
        let usage = self.counts.spend()?;
        let (mut needs, mut first) = (MoneyUnits::ZERO, None::<&MeterId>);
        for charge in self.operation.map_or(&[][..], |operation| &operation.charge) {
            let meter = &self.rights.catalog.meter(charge.meter)?.id;
            let Some(cost) = UnitCost::of_meter(&given.terms(charge.meter)) else { continue };
            let sources = self.counts.sources(given, &self.rights.catalog, meter, self.present.now);
            let included = super::sources::sum(
                sources.iter().filter(|source| !source.is_overage()).map(super::sources::SourceCount::left),
            );
            let beyond = included.map_or(Units::ZERO, |included| charge.units.saturating_sub(included));
            if beyond > Units::ZERO {
                needs = needs.plus(cost.money.times(beyond));
                first.get_or_insert(meter);
            }
        }
        let meter = first?;
        let ok = needs <= usage.remaining();
        let check = SpendCheck {
            needs: needs.to_string(),
            cap: usage.into(),
            resets_at: usage.period.end.to_string(),
            ok,
            ground: self.spend_cap(given),
        };
        let denial = (!ok).then(|| Denial::SpendCapReached {
            meter: meter.clone(),
            currency: usage.currency,
            cap: usage.cap,
            spent: usage.spent.plus(usage.uncertain),
            period: usage.period,
        });
        Some((check, denial))
    }
}
