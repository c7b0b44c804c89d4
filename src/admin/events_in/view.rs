//! The answer: what became of each event.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{event::Read, refusal::Refusal};
use crate::domain::{id::MeterId, units::Units};

/// A CloudEvent 1.0 of usage.
#[derive(ToSchema)]
#[allow(
    dead_code,
    reason = "it describes what is read by hand, so that one wrong event does not spoil a batch"
)]
pub(in crate::admin) struct CloudEvent {
    /// `1.0`.
    specversion: String,
    /// Unique for its source: 1 to 255 characters.
    id: String,
    /// Who tells of it: 1 to 255 characters.
    source: String,
    /// Any, such as `plangate.usage`.
    r#type: String,
    /// The tenant's id.
    subject: String,
    /// When it was (RFC 3339). Absent: now.
    time: Option<String>,
    /// `{"meter": "ai_tokens", "units": 12}` or `{"units": {"ai_tokens": 12, "requests": 1}}`: whole numbers from 0 to
    /// 2^53 - 1, at most 20 meters.
    #[schema(value_type = Object)]
    data: Value,
}

/// What became of an event.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Charged(Vec<(MeterId, Units)>),
    Duplicate,
    Refused(Refusal),
}

/// What became of each event of a call.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageEvents)]
pub(in crate::admin) struct EventsView {
    /// How many were charged.
    charged: usize,
    /// How many had been charged before.
    duplicate: usize,
    /// How many were refused.
    refused: usize,
    /// Each, in the order in which they were sent.
    events: Vec<EventView>,
}

/// What became of an event.
#[derive(Serialize, ToSchema)]
#[schema(as = UsageEventOutcome)]
pub(in crate::admin) struct EventView {
    /// Its source; `null` where it has none.
    source: Option<String>,
    /// Its id; `null` where it has none.
    id: Option<String>,
    /// `charged`, `duplicate` or `refused`.
    status: &'static str,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// What was charged now, by meter.
    #[serde(skip_serializing_if = "Option::is_none")]
    charged: Option<BTreeMap<String, u64>>,
    /// What is wrong with the event: a JSON pointer into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// The meter that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    meter: Option<String>,
    /// The window that refused: `hour`, `day`, `week` or `month`.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<&'static str>,
    /// Its limit; a month's with grants and overage.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// Units that count as used of the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
    /// When the window ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    resets_at: Option<String>,
    /// The subscription's state, where that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
}

impl EventsView {
    pub(super) fn of(told: Vec<Read>, outcomes: Vec<Outcome>) -> Self {
        let mut view = Self { charged: 0, duplicate: 0, refused: 0, events: Vec::with_capacity(told.len()) };
        for (read, outcome) in told.into_iter().zip(outcomes) {
            match &outcome {
                Outcome::Charged(_) => view.charged += 1,
                Outcome::Duplicate => view.duplicate += 1,
                Outcome::Refused(_) => view.refused += 1,
            }
            view.events.push(EventView::of(read.named, outcome));
        }
        view
    }
}

impl EventView {
    fn of([source, id]: [Option<String>; 2], outcome: Outcome) -> Self {
        let (status, charged, refusal) = match outcome {
            Outcome::Charged(units) => ("charged", Some(units), None),
            Outcome::Duplicate => ("duplicate", None, None),
            Outcome::Refused(refusal) => ("refused", None, Some(refusal)),
        };
        let charged = charged
            .map(|units| units.into_iter().map(|(meter, units)| (meter.to_string(), units.get())).collect());
        let code = refusal.as_ref().map(|refusal| refusal.code);
        let detail = refusal.as_ref().map(|refusal| refusal.detail.clone());
        let Refusal { pointer, meter, window, limit, used, resets_at, state, .. } =
            refusal.unwrap_or_default();
        Self {
            source,
            id,
            status,
            code,
            detail,
            charged,
            pointer,
            meter,
            window: window.map(|window| window.as_str()),
            limit,
            used,
            resets_at: resets_at.map(|at| at.to_string()),
            state,
        }
    }
}
