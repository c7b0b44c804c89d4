//! Statements: what a tenant's billing period comes to, and what that is made of.
//!
//! [`BillingFacts`] are kept whenever what a tenant is billed by changes; a [`Timeline`] lays them over a period;
//! [`reckon`] prices the period by the catalog in force. Nothing here reads a clock or a database: the same facts, units
//! and prices always come to the same statement.

mod facts;
mod offers;
mod proration;
mod reckon;
#[cfg(test)]
mod tests;
mod timeline;
mod unpriced;
mod used;

use std::collections::BTreeMap;

pub use self::{
    facts::{BillingFacts, steps},
    proration::Proration,
    reckon::reckon,
    timeline::{Span, Timeline},
    unpriced::Unpriced,
    used::{BucketUse, Counted, Hours},
};
use super::{
    id::{AddonId, GrantId, MeterId, TenantId},
    money::{Currency, Decimal, Price, Total},
    period::{Period, Zone},
    plan::PlanRef,
    time::{UnixMillis, Version},
    transitions::State,
    units::{Allowance, Units},
};

/// What a billing period comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Whose.
    pub tenant: TenantId,
    /// The period.
    pub period: Period,
    /// The tenant's zone when the period began.
    pub zone: Zone,
    /// The period's first day there: `2026-11-15`.
    pub name: String,
    /// Of most amounts: the currency of the plan that was last billed; `None`: nothing has a price.
    pub currency: Option<Currency>,
    /// The most that overage may cost in the period, as it was last in force.
    pub spend_cap: Option<Total>,
    /// What is billed and why: plans, add-ons, overage, then what the spend cap takes off.
    pub lines: Vec<Line>,
    /// What was used, by meter and counting.
    pub usage: Vec<MeterCount>,
    /// What was used of grants.
    pub grants: Vec<GrantCount>,
    /// What was sold and cannot be priced: none of it is in the lines' amounts.
    pub unpriced: Vec<Unpriced>,
}

/// A line of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// For what.
    pub item: Item,
    /// In which currency; `None`: the item has no price.
    pub currency: Option<Currency>,
    /// How much, rounded to what is paid; taken off where the item [is a credit](Item::is_credit).
    pub amount: Total,
}

/// What a line is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A plan for some time.
    Plan {
        /// Which.
        plan: PlanRef,
        /// Its name for people.
        title: Option<String>,
        /// The subscription's state: only `active` and `past_due` are billed.
        state: State,
        /// When.
        span: Period,
        /// Of a whole period.
        price: Option<Price>,
    },
    /// An add-on for some time.
    Addon {
        /// Which.
        addon: AddonId,
        /// Its name for people.
        title: Option<String>,
        /// How many of it.
        quantity: u32,
        /// When.
        span: Period,
        /// Of one for a whole period.
        price: Option<Price>,
    },
    /// Units beyond what was included and granted.
    Overage {
        /// Of what.
        meter: MeterId,
        /// In which counting.
        counting: Version,
        /// The plan whose price it is.
        plan: PlanRef,
        /// How many.
        units: Units,
        /// Of each `per` units.
        price: Decimal,
        /// How many units the price is for.
        per: Units,
    },
    /// What overage comes to above the spend cap.
    SpendCap {
        /// The cap.
        cap: Total,
    },
}

impl Item {
    /// Whether it is taken off.
    #[must_use]
    pub const fn is_credit(&self) -> bool {
        matches!(self, Self::SpendCap { .. })
    }

    /// The word used in answers.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Plan { .. } => "plan",
            Self::Addon { .. } => "addon",
            Self::Overage { .. } => "overage",
            Self::SpendCap { .. } => "spend_cap",
        }
    }
}

/// What was used of a meter in one counting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterCount {
    /// The meter.
    pub meter: MeterId,
    /// The version at which this counting began.
    pub counting: Version,
    /// What was last included in it; `None`: the meter was not part of the plan.
    pub included: Option<Allowance>,
    /// What became of units beyond that: `block`, `allow` or `bill`.
    pub mode: Option<&'static str>,
    /// Units used of what was included.
    pub used: Units,
    /// When.
    pub hours: Hours,
    /// Units used beyond what was included and granted.
    pub overage: Units,
    /// When.
    pub overage_hours: Hours,
    /// Units that nodes which are gone were granted and may have used: shown, and never billed.
    pub uncertain: Units,
}

/// What was used of a grant in the period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantCount {
    /// Which.
    pub grant: GrantId,
    /// Of what.
    pub meter: MeterId,
    /// How many.
    pub used: Units,
    /// When.
    pub hours: Hours,
    /// Units of it that nodes which are gone may have used.
    pub uncertain: Units,
}

impl Statement {
    /// The sum of all lines by currency.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<Currency, Total> {
        let mut totals = BTreeMap::new();
        for line in self.lines.iter().filter(|line| !line.item.is_credit()) {
            let Some(currency) = line.currency else { continue };
            let sum: &mut Total = totals.entry(currency).or_default();
            *sum = sum.plus(line.amount);
        }
        for credit in self.lines.iter().filter(|line| line.item.is_credit()) {
            if let Some(sum) = credit.currency.and_then(|currency| totals.get_mut(&currency)) {
                *sum = sum.minus(credit.amount);
            }
        }
        totals
    }

    /// The sum of all lines in the statement's currency.
    #[must_use]
    pub fn total(&self) -> Total {
        let totals = self.totals();
        self.currency.and_then(|currency| totals.get(&currency).copied()).unwrap_or_default()
    }

    /// The sum of the lines in the statement's currency for which `counts` holds; credits are taken off.
    #[must_use]
    pub fn sum(&self, counts: impl Fn(&Item) -> bool) -> Total {
        let of = |credit: bool| {
            let own =
                self.lines.iter().filter(|line| line.currency.is_some() && line.currency == self.currency);
            own.filter(|line| line.item.is_credit() == credit && counts(&line.item))
                .fold(Total::default(), |sum, line| sum.plus(line.amount))
        };
        of(false).minus(of(true))
    }
}

/// The name of a period that begins at an instant: its first day in the zone.
#[must_use]
pub fn name(start: UnixMillis, zone: &Zone) -> String {
    zone.date(start).to_string()
}
