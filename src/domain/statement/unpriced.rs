//! What was sold and cannot be priced: a statement says so instead of leaving it out.

use super::{Item, Line};
use crate::domain::{
    catalog::Catalog,
    id::{AddonId, MeterId},
    period::Period,
    plan::PlanRef,
    time::Version,
    transitions::State,
    units::Units,
};

/// Something that was sold, and whose price nobody knows any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unpriced {
    /// Time on a plan.
    Plan {
        /// Which.
        plan: PlanRef,
        /// When.
        span: Period,
    },
    /// Time with an add-on.
    Addon {
        /// Which.
        addon: AddonId,
        /// How many of it.
        quantity: u32,
        /// When.
        span: Period,
    },
    /// Units beyond what was included and granted.
    Overage {
        /// Of what.
        meter: MeterId,
        /// In which counting.
        counting: Version,
        /// How many.
        units: Units,
        /// What is missing.
        why: Missing,
    },
}

/// What is missing to price units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Anything that is known to have let them through.
    Terms,
    /// A currency: the plan that bills them has no price of its own.
    Currency,
}

impl Unpriced {
    /// The word used in answers: the kind of the line that there would be.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Plan { .. } => "plan",
            Self::Addon { .. } => "addon",
            Self::Overage { .. } => "overage",
        }
    }

    /// Why there is no price.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Plan { .. } => "the policies do not have this plan, and what it cost was never kept",
            Self::Addon { .. } => "the policies do not have this add-on, and what it cost was never kept",
            Self::Overage { why: Missing::Terms, .. } => {
                "nothing is known to have let these units through, or what they cost"
            }
            Self::Overage { why: Missing::Currency, .. } => {
                "the plan that bills these units has no price, and so no currency"
            }
        }
    }
}

/// Whether time in this state is paid for. A trial is free, and who is refused for not paying, or has paused, pays nothing.
pub(super) const fn is_paid(state: State) -> bool {
    matches!(state, State::Active | State::PastDue)
}

/// Those of these lines that have no price as nobody knows it, not as it is nothing.
pub(super) fn lines(lines: &[Line], catalog: &Catalog) -> Vec<Unpriced> {
    let unpriced = lines.iter().filter_map(|line| match &line.item {
        Item::Plan { plan, state, span, price: None, .. } => {
            let unknown = is_paid(*state) && catalog.plan_in(plan).is_none();
            unknown.then(|| Unpriced::Plan { plan: plan.clone(), span: *span })
        }
        Item::Addon { addon, quantity, span, price: None, .. } => {
            let unknown = catalog.addon(addon.as_str()).is_none();
            unknown.then(|| Unpriced::Addon { addon: addon.clone(), quantity: *quantity, span: *span })
        }
        Item::Plan { .. } | Item::Addon { .. } | Item::Overage { .. } | Item::SpendCap { .. } => None,
    });
    unpriced.collect()
}
