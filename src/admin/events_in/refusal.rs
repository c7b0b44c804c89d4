//! Why an event was refused.

use crate::{
    domain::{denial::Denial, id::TenantId, period::Window, time::UnixMillis},
    ports::EVENTS_KNOWN_DAYS,
};

/// Why an event was refused, with what belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) detail: String,
    pub(super) pointer: Option<String>,
    pub(super) meter: Option<String>,
    pub(super) window: Option<Window>,
    pub(super) limit: Option<u64>,
    pub(super) used: Option<u64>,
    pub(super) resets_at: Option<UnixMillis>,
    pub(super) state: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), ..Self::default() }
    }

    /// It makes no sense by itself.
    pub(super) fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), ..Self::new("event-invalid", detail) }
    }

    /// It is said to have been later than now.
    pub(super) fn in_future(at: UnixMillis, now: UnixMillis) -> Self {
        let detail = format!("`{at}` is more than 5 minutes ahead of the clock here, which says {now}");
        Self { pointer: Some("/time".to_owned()), ..Self::new("event-in-future", detail) }
    }

    /// It was so long ago that nobody knows whether it was charged before.
    pub(super) fn forgotten(at: UnixMillis) -> Self {
        let detail = format!("`{at}` is more than {EVENTS_KNOWN_DAYS} days ago: events are known no longer");
        Self { pointer: Some("/time".to_owned()), ..Self::new("event-too-old", detail) }
    }

    /// It was before the month that runs.
    pub(super) fn before_month(at: UnixMillis, start: UnixMillis) -> Self {
        let detail = format!("`{at}` is before the tenant's billing month, which began at {start}");
        Self { pointer: Some("/time".to_owned()), ..Self::new("event-too-old", detail) }
    }

    /// Another event has its source and id.
    pub(super) fn conflict() -> Self {
        Self::new(
            "event-conflict",
            "another event with this source and id was sent before, and says otherwise",
        )
    }

    pub(super) fn tenant_unknown(tenant: &TenantId) -> Self {
        Self::new("tenant-unknown", format!("there is no tenant `{tenant}`"))
    }

    /// A denial as requests have it.
    pub(super) fn of(denial: &Denial) -> Self {
        let mut refusal = Self::new(denial.code(), denial.to_string());
        match denial {
            Denial::SubscriptionInactive(state) => refusal.state = Some(state.as_str()),
            Denial::MeterNotInPlan { meter } => refusal.meter = Some(meter.to_string()),
            Denial::QuotaExhausted { meter, window, limit, used, period } => {
                refusal.meter = Some(meter.to_string());
                refusal.window = Some(*window);
                refusal.limit = Some(limit.get());
                refusal.used = Some(used.get());
                refusal.resets_at = Some(period.end);
            }
            Denial::SpendCapReached { meter, period, .. } => {
                refusal.meter = Some(meter.to_string());
                refusal.resets_at = Some(period.end);
            }
            _ => {}
        }
        refusal
    }
}
