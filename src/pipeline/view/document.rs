//! The view as JSON. The names of its members are those of the admin API's answers.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    figures::Figures,
    gauge::{Beyond, Gauge},
};
use crate::{
    domain::{
        cost::CostSoFar,
        period::Period,
        subscription::{Scheduled, Upcoming},
        time::UnixMillis,
        units::Units,
    },
    pipeline::language::Language,
    ports::SpendUsage,
    wire::overrides,
};

#[derive(Serialize)]
struct Document<'a> {
    tenant: &'a str,
    plan: Option<&'a str>,
    plan_title: Option<&'a str>,
    /// As in the rights: `suspended` whatever the subscription's is.
    state: &'static str,
    period: Option<Value>,
    quotas: Vec<Quota<'a>>,
    nearest: Option<Quota<'a>>,
    rates: Map<String, Value>,
    trial_ends_at: Option<String>,
    grace_ends_at: Option<String>,
    scheduled: Option<Value>,
    cost: Option<Value>,
    spend_cap: Option<Value>,
    message: String,
    /// When it was true.
    at: String,
}

#[derive(Serialize)]
struct Quota<'a> {
    meter: &'a str,
    title: Option<&'a str>,
    unit: Option<&'a str>,
    window: &'static str,
    used: u64,
    limit: Value,
    remaining: Value,
    resets_at: String,
    uncertain: u64,
    share: Option<u64>,
    ends_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overage: Option<Value>,
}

/// A number, or the word `unlimited`.
fn allowance(limit: Option<Units>) -> Value {
    limit.map_or_else(|| "unlimited".into(), |units| units.get().into())
}

fn instant(at: Option<UnixMillis>) -> Option<String> {
    at.map(|at| at.to_string())
}

impl<'a> Quota<'a> {
    fn of(gauge: &'a Gauge) -> Self {
        Self {
            meter: gauge.meter.as_str(),
            title: gauge.title.as_deref(),
            unit: gauge.unit.as_deref(),
            window: gauge.window.as_str(),
            used: gauge.used.get(),
            limit: allowance(gauge.limit),
            remaining: allowance(gauge.remaining),
            resets_at: gauge.resets_at.to_string(),
            uncertain: gauge.uncertain.get(),
            share: gauge.share,
            ends_at: instant(gauge.ends_at),
            overage: gauge.beyond.as_ref().map(overage),
        }
    }
}

fn overage(beyond: &Beyond) -> Value {
    json!({
        "mode": beyond.mode,
        "cap": allowance(beyond.cap),
        "used": beyond.used.get(),
        "remaining": allowance(beyond.remaining),
    })
}

fn period(period: Period) -> Value {
    json!({ "start": period.start.to_string(), "end": period.end.to_string() })
}

fn scheduled(scheduled: &Scheduled) -> Value {
    let at = scheduled.at.to_string();
    match &scheduled.what {
        Upcoming::Cancel => json!({ "at": at, "change": "cancel", "plan": null }),
        Upcoming::Plan { plan, .. } => json!({ "at": at, "change": "plan", "plan": plan.id.as_str() }),
    }
}

/// Money is written as quoted decimals.
fn cost(cost: &CostSoFar) -> Value {
    json!({
        "currency": cost.currency.to_string(),
        "plan": cost.plan.to_string(),
        "addons": cost.addons.to_string(),
        "overage": cost.overage.to_string(),
        "total": cost.total.to_string(),
        "forecast": cost.forecast.to_string(),
    })
}

fn spend(spend: &SpendUsage) -> Value {
    json!({
        "currency": spend.currency.to_string(),
        "limit": spend.cap.to_string(),
        "spent": spend.spent.to_string(),
        "remaining": spend.remaining().to_string(),
        "uncertain": spend.uncertain.to_string(),
        "resets_at": spend.period.end.to_string(),
    })
}

/// Writes it in a language.
pub(super) fn write(figures: &Figures, language: Language, now: UnixMillis) -> Bytes {
    let rate = |(meter, rate): &(_, _)| (ToString::to_string(meter), overrides::rate(Some(rate)));
    let document = Document {
        tenant: figures.tenant.as_str(),
        plan: figures.plan.as_ref().map(crate::domain::id::PlanId::as_str),
        plan_title: figures.plan_title.as_deref(),
        state: if figures.suspended { "suspended" } else { figures.state.as_str() },
        period: figures.period.map(period),
        quotas: figures.gauges.iter().map(Quota::of).collect(),
        nearest: figures.nearest().map(Quota::of),
        rates: figures.rates.iter().map(rate).collect(),
        trial_ends_at: instant(figures.trial_ends_at),
        grace_ends_at: instant(figures.grace_ends_at),
        scheduled: figures.scheduled.as_ref().map(scheduled),
        cost: figures.cost.as_ref().map(cost),
        spend_cap: figures.spend.as_ref().map(spend),
        message: language.message(&figures.message()),
        at: now.to_string(),
    };
    // Maps with texts as keys, texts and numbers can always be written.
    serde_json::to_vec(&document).unwrap_or_default().into()
}
