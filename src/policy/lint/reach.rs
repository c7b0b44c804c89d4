//! Plans that nothing in the policies leads to.
//!
//! Any plan can be set for a tenant by hand, so nothing is known for certain. What is told is only this: the folder has
//! prices, another plan is the free one already, and this one has neither a price nor a trial, nor does any other plan,
//! trial or add-on name it. A price of "0" says that it is meant to be had.

use std::collections::BTreeSet;

use crate::domain::catalog::Catalog;
use crate::policy::{compile::Read, definition::Name, diagnostic::Findings};

/// Warns of plans out of reach.
pub(super) fn check(read: &Read, catalog: &Catalog, findings: &mut Findings<'_>) {
    let plans = || read.plans.values().flatten();
    let then = |name: &Name| name.value.clone();
    let mut named: BTreeSet<String> = BTreeSet::new();
    for file in plans() {
        named.extend(file.extends.iter().map(then));
        named.extend(file.trial.iter().filter_map(|trial| trial.then.as_ref()).map(then));
    }
    named.extend(read.addons.iter().flat_map(|addon| &addon.plans).map(then));
    let bare = |id: &str| catalog.plan(id).is_some_and(|plan| plan.price.is_none() && plan.trial.is_none());
    let priced = catalog.plans.values().any(|plan| plan.price.is_some());
    let free = plans().any(|file| bare(file.id.as_str()) && named.contains(file.id.as_str()));
    if !(priced && free) {
        return;
    }
    for file in plans().filter(|file| bare(file.id.as_str()) && !named.contains(file.id.as_str())) {
        let message = format!(
            "nothing leads to the plan `{}`: it has neither a price nor a trial, and no plan, trial or add-on names it",
            file.id
        );
        let help = "give it a price (\"0\" is one) if tenants are to have it, or remove it".to_owned();
        findings.warn("plan-out-of-reach", file.place, message, help);
    }
}
