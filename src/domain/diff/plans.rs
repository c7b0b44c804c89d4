//! What differs between plans.

use std::collections::BTreeMap;

use super::{Bearing, Change, Found, Subject, by_meter, pairs, terms};
use crate::domain::{
    catalog::Catalog,
    plan::{Existing, Plan, Quota, Trial},
    rate::Rate,
};

pub(super) fn compare(before: &Catalog, after: &Catalog, changes: &mut Vec<Change>) {
    for (id, was, is) in pairs(&before.plans, &after.plans) {
        let mut found = Found::of(Subject::Plan(id.clone()), changes);
        match (was, is) {
            (Some(was), Some(is)) => plan(&mut found, (before, was), (after, is)),
            // Nobody is on a plan that is new, and whoever is on one that is gone is refused.
            _ => {
                let bearing = if is.is_some() { Bearing::Neither } else { Bearing::Loss };
                found.note("", was.map(|plan| summary(plan)), is.map(|plan| summary(plan)), bearing);
            }
        }
    }
}

/// A plan in one line.
fn summary(plan: &Plan) -> String {
    let mut parts = vec![plan.title.clone().unwrap_or_else(|| plan.id.to_string())];
    parts.extend(plan.price.map(|price| format!("{} a month", terms::price(price))));
    let features = plan.features.iter().count();
    parts.push(format!("{features} feature{}", if features == 1 { "" } else { "s" }));
    parts.join(", ")
}

fn plan(found: &mut Found<'_>, before: (&Catalog, &Plan), after: (&Catalog, &Plan)) {
    let (was, is) = (before.1, after.1);
    // Whoever is on the other version keeps its terms, unless the newer one takes its tenants over.
    let stays = is.version < was.version || is.existing == Existing::Stay;
    found.moot = is.version != was.version && stays;
    found.plain("version", Some(was.version.to_string()), Some(is.version.to_string()));
    found.plain("existing", Some(existing(was.existing)), Some(existing(is.existing)));
    found.plain("title", was.title.clone(), is.title.clone());
    found.plain(
        "extends",
        was.parent.as_ref().map(ToString::to_string),
        is.parent.as_ref().map(ToString::to_string),
    );
    found.price(was.price, is.price);
    // More may be spent, or less is refused: which of both is better is for the customer to say.
    let cap = |plan: &Plan| plan.spend_cap.limit().map(|cap| cap.to_string());
    found.plain("spend_cap", cap(was), cap(is));
    found.plain("trial", was.trial.as_ref().map(trial), is.trial.as_ref().map(trial));
    let days = |plan: &Plan| plan.grace_days.unwrap_or(Plan::GRACE_DAYS);
    let grace = |plan: &Plan| plan.grace_days.map(|days| format!("{days} days"));
    found.note("grace", grace(was), grace(is), Bearing::of(days(is).cmp(&days(was))));
    let when = |at: crate::domain::plan::ChangeAt| Some(at.as_str().to_owned());
    found.plain("changes.upgrade", when(was.changes.upgrade), when(is.changes.upgrade));
    found.plain("changes.downgrade", when(was.changes.downgrade), when(is.changes.downgrade));
    let warn_at = |plan: &Plan| plan.warn_at.as_ref().map(ToString::to_string);
    found.plain("warn_at", warn_at(was), warn_at(is));
    found.features((before.0, &was.features), (after.0, &is.features), Bearing::Gain);
    found.limits(&was.limits, &is.limits);
    found.quotas(&quotas(before), &quotas(after));
    found.rates(&rates(before), &rates(after));
}

fn quotas<'a>((catalog, plan): (&'a Catalog, &'a Plan)) -> BTreeMap<&'a str, &'a Quota> {
    let named = by_meter(catalog, &plan.meters).into_iter();
    named.filter_map(|(meter, terms)| Some((meter, terms.quota.as_ref()?))).collect()
}

fn rates<'a>((catalog, plan): (&'a Catalog, &'a Plan)) -> BTreeMap<&'a str, &'a Rate> {
    let named = by_meter(catalog, &plan.meters).into_iter();
    named.filter_map(|(meter, terms)| Some((meter, terms.rate.as_ref()?))).collect()
}

fn existing(existing: Existing) -> String {
    match existing {
        Existing::Stay => "stay".to_owned(),
        Existing::NextPeriod => "next_period".to_owned(),
        Existing::On(date) => date.to_string(),
    }
}

fn trial(trial: &Trial) -> String {
    let then = trial.then.as_ref().map_or("block", |plan| plan.as_str());
    format!("{} days, then {then}, usage {}", trial.days, trial.usage.as_str())
}
