//! What differs between two catalogs, and what each difference is to the tenants whom it concerns.
//!
//! Names are compared, never places: the two catalogs number their features and meters each for itself. What a catalog is
//! besides what its files say (its stamp, its digest, when a version was introduced, what is tried beside it) is no
//! difference.

mod addons;
mod plans;
mod routes;
mod stripe;
mod terms;
#[cfg(test)]
pub(in crate::domain) mod tests;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    catalog::Catalog,
    features::FeatureSet,
    id::{AddonId, PlanId},
    plan::MeterIx,
};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Of what.
    pub subject: Subject,
    /// What of it, such as `features.export` or `quotas.requests.day`; empty: all of it came or went.
    pub aspect: String,
    /// How it was, in words; `None`: it was not.
    pub before: Option<String>,
    /// How it is to be; `None`: it is not to be.
    pub after: Option<String>,
    /// What that is to the tenants it concerns.
    pub bearing: Bearing,
}

/// What is compared. The order is that in which differences are told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A plan.
    Plan(PlanId),
    /// An add-on.
    Addon(AddonId),
    /// A route, by its text.
    Route(String),
    /// What becomes of a request that no route covers.
    Unmatched,
    /// A declared feature.
    Feature(String),
    /// A declared limit.
    Limit(String),
    /// A declared meter.
    Meter(String),
    /// What the names of a Stripe account mean.
    Stripe,
}

impl Subject {
    /// What it is, in one word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Plan(_) => "plan",
            Self::Addon(_) => "addon",
            Self::Route(_) => "route",
            Self::Unmatched => "unmatched",
            Self::Feature(_) => "feature",
            Self::Limit(_) => "limit",
            Self::Meter(_) => "meter",
            Self::Stripe => "stripe",
        }
    }

    /// What it is called; empty where there is but one.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Plan(id) => id.as_str(),
            Self::Addon(id) => id.as_str(),
            Self::Unmatched | Self::Stripe => "",
            Self::Route(name) | Self::Feature(name) | Self::Limit(name) | Self::Meter(name) => name,
        }
    }
}

/// What a difference is to the tenants it concerns: those on the plan, with the add-on, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearing {
    /// They may do more, or pay less.
    Gain,
    /// They may do less, or pay more.
    Loss,
    /// Neither, or it cannot be told.
    Neither,
}

impl Bearing {
    /// The word used in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gain => "gain",
            Self::Loss => "loss",
            Self::Neither => "neither",
        }
    }

    /// By how what there is to be compares with what there was, where more is better.
    pub(super) const fn of(after_to_before: Ordering) -> Self {
        match after_to_before {
            Ordering::Greater => Self::Gain,
            Ordering::Less => Self::Loss,
            Ordering::Equal => Self::Neither,
        }
    }
}

/// Everything that differs, by subject and aspect.
#[must_use]
pub fn diff(before: &Catalog, after: &Catalog) -> Vec<Change> {
    let mut changes = Vec::new();
    plans::compare(before, after, &mut changes);
    addons::compare(before, after, &mut changes);
    routes::compare(before, after, &mut changes);
    declared(before, after, &mut changes);
    stripe::compare(before, after, &mut changes);
    changes
}

/// The differences of one subject, as they are found.
struct Found<'a> {
    subject: Subject,
    /// Whatever differs is nothing to anybody.
    moot: bool,
    changes: &'a mut Vec<Change>,
}

impl<'a> Found<'a> {
    const fn of(subject: Subject, changes: &'a mut Vec<Change>) -> Self {
        Self { subject, moot: false, changes }
    }

    /// Notes an aspect, unless it is as it was.
    fn note(
        &mut self,
        aspect: impl Into<String>,
        before: Option<String>,
        after: Option<String>,
        bearing: Bearing,
    ) {
        if before == after {
            return;
        }
        let bearing = if self.moot { Bearing::Neither } else { bearing };
        self.changes.push(Change {
            subject: self.subject.clone(),
            aspect: aspect.into(),
            before,
            after,
            bearing,
        });
    }

