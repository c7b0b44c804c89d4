//! What policies had and do not have any more: kept before others come into force, and given to catalogs for their bills.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};

use super::plan_versions::Keep;
use crate::{
    domain::{
        bygone::Bygone,
        catalog::Catalog,
        id::MeterId,
        plan::{Overage, Plan, PlanRef, Quota},
    },
    ports::{KeptPlan, Sold, SoldTerms},
    wire::{
        plan,
        sold::{self, QUOTAS},
    },
};

/// What is to be kept of a catalog, beside its plans, so that bills do not need it: as far as it is not kept as it is.
/// Where `keep` is for some tenants only, what is known stays.
pub(super) fn news(catalog: &Catalog, plans: &[KeptPlan], kept: &[SoldTerms], keep: Keep) -> Vec<SoldTerms> {
    let known = known(plans, kept);
    let now = all(catalog).into_iter().map(|new| {
        let terms = match (known.get(&new.what).copied(), &new.what, keep) {
            (Some(old), Sold::Plan(_), Keep::Unknown) => together(&new.terms, old),
            (Some(old), Sold::Plan(_), _) => together(old, &new.terms),
            (Some(old), _, Keep::Unknown) => old.clone(),
            _ => new.terms,
        };
        SoldTerms { what: new.what, terms }
    });
    match keep {
        Keep::Nothing => Vec::new(),
        Keep::All | Keep::Unknown => now.filter(|new| !kept.contains(new)).collect(),
    }
}

/// All that is kept. Of plans that were kept by a version of the program that kept nothing else, what they say.
fn known<'a>(plans: &'a [KeptPlan], kept: &'a [SoldTerms]) -> BTreeMap<Sold, &'a Value> {
    let of_plans = plans.iter().map(|kept| (Sold::Plan(kept.plan.plan.clone()), &kept.plan.terms));
    of_plans.chain(kept.iter().map(|one| (one.what.clone(), &one.terms))).collect()
}

/// Everything that a catalog sells in the versions of its files.
fn all(catalog: &Catalog) -> Vec<SoldTerms> {
    let plans = catalog.plans.values().map(|plan| SoldTerms {
        what: Sold::Plan(plan.reference()),
        terms: sold::encode_plan(plan, catalog),
    });
    let addons = catalog.addons.values().map(|addon| SoldTerms {
        what: Sold::Addon(addon.id.clone()),
        terms: sold::encode_addon(addon, catalog),
    });
    let meters = catalog
        .meters
        .iter()
        .map(|meter| SoldTerms { what: Sold::Meter(meter.id.clone()), terms: json!({}) });
    plans.chain(addons).chain(meters).collect()
}

/// The quotas of both that let more through than they include: of a meter in both, that of the second.
fn together(first: &Value, second: &Value) -> Value {
    let quotas = |document: &Value| document.get(QUOTAS).and_then(Value::as_object).cloned();
    let mut all = quotas(first).unwrap_or_default();
    all.extend(quotas(second).unwrap_or_default());
    all.retain(|_, quota| quota.get("overage").is_some());
    json!({ QUOTAS: all })
}

/// What a whole catalog does not have any more; `None`: it has everything that was ever sold.
pub(super) fn of(catalog: &Catalog, plans: &[KeptPlan], kept: &[SoldTerms]) -> Option<Arc<Bygone>> {
    let gone_plans: Vec<&KeptPlan> =
        plans.iter().filter(|kept| !catalog.plans.contains_key(&kept.plan.plan.id)).collect();
    let known = known(plans, kept);
    let mut meters: BTreeSet<MeterId> =
        plans.iter().flat_map(|kept| sold::meters(&kept.plan.terms)).collect();
    let mut gone_addons = false;
    for (what, terms) in &known {
        match what {
            Sold::Meter(meter) => meters.extend([meter.clone()]),
            Sold::Addon(addon) => gone_addons |= catalog.addon(addon.as_str()).is_none(),
            Sold::Plan(_) => {}
        }
        meters.extend(sold::meters(terms));
    }
    meters.retain(|meter| catalog.meter_ix(meter.as_str()).is_none());
    let mut wide = catalog.widened(&meters);
    for KeptPlan { plan: said, introduced } in &gone_plans {
        match plan::decode(said.plan.clone(), &said.terms, &wide) {
            Ok(plan) => {
                let plan = Plan { introduced: Some(*introduced), ..plan };
                wide.earlier.insert(said.plan.clone(), Arc::new(plan));
            }
            Err(error) => tracing::error!("{error}; what was sold of it cannot be billed"),
        }
    }
    let mut overage = BTreeMap::new();
    for (what, terms) in &known {
        match what {
            Sold::Addon(id) if catalog.addon(id.as_str()).is_none() => {
                match sold::decode_addon(id.clone(), terms, &wide) {
                    Ok(addon) => drop(wide.addons.insert(id.clone(), Arc::new(addon))),
                    Err(fields) => unreadable(what, &fields),
                }
            }
            Sold::Plan(plan) => match sold::overage(terms) {
                Ok(quotas) => {
                    let lost = lost(&wide, plan, quotas);
                    if !lost.is_empty() {
                        overage.insert(plan.clone(), lost);
                    }
                }
                Err(fields) => unreadable(what, &fields),
            },
            Sold::Addon(_) | Sold::Meter(_) => {}
        }
    }
    let whole = gone_plans.is_empty() && !gone_addons && meters.is_empty() && overage.is_empty();
    (!whole).then(|| Arc::new(Bygone { catalog: Arc::new(wide), overage }))
}

/// Those of these quotas that the version does not have any more, or by which it does not let more through any more.
fn lost(catalog: &Catalog, plan: &PlanRef, mut quotas: BTreeMap<MeterId, Quota>) -> BTreeMap<MeterId, Quota> {
    let plan = catalog.plan_in(plan).filter(|found| found.version == plan.version);
    quotas.retain(|meter, _| {
        let terms = catalog.meter_ix(meter.as_str()).zip(plan);
        let quota = terms.and_then(|(ix, plan)| plan.meters.get(usize::from(ix.0))?.quota);
        quota.is_none_or(|quota| matches!(quota.overage, Overage::Block))
    });
    quotas
}

fn unreadable(what: &Sold, fields: &[crate::wire::FieldError]) {
    let first = fields.first().map(ToString::to_string).unwrap_or_default();
    tracing::error!(?what, "what was sold cannot be read, and not be billed: {first}");
}
