//! Everything that the policy files say, compiled: immutable, swapped whole.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{self, AtomicU64},
    },
};

use super::{
    addon::Addon,
    billing::StripeMap,
    bygone::Bygone,
    command::TrialOffer,
    features::FeatureIx,
    id::{AddonId, FeatureId, LimitId, MeterId, PlanId, TenantId},
    origin::Origins,
    period::BillingCalendar,
    plan::{ChangeAt, Existing, MeterIx, Plan, PlanRef},
    revision::Rollout,
    route::{Operation, RouteTable},
    tenant::Tenant,
    time::{UnixMillis, Version},
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
        Self(LAST.fetch_add(1, atomic::Ordering::Relaxed) + 1)
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
    /// The version of the change that put it in force; 0: no revision of the policies was ever applied, it is a folder's.
    pub deployed: Version,
    /// Policies that are tried beside these.
    pub candidate: Option<Arc<Candidate>>,
    /// With what they had and do not have any more, for bills; `None`: nothing is known of that kind.
    pub bygone: Option<Arc<Bygone>>,
    /// Features by [`FeatureIx`].
    pub features: Vec<Feature>,
    /// Limits, sorted by id.
    pub limits: Vec<Limit>,
    /// Meters by [`MeterIx`].
    pub meters: Vec<Meter>,
    /// Plans by id, each in the version of its file.
    pub plans: BTreeMap<PlanId, Arc<Plan>>,
    /// Their other versions, as far as tenants are on them.
    pub earlier: BTreeMap<PlanRef, Arc<Plan>>,
    /// Add-ons by id.
    pub addons: BTreeMap<AddonId, Arc<Addon>>,
    /// Routes.
    pub routes: RouteTable,
    /// What becomes of the rest.
    pub unmatched: Unmatched,
    /// What Stripe's names mean; empty: nothing is known of Stripe.
    pub stripe: Arc<StripeMap>,
    /// Where all of it was written. For people: no request reads it, and copies share it.
    pub origins: Arc<Origins>,
}

/// Policies that are tried beside those in force.
#[derive(Debug)]
pub struct Candidate {
    /// They. They have no candidate beside them.
    pub catalog: Arc<Catalog>,
    /// How they are tried.
    pub rollout: Rollout,
}

impl Candidate {
    /// Whether they decide for a tenant.
    #[must_use]
    pub fn decides_for(&self, tenant: &TenantId) -> bool {
        match &self.rollout {
            Rollout::Shadow => false,
            Rollout::Staged(selection) => selection.has(tenant),
        }
    }
}

impl Catalog {
    /// One with nothing in it, which refuses everything.
    #[must_use]
    pub fn empty(digest: Digest) -> Self {
        Self {
            stamp: Stamp::new(),
            digest,
            deployed: Version(0),
            candidate: None,
            bygone: None,
            features: Vec::new(),
            limits: Vec::new(),
            meters: Vec::new(),
            plans: BTreeMap::new(),
            earlier: BTreeMap::new(),
            addons: BTreeMap::new(),
            routes: RouteTable::default(),
            unmatched: Unmatched::Deny,
            stripe: Arc::default(),
            origins: Arc::default(),
        }
    }

    /// A copy that shares nothing that is counted with each request: for one worker, so that its counts are in no other
    /// core's cache. The stamp stays.
    #[must_use]
    pub fn own_copy(&self) -> Arc<Self> {
        let mut copy = self.clone();
        for plan in copy.plans.values_mut().chain(copy.earlier.values_mut()) {
            *plan = Arc::new((**plan).clone());
        }
        if let Some(candidate) = &mut copy.candidate {
            let Candidate { catalog, rollout } = &**candidate;
            *candidate = Arc::new(Candidate { catalog: catalog.own_copy(), rollout: rollout.clone() });
        }
        Arc::new(copy)
    }

