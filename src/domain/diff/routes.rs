//! What differs between routes. They are told apart by their texts.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bearing, Change, Found, Subject, meter_name, names, pairs};
use crate::domain::{
    catalog::{Catalog, Unmatched},
    condition::{ChargeRule, ChargeUnits},
    route::Operation,
    units::Units,
};

pub(super) fn compare(before: &Catalog, after: &Catalog, changes: &mut Vec<Change>) {
    let (was, is) = (by_name(before), by_name(after));
    for (name, was, is) in pairs(&was, &is) {
        let (was, is) = (was.map_or(&[][..], Vec::as_slice), is.map_or(&[][..], Vec::as_slice));
        for place in 0..was.len().max(is.len()) {
            let mut found = Found::of(Subject::Route((*name).to_owned()), changes);
            match (was.get(place), is.get(place)) {
                (Some(was), Some(is)) => operation(&mut found, (before, was), (after, is)),
                (was, is) => {
                    // Where the rest is let through, a route may as well have held back as let through.
                    let lacking = if is.is_some() { before } else { after };
                    let bearing = match (&lacking.unmatched, is.is_some()) {
                        (Unmatched::Allow(_), _) => Bearing::Neither,
                        (Unmatched::Deny, true) => Bearing::Gain,
                        (Unmatched::Deny, false) => Bearing::Loss,
                    };
                    let words =
                        |catalog: &Catalog, one: Option<&&Operation>| one.map(|one| summary(catalog, one));
                    found.note("", words(before, was), words(after, is), bearing);
                }
            }
        }
    }
    let mut found = Found::of(Subject::Unmatched, changes);
    match (&before.unmatched, &after.unmatched) {
        (Unmatched::Deny, Unmatched::Deny) => {}
        (Unmatched::Allow(was), Unmatched::Allow(is)) => operation(&mut found, (before, was), (after, is)),
        (was, is) => {
            let bearing = if *is == Unmatched::Deny { Bearing::Loss } else { Bearing::Gain };
            found.note("", Some(unmatched(before, was)), Some(unmatched(after, is)), bearing);
        }
    }
}

fn by_name(catalog: &Catalog) -> BTreeMap<&str, Vec<&Operation>> {
    let mut all: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in catalog.routes.operations() {
        all.entry(&operation.name).or_default().push(operation);
    }
    all
}

fn unmatched(catalog: &Catalog, unmatched: &Unmatched) -> String {
    match unmatched {
        Unmatched::Deny => "deny".to_owned(),
        Unmatched::Allow(operation) => format!("allow: {}", summary(catalog, operation)),
    }
}

/// What a route asks, in one line.
fn summary(catalog: &Catalog, operation: &Operation) -> String {
    if operation.public {
        return "public".to_owned();
    }
    let mut parts = Vec::new();
    let features: Vec<&str> = names(catalog, &operation.features).into_iter().collect();
    if !features.is_empty() {
        parts.push(format!("needs {}", features.join(", ")));
    }
    let fixed = charges(catalog, operation);
    let fixed = fixed.iter().map(|(meter, units)| format!("{units} {meter}"));
    let ruled = rules(catalog, operation);
    let charges: Vec<String> =
        fixed.chain(ruled.iter().map(|(meter, units)| format!("{units} {meter}"))).collect();
    parts.push(if charges.is_empty() {
        "no charge".to_owned()
    } else {
        format!("charges {}", charges.join(", "))
    });
    parts.extend(operation.when().map(|when| format!("when `{}`", when.text())));
    parts.join("; ")
}

fn charges<'a>(catalog: &'a Catalog, operation: &Operation) -> BTreeMap<&'a str, Units> {
    operation.charge.iter().map(|charge| (meter_name(catalog, charge.meter), charge.units)).collect()
}

/// What is charged where the request says so, in words.
fn rules<'a>(catalog: &'a Catalog, operation: &Operation) -> BTreeMap<&'a str, String> {
    let all = operation.conditions.iter().flat_map(|conditions| &conditions.charges);
    let words = |rule: &ChargeRule| {
        let units = match &rule.units {
            ChargeUnits::Fixed(units) => units.to_string(),
            ChargeUnits::Computed(computed) => format!("`{}`", computed.text()),
        };
        rule.when.as_ref().map_or(units.clone(), |when| format!("{units} when `{}`", when.text()))
    };
    all.map(|rule| (meter_name(catalog, rule.meter), words(rule))).collect()
}

fn settled<'a>(catalog: &'a Catalog, operation: &'a Operation) -> BTreeMap<&'a str, &'a str> {
    operation.settle.iter().map(|from| (meter_name(catalog, from.meter), from.header.as_str())).collect()
}

fn operation(found: &mut Found<'_>, before: (&Catalog, &Operation), after: (&Catalog, &Operation)) {
    let (was, is) = (before.1, after.1);
    let public = |operation: &Operation| Some(operation.public.to_string());
    found.note("public", public(was), public(is), Bearing::of(is.public.cmp(&was.public)));
    found.features((before.0, &was.features), (after.0, &is.features), Bearing::Loss);
    let (was_charged, is_charged) = (charges(before.0, was), charges(after.0, is));
    for (meter, was, is) in pairs(&was_charged, &is_charged) {
        let text = |units: Option<&Units>| units.map(ToString::to_string);
        // What costs less is better.
        let bearing = Bearing::of(was.copied().unwrap_or_default().cmp(&is.copied().unwrap_or_default()));
        found.note(format!("charge.{meter}"), text(was), text(is), bearing);
    }
    let when = |operation: &Operation| operation.when().map(|when| when.text().to_owned());
    found.plain("when", when(was), when(is));
    let (was_ruled, is_ruled) = (rules(before.0, was), rules(after.0, is));
    for (meter, was, is) in pairs(&was_ruled, &is_ruled) {
        found.plain(&format!("charge.{meter}"), was.cloned(), is.cloned());
    }
    let (was_settled, is_settled) = (settled(before.0, was), settled(after.0, is));
    let meters: BTreeSet<&str> = was_settled.keys().chain(is_settled.keys()).copied().collect();
    for meter in meters {
        let header = |all: &BTreeMap<&str, &str>| all.get(meter).map(|header| (*header).to_owned());
        found.plain(&format!("settle.{meter}"), header(&was_settled), header(&is_settled));
    }
}
