//! What a tenant's rights of two catalogs differ in, at one instant.

use std::{cmp::Ordering, collections::BTreeSet};

use super::{
    Altered, Both, Impact, Rerouted, Touched,
    routes::{self, Kind},
};
use crate::domain::{
    catalog::Catalog,
    features::FeatureIx,
    id::TenantId,
    period::Window,
    plan::{MeterIx, Quota},
    rights::{Entitlement, Rights, UnknownPlan},
    time::UnixMillis,
};

/// A name and its place in either catalog.
pub(super) struct Named<Ix> {
    pub(super) name: String,
    pub(super) before: Option<Ix>,
    pub(super) after: Option<Ix>,
}

/// The names of two catalogs.
pub(super) struct Names {
    pub(super) features: Vec<Named<FeatureIx>>,
    pub(super) meters: Vec<Named<MeterIx>>,
    /// Kinds of changed routes, in the order of [`Impact::routes`].
    kinds: Vec<Kind>,
}

impl Names {
    /// They, and the changed routes that nobody was looked at for yet.
    pub(super) fn of(before: &Catalog, after: &Catalog) -> (Self, Vec<Rerouted>) {
        let both = [before, after];
        let features: BTreeSet<&str> =
            both.into_iter().flat_map(|catalog| &catalog.features).map(|one| one.id.as_str()).collect();
        let meters: BTreeSet<&str> =
            both.into_iter().flat_map(|catalog| &catalog.meters).map(|one| one.id.as_str()).collect();
        let feature = |name: &str| Named {
            name: name.to_owned(),
            before: before.feature_ix(name),
            after: after.feature_ix(name),
        };
        let meter = |name: &str| Named {
            name: name.to_owned(),
            before: before.meter_ix(name),
            after: after.meter_ix(name),
        };
        let (kinds, rerouted) = routes::changed(before, after);
        let names = Self {
            features: features.into_iter().map(feature).collect(),
            meters: meters.into_iter().map(meter).collect(),
            kinds,
        };
        (names, rerouted)
    }
}

/// A tenant while it is assessed: what was noted of it.
pub(super) struct Noted<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) lost: bool,
    pub(super) gained: bool,
    /// What was noted already, and is not noted again for a later instant.
    seen: BTreeSet<(u8, String)>,
}

impl<'a> Noted<'a> {
    pub(super) const fn of(tenant: &'a TenantId) -> Self {
        Self { tenant, lost: false, gained: false, seen: BTreeSet::new() }
    }

    fn is_new(&mut self, kind: u8, name: &str) -> bool {
        self.seen.insert((kind, name.to_owned()))
    }

    fn touched(&self, from: Option<UnixMillis>) -> Touched {
        Touched { tenant: self.tenant.clone(), from }
    }

    fn had(&mut self, of: &mut Both<Touched>, gained: bool, from: Option<UnixMillis>) {
        let touched = self.touched(from);
        if gained {
            self.gained = true;
            of.gained.add(touched);
        } else {
            self.lost = true;
            of.lost.add(touched);
        }
    }

    fn altered(
        &mut self,
        of: &mut Both<Altered>,
        (before, after): (Option<u64>, Option<u64>),
        order: Ordering,
        from: Option<UnixMillis>,
    ) {
        let altered = Altered { tenant: self.tenant.clone(), from, before, after };
        match order {
            Ordering::Greater => {
                self.gained = true;
                of.gained.add(altered);
            }
            Ordering::Less => {
                self.lost = true;
                of.lost.add(altered);
            }
            Ordering::Equal => {}
        }
    }
}

/// The rights of both catalogs at one instant.
pub(super) struct Pair {
    pub(super) before: Result<Rights, UnknownPlan>,
    pub(super) after: Result<Rights, UnknownPlan>,
}

impl Pair {
    pub(super) fn until(&self) -> UnixMillis {
        let until = |rights: &Result<Rights, UnknownPlan>| {
            rights.as_ref().map_or(UnixMillis::NEVER, |rights| rights.until)
        };
        until(&self.before).min(until(&self.after))
    }

    /// What the subscription gives before and after.
    pub(super) fn given(&self) -> (Option<&Entitlement>, Option<&Entitlement>) {
        fn given(rights: &Result<Rights, UnknownPlan>) -> Option<&Entitlement> {
            rights.as_ref().ok()?.entitlement.as_ref()
        }
        (given(&self.before), given(&self.after))
    }

