//! Everything a tenant may do now, compiled from its plan and its own facts against one catalog.

use std::{
    any::Any,
    sync::{Arc, OnceLock},
};

use super::{
    ahead::Ahead,
    attributes::Attributes,
    catalog::Catalog,
    denial::Denial,
    grant::{BurnOrder, DEFAULT_PRIORITY},
    id::{GrantId, PlanId, TenantId},
    period::{BillingCalendar, Period},
    plan::{MeterIx, MeterTerms, Overage, Plan, PlanRef, PlanVersion},
    tenant::{Overrides, Tenant},
    time::{UnixMillis, Version},
    transitions::State,
    units::Units,
};

/// A tenant's rights: immutable; a change makes new ones.
#[derive(Debug)]
pub struct Rights {
    /// Whose.
    pub tenant: TenantId,
    /// The version of the facts they were compiled from.
    pub version: Version,
    /// The catalog they were compiled from. A request is decided wholly by one catalog.
    pub catalog: Arc<Catalog>,
    /// They hold for requests that arrive before this instant, at which a trial ends, a scheduled change is due, or the
    /// like; then others are compiled from the same facts.
    pub until: UnixMillis,
    /// Whether the tenant was suspended.
    pub suspended: bool,
    /// What the subscription gives; `None`: there is none that entitles.
    pub entitlement: Option<Entitlement>,
    /// The subscription that does not entitle; `None`: it does, or there never was one.
    pub inactive: Option<Inactive>,
    /// What was set for this tenant, whatever its plan; `None`: nothing.
    pub overrides: Option<Arc<Overrides>>,
    /// What tells the tenant apart from others; `None`: nothing does.
    pub attributes: Option<Arc<Attributes>>,
    /// What is to become of the subscription; `None`: nothing that is known.
    pub ahead: Option<Box<Ahead>>,
    /// The ledger's own place for this tenant, found once and then reached directly.
    pub account: AccountSlot,
}

/// A subscription that entitles to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inactive {
    /// Its last plan.
    pub plan: PlanRef,
    /// Why it does not entitle.
    pub state: State,
    /// Where its periods begin.
    pub calendar: BillingCalendar,
}

/// What a subscription gives.
#[derive(Debug)]
pub struct Entitlement {
    /// The plan's id.
    pub plan: PlanId,
    /// The plan's version.
    pub plan_version: PlanVersion,
    /// The subscription's state.
    pub state: State,
    /// Where its periods begin.
    pub calendar: BillingCalendar,
    /// The version at which counting began anew.
    pub epoch: Version,
    /// Features, limits and meters, add-ons and overrides included: the catalog's own plan, shared by all its tenants, or
    /// where the tenant has something of its own a copy of it for this tenant.
    pub offer: Arc<Plan>,
    /// Units beside the plan's.
    pub grants: Box<[GrantTerms]>,
}

/// A grant as it is charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantTerms {
    /// Its id.
    pub id: GrantId,
    /// With the meter it names the units in the ledger.
    pub number: Version,
    /// Of what.
    pub meter: MeterIx,
    /// How many (a recurring one: in each month).
    pub units: Units,
    /// Lower ones are burnt first.
    pub priority: u16,
    /// When it was given.
    pub since: UnixMillis,
    /// From then on nothing of it can be used.
    pub expires_at: Option<UnixMillis>,
    /// Anew in each billing month.
    pub recurring: bool,
}

/// Where the units of a month come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// What the plan includes.
    Plan,
    /// A grant, by its number.
    Grant(Version),
    /// What the plan lets through beyond what it includes: after everything else.
    Overage,
}

/// A source of units as it is charged at some instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTerms {
    /// Which.
    pub source: Source,
    /// The span in which its units can be used.
    pub period: Period,
    /// How many there are; `None`: any number.
    pub limit: Option<Units>,
}

impl Entitlement {
    /// What may be used of a meter.
    #[must_use]
    pub fn terms(&self, meter: MeterIx) -> MeterTerms {
        self.offer.meters.get(usize::from(meter.0)).copied().unwrap_or_default()
    }

    /// Whether the plan names a quota of the meter: what it does not name may not be charged.
    #[must_use]
    pub fn covers(&self, meter: MeterIx) -> bool {
        self.offer.meters.get(usize::from(meter.0)).is_some_and(|terms| terms.quota.is_some())
    }

