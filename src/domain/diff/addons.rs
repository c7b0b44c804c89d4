//! What differs between add-ons.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bearing, Change, Found, Subject, by_meter, pairs, terms};
use crate::domain::{addon::Addon, catalog::Catalog, plan::Quota};

pub(super) fn compare(before: &Catalog, after: &Catalog, changes: &mut Vec<Change>) {
    for (id, was, is) in pairs(&before.addons, &after.addons) {
        let mut found = Found::of(Subject::Addon(id.clone()), changes);
        match (was, is) {
            (Some(was), Some(is)) => addon(&mut found, (before, was), (after, is)),
            _ => {
                let bearing = if is.is_some() { Bearing::Neither } else { Bearing::Loss };
                found.note("", was.map(|addon| summary(addon)), is.map(|addon| summary(addon)), bearing);
            }
        }
    }
}

fn summary(addon: &Addon) -> String {
    let title = addon.title.clone().unwrap_or_else(|| addon.id.to_string());
    addon.price.map_or(title.clone(), |price| format!("{title}, {} a month", terms::price(price)))
}

fn addon(found: &mut Found<'_>, before: (&Catalog, &Addon), after: (&Catalog, &Addon)) {
    let (was, is) = (before.1, after.1);
    found.plain("title", was.title.clone(), is.title.clone());
    found.price(was.price, is.price);
    found.goes_with(&plans(was), &plans(is));
    found.features((before.0, &was.features), (after.0, &is.features), Bearing::Gain);
    found.limits(&was.limits, &is.limits);
    found.quotas(&quotas(before), &quotas(after));
}

fn plans(addon: &Addon) -> BTreeSet<&str> {
    addon.plans.iter().map(|plan| plan.as_str()).collect()
}

fn quotas<'a>((catalog, addon): (&'a Catalog, &'a Addon)) -> BTreeMap<&'a str, &'a Quota> {
    let named = by_meter(catalog, &addon.quotas).into_iter();
    named.filter_map(|(meter, quota)| Some((meter, quota.as_ref()?))).collect()
}
