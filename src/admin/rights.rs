//! Everything a tenant may do now, and how much of it is left.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Shared,
    cost::CostView,
    openapi::ReadErrors,
    params::{NoParams, TenantPath},
    present::Present,
    problem::Problem,
    sources::{self, SourceCount, SourceView, sum},
    spend::SpendView,
    views::{AllowanceView, PeriodView},
};
use crate::{
    domain::{
        catalog::Catalog,
        forecast,
        id::MeterId,
        period::{Period, Window},
        plan::{Overage, Quota},
        rights::{Entitlement, Rights},
        time::UnixMillis,
        units::{Allowance, Units},
    },
    ports::{MeterUsage, SpendUsage, StoreError},
    wire::overrides,
};

/// Everything a tenant may do now.
#[derive(Serialize, ToSchema)]
#[schema(as = Rights)]
pub(super) struct RightsView {
    /// The tenant's id.
    tenant: String,
    /// Its plan; `null` without a subscription.
    plan: Option<String>,
    /// The plan's version.
    plan_version: Option<u32>,
    /// The subscription's state: `trialing`, `active` or `past_due`, which entitle, or `unpaid`, `paused`, `expired`,
    /// `canceled`, or `none`; `suspended` whatever it is.
    state: &'static str,
    /// The version of the facts that this was compiled from.
    version: u64,
    /// The current billing month.
    period: Option<PeriodView>,
    /// The next instant at which these rights change by themselves; `null`: there is none.
    until: Option<String>,
    /// Add-ons that are in force.
    addons: Vec<AddonInForce>,
    /// Features that are on, sorted.
    features: Vec<String>,
    /// Limits.
    limits: BTreeMap<String, AllowanceView>,
    /// Quotas by meter.
    quotas: BTreeMap<String, QuotaView>,
    /// The spend cap; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    spend_cap: Option<SpendView>,
    /// What the month costs so far; `null`: nothing is sold for money to this tenant.
    cost: Option<CostView>,
    /// Rates by meter: `{"limit", "per", "burst"}`.
    #[schema(value_type = Object)]
    rates: BTreeMap<String, serde_json::Value>,
}

/// An add-on that adds to a tenant's rights.
#[derive(Serialize, ToSchema)]
pub(super) struct AddonInForce {
    /// Its id.
    addon: String,
    /// How many of it.
    quantity: u32,
    /// From then on no more; `null`: until it is detached.
    ends_at: Option<String>,
}

/// How a meter stands in the billing month.
#[derive(Serialize, ToSchema)]
#[schema(as = Quota)]
pub(super) struct QuotaView {
    /// Units included in the month, and those of the grants in force.
    limit: AllowanceView,
    /// Units that the plan includes in the month, with the tenant's add-ons and overrides.
    included: AllowanceView,
    /// Units used, over all sources.
    used: u64,
    /// Units left of what is included and of the grants together; uncertain ones count as used.
    remaining: AllowanceView,
    /// When the month ends.
    resets_at: String,
    /// When nothing is left, if all goes on as it did so far in the month; `null`: not in this month, or that cannot be said.
    ends_at: Option<String>,
    /// Units that crashed nodes were granted and may have used.
    uncertain: u64,
    /// What happens past the limit, where it is not a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    overage: Option<OverageView>,
    /// Where the units come from, in the order in which they are burnt.
    sources: Vec<SourceView>,
    /// Further limits, the shortest first. All must hold.
    windows: Vec<WindowView>,
}

/// What happens past a month's limit.
#[derive(Serialize, ToSchema)]
#[schema(as = Overage)]
pub(super) struct OverageView {
    /// `allow` or `bill`.
    mode: &'static str,
    /// Units beyond the limit.
    cap: AllowanceView,
    /// Units used beyond the limit.
    used: u64,
}

/// How a meter stands in a shorter window.
#[derive(Serialize, ToSchema)]
#[schema(as = Window)]
pub(super) struct WindowView {
    /// `hour`, `day` or `week`.
    per: &'static str,
    /// Units in the whole window.
    limit: AllowanceView,
    /// Units used.
    used: u64,
    /// Units left; uncertain ones count as used.
    remaining: AllowanceView,
    /// When the window ends.
    resets_at: String,
    /// Units that crashed nodes were granted and may have used.
    uncertain: u64,
}

