//! The shape of `stripe.yaml`.

use super::{
    shape::{Named, one_of, shape, value},
    value::{MeterName, Name},
};

shape! {
    /// What the names of your Stripe account mean here. With this file Stripe's webhooks can set tenants' plans.
    #[schemars(title = "Plangate: stripe.yaml")]
    Stripe requires [] {
        /// Prices by their id: which plan or add-on each sells.
        prices: Named<PriceId, SaleForms>,
        /// Prices by their lookup key, where their id is not listed: the same in test mode and in live mode.
        lookup_keys: Named<LookupKey, SaleForms>,
        /// Features of Stripe's entitlements by their lookup key: which feature each is. Once Stripe has told a customer's entitlements, each feature named here is on or off for the tenant as Stripe says.
        features: Named<LookupKey, Name>,
        /// Meters whose usage is told to Stripe.
        meters: Named<MeterName, ToldMeter>,
    }
}

one_of! {
    /// What a price sells.
    SaleForms = [PlanSale, AddonSale]
}

shape! {
    /// A price of a plan. A subscription may have several items of the same plan, such as one for its overage.
    PlanSale requires ["plan"] {
        /// The plan.
        plan: Name,
    }
}

shape! {
    /// A price of an add-on.
    AddonSale requires ["addon"] {
        /// The add-on; the item's quantity is how many of it.
        addon: Name,
    }
}

shape! {
    /// How a meter's usage is told.
    ToldMeter requires ["event_name"] {
        /// The `event_name` of the meter in Stripe.
        #[schemars(extend("examples" = ["api_requests"]))]
        event_name: EventName,
        /// Which units: those beyond what the plan includes, or all.
        #[schemars(extend("default" = "overage"))]
        count: Count,
    }
}

/// Where a price's keys stand, whatever it sells.
pub(in crate::policy) struct Sale;

impl Sale {
    /// The keys of both forms, of which one is given.
    pub(in crate::policy) const KEYS: &'static [&'static str] = &["plan", "addon"];
}

value! {
    /// The id of a price.
    PriceId = { "title": "price id", "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,255}$" }
}
value! {
    /// A lookup key.
    LookupKey = { "title": "lookup key", "type": "string", "pattern": "^[!-~]{1,200}$" }
}
value! {
    /// The name under which a meter's events are told.
    EventName = { "title": "text", "type": "string", "pattern": "^[!-~]{1,100}$" }
}
value! {
    /// Which units are told.
    Count = { "enum": ["overage", "all"] }
}
