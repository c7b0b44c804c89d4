//! What was to be had in each span of a period, and by which of it units beyond what was included are priced.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Span,
    reckon::state,
    unpriced::{Missing, is_paid},
};
use crate::domain::{
    bygone::Bygone,
    catalog::Catalog,
    id::MeterId,
    money::{Currency, Decimal, Total},
    plan::{Overage, Plan, Quota},
    time::Version,
    units::Units,
};

/// What was to be had in each span.
pub(super) struct Offers<'a> {
    pub(super) spans: &'a [Span<'a>],
    pub(super) terms: &'a [Option<Arc<Plan>>],
    /// What plans of today once said.
    pub(super) bygone: Option<&'a Bygone>,
}

/// What units beyond what was included come to.
pub(super) enum Pricing<'a> {
    /// So much.
    Billed {
        /// The plan whose price it is.
        plan: &'a Plan,
        /// In which currency.
        currency: Currency,
        /// Of each `per` units.
        price: Decimal,
        /// How many units the price is for.
        per: Units,
    },
    /// Nothing.
    Free,
    /// Nobody knows.
    Unknown(Missing),
}

/// A quota, the plan that said it, and whether its time was paid for.
type Said<'a> = (Quota, &'a Plan, bool);

impl Offers<'_> {
    /// The quotas of a meter in a counting, the last first.
    pub(super) fn quotas(&self, catalog: &Catalog, meter: &MeterId, counting: Version) -> Vec<Said<'_>> {
        let Some(ix) = catalog.meter_ix(meter.as_str()) else { return Vec::new() };
        let each = self.spans.iter().zip(self.terms).rev();
        let own = each.filter(|(span, _)| span.subscription.epoch == counting);
        let quotas = own.filter_map(|(span, plan)| {
            let plan = plan.as_ref()?;
            Some((plan.meters.get(usize::from(ix.0))?.quota?, &**plan, is_paid(state(span))))
        });
        quotas.collect()
    }

    /// Likewise those that let more through than they included and that their plans do not have any more.
    fn bygone(&self, meter: &MeterId, counting: Version) -> Vec<Said<'_>> {
        let Some(bygone) = self.bygone else { return Vec::new() };
        let own = self.spans.iter().rev().filter(|span| span.subscription.epoch == counting);
        let quotas = own.filter_map(|span| {
            let plan = span.plan?;
            Some((*bygone.quota(&plan.reference(), meter)?, &**plan, is_paid(state(span))))
        });
        quotas.collect()
    }

    /// The quota that last let units of a counting through beyond what it included, where none does any more.
    pub(super) fn last_beyond(&self, meter: &MeterId, counting: Version) -> Option<Quota> {
        let quotas = self.bygone(meter, counting);
        let billed = quotas.iter().find(|(quota, _, paid)| *paid && is_billed(quota));
        billed.or(quotas.first()).map(|(quota, ..)| *quota)
    }

    /// How units beyond what was included in a counting are priced: by the last plan in it that bills the meter. Only
    /// where nothing lets any through any more, by what plans once said.
    pub(super) fn pricing(&self, catalog: &Catalog, meter: &MeterId, counting: Version) -> Pricing<'_> {
        let paid = |span: &super::Span<'_>| span.subscription.epoch == counting && is_paid(state(span));
        if !self.spans.iter().any(paid) {
            return Pricing::Free;
        }
        for quotas in [self.quotas(catalog, meter, counting), self.bygone(meter, counting)] {
            if let Some((quota, plan, _)) = quotas.iter().find(|(quota, _, paid)| *paid && is_billed(quota)) {
                return billed(quota, plan);
            }
            if quotas.iter().any(|(quota, ..)| !matches!(quota.overage, Overage::Block)) {
                return Pricing::Free;
            }
        }
        Pricing::Unknown(Missing::Terms)
    }

    /// The spend cap that was last in force in time that was paid for, as it can be paid.
    pub(super) fn spend_cap(&self) -> Option<(Currency, Total)> {
        let last = self.spans.iter().zip(self.terms).rev().find(|(span, _)| is_paid(state(span)));
        let terms = last?.1.as_deref()?.spend()?;
        Some((terms.currency, terms.cap?.total().rounded_down(terms.currency.minor_digits())))
    }

    /// Each counting of the period.
    pub(super) fn countings(&self) -> BTreeSet<Version> {
        self.spans.iter().map(|span| span.subscription.epoch).collect()
    }
}

pub(super) const fn is_billed(quota: &Quota) -> bool {
    matches!(quota.overage, Overage::Bill { .. })
}

fn billed<'a>(quota: &Quota, plan: &'a Plan) -> Pricing<'a> {
    let Overage::Bill { price, per, .. } = quota.overage else { return Pricing::Free };
    match plan.price {
        Some(of_plan) => Pricing::Billed { plan, currency: of_plan.currency, price, per },
        // A price without a currency is no price; `policy check` warns of it.
        None if price.is_zero() => Pricing::Free,
        None => Pricing::Unknown(Missing::Currency),
    }
}
