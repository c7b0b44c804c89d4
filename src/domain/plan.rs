//! A plan with everything that it inherits, as the policy compiler leaves it.

use std::collections::BTreeMap;

use super::{
    features::FeatureSet,
    id::{LimitId, PlanId},
    money::{Decimal, Price},
    period::Window,
    rate::Rate,
    units::{Allowance, Units},
};

/// A meter's place in its catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterIx(pub u16);

/// What is sold by the month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its id, the file's name.
    pub id: PlanId,
    /// Its name for people.
    pub title: Option<String>,
    /// The plan it extends.
    pub parent: Option<PlanId>,
    /// What it costs a month.
    pub price: Option<Price>,
    /// How it may be tried.
    pub trial: Option<Trial>,
    /// Rights that are on.
    pub features: FeatureSet,
    /// Fixed numbers.
    pub limits: BTreeMap<LimitId, Allowance>,
    /// What may be used of each meter, by [`MeterIx`].
    pub meters: Box<[MeterTerms]>,
}

/// A trial: for so many days, then another plan or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Its length.
    pub days: u16,
    /// The plan that follows; `None` blocks.
    pub then: Option<PlanId>,
}

/// What a plan says of one meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeterTerms {
    /// How much; `None`: the plan does not name the meter, and whatever is charged to it is refused.
    pub quota: Option<Quota>,
    /// How fast.
    pub rate: Option<Rate>,
}

/// How much of a meter may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Included in the billing month.
    pub month: Allowance,
    /// In a clock hour, if limited.
    pub hour: Option<Allowance>,
    /// In a day, if limited.
    pub day: Option<Allowance>,
    /// In a week, if limited.
    pub week: Option<Allowance>,
    /// What happens past the month's limit.
    pub overage: Overage,
}

/// What happens past the month's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overage {
    /// Refused.
    #[default]
    Block,
    /// Let through, up to `cap` more units.
    Allow {
        /// Units beyond the limit; `None`: any number.
        cap: Option<Units>,
    },
    /// Let through and billed, up to `cap` more units.
    Bill {
        /// Units beyond the limit; `None`: any number.
        cap: Option<Units>,
        /// Price of each `per` units, in the plan's currency.
        price: Decimal,
        /// How many units the price is for; at least 1.
        per: Units,
    },
}

impl Overage {
    /// The word used in policy files and answers.
    #[must_use]
    pub const fn mode(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Allow { .. } => "allow",
            Self::Bill { .. } => "bill",
        }
    }
}

impl Quota {
    /// A quota of the month alone, hard.
    #[must_use]
    pub const fn monthly(month: Allowance) -> Self {
        Self { month, hour: None, day: None, week: None, overage: Overage::Block }
    }

    /// The number of units in `window` after which a charge is refused: the month's includes the overage cap.
    /// `None`: nothing is refused for this window.
    #[must_use]
    pub fn hard_limit(&self, window: Window) -> Option<Units> {
        match window {
            Window::Hour => self.hour?.limit(),
            Window::Day => self.day?.limit(),
            Window::Week => self.week?.limit(),
            Window::Month => {
                let included = self.month.limit()?;
                match self.overage {
                    Overage::Block => Some(included),
                    Overage::Allow { cap } | Overage::Bill { cap, .. } => {
                        cap.map(|cap| included.saturating_add(cap))
                    }
                }
            }
        }
    }

    /// Whether the quota counts in `window` at all. The month always does: it is what usage is reported from.
    #[must_use]
    pub const fn counts(&self, window: Window) -> bool {
        match window {
            Window::Hour => self.hour.is_some(),
            Window::Day => self.day.is_some(),
            Window::Week => self.week.is_some(),
            Window::Month => true,
        }
    }
}