    /// Notes what they differ in. `from`: the instant, where it is not now.
    pub(super) fn note(
        &self,
        names: &Names,
        noted: &mut Noted<'_>,
        impact: &mut Impact,
        from: Option<UnixMillis>,
    ) {
        let (before, after) = self.given();
        if let (Err(missing), Some(_)) = (&self.after, before) {
            if noted.is_new(0, missing.plan.as_str()) {
                let touched = noted.touched(from);
                noted.lost = true;
                impact.missing.entry(missing.plan.clone()).or_default().add(touched);
            }
            return;
        }
        if before.is_none() && after.is_none() {
            return;
        }
        features(names, (before, after), noted, impact, from);
        for (place, (kind, of)) in names.kinds.iter().zip(&mut impact.routes).enumerate() {
            let (was, is) = kind.may_be_called(before, after);
            if was != is && noted.is_new(3, &place.to_string()) {
                noted.had(&mut of.who, is, from);
            }
        }
        limits((before, after), noted, impact, from);
        meters(names, (before, after), noted, impact, from);
    }
}

type Given<'a> = (Option<&'a Entitlement>, Option<&'a Entitlement>);

fn features(
    names: &Names,
    (before, after): Given<'_>,
    noted: &mut Noted<'_>,
    impact: &mut Impact,
    from: Option<UnixMillis>,
) {
    let has = |given: Option<&Entitlement>, ix: Option<FeatureIx>| {
        given.is_some_and(|given| ix.is_some_and(|ix| given.offer.features.contains(ix)))
    };
    for feature in &names.features {
        let (was, is) = (has(before, feature.before), has(after, feature.after));
        if was != is && noted.is_new(1, &feature.name) {
            noted.had(impact.features.entry(feature.name.clone()).or_default(), is, from);
        }
    }
}

fn limits((before, after): Given<'_>, noted: &mut Noted<'_>, impact: &mut Impact, from: Option<UnixMillis>) {
    let empty = std::collections::BTreeMap::new();
    let of = |given: Option<&Entitlement>| given.map(|given| std::sync::Arc::clone(&given.offer));
    let (before, after) = (of(before), of(after));
    let was = before.as_ref().map_or(&empty, |offer| &offer.limits);
    let is = after.as_ref().map_or(&empty, |offer| &offer.limits);
    if was == is {
        return;
    }
    let ids: BTreeSet<_> = was.keys().chain(is.keys()).collect();
    for id in ids {
        let (was, is) = (was.get(id), is.get(id));
        // Not to be named is less than any number.
        let rank = |one: Option<&crate::domain::units::Allowance>| {
            one.map(|one| one.limit().map_or(u64::MAX, |units| units.get()))
        };
        let order = rank(is).cmp(&rank(was));
        if order.is_ne() && noted.is_new(2, id.as_str()) {
            let number = |one: Option<u64>| one.filter(|one| *one < u64::MAX);
            let numbers = match (rank(was), rank(is)) {
                (None, is) => (Some(0), number(is)),
                (was, None) => (number(was), Some(0)),
                (was, is) => (number(was), number(is)),
            };
            noted.altered(impact.limits.entry(id.to_string()).or_default(), numbers, order, from);
        }
    }
}

fn meters(
    names: &Names,
    (before, after): Given<'_>,
    noted: &mut Noted<'_>,
    impact: &mut Impact,
    from: Option<UnixMillis>,
) {
    let quota = |given: Option<&Entitlement>, ix: Option<MeterIx>| given?.terms(ix?).quota;
    for meter in &names.meters {
        let (was, is) = match (quota(before, meter.before), quota(after, meter.after)) {
            (None, None) => continue,
            (Some(was), Some(is)) => (was, is),
            (_, is) => {
                if noted.is_new(4, &meter.name) {
                    noted.had(impact.meters.entry(meter.name.clone()).or_default(), is.is_some(), from);
                }
                continue;
            }
        };
        if was != is {
            windows(&meter.name, (&was, &is), noted, impact, from);
        }
    }
}

fn windows(
    meter: &str,
    (was, is): (&Quota, &Quota),
    noted: &mut Noted<'_>,
    impact: &mut Impact,
    from: Option<UnixMillis>,
) {
    for window in Window::ALL {
        let limit = |quota: &Quota| quota.hard_limit(window).map(|units| units.get());
        let (was, is) = (limit(was), limit(is));
        let order = is.unwrap_or(u64::MAX).cmp(&was.unwrap_or(u64::MAX));
        if order.is_ne() && noted.is_new(5 + window as u8, meter) {
            let of = impact.quotas.entry((meter.to_owned(), window)).or_default();
            noted.altered(of, (was, is), order, from);
        }
    }
}
