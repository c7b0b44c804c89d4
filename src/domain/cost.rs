//! What a month costs a tenant so far, and what it is likely to.

use super::money::{Currency, Total};

/// A running month's cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostSoFar {
    /// Of every amount here.
    pub currency: Currency,
    /// The plan for this month, with the parts of plans that it was changed from.
    pub plan: Total,
    /// Add-ons for this month.
    pub addons: Total,
    /// What was used so far beyond what is included, at its price.
    pub overage: Total,
    /// All of these.
    pub total: Total,
    /// What the total is likely to be at the month's end; never more than the spend cap lets it be.
    pub forecast: Total,
    /// How the forecast was made, in words.
    pub method: &'static str,
    /// The most that overage may cost in a month; `None`: any amount.
    pub spend_cap: Option<Total>,
}
