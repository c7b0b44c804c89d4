//! What is shown of a tenant, in no language.

use std::sync::Arc;

use super::{gauge::Gauge, message::Message};
use crate::{
    domain::{
        catalog::Stamp,
        cost::CostSoFar,
        id::{MeterId, PlanId, TenantId},
        period::Period,
        plan::MeterIx,
        rate::Rate,
        rights::Rights,
        subscription::Scheduled,
        time::{UnixMillis, Version},
        transitions::State,
    },
    ports::{MeterUsage, SpendUsage},
};

/// How a tenant stands.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(super) tenant: TenantId,
    /// The plan; after the subscription has ended: the last one.
    pub(super) plan: Option<PlanId>,
    pub(super) plan_title: Option<String>,
    pub(super) suspended: bool,
    pub(super) state: State,
    pub(super) period: Option<Period>,
    /// The nearest wall first.
    pub(super) gauges: Vec<Gauge>,
    pub(super) rates: Vec<(MeterId, Rate)>,
    pub(super) trial_ends_at: Option<UnixMillis>,
    pub(super) grace_ends_at: Option<UnixMillis>,
    pub(super) scheduled: Option<Scheduled>,
    pub(super) cost: Option<CostSoFar>,
    /// The spend cap, and what is spent of it.
    pub(super) spend: Option<SpendUsage>,
    /// The rights that they are of.
    pub(super) source: (Version, Stamp),
    /// From then on they are others, whatever is done.
    pub(super) until: UnixMillis,
}

impl Figures {
    /// Those of a tenant with these rights that has used so much.
    pub(super) fn of(
        rights: &Arc<Rights>,
        usage: &[MeterUsage],
        (cost, spend): (Option<CostSoFar>, Option<SpendUsage>),
        now: UnixMillis,
    ) -> Self {
        let mut figures = Self::without_entitlement(rights, now);
        (figures.cost, figures.spend) = (cost, spend);
        let Some(given) = &rights.entitlement else { return figures };
        figures.plan = Some(given.plan.clone());
        figures.plan_title.clone_from(&given.offer.title);
        figures.state = given.state;
        figures.period = Some(given.calendar.month(now));
        let meters = (0..).map(MeterIx).zip(&rights.catalog.meters);
        for (ix, meter) in meters {
            let known = usage.iter().find(|usage| usage.meter == meter.id);
            figures.gauges.extend(Gauge::of_meter((ix, meter), given, known, now));
            if let Some(rate) = given.terms(ix).rate {
                figures.rates.push((meter.id.clone(), rate));
            }
        }
        figures.gauges.sort_by(Gauge::by_nearness);
        let resets = figures.gauges.iter().map(|gauge| gauge.resets_at).min();
        figures.until = figures.until.min(resets.unwrap_or(UnixMillis::NEVER));
        figures
    }

    /// What there is to say of a tenant whose subscription, if it has one, gives nothing.
    fn without_entitlement(rights: &Rights, now: UnixMillis) -> Self {
        let inactive = rights.inactive.as_ref();
        let plan = inactive.and_then(|inactive| rights.catalog.plan(inactive.plan.id.as_str()));
        let ahead = rights.ahead.as_deref();
        Self {
            tenant: rights.tenant.clone(),
            plan: inactive.map(|inactive| inactive.plan.id.clone()),
            plan_title: plan.and_then(|plan| plan.title.clone()),
            suspended: rights.suspended,
            state: inactive.map_or(State::None, |inactive| inactive.state),
            period: inactive.map(|inactive| inactive.calendar.month(now)),
            gauges: Vec::new(),
            rates: Vec::new(),
            trial_ends_at: ahead.and_then(|ahead| ahead.trial_ends_at),
            grace_ends_at: ahead.and_then(|ahead| ahead.grace_ends_at),
            scheduled: ahead.and_then(|ahead| ahead.scheduled.clone()),
            cost: None,
            spend: None,
            source: source(rights),
            until: rights.until,
        }
    }

    /// Whether they are still those of a tenant with these rights.
    pub(super) fn hold_for(&self, rights: &Rights, now: UnixMillis) -> bool {
        self.tenant == rights.tenant && self.source == source(rights) && now < self.until
    }

    /// The nearest wall.
    pub(super) fn nearest(&self) -> Option<&Gauge> {
        self.gauges.first().filter(|gauge| gauge.is_limited())
    }

    /// The one sentence that says most.
    pub(super) fn message(&self) -> Message<'_> {
        Message::of(self)
    }
}

fn source(rights: &Rights) -> (Version, Stamp) {
    (rights.version, rights.catalog.stamp)
}

#[cfg(test)]
impl Figures {
    pub(super) fn nothing_of(tenant: TenantId) -> Self {
        Self {
            tenant,
            plan: None,
            plan_title: None,
            suspended: false,
            state: State::None,
            period: None,
            gauges: Vec::new(),
            rates: Vec::new(),
            trial_ends_at: None,
            grace_ends_at: None,
            scheduled: None,
            cost: None,
            spend: None,
            source: (Version(0), Stamp::new()),
            until: UnixMillis::NEVER,
        }
    }
}
