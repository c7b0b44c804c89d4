//! What a tenant's running month costs, as answers show it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::{cost::CostSoFar, money::Total},
    wire::statement::amount,
};

/// What the running month costs. Amounts are decimals in the currency's own digits.
#[derive(Serialize, ToSchema)]
#[schema(as = Cost)]
pub(super) struct CostView {
    /// ISO 4217, such as `USD`.
    currency: String,
    /// The plan for the whole month, with the parts of plans that it was changed from.
    plan: String,
    /// Add-ons for the whole month.
    addons: String,
    /// What was used so far beyond what is included, at its price, and never more than the spend cap.
    overage: String,
    /// All of these.
    total: String,
    /// The most that overage may cost in the month; `null`: any amount.
    spend_cap: Option<String>,
    /// What it is likely to come to.
    forecast: ForecastView,
}

/// What a month is likely to come to.
#[derive(Serialize, ToSchema)]
#[schema(as = Forecast)]
pub(super) struct ForecastView {
    /// The total at the month's end.
    total: String,
    /// How that was reckoned, in words.
    method: &'static str,
}

impl From<CostSoFar> for CostView {
    fn from(cost: CostSoFar) -> Self {
        let text = |total: Total| amount(total, Some(cost.currency));
        Self {
            currency: cost.currency.to_string(),
            plan: text(cost.plan),
            addons: text(cost.addons),
            overage: text(cost.overage),
            total: text(cost.total),
            spend_cap: cost.spend_cap.map(text),
            forecast: ForecastView { total: text(cost.forecast), method: cost.method },
        }
    }
}
