//! What was told to a webhook: listed, told again, and tried out.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Shared,
    answer::mark,
    instants,
    openapi::{ReadErrors, WriteErrors},
    params::{DeliveryPath, Params, WebhookPath},
    problem::{Code, Problem},
    views::{Nothing, Page},
    webhook_calls::{change, find, kind},
    write::Write,
};
use crate::{
    domain::{
        event::EventKind,
        time::UnixMillis,
        webhook::{DeliveryState, live},
    },
    ports::{
        ANSWER_KEPT, AttemptRow, DeliveryRow, MOST_REPLAYED, OutgoingRequest, Replay, WebhookChange,
        WebhookDone, WebhookError,
    },
    wire::{
        hex, sample_event,
        signed_message::{headers, new_id},
    },
};

/// A message to a webhook.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDelivery)]
pub(super) struct DeliveryView {
    /// The event's id: the message's `webhook-id`, however often it is sent.
    event: String,
    /// What kind.
    kind: String,
    /// Of whom.
    tenant: String,
    /// `pending`, `delivered`, `failed` (after 24 hours) or `discarded` (the webhook was disabled first).
    state: &'static str,
    /// When it was told.
    created_at: String,
    /// When it is tried next; `null`: never.
    next_at: Option<String>,
    /// When it came to its state; `null`: it is pending.
    ended_at: Option<String>,
    /// How often it was tried.
    attempts: u64,
    /// The last tries, the newest first: at most 20.
    log: Vec<AttemptView>,
}

/// One try.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookAttempt)]
pub(super) struct AttemptView {
    /// The how many-th.
    attempt: u64,
    /// When it began.
    at: String,
    /// The answer's status; `null`: there was none.
    status: Option<u16>,
    /// Why there was no answer, or why it did not count.
    error: Option<String>,
    /// How long it took, in milliseconds.
    duration_ms: u64,
    /// The beginning of the answer's body.
    answer: String,
}

/// What is to be told again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayAll {
    /// Only what was told since then (RFC 3339); absent: all that is kept.
    since: Option<String>,
}

/// What is told again.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookReplay)]
pub(super) struct ReplayView {
    /// The webhook.
    id: String,
    /// Deliveries that are told again.
    deliveries: u64,
    /// There may be more: call again.
    more: bool,
}

/// A sample that is to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestWebhook {
    /// Of which kind; absent: `plan.changed`.
    kind: Option<String>,
}

/// What came of a sample.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookTest)]
pub(super) struct TestView {
    /// The sample's `webhook-id`.
    event: String,
    /// Its kind.
    kind: &'static str,
    /// Whether the webhook has taken it.
    delivered: bool,
    /// The answer's status; `null`: there was none.
    status: Option<u16>,
    /// Why there was none.
    error: Option<String>,
    /// How long it took, in milliseconds.
    duration_ms: u64,
    /// The beginning of the answer's body.
    answer: String,
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<AttemptRow> for AttemptView {
    fn from(row: AttemptRow) -> Self {
        Self {
            attempt: row.attempt,
            at: row.at.to_string(),
            status: row.status,
            error: row.error,
            duration_ms: millis(row.duration),
            answer: row.answer,
        }
    }
}

impl From<DeliveryRow> for DeliveryView {
    fn from(row: DeliveryRow) -> Self {
        Self {
            event: row.event,
            kind: row.kind,
            tenant: row.tenant.to_string(),
            state: row.state.as_str(),
            created_at: row.created_at.to_string(),
            next_at: row.next_at.map(|at| at.to_string()),
            ended_at: row.ended_at.map(|at| at.to_string()),
            attempts: row.attempts,
            log: row.tries.into_iter().map(Into::into).collect(),
        }
    }
}

/// List what was told to a webhook in the last 30 days, the newest first.
#[utoipa::path(get, path = "/v1/webhooks/{webhook}/deliveries", tag = "webhooks",
    params(("webhook" = String, Path, description = "The webhook's id"),
           ("state" = Option<String>, Query, description = "Only those in this state: `pending`, `delivered`, `failed` or `discarded`"),
           ("cursor" = Option<u64>, Query, description = "`next` of the page before"),
           ("limit" = Option<u32>, Query, description = "Items in a page, 1 to 500, by default 100")),
    responses((status = 200, description = "One page", body = Page<DeliveryView, u64>), ReadErrors))]
