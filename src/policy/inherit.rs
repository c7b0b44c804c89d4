//! `extends`: which plan comes before which, and what a child takes from its parent.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    definition::{Declarations, PlanFile},
    diagnostic::Findings,
};
use crate::domain::{
    features::{FeatureIx, FeatureSet},
    id::{LimitId, PlanId},
    plan::{MeterIx, MeterTerms, Plan, Trial},
};

/// The place of a feature among the declared ones, which are sorted.
pub(super) fn feature_ix(declarations: &Declarations, name: &str) -> Option<FeatureIx> {
    let place = declarations.features.binary_search_by(|d| d.id.as_str().cmp(name)).ok()?;
    u16::try_from(place).ok().map(FeatureIx)
}

/// The place of a meter among the declared ones, which are sorted.
pub(super) fn meter_ix(declarations: &Declarations, name: &str) -> Option<MeterIx> {
    let place = declarations.meters.binary_search_by(|d| d.id.as_str().cmp(name)).ok()?;
    u16::try_from(place).ok().map(MeterIx)
}

/// The plans, each after its parent. A cycle is reported once, and its plans left out with all that extend them.
pub(super) fn order(plans: &BTreeMap<String, Option<PlanFile>>, findings: &mut Findings<'_>) -> Vec<String> {
    let parent = |id: &str| {
        let plan = plans.get(id)?.as_ref()?;
        plan.extends.as_ref().filter(|name| plans.contains_key(&name.value))
    };
    let mut out = Vec::new();
    let mut done = BTreeSet::new();
    for id in plans.keys() {
        // Up from the plan to the first that is settled, or to one that was seen on the way: a cycle.
        let mut chain: Vec<&str> = Vec::new();
        let mut on_chain = BTreeSet::new();
        let mut at = Some(id.as_str());
        let mut cyclic = false;
        while let Some(here) = at.filter(|here| !done.contains(*here)) {
            if !on_chain.insert(here) {
                let start = chain.iter().position(|id| *id == here).unwrap_or(0);
                report_cycle(&chain[start..], plans, findings);
                cyclic = true;
                break;
            }
            chain.push(here);
            at = parent(here).map(|name| name.value.as_str());
        }
        for id in chain.iter().rev() {
            done.insert(*id);
            if !cyclic {
                out.push((*id).to_owned());
            }
        }
    }
    out
}

fn report_cycle(cycle: &[&str], plans: &BTreeMap<String, Option<PlanFile>>, findings: &mut Findings<'_>) {
    let link = |id: &str| plans.get(id)?.as_ref()?.extends.as_ref().map(|name| name.place);
    let Some((first, place)) = cycle.first().and_then(|first| Some((*first, link(first)?))) else { return };
    let chain: Vec<_> = cycle.iter().copied().chain([first]).take(12).map(|id| format!("`{id}`")).collect();
    let message = if cycle.len() == 1 {
        format!("{} extends itself", chain[0])
    } else {
        format!("plans extend each other in a circle: {}", chain.join(" extends "))
    };
    let mut finding = findings.error_at("plan-cycle", place, message);
    for other in cycle.iter().skip(1).take(10).filter_map(|id| link(id)) {
        finding = finding.related(findings.locate(other), "and here");
    }
    findings.push(finding);
}

/// A plan with what it inherits: features add up, `without` takes away, named entries replace, as do other keys; title,
/// version and what becomes of tenants on older versions stay behind.
pub(super) fn plan(written: &PlanFile, parent: Option<&Plan>, declarations: &Declarations) -> Plan {
    let mut features =
        parent.map_or_else(|| FeatureSet::empty(declarations.features.len()), |plan| plan.features.clone());
    let ix = |name: &str| feature_ix(declarations, name);
    written.without.iter().filter_map(|name| ix(&name.value)).for_each(|ix| features.remove(ix));
    written.features.iter().filter_map(|name| ix(&name.value)).for_each(|ix| features.insert(ix));

    let mut limits = parent.map(|plan| plan.limits.clone()).unwrap_or_default();
    let given =
        written.limits.iter().filter_map(|(name, limit)| Some((LimitId::parse(&name.value).ok()?, *limit)));
    limits.extend(given);

    let nothing = || vec![MeterTerms::default(); declarations.meters.len()].into_boxed_slice();
    let mut meters = parent.map_or_else(nothing, |plan| plan.meters.clone());
    for (name, quota) in &written.quotas {
        if let Some(terms) =
            meter_ix(declarations, &name.value).and_then(|ix| meters.get_mut(usize::from(ix.0)))
        {
            terms.quota = Some(*quota);
        }
    }
    for (name, rate) in &written.rates {
        if let Some(terms) =
            meter_ix(declarations, &name.value).and_then(|ix| meters.get_mut(usize::from(ix.0)))
        {
            terms.rate = *rate;
        }
    }
    let trial = written.trial.as_ref().map(|trial| Trial {
        days: trial.days,
        then: trial.then.as_ref().and_then(|name| PlanId::parse(&name.value).ok()),
        usage: trial.usage,
    });
    let changes = written.changes.or_else(|| parent.map(|plan| plan.changes));
    Plan {
        version: written.version,
        existing: written.existing.as_ref().map(|existing| existing.value).unwrap_or_default(),
        title: written.title.clone(),
        parent: parent.map(|plan| plan.id.clone()),
        price: written.price.or_else(|| parent.and_then(|plan| plan.price)),
        spend_cap: written.spend_cap.unwrap_or_else(|| parent.map(|plan| plan.spend_cap).unwrap_or_default()),
        trial: trial.or_else(|| parent.and_then(|plan| plan.trial.clone())),
        grace_days: written.grace_days.or_else(|| parent.and_then(|plan| plan.grace_days)),
        changes: changes.unwrap_or_default(),
        warn_at: written.warn_at.clone().or_else(|| parent.and_then(|plan| plan.warn_at.clone())),
        features,
        limits,
        meters,
        ..Plan::empty(written.id.clone())
    }
}