    /// The catalog that decides for a tenant: this one, or the one that is tried with it.
    #[must_use]
    pub fn of_tenant<'a>(self: &'a Arc<Self>, tenant: &TenantId) -> &'a Arc<Self> {
        match &self.candidate {
            Some(candidate) if candidate.decides_for(tenant) => &candidate.catalog,
            _ => self,
        }
    }

    /// The catalogs that decide for somebody: this one, and what is tried with some tenants.
    pub fn deciding(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Self>> {
        let staged = self.candidate.as_ref().filter(|candidate| candidate.rollout != Rollout::Shadow);
        std::iter::once(self).chain(staged.map(|candidate| &candidate.catalog))
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

    /// The plan of that name, in the version of its file.
    #[must_use]
    pub fn plan(&self, id: &str) -> Option<&Arc<Plan>> {
        self.plans.get(id)
    }

    /// The plan in just this version. Where that is not known, as its file has it.
    #[must_use]
    pub fn plan_in(&self, plan: &PlanRef) -> Option<&Arc<Plan>> {
        let current = self.plans.get(&plan.id);
        if current.is_some_and(|current| current.version == plan.version) {
            return current;
        }
        self.earlier.get(plan).or(current)
    }

    /// The plan that a tenant on `plan` has at `now`, and until when.
    #[must_use]
    pub fn plan_at(
        &self,
        plan: &PlanRef,
        calendar: &BillingCalendar,
        now: UnixMillis,
    ) -> Option<(&Arc<Plan>, UnixMillis)> {
        let moves = self.taken_over(plan, calendar);
        match moves {
            Some((current, at)) if at <= now => Some((current, UnixMillis::NEVER)),
            Some((_, at)) => self.plan_in(plan).map(|plan| (plan, at)),
            None => self.plan_in(plan).map(|plan| (plan, UnixMillis::NEVER)),
        }
    }

    /// The version of its plan to which a tenant has come by itself, and which is not written down yet.
    #[must_use]
    pub fn moved_to(&self, tenant: &Tenant, now: UnixMillis) -> Option<PlanRef> {
        let subscription = tenant.subscription.as_ref()?;
        // Not by what decides for it now: where its own version is not known, that is another one without its having come
        // there.
        let (plan, at) = self.taken_over(&subscription.plan, &subscription.calendar(&tenant.zone))?;
        (at <= now).then(|| plan.reference())
    }

    /// The newer version to which tenants on `plan` come by themselves, and when those with this calendar do.
    fn taken_over(&self, plan: &PlanRef, calendar: &BillingCalendar) -> Option<(&Arc<Plan>, UnixMillis)> {
        let newer = self.plans.get(&plan.id).filter(|current| current.version > plan.version)?;
        Some((newer, newer.takes_over(calendar)?))
    }

    /// When a change from one plan to another comes into force, where the call does not say: as the plan that is left has
    /// it. A dearer plan is an upgrade; where prices do not tell, one that extends the other is. What is neither is made
    /// at once.
    #[must_use]
    pub fn change_at(&self, from: &PlanRef, to: &Plan) -> ChangeAt {
        let Some(left) = self.plan_in(from) else { return ChangeAt::Now };
        let by_price = match (left.price, to.price) {
            (Some(left), Some(to)) if left.currency == to.currency => to.amount.compare(left.amount),
            _ if self.extends(to, &left.id) => Ordering::Greater,
            _ if self.extends(left, &to.id) => Ordering::Less,
            _ => Ordering::Equal,
        };
        match by_price {
            Ordering::Greater => left.changes.upgrade,
            Ordering::Less => left.changes.downgrade,
            Ordering::Equal => ChangeAt::Now,
        }
    }

    /// Whether a plan extends another, directly or through others.
    fn extends(&self, plan: &Plan, ancestor: &PlanId) -> bool {
        // Compiled plans have no circles; bounded all the same.
        let parents = std::iter::successors(plan.parent.as_ref(), |id| self.plans.get(*id)?.parent.as_ref());
        parents.take(self.plans.len()).any(|id| id == ancestor)
    }

    /// The trial that a plan has of its own, for a tenant that comes to its first plan.
    #[must_use]
    pub fn own_trial(&self, plan: &Plan) -> Option<TrialOffer> {
        let trial = plan.trial.as_ref()?;
        // Pinned to the version of today, as the customer is told of it today.
        let then = trial.then.as_ref().and_then(|id| self.plans.get(id)).map(|plan| plan.reference());
        Some(TrialOffer { days: trial.days, then, usage: trial.usage, asked: false, again: false })
    }

    /// The add-on of that name.
    #[must_use]
    pub fn addon(&self, id: &str) -> Option<&Arc<Addon>> {
        self.addons.get(id)
    }
}

impl Plan {
    /// When tenants with this calendar come to this version from older ones; `None`: never by themselves.
    fn takes_over(&self, calendar: &BillingCalendar) -> Option<UnixMillis> {
        match self.existing {
            Existing::Stay => None,
            Existing::NextPeriod => self.introduced.map(|introduced| calendar.month(introduced).end),
            Existing::On(date) => Some(calendar.zone.start_of_day(date)),
        }
    }
}