pub(super) async fn list_deliveries(
    State(shared): State<Shared>,
    WebhookPath(id): WebhookPath,
    mut params: Params,
) -> Result<Json<Page<DeliveryView, u64>>, Problem> {
    let state = match params.take("state") {
        None => None,
        Some(word) => Some(DeliveryState::named(&word).ok_or_else(|| {
            Problem::parameter("state", "expected pending, delivered, failed or discarded")
        })?),
    };
    let (before, limit) = (params.place_from_the_end("cursor")?, params.limit()?);
    params.finish()?;
    find(&shared, &id).await?;
    let before = before.map(|place| place.0);
    let rows = shared.webhooks.deliveries(&id, state, before, limit + 1).await?;
    Ok(Json(Page::cut(rows, limit, |row| row.place, Into::into)))
}

fn replayed(done: &WebhookDone) -> Response {
    let more = done.deliveries == u64::from(MOST_REPLAYED);
    let view = ReplayView { id: done.id.to_string(), deliveries: done.deliveries, more };
    let mut response = Json(view).into_response();
    mark(&mut response, done.replayed);
    response
}

/// Tell a webhook of one event again, whatever has become of it: with the same id.
#[utoipa::path(post, path = "/v1/webhooks/{webhook}/deliveries/{event}/replay", tag = "webhooks",
    params(("webhook" = String, Path, description = "The webhook's id"),
           ("event" = String, Path, description = "The event's id")),
    responses((status = 200, description = "It is told again, or is being told already (0)", body = ReplayView), WriteErrors))]
pub(super) async fn replay_delivery(
    State(shared): State<Shared>,
    DeliveryPath(id, event): DeliveryPath,
    write: Write<Nothing>,
) -> Result<Response, Problem> {
    let again = WebhookChange::Replay(Replay::One(event));
    Ok(replayed(&change(&shared, &write.ticket, id, again).await?))
}

/// Tell a webhook again of all that has failed or was discarded, at most 1000 at once.
#[utoipa::path(post, path = "/v1/webhooks/{webhook}/replay", tag = "webhooks",
    params(("webhook" = String, Path, description = "The webhook's id")),
    request_body = ReplayAll,
    responses((status = 200, description = "They are told again", body = ReplayView), WriteErrors))]
pub(super) async fn replay_deliveries(
    State(shared): State<Shared>,
    WebhookPath(id): WebhookPath,
    Write { asked, ticket }: Write<ReplayAll>,
) -> Result<Response, Problem> {
    let since = asked.since.as_deref().map(instants::instant).transpose();
    let since = since.map_err(|detail| Problem::field(Code::ValueImpossible, "/since", detail))?;
    let again = WebhookChange::Replay(Replay::Since(since.unwrap_or(UnixMillis(0))));
    Ok(replayed(&change(&shared, &ticket, id, again).await?))
}

/// Send a webhook a sample now, and answer what came back. It is not tried again.
#[utoipa::path(post, path = "/v1/webhooks/{webhook}/test", tag = "webhooks",
    params(("webhook" = String, Path, description = "The webhook's id")),
    request_body = TestWebhook,
    responses((status = 200, description = "It was tried", body = TestView), WriteErrors))]
pub(super) async fn test_webhook(
    State(shared): State<Shared>,
    WebhookPath(id): WebhookPath,
    Write { asked, ticket }: Write<TestWebhook>,
) -> Result<Json<TestView>, Problem> {
    let kind = asked.kind.map_or(Ok(EventKind::PlanChanged), |word| kind(&word, "/kind"))?;
    let endpoint = find(&shared, &id).await?;
    if endpoint.disabled.is_some() {
        return Err(WebhookError::Disabled(id).into());
    }
    // A repetition of the call is the same message to whoever gets it.
    let event = match &ticket.origin.idempotency {
        Some(idempotency) => {
            let digits = hex::sha256(idempotency.key.as_bytes());
            format!("evt_test_{}", &digits[..24])
        }
        None => new_id("evt_test_").map_err(|error| Problem::new(Code::Internal, error.to_string()))?,
    };
    let now = shared.clock.now();
    let body = sample_event::body(kind, now);
    let secrets = live(&endpoint.secrets, now).map(|secret| secret.text.as_str());
    let headers = headers(secrets, &event, now.0.div_euclid(1_000), body.as_bytes());
    let began = shared.clock.monotonic();
    let request = OutgoingRequest { url: endpoint.url, headers, body: Bytes::from(body) };
    let answer = shared.outgoing.post(request).await;
    let duration_ms = millis(shared.clock.monotonic().since(began));
    let (status, error, text) = match answer {
        Ok(answer) => {
            let beginning = &answer.body[..answer.body.len().min(ANSWER_KEPT)];
            (Some(answer.status), None, String::from_utf8_lossy(beginning).into_owned())
        }
        Err(error) => (None, Some(error.to_string()), String::new()),
    };
    let delivered = status.is_some_and(|status| (200..300).contains(&status));
    let kind = kind.as_str();
    Ok(Json(TestView { event, kind, delivered, status, error, duration_ms, answer: text }))
}
