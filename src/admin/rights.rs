//! Everything a tenant may do now, and how much of it is left.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Shared, compile,
    openapi::ReadErrors,
    params::{NoParams, TenantPath},
    problem::Problem,
    views::AllowanceView,
};
use crate::{
    domain::{
        id::MeterId,
        period::{Period, Window},
        plan::{Overage, Quota},
        rights::{Entitlement, Rights, Source},
        time::UnixMillis,
        units::{Allowance, Units},
    },
    ports::{MeterUsage, StoreError},
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
    /// `active`, `suspended`, or `none` without a subscription.
    state: &'static str,
    /// The version of the facts that this was compiled from.
    version: u64,
    /// The current billing month.
    period: Option<PeriodView>,
    /// Features that are on, sorted.
    features: Vec<String>,
    /// Limits.
    limits: BTreeMap<String, AllowanceView>,
    /// Quotas by meter.
    quotas: BTreeMap<String, QuotaView>,
    /// Rates by meter: `{"limit", "per", "burst"}`.
    #[schema(value_type = Object)]
    rates: BTreeMap<String, serde_json::Value>,
}

/// A span of time: its start is in it, its end is not.
#[derive(Serialize, ToSchema)]
#[schema(as = Period)]
pub(super) struct PeriodView {
    /// RFC 3339, UTC.
    start: String,
    /// RFC 3339, UTC.
    end: String,
}

impl From<Period> for PeriodView {
    fn from(period: Period) -> Self {
        Self { start: period.start.to_string(), end: period.end.to_string() }
    }
}

/// How a meter stands in the billing month.
#[derive(Serialize, ToSchema)]
#[schema(as = Quota)]
pub(super) struct QuotaView {
    /// Units included in the month.
    limit: AllowanceView,
    /// Units used.
    used: u64,
    /// Units left of the limit; uncertain ones count as used.
    remaining: AllowanceView,
    /// When the month ends.
    resets_at: String,
    /// Units that crashed nodes were granted and may have used.
    uncertain: u64,
    /// What happens past the limit, where it is not a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    overage: Option<OverageView>,
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
pub(super) struct Counts(Vec<MeterUsage>);

impl Counts {
    pub(super) async fn of(
        shared: &Shared,
        rights: &Arc<Rights>,
        now: UnixMillis,
    ) -> Result<Self, StoreError> {
        if rights.entitlement.is_none() {
            return Ok(Self(Vec::new()));
        }
        shared.ledger.usage(rights, now).await.map(Self)
    }

    pub(super) fn get(&self, given: &Entitlement, meter: &MeterId, window: Window, now: UnixMillis) -> Count {
        let known = self.0.iter().find(|usage| usage.meter == *meter);
        let counted = known.and_then(|usage| usage.windows.iter().find(|entry| entry.window == window));
        // What was let through beyond the month's limit is counted apart.
        let beyond = known.and_then(|usage| {
            usage.sources.iter().find(|of| window == Window::Month && of.source == Source::Overage)
        });
        match counted {
            Some(entry) => Count {
                period: entry.period,
                used: entry.used.saturating_add(beyond.map_or(Units::ZERO, |beyond| beyond.used)),
                uncertain: entry.uncertain.saturating_add(beyond.map_or(Units::ZERO, |b| b.uncertain)),
            },
            None => Count {
                period: given.calendar.period(window, now),
                used: Units::ZERO,
                uncertain: Units::ZERO,
            },
        }
    }
}

fn remaining(limit: Allowance, count: Count) -> AllowanceView {
    limit.limit().map(|limit| limit.saturating_sub(count.counted())).into()
}

fn quota_view(quota: &Quota, count: impl Fn(Window) -> Count) -> QuotaView {
    let month = count(Window::Month);
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
    let beyond = quota.month.limit().map_or(Units::ZERO, |limit| month.used.saturating_sub(limit));
    let overage = match quota.overage {
        Overage::Block => None,
        Overage::Allow { cap } | Overage::Bill { cap, .. } => {
            Some(OverageView { mode: quota.overage.mode(), cap: cap.into(), used: beyond.get() })
        }
    };
    QuotaView {
        limit: quota.month.into(),
        used: month.used.get(),
        remaining: remaining(quota.month, month),
        resets_at: month.period.end.to_string(),
        uncertain: month.uncertain.get(),
        overage,
        windows: windows.collect(),
    }
}

fn view(rights: &Rights, counts: &Counts, now: UnixMillis) -> RightsView {
    let mut view = RightsView {
        tenant: rights.tenant.to_string(),
        plan: None,
        state: if rights.suspended { "suspended" } else { "none" },
        version: rights.version.0,
        period: None,
        features: Vec::new(),
        limits: BTreeMap::new(),
        quotas: BTreeMap::new(),
        rates: BTreeMap::new(),
    };
    let Some(given) = &rights.entitlement else { return view };
    view.plan = Some(given.plan.to_string());
    if !rights.suspended {
        view.state = given.state.as_str();
    }
    view.period = Some(given.calendar.period(Window::Month, now).into());
    let plan = &given.offer;
    let features = plan.features.iter().filter_map(|ix| rights.catalog.feature(ix));
    view.features = features.map(|feature| feature.id.to_string()).collect();
    view.features.sort();
    view.limits = plan.limits.iter().map(|(id, limit)| (id.to_string(), (*limit).into())).collect();
    for (meter, terms) in rights.catalog.meters.iter().zip(&plan.meters) {
        if let Some(quota) = &terms.quota {
            let count = |window| counts.get(given, &meter.id, window, now);
            view.quotas.insert(meter.id.to_string(), quota_view(quota, count));
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
    let now = shared.clock.now();
    let rights = compile(&shared.find(&id).await?, &shared.policies.catalog(), shared.clock.now())?;
    let counts = Counts::of(&shared, &rights, now).await?;
    Ok(Json(view(&rights, &counts, now)))
}