    /// Where the month's units of a meter come from at `now`, in the order in which they are burnt: by priority, then the
    /// earliest to be lost, then the oldest; overage last. Empty: the plan does not name the meter. A plan without limit
    /// needs nothing beside it.
    #[must_use]
    pub fn sources(&self, meter: MeterIx, now: UnixMillis) -> Vec<SourceTerms> {
        let Some(quota) = self.terms(meter).quota else { return Vec::new() };
        let month = self.calendar.month(now);
        let plan = SourceTerms { source: Source::Plan, period: month, limit: quota.month.limit() };
        if plan.limit.is_none() {
            return vec![plan];
        }
        let order = BurnOrder {
            priority: DEFAULT_PRIORITY,
            expires: month.end,
            since: UnixMillis(i64::MIN),
            number: Version(0),
        };
        let mut sources = vec![(order, plan)];
        sources.extend(self.grants.iter().filter(|grant| grant.meter == meter).filter_map(|grant| {
            let terms = grant.terms(month)?;
            let GrantTerms { priority, since, number, .. } = *grant;
            Some((BurnOrder { priority, expires: terms.period.end, since, number }, terms))
        }));
        sources.sort_by_key(|(order, _)| *order);
        let mut sources: Vec<_> = sources.into_iter().map(|(_, terms)| terms).collect();
        let limit = match quota.overage {
            Overage::Block => return sources,
            Overage::Allow { cap } | Overage::Bill { cap, .. } => cap,
        };
        sources.push(SourceTerms { source: Source::Overage, period: month, limit });
        sources
    }
}

impl GrantTerms {
    /// As it is charged in this month.
    fn terms(&self, month: Period) -> Option<SourceTerms> {
        let end = self.expires_at.unwrap_or(UnixMillis::NEVER);
        let period = if self.recurring {
            // A month's units are named by the month, also where the grant was given, or ends, within it.
            Period { start: month.start, end: month.end.min(end) }
        } else {
            Period { start: self.since, end }
        };
        (period.end > month.start).then_some(SourceTerms {
            source: Source::Grant(self.number),
            period,
            limit: Some(self.units),
        })
    }
}

/// The tenant is on a plan that the policies do not (any more) have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant `{tenant}` is on plan `{plan}`, which the policies do not have")]
pub struct UnknownPlan {
    /// The tenant.
    pub tenant: TenantId,
    /// The plan that is missing.
    pub plan: PlanId,
}

impl Rights {
    /// Compiles a tenant's facts, as they are at `now`, against a catalog. Overrides, grants and
    /// add-ons of names that the catalog does not have are without effect.
    ///
    /// # Errors
    /// [`UnknownPlan`] where the catalog does not have the subscription's plan.
    pub fn compile(tenant: &Tenant, catalog: &Arc<Catalog>, now: UnixMillis) -> Result<Self, UnknownPlan> {
        if tenant.next_instant().is_some_and(|at| at <= now) {
            compile(&tenant.at(now), catalog, now)
        } else {
            compile(tenant, catalog, now)
        }
    }
}

impl Rights {
    /// What the subscription gives.
    ///
    /// # Errors
    /// [`Denial::SubscriptionInactive`] where it gives nothing.
    pub fn entitlement(&self) -> Result<&Entitlement, Denial> {
        self.entitlement.as_ref().ok_or_else(|| {
            Denial::SubscriptionInactive(
                self.inactive.as_ref().map_or(State::None, |inactive| inactive.state),
            )
        })
    }
}

