//! Everything that the policy files say, compiled: immutable, swapped whole.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    features::FeatureIx,
    id::{FeatureId, LimitId, MeterId, PlanId},
    plan::{MeterIx, Plan},
    route::{Operation, RouteTable},
};

/// The digest of the policy files a catalog was compiled from: lower-case hexadecimal SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Digest(pub Arc<str>);

/// Tells catalogs apart: no two that were compiled in one process have the same, copies of one all have its own. What was
/// compiled from a catalog holds for each of its copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// A stamp that was never given before.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "no two are equal: there is no default one")]
    pub fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// As a number, which is never 0.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A declared feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Its id.
    pub id: FeatureId,
    /// Its name for people.
    pub title: Option<String>,
}

/// A declared limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Its id.
    pub id: LimitId,
    /// Its name for people.
    pub title: Option<String>,
}

/// A declared meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    /// Its id.
    pub id: MeterId,
    /// Its name for people.
    pub title: Option<String>,
    /// What one unit is called.
    pub unit: Option<String>,
}

/// What becomes of a request that no route covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmatched {
    /// Refused with `route-not-covered`.
    Deny,
    /// Let through for any identified tenant, charged as this.
    Allow(Operation),
}

/// All policies. Features and meters are sorted by id, and indexed by their place.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Which catalog this is.
    pub stamp: Stamp,
    /// What it was compiled from.
    pub digest: Digest,
    /// Features by [`FeatureIx`].
    pub features: Vec<Feature>,
    /// Limits, sorted by id.
    pub limits: Vec<Limit>,
    /// Meters by [`MeterIx`].
    pub meters: Vec<Meter>,
    /// Plans by id.
    pub plans: BTreeMap<PlanId, Arc<Plan>>,
    /// Routes.
    pub routes: RouteTable,
    /// What becomes of the rest.
    pub unmatched: Unmatched,
}

impl Catalog {
    /// A copy that shares nothing that is counted with each request: for one worker, so that its counts are in no other
    /// core's cache. The stamp stays.
    #[must_use]
    pub fn own_copy(&self) -> Arc<Self> {
        let mut copy = self.clone();
        for plan in copy.plans.values_mut() {
            *plan = Arc::new((**plan).clone());
        }
        Arc::new(copy)
    }

    /// The place of a feature.
    #[must_use]
    pub fn feature_ix(&self, id: &str) -> Option<FeatureIx> {
        let place = self.features.binary_search_by(|f| f.id.as_str().cmp(id)).ok()?;
        u16::try_from(place).ok().map(FeatureIx)
    }

    /// The feature at a place.
    #[must_use]
    pub fn feature(&self, ix: FeatureIx) -> Option<&Feature> {
        self.features.get(usize::from(ix.0))
    }

    /// The place of a meter.
    #[must_use]
    pub fn meter_ix(&self, id: &str) -> Option<MeterIx> {
        let place = self.meters.binary_search_by(|m| m.id.as_str().cmp(id)).ok()?;
        u16::try_from(place).ok().map(MeterIx)
    }

    /// The meter at a place.
    #[must_use]
    pub fn meter(&self, ix: MeterIx) -> Option<&Meter> {
        self.meters.get(usize::from(ix.0))
    }

    /// Whether a limit of that name is declared.
    #[must_use]
    pub fn has_limit(&self, id: &str) -> bool {
        self.limits.binary_search_by(|l| l.id.as_str().cmp(id)).is_ok()
    }

    /// The plan of that name.
    #[must_use]
    pub fn plan(&self, id: &str) -> Option<&Arc<Plan>> {
        self.plans.get(id)
    }
}
