//! What policies had and do not have any more: periods in which it was sold are still to be billed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    addon::Addon,
    catalog::{Catalog, Meter, Stamp, Unmatched},
    id::MeterId,
    plan::{Plan, PlanRef, Quota},
    route::RouteTable,
};

/// What a catalog needs to price time and units that were sold under terms which are gone.
#[derive(Debug)]
pub struct Bygone {
    /// The catalog with the plans, add-ons and meters that it does not have any more, each as it was last. It covers no
    /// route: nothing is decided by it.
    pub catalog: Arc<Catalog>,
    /// The last quotas of plan versions that let units through beyond what they included, where the version does not do so
    /// any more.
    pub overage: BTreeMap<PlanRef, BTreeMap<MeterId, Quota>>,
}

impl Bygone {
    /// What a version of a plan last said of a meter when it let more through than it included.
    #[must_use]
    pub fn quota(&self, plan: &PlanRef, meter: &MeterId) -> Option<&Quota> {
        self.overage.get(plan)?.get(meter)
    }
}

impl Catalog {
    /// The same with more meters, of which no plan says anything yet, and without routes.
    #[must_use]
    pub fn widened(&self, more: &BTreeSet<MeterId>) -> Self {
        let mut wide = Self {
            stamp: Stamp::new(),
            candidate: None,
            bygone: None,
            routes: RouteTable::default(),
            unmatched: Unmatched::Deny,
            origins: Arc::default(),
            ..self.clone()
        };
        let new = more.iter().filter(|id| self.meter_ix(id.as_str()).is_none());
        wide.meters.extend(new.map(|id| Meter { id: id.clone(), title: None, unit: None }));
        wide.meters.sort_by(|a, b| a.id.cmp(&b.id));
        let places: Vec<Option<usize>> =
            wide.meters.iter().map(|meter| Some(usize::from(self.meter_ix(meter.id.as_str())?.0))).collect();
        for plan in wide.plans.values_mut().chain(wide.earlier.values_mut()) {
            *plan = Arc::new(Plan { meters: moved(&plan.meters, &places), ..(**plan).clone() });
        }
        for addon in wide.addons.values_mut() {
            *addon = Arc::new(Addon { quotas: moved(&addon.quotas, &places), ..(**addon).clone() });
        }
        wide
    }
}

/// What was said of each meter, at its new place.
fn moved<T: Copy + Default>(all: &[T], places: &[Option<usize>]) -> Box<[T]> {
    places.iter().map(|place| place.and_then(|place| all.get(place)).copied().unwrap_or_default()).collect()
}