/// Compiles a tenant in which nothing is due.
fn compile(tenant: &Tenant, catalog: &Arc<Catalog>, now: UnixMillis) -> Result<Rights, UnknownPlan> {
    let overrides = (!tenant.overrides.is_empty()).then(|| Arc::new(tenant.overrides.clone()));
    let mut rights = Rights {
        tenant: tenant.id.clone(),
        version: tenant.version,
        catalog: Arc::clone(catalog),
        until: tenant.next_instant().unwrap_or(UnixMillis::NEVER),
        suspended: tenant.suspended,
        entitlement: None,
        inactive: None,
        overrides,
        attributes: tenant.attributes.clone(),
        ahead: Ahead::of(tenant),
        account: AccountSlot::default(),
    };
    let Some(subscription) = &tenant.subscription else { return Ok(rights) };
    let calendar = subscription.calendar(&tenant.zone);
    let state = subscription.state.state();
    if !state.entitles() {
        rights.inactive = Some(Inactive { plan: subscription.plan.clone(), state, calendar });
        return Ok(rights);
    }
    let unknown = || UnknownPlan { tenant: tenant.id.clone(), plan: subscription.plan.id.clone() };
    let (plan, moves) = catalog.plan_at(&subscription.plan, &calendar, now).ok_or_else(unknown)?;
    rights.until = rights.until.min(moves);
    if let Some(mixture) = subscription.mixture.as_ref().filter(|mixture| mixture.month.contains(now)) {
        rights.until = rights.until.min(mixture.month.end);
    }
    let offer = tenant.offer(plan, catalog, now);
    rights.entitlement = Some(Entitlement {
        plan: plan.id.clone(),
        plan_version: plan.version,
        state,
        calendar,
        epoch: subscription.epoch,
        offer: offer.unwrap_or_else(|| Arc::clone(plan)),
        grants: tenant.grant_terms(catalog),
    });
    Ok(rights)
}

impl Tenant {
    /// The plan as this tenant has it, where that is not just the plan.
    fn offer(&self, plan: &Arc<Plan>, catalog: &Catalog, now: UnixMillis) -> Option<Arc<Plan>> {
        let mixture = self.subscription.as_ref()?.mixture.as_ref();
        let mixture = mixture.filter(|mixture| mixture.month.contains(now));
        if mixture.is_none() && self.addons.is_empty() && self.overrides.is_empty() {
            return None;
        }
        let mut offer = (**plan).clone();
        if let Some(mixture) = mixture {
            mixture.mix(&mut offer, catalog);
        }
        for attached in &self.addons {
            if let Some(addon) =
                catalog.addon(attached.addon.as_str()).filter(|addon| addon.goes_with(&plan.id))
            {
                addon.add_to(&mut offer, attached.quantity);
            }
        }
        Some(Arc::new(if self.overrides.is_empty() { offer } else { offer.with(&self.overrides, catalog) }))
    }

    fn grant_terms(&self, catalog: &Catalog) -> Box<[GrantTerms]> {
        let terms = self.grants.iter().filter_map(|grant| {
            Some(GrantTerms {
                id: grant.id.clone(),
                number: grant.number,
                meter: catalog.meter_ix(grant.meter.as_str())?,
                units: grant.units,
                priority: grant.priority,
                since: grant.since,
                expires_at: grant.expires_at,
                recurring: grant.recurring,
            })
        });
        terms.collect()
    }
}

impl Plan {
    /// The plan as a tenant with these overrides has it: what is set there stands in the place of what the plan says.
    #[must_use]
    pub fn with(&self, overrides: &Overrides, catalog: &Catalog) -> Self {
        let mut plan = self.clone();
        for (id, on) in &overrides.features {
            if let Some(ix) = catalog.feature_ix(id.as_str()) {
                if *on { plan.features.insert(ix) } else { plan.features.remove(ix) }
            }
        }
        for (id, allowance) in &overrides.limits {
            if catalog.has_limit(id.as_str()) {
                plan.limits.insert(id.clone(), *allowance);
            }
        }
        for (id, quota) in &overrides.quotas {
            if let Some(ix) = catalog.meter_ix(id.as_str()) {
                plan.meters[usize::from(ix.0)].quota = Some(*quota);
            }
        }
        for (id, rate) in &overrides.rates {
            if let Some(ix) = catalog.meter_ix(id.as_str()) {
                plan.meters[usize::from(ix.0)].rate = *rate;
            }
        }
        plan.spend_cap = overrides.spend_cap.unwrap_or(plan.spend_cap);
        plan
    }
}

/// A place that the ledger fills at first use with its own per-tenant state.
#[derive(Default)]
pub struct AccountSlot(OnceLock<Arc<dyn Any + Send + Sync>>);

impl AccountSlot {
    /// The state, made by `open` at first use. `None` where somebody filled the place with another type.
    pub fn get_or_open<T: Any + Send + Sync>(&self, open: impl FnOnce() -> Arc<T>) -> Option<&T> {
        self.0.get_or_init(|| open() as Arc<dyn Any + Send + Sync>).downcast_ref()
    }
}

impl std::fmt::Debug for AccountSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.get().is_some() { "AccountSlot(open)" } else { "AccountSlot" })
    }
}
