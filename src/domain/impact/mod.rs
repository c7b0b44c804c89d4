//! What other policies would do to the tenants there are: who loses what, who would be cut off, and on which day, and what
//! it does to the bills.
//!
//! [`Assessment`] is handed one tenant after the other with what it used, and keeps sums and the first few of each list: it
//! needs the same room for any number of tenants. A tenant's rights are compiled from both catalogs as for a request, so
//! add-ons, overrides, grants and versions of plans count as they do there. What is about to happen by itself is looked
//! ahead to: who comes to a plan's new version at the end of its month loses something then.

mod assess;
mod bill;
mod capacity;
mod lists;
mod lookback;
mod remap;
mod replay;
mod rights;
mod routes;
#[cfg(test)]
mod tests;

pub use assess::Assessment;
pub use lists::{Both, Group, LONGEST_LIST};
pub use lookback::{DayUse, Lookback, Part, Spent};
pub use replay::{Exhausted, Replayed, Terms, replay};
pub use routes::Rerouted;

use std::collections::BTreeMap;

use super::{
    id::{PlanId, TenantId},
    money::{Currency, Total},
    period::Window,
    time::UnixMillis,
};

/// What would become of all tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impact {
    /// As of when.
    pub at: UnixMillis,
    /// Tenants that were looked at.
    pub tenants: u64,
    /// Those of them that lose something.
    pub losing: u64,
    /// Those of them that gain something.
    pub gaining: u64,
    /// Tenants whose plan would be missing, so that they are refused everything, by that plan.
    pub missing: BTreeMap<PlanId, Group<Touched>>,
    /// By feature.
    pub features: BTreeMap<String, Both<Touched>>,
    /// Meters that the tenant's plan names or does not name any more, by meter.
    pub meters: BTreeMap<String, Both<Touched>>,
    /// Routes that the policies change themselves, by kind of change.
    pub routes: Vec<Rerouted>,
    /// By limit.
    pub limits: BTreeMap<String, Both<Altered>>,
    /// Units after which a tenant is refused, by meter and window.
    pub quotas: BTreeMap<(String, Window), Both<Altered>>,
    /// Who would have nothing left this very moment, and has something now.
    pub over: Group<Over>,
    /// Who would have run out in its last billing month, or sooner than as things are.
    pub ran_out: Group<RanOut>,
    /// Who would not have run out, or later.
    pub spared: Group<RanOut>,
    /// What the last billing month would have cost.
    pub cost: BTreeMap<Currency, Cost>,
    /// Whose subscriptions of the billing system would mean something else, once it tells something of them or its events
    /// are looked at again.
    pub remapped: Group<Remapped>,
}

/// A tenant whose subscriptions of the billing system would mean something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remapped {
    /// Which.
    pub tenant: TenantId,
    /// What they mean, in words; `None`: nothing, the tenant stays as it is.
    pub before: Option<String>,
    /// What they would mean.
    pub after: Option<String>,
}

/// A tenant that something happens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    /// Which.
    pub tenant: TenantId,
    /// When; `None`: at once.
    pub from: Option<UnixMillis>,
}

/// A tenant one of whose numbers changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Altered {
    /// Which.
    pub tenant: TenantId,
    /// When; `None`: at once.
    pub from: Option<UnixMillis>,
    /// The number that it has; `None`: there is no limit.
    pub before: Option<u64>,
    /// The number that it would have.
    pub after: Option<u64>,
}

/// A tenant with nothing left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub tenant: TenantId,
    /// Of what.
    pub meter: String,
    /// In which window.
    pub window: Window,
    /// Units it has used in it.
    pub used: u64,
    /// Units it could use in it.
    pub limit: u64,
}

/// A tenant's last billing month, replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RanOut {
    /// Which.
    pub tenant: TenantId,
    /// Of what.
    pub meter: String,
    /// When it ran out, as things are; `None`: it did not.
    pub before: Option<Exhausted>,
    /// When it would have.
    pub after: Option<Exhausted>,
}

/// What the last billing months of all tenants would have cost, in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cost {
    /// As things are.
    pub before: Total,
    /// As they would be.
    pub after: Total,
    /// Tenants that would have paid more.
    pub dearer: Group<Bill>,
    /// Tenants that would have paid less.
    pub cheaper: Group<Bill>,
}

/// A tenant's bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    /// Whose.
    pub tenant: TenantId,
    /// As things are.
    pub before: Total,
    /// As they would be.
    pub after: Total,
}

impl Impact {
    /// Nothing yet.
    #[must_use]
    pub const fn none(at: UnixMillis) -> Self {
        Self {
            at,
            tenants: 0,
            losing: 0,
            gaining: 0,
            missing: BTreeMap::new(),
            features: BTreeMap::new(),
            meters: BTreeMap::new(),
            routes: Vec::new(),
            limits: BTreeMap::new(),
            quotas: BTreeMap::new(),
            over: Group::EMPTY,
            ran_out: Group::EMPTY,
            spared: Group::EMPTY,
            cost: BTreeMap::new(),
            remapped: Group::EMPTY,
        }
    }
}