/// How much of a window is used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    pub(super) period: Period,
    pub(super) used: Units,
    pub(super) uncertain: Units,
}

impl Count {
    /// What counts against a limit: a quota counts the upper end.
    pub(super) const fn counted(self) -> Units {
        self.used.saturating_add(self.uncertain)
    }
}

/// How much of everything a tenant has used. What the ledger does not know of was never used.
pub(super) struct Counts(pub(super) Vec<MeterUsage>, pub(super) Option<SpendUsage>);

impl Counts {
    pub(super) async fn of(
        shared: &Shared,
        rights: &Arc<Rights>,
        now: UnixMillis,
    ) -> Result<Self, StoreError> {
        if rights.entitlement.is_none() {
            return Ok(Self(Vec::new(), None));
        }
        let spend = shared.ledger.spend(rights, now).await?;
        Ok(Self(shared.ledger.usage(rights, now).await?, spend))
    }

    /// How the spend cap stands; `None`: there is none.
    pub(super) const fn spend(&self) -> Option<&SpendUsage> {
        self.1.as_ref()
    }

    fn of_meter(&self, meter: &MeterId) -> Option<&MeterUsage> {
        self.0.iter().find(|usage| usage.meter == *meter)
    }

    /// A window that is shorter than the month.
    pub(super) fn window(
        &self,
        given: &Entitlement,
        meter: &MeterId,
        window: Window,
        now: UnixMillis,
    ) -> Count {
        let known = self.of_meter(meter);
        let known = known.and_then(|usage| usage.windows.iter().find(|entry| entry.window == window));
        match known {
            Some(entry) => Count { period: entry.period, used: entry.used, uncertain: entry.uncertain },
            None => Count {
                period: given.calendar.period(window, now),
                used: Units::ZERO,
                uncertain: Units::ZERO,
            },
        }
    }

    /// The month's sources, in the order in which they are burnt.
    pub(super) fn sources(
        &self,
        given: &Entitlement,
        catalog: &Catalog,
        meter: &MeterId,
        now: UnixMillis,
    ) -> Vec<SourceCount> {
        let ix = catalog.meter_ix(meter.as_str());
        ix.map_or_else(Vec::new, |ix| sources::counts(given, ix, self.of_meter(meter), now))
    }
}

fn remaining(limit: Allowance, count: Count) -> AllowanceView {
    limit.limit().map(|limit| limit.saturating_sub(count.counted())).into()
}

fn window_views(quota: &Quota, count: impl Fn(Window) -> Count) -> Vec<WindowView> {
    let windows = [(Window::Hour, quota.hour), (Window::Day, quota.day), (Window::Week, quota.week)];
    let windows = windows.into_iter().filter_map(|(window, limit)| {
        let (limit, count) = (limit?, count(window));
        Some(WindowView {
            per: window.as_str(),
            limit: limit.into(),
            used: count.used.get(),
            remaining: remaining(limit, count),
            resets_at: count.period.end.to_string(),
            uncertain: count.uncertain.get(),
        })
    });
    windows.collect()
}

fn quota_view(
    quota: &Quota,
    month: Period,
    (sources, views): (&[SourceCount], Vec<SourceView>),
    windows: Vec<WindowView>,
    now: UnixMillis,
) -> QuotaView {
    let within = || sources.iter().filter(|source| !source.is_overage());
    let counted = within().map(SourceCount::counted).fold(Units::ZERO, Units::saturating_add);
    let ends_at = sum(within().map(|source| source.terms.limit))
        .and_then(|limit| forecast::ends_at(counted, limit, month, now));
    let beyond = sources.iter().filter(|source| source.is_overage());
    let total = |units: fn(&SourceCount) -> Units| {
        sources.iter().map(units).fold(Units::ZERO, Units::saturating_add).get()
    };
    let beyond = beyond.map(|source| source.used).fold(Units::ZERO, Units::saturating_add);
    let overage = match quota.overage {
        Overage::Block => None,
        Overage::Allow { cap } | Overage::Bill { cap, .. } => {
            Some(OverageView { mode: quota.overage.mode(), cap: cap.into(), used: beyond.get() })
        }
    };
    QuotaView {
        limit: sum(within().map(|source| source.terms.limit)).into(),
        included: quota.month.into(),
        used: total(|source| source.used),
        remaining: sum(within().map(SourceCount::left)).into(),
        resets_at: month.end.to_string(),
        ends_at: ends_at.map(|at| at.to_string()),
        uncertain: total(|source| source.uncertain),
        overage,
        sources: views,
        windows,
    }
}

