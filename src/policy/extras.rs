//! Add-ons beside their plans: which add nothing, and what plans are at most with all that can be sold beside them.

use std::collections::BTreeMap;

use super::{compile::Read, diagnostic::Findings};
use crate::domain::{
    addon::{Addon, MOST_OF_AN_ADDON},
    catalog::Catalog,
    features::FeatureSet,
    id::PlanId,
    plan::{MeterTerms, Plan, Quota},
    units::{Allowance, Units},
};

/// Warns of add-ons that add nothing.
pub(super) fn check(catalog: &Catalog, read: &Read, findings: &mut Findings<'_>) {
    for file in &read.addons {
        if catalog.addon(file.id.as_str()).is_some_and(|addon| adds_nothing(addon)) {
            let message = format!("the add-on `{}` adds nothing to any plan", file.id);
            let help = "give it `features`, `limits` or `quotas` above 0".to_owned();
            findings.warn("addon-without-effect", file.place, message, help);
        }
    }
}

fn adds_nothing(addon: &Addon) -> bool {
    let nothing = |allowance: Allowance| allowance == Allowance::Limited(Units::ZERO);
    let windows = |quota: &Quota| [Some(quota.month), quota.hour, quota.day, quota.week];
    addon.features.iter().next().is_none()
        && addon.limits.values().all(|limit| nothing(*limit))
        && addon.quotas.iter().flatten().flat_map(windows).flatten().all(nothing)
}

/// Each plan with the most of every add-on that goes with it.
pub(super) fn with_all(catalog: &Catalog) -> Vec<Plan> {
    let mut full: BTreeMap<&PlanId, Plan> =
        catalog.plans.iter().map(|(id, plan)| (id, (**plan).clone())).collect();
    for addon in catalog.addons.values() {
        for id in &addon.plans {
            if let Some(plan) = full.get_mut(id) {
                addon.add_to(plan, MOST_OF_AN_ADDON);
            }
        }
    }
    if let Some(everywhere) = everywhere(catalog) {
        full.values_mut().for_each(|plan| everywhere.add_to(plan, 1));
    }
    full.into_values().collect()
}

/// The most of all add-ons that go with every plan, as one: there may be thousands of them, and of plans.
fn everywhere(catalog: &Catalog) -> Option<Addon> {
    let mut all = catalog.addons.values().filter(|addon| addon.plans.is_empty()).peekable();
    let first = Addon::clone(all.peek()?);
    let mut sum = Plan::empty(PlanId::parse("sum").ok()?);
    sum.features = FeatureSet::empty(catalog.features.len());
    sum.meters = vec![MeterTerms::default(); catalog.meters.len()].into_boxed_slice();
    all.for_each(|addon| addon.add_to(&mut sum, MOST_OF_AN_ADDON));
    let quotas = sum.meters.iter().map(|terms| terms.quota).collect();
    Some(Addon { features: sum.features, limits: sum.limits, quotas, ..first })
}
