//! Usage events in: CloudEvents, one or many in a call, each charged once however often it is sent.
#![allow(
    clippy::result_large_err,
    reason = "a refusal is an answer, made once for an event and moved a few times"
)]

mod charges;
mod envelope;
mod event;
mod refusal;
mod rounds;
mod view;

use axum::{
    Json,
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use serde_json::Value;

use self::view::{CloudEvent, EventsView};
use super::{
    Shared,
    answer::mark,
    body,
    openapi::ReadErrors,
    params::Params,
    problem::{Code, OTHER_REQUEST, Problem},
    write,
};
use crate::ports::{EarlierCall, Idempotency};

/// What an event that is sent now charges by these rights: for tests that hold it against other books.
#[cfg(test)]
pub(crate) fn charges_of(
    event: &Value,
    rights: &crate::domain::rights::Rights,
    now: crate::domain::time::UnixMillis,
) -> Result<crate::ports::UsageEvent, String> {
    let told = event::read(event).told;
    let charged = told.and_then(|told| charges::of(&told, rights, charges::time(&told, now)?, now));
    charged.map_err(|refusal| format!("{refusal:?}"))
}

/// Events as they were sent.
pub(super) struct Sent {
    events: Vec<Value>,
    call: Option<Idempotency>,
}

impl FromRequest<Shared> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Problem> {
        let (parts, stream) = request.into_parts();
        Params::of(&parts.uri)?.finish()?;
        let key = write::idempotency_key(&parts.headers)?;
        let bytes = body::read(&parts.headers, stream, shared.0.body_time).await?;
        let events = envelope::open(&parts.headers, &bytes)?;
        let call = key.map(|key| Idempotency { key, fingerprint: write::fingerprint(&parts, &bytes) });
        Ok(Self { events, call })
    }
}

/// Charge usage that did not come through the gateway. An event is known by its `source` and `id` for 32 days: sent again
/// it is answered `duplicate`. The answer says of each event, in order, what became of it, also where it was refused. After
/// an error nothing is known to be lost: send the same again.
#[utoipa::path(post, path = "/v1/usage/events", tag = "usage",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "Not needed, as events are known by themselves. The same key with the same events is answered as before, with other events refused with 409")),
    request_body(content(
        (CloudEvent = "application/cloudevents+json"),
        (Vec<CloudEvent> = "application/cloudevents-batch+json"),
        (CloudEvent = "application/json"))),
    responses((status = 200, description = "What became of each event", body = EventsView),
              (status = 408, description = "The body did not arrive in time", body = super::problem::ProblemView),
              (status = 413, description = "The body is over 256 KiB", body = super::problem::ProblemView),
              (status = 415, description = "The body is not JSON by its own account", body = super::problem::ProblemView),
              (status = 422, description = "More than 1,000 events", body = super::problem::ProblemView), ReadErrors))]
pub(super) async fn send_usage_events(State(shared): State<Shared>, sent: Sent) -> Result<Response, Problem> {
    let Sent { events, call } = sent;
    if let Some(call) = &call {
        match shared.usage_events.claim_call(call, shared.clock.now()).await? {
            EarlierCall::Open => {}
            EarlierCall::Answered(answer) => return Ok(answered(answer, true)),
            EarlierCall::Another => return Err(Problem::new(Code::IdempotencyConflict, OTHER_REQUEST)),
        }
    }
    let told: Vec<event::Read> = events.iter().map(event::read).collect();
    let outcomes = rounds::decide(&shared, &told).await?;
    let view = EventsView::of(told, outcomes);
    let Some(call) = &call else { return Ok(Json(view).into_response()) };
    let answer = serde_json::to_string(&view)
        .map_err(|error| Problem::new(Code::Internal, format!("the answer cannot be written: {error}")))?;
    shared.usage_events.keep_call(call, &answer).await?;
    Ok(answered(answer, false))
}

fn answered(answer: String, replayed: bool) -> Response {
    let kind = HeaderValue::from_static("application/json");
    let mut response = ([(header::CONTENT_TYPE, kind)], answer).into_response();
    mark(&mut response, replayed);
    response
}
