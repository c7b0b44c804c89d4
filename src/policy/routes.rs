//! From the definitions of routes to their table: what each requires and charges, and under which conditions.

use std::collections::BTreeMap;

use super::{
    compile::Read,
    condition::{self, Scope},
    definition::{At, ChargeTerms, Declarations, Name, RouteTerms, RoutesFile},
    diagnostic::Findings,
    inherit,
    source::Place,
};
use crate::domain::{
    condition::{
        Amount, ChargeRule, ChargeUnits, Computed, ConditionError, Conditions, Predicate, RequestFacts, When,
    },
    features::FeatureSet,
    route::{Charge, ConflictKind, Operation, RouteConflict, RouteTable},
    settlement::SettleFrom,
    uncountable::Miscalculation,
    units::Units,
};

/// What `routes.yaml` says.
pub(super) struct Compiled {
    pub(super) table: RouteTable,
    /// What a request is to need and cost that no route covers, where such are let through.
    pub(super) unmatched: Operation,
}

/// What stands for a text that is wrong: the catalog that it is in is never used.
#[derive(Debug)]
struct Unread;

impl Predicate for Unread {
    fn holds(&self, _: &RequestFacts<'_>) -> Result<bool, ConditionError> {
        Err(ConditionError::Failed(Miscalculation::Unreadable))
    }
}

impl Amount for Unread {
    fn units(&self, _: &RequestFacts<'_>) -> Result<Units, ConditionError> {
        Err(ConditionError::Failed(Miscalculation::Unreadable))
    }
}

/// The charges of a route.
#[derive(Default, Clone)]
struct Charges {
    fixed: Vec<Charge>,
    settle: Vec<SettleFrom>,
    rules: Vec<ChargeRule>,
}

/// Makes the table of routes; two that fit the same requests are reported with both places. Names are resolved later, so
/// that conflicts show even where features.yaml is broken.
pub(super) fn read(file: &RoutesFile, read: &Read, findings: &mut Findings<'_>) -> Compiled {
    let declarations = read.declarations.as_ref();
    let attributes = declarations.and_then(|declarations| declarations.attributes.as_ref());
    let everywhere = Scope { path: None, attributes, public: false };
    let defaults = charges(&file.default_charge, declarations, everywhere, findings);
    let mut table = RouteTable::default();
    let mut places: Vec<Place> = Vec::new();
    for route in &file.routes {
        let scope = Scope { path: Some(&route.pattern), attributes, public: route.public };
        let operation = operation(route, declarations, &defaults, scope, findings);
        match table.add(&route.methods, &route.pattern, operation) {
            Ok(_) => places.push(route.name.place),
            Err(conflict) => report(route, &conflict, &places, findings),
        }
    }
    let features = declarations.map_or(0, |declarations| declarations.features.len());
    let unmatched = made("unmatched", false, FeatureSet::empty(features), None, defaults);
    Compiled { table, unmatched }
}

fn report(
    route: &RouteTerms,
    RouteConflict { first, kind }: &RouteConflict,
    places: &[Place],
    findings: &mut Findings<'_>,
) {
    let name = &route.name.value;
    let (message, help) = match kind {
        ConflictKind::Same => (format!("`{name}` fits the same requests as another route"), None),
        ConflictKind::Hides => (
            format!("`{name}` is never asked: a route before it decides all of its requests"),
            Some("move the route without `when` behind those with one"),
        ),
        ConflictKind::Opens => (
            format!("`{name}` is public and has no `when`: the routes before it would never be asked"),
            Some("give it a `when`, or remove `public`"),
        ),
        ConflictKind::Methods => (
            format!("`{name}` has some methods in common with another route, but not all"),
            Some("give all routes of this path that have conditions the same methods"),
        ),
    };
    let mut finding = findings.error_at("route-conflict", route.name.place, message);
    if let Some(first) = places.get(first.0 as usize) {
        finding = finding.related(findings.locate(*first), "this one");
    }
    findings.push(finding.help(help.map(str::to_owned)));
}

fn operation(
    route: &RouteTerms,
    declarations: Option<&Declarations>,
    defaults: &Charges,
    scope: Scope<'_>,
    findings: &mut Findings<'_>,
) -> Operation {
    let features = declarations.map_or_else(FeatureSet::default, |d| feature_set(&route.features, d));
    let charges = match &route.charge {
        _ if route.public => Charges::default(),
        Some(written) => charges(written, declarations, scope, findings),
        None => defaults.clone(),
    };
    let when = route.when.as_ref().map(|text| when(text, scope, findings));
    made(&route.name.value, route.public, features, when, charges)
}

fn made(name: &str, public: bool, features: FeatureSet, when: Option<When>, charges: Charges) -> Operation {
    let Charges { fixed, settle, rules } = charges;
    let conditions = (when.is_some() || !rules.is_empty())
        .then(|| Box::new(Conditions { when, charges: rules.into(), otherwise: None }));
    let (charge, settle) = (fixed.into(), settle.into());
    Operation { name: name.to_owned(), public, features, charge, settle, conditions }
}

fn when(text: &At<String>, scope: Scope<'_>, findings: &mut Findings<'_>) -> When {
    condition::when(text, scope, findings).unwrap_or_else(|| When::new(&text.value, Unread))
}

/// The features of these names.
pub(super) fn feature_set(names: &[Name], declarations: &Declarations) -> FeatureSet {
    let mut set = FeatureSet::empty(declarations.features.len());
    for ix in names.iter().filter_map(|name| inherit::feature_ix(declarations, &name.value)) {
        set.insert(ix);
    }
    set
}

fn charges(
    written: &[(Name, ChargeTerms)],
    declarations: Option<&Declarations>,
    scope: Scope<'_>,
    findings: &mut Findings<'_>,
) -> Charges {
    let mut charges = Charges::default();
    let mut conditions: BTreeMap<&str, (Option<When>, Option<Computed>)> = BTreeMap::new();
    for (name, terms) in written {
        let holds = terms.when.as_ref().map(|text| when(text, scope, findings));
        let computed = terms.cel.as_ref().map(|text| {
            condition::amount(text, scope, findings).unwrap_or_else(|| Computed::new(&text.value, Unread))
        });
        conditions.insert(&name.value, (holds, computed));
    }
    let Some(declarations) = declarations else { return charges };
    for (name, terms) in written {
        let Some(meter) = inherit::meter_ix(declarations, &name.value) else { continue };
        let (when, computed) = conditions.remove(name.value.as_str()).unwrap_or_default();
        match (when, computed) {
            (None, None) if terms.units > Units::ZERO => {
                charges.fixed.push(Charge { meter, units: terms.units });
            }
            (None, None) => {}
            (when, computed) => {
                let units = computed.map_or(ChargeUnits::Fixed(terms.units), ChargeUnits::Computed);
                charges.rules.push(ChargeRule { meter, units, when });
            }
        }
        let from = terms.from.iter().map(|header| SettleFrom { meter, header: header.clone() });
        charges.settle.extend(from);
    }
    charges.fixed.sort_by_key(|charge| charge.meter);
    charges.rules.sort_by_key(|rule| rule.meter);
    charges.settle.sort_by_key(|from| from.meter);
    charges
}