    /// Notes an aspect that is nothing to the tenants.
    fn plain(&mut self, aspect: &str, before: Option<String>, after: Option<String>) {
        self.note(aspect, before, after, Bearing::Neither);
    }

    /// Notes which features came and went.
    fn features(&mut self, before: (&Catalog, &FeatureSet), after: (&Catalog, &FeatureSet), had: Bearing) {
        let (was, is) = (names(before.0, before.1), names(after.0, after.1));
        let lacks = match had {
            Bearing::Gain => Bearing::Loss,
            Bearing::Loss => Bearing::Gain,
            Bearing::Neither => Bearing::Neither,
        };
        for name in was.union(&is) {
            let there = |names: &BTreeSet<&str>| names.contains(name).then(|| (*name).to_owned());
            let bearing = if is.contains(name) { had } else { lacks };
            self.note(format!("features.{name}"), there(&was), there(&is), bearing);
        }
    }
}

/// The names of a set's features.
pub(in crate::domain) fn names<'a>(catalog: &'a Catalog, set: &FeatureSet) -> BTreeSet<&'a str> {
    set.iter().filter_map(|ix| catalog.feature(ix)).map(|feature| feature.id.as_str()).collect()
}

/// What is said by meters' places, by their names.
pub(super) fn by_meter<'a, T>(catalog: &'a Catalog, terms: &'a [T]) -> BTreeMap<&'a str, &'a T> {
    catalog.meters.iter().map(|meter| meter.id.as_str()).zip(terms).collect()
}

/// The name of a meter.
pub(in crate::domain) fn meter_name(catalog: &Catalog, ix: MeterIx) -> &str {
    catalog.meter(ix).map_or("", |meter| meter.id.as_str())
}

/// Both sides of every key.
fn pairs<'a, K: Ord, V>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> Vec<(&'a K, Option<&'a V>, Option<&'a V>)> {
    let keys: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    keys.into_iter().map(|key| (key, before.get(key), after.get(key))).collect()
}

/// A declaration: its title, and what a unit of it is called.
type Declared<'a> = (Option<&'a str>, Option<&'a str>);

/// Names a declaration of one kind.
type SubjectOf = fn(String) -> Subject;
/// Reads the declarations of one kind.
type Declarations = fn(&Catalog) -> BTreeMap<&str, Declared<'_>>;

fn declared(before: &Catalog, after: &Catalog, changes: &mut Vec<Change>) {
    fn features(catalog: &Catalog) -> BTreeMap<&str, Declared<'_>> {
        catalog.features.iter().map(|one| (one.id.as_str(), (one.title.as_deref(), None))).collect()
    }
    fn limits(catalog: &Catalog) -> BTreeMap<&str, Declared<'_>> {
        catalog.limits.iter().map(|one| (one.id.as_str(), (one.title.as_deref(), None))).collect()
    }
    fn meters(catalog: &Catalog) -> BTreeMap<&str, Declared<'_>> {
        catalog
            .meters
            .iter()
            .map(|one| (one.id.as_str(), (one.title.as_deref(), one.unit.as_deref())))
            .collect()
    }
    let kinds: [(SubjectOf, Declarations); 3] =
        [(Subject::Feature, features), (Subject::Limit, limits), (Subject::Meter, meters)];
    for (subject, all) in kinds {
        let (was, is) = (all(before), all(after));
        for (name, before, after) in pairs(&was, &is) {
            let mut found = Found::of(subject((*name).to_owned()), changes);
            let (Some(before), Some(after)) = (before, after) else {
                let title =
                    |one: Option<&Declared<'_>>| one.map(|(title, _)| title.unwrap_or(name).to_owned());
                found.plain("", title(before), title(after));
                continue;
            };
            found.plain("title", before.0.map(str::to_owned), after.0.map(str::to_owned));
            found.plain("unit", before.1.map(str::to_owned), after.1.map(str::to_owned));
        }
    }
}