/// What is left without a plan that entitles.
fn bare(present: &Present, rights: &Rights) -> RightsView {
    let tenant = &present.tenant;
    let subscription = present.subscription();
    let month = |calendar: crate::domain::period::BillingCalendar| calendar.month(present.now);
    RightsView {
        tenant: tenant.id.to_string(),
        plan: subscription.map(|subscription| subscription.plan.id.to_string()),
        plan_version: subscription.map(|subscription| subscription.plan.version.0),
        state: if rights.suspended { "suspended" } else { tenant.state().as_str() },
        version: rights.version.0,
        period: subscription.map(|subscription| month(subscription.calendar(&tenant.zone)).into()),
        until: (rights.until < UnixMillis::NEVER).then(|| rights.until.to_string()),
        addons: Vec::new(),
        features: Vec::new(),
        limits: BTreeMap::new(),
        quotas: BTreeMap::new(),
        spend_cap: None,
        cost: None,
        rates: BTreeMap::new(),
    }
}

fn view(present: &Present, rights: &Rights, counts: &Counts) -> RightsView {
    let mut view = bare(present, rights);
    let Some(given) = &rights.entitlement else { return view };
    let (tenant, catalog, now) = (&present.tenant, &present.catalog, present.now);
    let addons = tenant.addons.iter().filter(|attached| present.is_in_force(attached));
    view.addons = addons
        .map(|attached| AddonInForce {
            addon: attached.addon.to_string(),
            quantity: attached.quantity,
            ends_at: attached.ends_at.map(|at| at.to_string()),
        })
        .collect();
    let plan = &given.offer;
    let features = plan.features.iter().filter_map(|ix| catalog.feature(ix));
    view.features = features.map(|feature| feature.id.to_string()).collect();
    view.features.sort();
    view.spend_cap = counts.spend().map(Into::into);
    view.limits = plan.limits.iter().map(|(id, limit)| (id.to_string(), (*limit).into())).collect();
    for (meter, terms) in catalog.meters.iter().zip(&plan.meters) {
        if let Some(quota) = &terms.quota {
            let sources = counts.sources(given, catalog, &meter.id, now);
            let views = sources.iter().map(|count| SourceView::of(count, &meter.id, tenant)).collect();
            let windows = window_views(quota, |window| counts.window(given, &meter.id, window, now));
            let quota = quota_view(quota, given.calendar.month(now), (&sources, views), windows, now);
            view.quotas.insert(meter.id.to_string(), quota);
        }
        if let Some(rate) = &terms.rate {
            view.rates.insert(meter.id.to_string(), overrides::rate(Some(rate)));
        }
    }
    view
}

/// Read everything a tenant may do now.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/rights", tag = "tenants",
    params(("tenant" = String, Path, description = "The tenant's id")),
    responses((status = 200, description = "Its rights", body = RightsView), ReadErrors))]
pub(super) async fn get_rights(
    State(shared): State<Shared>,
    TenantPath(id): TenantPath,
    _: NoParams,
) -> Result<Json<RightsView>, Problem> {
    let present = shared.find(&id).await?;
    let rights = present.rights()?;
    let counts = Counts::of(&shared, &rights, present.now).await?;
    let cost = shared.bills.so_far(&rights, &counts.0, present.now).await?;
    Ok(Json(RightsView { cost: cost.map(Into::into), ..view(&present, &rights, &counts) }))
}
