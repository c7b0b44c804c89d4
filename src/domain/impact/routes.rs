//! Who may call which of the routes that the policies themselves change: those that ask for other features than before, charge
//! other meters, come or go.

use std::collections::{BTreeMap, BTreeSet};

use super::{Both, Touched};
use crate::domain::{
    catalog::{Catalog, Unmatched},
    diff::{meter_name, names},
    rights::Entitlement,
    route::Operation,
};

/// Kinds of changes that are followed; a change of policies has a few.
const MOST_KINDS: usize = 200;
/// Routes of one kind that are named.
const MOST_NAMED: usize = 20;

/// Routes that change alike, and who gains and loses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rerouted {
    /// How many they are.
    pub total: u64,
    /// The first of them.
    pub routes: Vec<String>,
    /// Who may call them no more, or may call them only then.
    pub who: Both<Touched>,
}

/// What a route asks for, to be compared: whether it is public, its features, and the meters that it charges.
type Asked<'a> = (bool, BTreeSet<&'a str>, BTreeSet<&'a str>);

/// What a kind of routes asks for in either catalog.
#[derive(Debug)]
pub(super) struct Kind {
    before: Vec<Operation>,
    after: Vec<Operation>,
}

fn asked<'a>(catalog: &'a Catalog, operations: &[&'a Operation]) -> Vec<Asked<'a>> {
    let of = |operation: &&'a Operation| {
        let meters = operation.charge.iter().map(|charge| meter_name(catalog, charge.meter));
        (operation.public, names(catalog, &operation.features), meters.collect())
    };
    operations.iter().map(of).collect()
}

/// Finds the operations of a route by its text, and what becomes of its requests where there is none of that text.
struct Finder<'a> {
    catalog: &'a Catalog,
    by_name: BTreeMap<&'a str, Vec<&'a Operation>>,
}

impl<'a> Finder<'a> {
    fn of(catalog: &'a Catalog) -> Self {
        let mut by_name: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
        for operation in catalog.routes.operations() {
            by_name.entry(&operation.name).or_default().push(operation);
        }
        Self { catalog, by_name }
    }

    fn find(&self, name: &str) -> Vec<&'a Operation> {
        if let Some(own) = self.by_name.get(name) {
            return own.clone();
        }
        let routes = &self.catalog.routes;
        let (method, path) = sample(name);
        let other = routes.find(&method, &path).and_then(|ix| routes.operation(ix));
        match (other, &self.catalog.unmatched) {
            (Some(other), _) => vec![other],
            (None, Unmatched::Allow(rest)) => vec![rest],
            (None, Unmatched::Deny) => Vec::new(),
        }
    }
}

/// A request that fits a route, as it is written.
fn sample(name: &str) -> (String, String) {
    let (methods, path) = name.split_once(' ').unwrap_or(("*", name));
    let method = methods.split('|').next().filter(|method| *method != "*").unwrap_or("GET");
    let segments = path.split('/').map(|segment| if segment.starts_with('{') { "any" } else { segment });
    (method.to_owned(), segments.collect::<Vec<_>>().join("/"))
}

/// The routes whose requests are asked for something else, by kind of change.
pub(super) fn changed(before: &Catalog, after: &Catalog) -> (Vec<Kind>, Vec<Rerouted>) {
    let (was, is) = (Finder::of(before), Finder::of(after));
    let all: BTreeSet<&str> = was.by_name.keys().chain(is.by_name.keys()).copied().collect();
    let mut places: BTreeMap<(Vec<Asked<'_>>, Vec<Asked<'_>>), usize> = BTreeMap::new();
    let (mut kinds, mut rerouted) = (Vec::new(), Vec::<Rerouted>::new());
    for name in all {
        let (was, is) = (was.find(name), is.find(name));
        let key = (asked(before, &was), asked(after, &is));
        if key.0 == key.1 {
            continue;
        }
        let place = *places.entry(key).or_insert(kinds.len());
        if place >= MOST_KINDS {
            continue;
        }
        if place == kinds.len() {
            let owned = |all: Vec<&Operation>| all.into_iter().cloned().collect();
            kinds.push(Kind { before: owned(was), after: owned(is) });
            rerouted.push(Rerouted { total: 0, routes: Vec::new(), who: Both::default() });
        }
        let of = &mut rerouted[place];
        of.total += 1;
        if of.routes.len() < MOST_NAMED {
            of.routes.push(name.to_owned());
        }
    }
    (kinds, rerouted)
}

fn may_call(given: Option<&Entitlement>, operations: &[Operation]) -> bool {
    operations.iter().any(|operation| {
        operation.public
            || given.is_some_and(|given| {
                given.offer.features.first_missing(&operation.features).is_none()
                    && operation.charge.iter().all(|charge| given.covers(charge.meter))
            })
    })
}

impl Kind {
    /// Whether a tenant may call these routes, before and after.
    pub(super) fn may_be_called(
        &self,
        before: Option<&Entitlement>,
        after: Option<&Entitlement>,
    ) -> (bool, bool) {
        (may_call(before, &self.before), may_call(after, &self.after))
    }
}
