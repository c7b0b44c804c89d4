//! The shape of `addons/*.yaml`.

use super::{
    plan::Price,
    shape::{Distinct, Named, one_of, shape},
    value::{Allowance, Line, MeterName, Name, Units, Unlimited},
};

shape! {
    /// What is sold beside plans, once or several times: features are added, numbers are added up.
    #[schemars(title = "Plangate: addons/*.yaml")]
    Addon requires ["addon"] {
        /// Its name: that of the file without `.yaml`.
        addon: Name,
        /// Its name for people.
        title: Line,
        /// What one of it costs a month.
        price: Price,
        /// The plans that it goes with; without this key, every plan.
        #[schemars(extend("minItems" = 1))]
        plans: Distinct<Name>,
        /// Features that it gives.
        features: Distinct<Name>,
        /// What it adds to the plan's limits.
        limits: Named<Name, Allowance>,
        /// What it adds to the plan's quotas, window by window.
        quotas: Named<MeterName, AddedForms>,
    }
}

one_of! {
    /// What is added to a quota: `1000` is short for `{ limit: 1000 }`.
    AddedForms = [Units, Unlimited, AddedQuota]
}

shape! {
    /// What is added to a quota. Overage and roll-over are the plan's, for these units, too.
    AddedQuota requires ["limit"] {
        /// To the billing month's units.
        limit: Allowance,
        /// To the clock hour's, where the plan has such a window.
        hour: Allowance,
        /// To the day's, where the plan has such a window.
        day: Allowance,
        /// To the week's, where the plan has such a window.
        week: Allowance,
    }
}
