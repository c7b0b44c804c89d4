//! Webhooks: who is told of facts, where, of which kinds and signed with what.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Shared,
    answer::mark,
    openapi::{ReadErrors, WriteErrors},
    params::{NoParams, WebhookPath},
    problem::{Code, Problem},
    views::{List, Nothing},
    write::{Ticket, Write},
};
use crate::{
    domain::{
        event::EventKind,
        id::WebhookId,
        webhook::{Endpoint, live},
    },
    ports::{WebhookChange, WebhookCommand, WebhookDone},
    wire::{
        duration,
        signed_message::{SigningKey, new_id, new_secret},
    },
};

const LONGEST_DESCRIPTION: usize = 500;
/// How long old secrets stay valid beside a new one, where it is not said.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// The longest that they may.
const LONGEST_OVERLAP: Duration = Duration::from_secs(30 * 24 * 3600);

/// A new webhook.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateWebhook {
    /// Where messages are sent: `https`, to a public address unless the configuration allows others.
    url: String,
    /// The kinds of facts that it takes, such as `plan.changed`; absent or empty: all of them, also those to come.
    #[serde(default)]
    events: Vec<String>,
    /// What it is for: at most 500 characters.
    #[serde(default)]
    description: String,
    /// A secret of its own: `whsec_` and 24 to 64 bytes in base64. Absent: one is made.
    secret: Option<String>,
}

/// What is to be changed of a webhook; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeWebhook {
    /// Where messages are sent.
    url: Option<String>,
    /// The kinds of facts that it takes; empty: all of them.
    events: Option<Vec<String>>,
    /// What it is for.
    description: Option<String>,
    /// Whether it is told. What waits for one that is disabled is discarded.
    enabled: Option<bool>,
}

/// Another secret.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateSecret {
    /// How long the old ones stay valid, such as `24h` (the default), at most `30d`; `0s`: not at all.
    expire_after: Option<String>,
    /// The new one. Absent: one is made.
    secret: Option<String>,
}

/// A webhook.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(super) struct WebhookView {
    /// Its id.
    id: String,
    /// Where messages are sent.
    url: String,
    /// The kinds of facts that it takes; empty: all of them.
    events: Vec<&'static str>,
    /// What it is for.
    description: String,
    /// Whether it is told.
    enabled: bool,
    /// Since when it is not.
    disabled_at: Option<String>,
    /// Why it is not.
    disabled_reason: Option<String>,
    /// When it was made.
    created_at: String,
    /// Its valid secrets, the newest first: never the secrets themselves.
    secrets: Vec<SecretView>,
}

/// A secret, without itself.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookSecret)]
pub(super) struct SecretView {
    /// When it was made.
    created_at: String,
    /// Until when messages are signed with it; `null`: until another takes its place.
    expires_at: Option<String>,
}

/// A webhook whose secret is shown, this once.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookWithSecret {
    #[serde(flatten)]
    webhook: WebhookView,
    /// What to verify its messages with. It is not shown again, also not by a repetition with the same Idempotency-Key.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// A webhook that is gone.
#[derive(Serialize, ToSchema)]
pub(super) struct DeletedWebhook {
    /// Its id.
    id: String,
    /// `deleted`.
    state: &'static str,
}

impl WebhookView {
    fn of(endpoint: Endpoint, shared: &Shared) -> Self {
        let valid = live(&endpoint.secrets, shared.clock.now());
        let secrets = valid.map(|secret| SecretView {
            created_at: secret.created_at.to_string(),
            expires_at: secret.expires_at.map(|at| at.to_string()),
        });
        Self {
            secrets: secrets.collect(),
            id: endpoint.id.to_string(),
            url: endpoint.url,
            events: endpoint.events.iter().map(|kind| kind.as_str()).collect(),
            description: endpoint.description,
            enabled: endpoint.disabled.is_none(),
            disabled_at: endpoint.disabled.as_ref().map(|disabled| disabled.at.to_string()),
            disabled_reason: endpoint.disabled.map(|disabled| disabled.why),
            created_at: endpoint.created_at.to_string(),
        }
    }
}

fn impossible(pointer: &str, detail: impl Into<String>) -> Problem {
    Problem::field(Code::ValueImpossible, pointer, detail)
}

fn url(shared: &Shared, url: String) -> Result<String, Problem> {
    shared.outgoing.check(&url).map_err(|error| impossible("/url", error.to_string()))?;
    Ok(url)
}

/// Reads a kind.
pub(super) fn kind(word: &str, pointer: &str) -> Result<EventKind, Problem> {
    EventKind::named(word).ok_or_else(|| {
        let known: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        let word: String = word.chars().take(80).collect();
        impossible(pointer, format!("`{word}`: expected one of {}", known.join(", ")))
    })
}

fn kinds(words: &[String]) -> Result<Vec<EventKind>, Problem> {
    let read = |(place, word): (usize, &String)| kind(word, &format!("/events/{place}"));
    let mut kinds: Vec<EventKind> = words.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    kinds.sort_unstable();
    kinds.dedup();
    Ok(kinds)
}

fn description(text: String) -> Result<String, Problem> {
    if text.chars().count() > LONGEST_DESCRIPTION || text.chars().any(char::is_control) {
        let detail = format!("expected at most {LONGEST_DESCRIPTION} characters without control characters");
        return Err(impossible("/description", detail));
    }
    Ok(text)
}

/// The secret that was given, or a new one.
fn secret(given: Option<String>) -> Result<String, Problem> {
    match given {
        Some(given) => {
            SigningKey::parse(&given).map_err(|error| impossible("/secret", error.to_string()))?;
            Ok(given)
        }
        None => new_secret().map_err(|error| Problem::new(Code::Internal, error.to_string())),
    }
}

/// Carries a change out.
pub(super) async fn change(
    shared: &Shared,
    ticket: &Ticket,
    id: WebhookId,
    change: WebhookChange,
) -> Result<WebhookDone, Problem> {
    Ok(shared.webhooks.change_webhook(&WebhookCommand { id, change }, &ticket.origin).await?)
}

/// A webhook, or a 404.
pub(super) async fn find(shared: &Shared, id: &WebhookId) -> Result<Endpoint, Problem> {
    let found = shared.webhooks.webhook(id).await?;
    found.ok_or_else(|| Problem::new(Code::WebhookNotFound, format!("there is no webhook `{id}`")))
}

async fn answer(
    shared: &Shared,
    status: StatusCode,
    done: WebhookDone,
    secret: Option<String>,
) -> Result<Response, Problem> {
    let webhook = WebhookView::of(find(shared, &done.id).await?, shared);
    let secret = secret.filter(|_| !done.replayed);
    let mut response = (status, Json(WebhookWithSecret { webhook, secret })).into_response();
    mark(&mut response, done.replayed);
    Ok(response)
}

/// Make a webhook.
#[utoipa::path(post, path = "/v1/webhooks", tag = "webhooks",
    request_body = CreateWebhook,
    responses((status = 201, description = "Made; its secret is shown this once", body = WebhookWithSecret), WriteErrors))]
pub(super) async fn create_webhook(
    State(shared): State<Shared>,
    Write { asked, ticket }: Write<CreateWebhook>,
) -> Result<Response, Problem> {
    let id = new_id("wh_").map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    let id = WebhookId::parse(&id).map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    let secret = secret(asked.secret)?;
    let made = WebhookChange::Create {
        url: url(&shared, asked.url)?,
        description: description(asked.description)?,
        events: kinds(&asked.events)?,
        secret: secret.clone(),
    };
    let done = change(&shared, &ticket, id, made).await?;
    answer(&shared, StatusCode::CREATED, done, Some(secret)).await
}

/// List the webhooks, the oldest first.
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks",
    responses((status = 200, description = "All of them: at most 50", body = List<WebhookView>), ReadErrors))]
pub(super) async fn list_webhooks(
    State(shared): State<Shared>,
    _: NoParams,
) -> Result<Json<List<WebhookView>>, Problem> {
    let all = shared.webhooks.webhooks().await?;
    Ok(Json(List { items: all.into_iter().map(|one| WebhookView::of(one, &shared)).collect() }))
}

/// Read a webhook.
#[utoipa::path(get, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    params(("webhook" = String, Path, description = "The webhook's id")),
    responses((status = 200, description = "The webhook", body = WebhookView), ReadErrors))]
pub(super) async fn get_webhook(
    State(shared): State<Shared>,
    WebhookPath(id): WebhookPath,
    _: NoParams,
) -> Result<Json<WebhookView>, Problem> {
    Ok(Json(WebhookView::of(find(&shared, &id).await?, &shared)))
}

/// Change a webhook: what is given is changed, what is absent stays.
#[utoipa::path(put, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    params(("webhook" = String, Path, description = "The webhook's id")),
    request_body = ChangeWebhook,
    responses((status = 200, description = "As it is now", body = WebhookView), WriteErrors))]
pub(super) async fn put_webhook(
    State(shared): State<Shared>,
    WebhookPath(id): WebhookPath,
    Write { asked, ticket }: Write<ChangeWebhook>,
) -> Result<Response, Problem> {
    let update = WebhookChange::Update {
        url: asked.url.map(|given| url(&shared, given)).transpose()?,
        description: asked.description.map(description).transpose()?,
        events: asked.events.as_deref().map(kinds).transpose()?,
        enabled: asked.enabled,
    };
    let done = change(&shared, &ticket, id, update).await?;
    answer(&shared, StatusCode::OK, done, None).await
}

/// Delete a webhook, with its deliveries.
#[utoipa::path(delete, path = "/v1/webhooks/{webhook}", tag = "webhooks",
    params(("webhook" = String, Path, description = "The webhook's id")),
    responses((status = 200, description = "Gone", body = DeletedWebhook), WriteErrors))]
pub(super) async fn delete_webhook(
    State(shared): State<Shared>,
    WebhookPath(id): WebhookPath,
    write: Write<Nothing>,
) -> Result<Response, Problem> {
    let done = change(&shared, &write.ticket, id, WebhookChange::Delete).await?;
    let gone = DeletedWebhook { id: done.id.to_string(), state: "deleted" };
    let mut response = Json(gone).into_response();
    mark(&mut response, done.replayed);
    Ok(response)
}

/// Take another secret into use; the old ones stay valid for a while, and each message is signed with all of them.
#[utoipa::path(post, path = "/v1/webhooks/{webhook}/secret", tag = "webhooks",
    params(("webhook" = String, Path, description = "The webhook's id")),
    request_body = RotateSecret,
    responses((status = 200, description = "Rotated; the new secret is shown this once", body = WebhookWithSecret), WriteErrors))]
pub(super) async fn rotate_secret(
    State(shared): State<Shared>,
    WebhookPath(id): WebhookPath,
    Write { asked, ticket }: Write<RotateSecret>,
) -> Result<Response, Problem> {
    let overlap = match asked.expire_after.as_deref() {
        None => OVERLAP,
        Some(text) => duration::parse_up_to(text, LONGEST_OVERLAP)
            .map_err(|error| impossible("/expire_after", format!("{error}, at most 30d")))?,
    };
    let secret = secret(asked.secret)?;
    let rotate = WebhookChange::Rotate { secret: secret.clone(), old_until: ticket.origin.at + overlap };
    let done = change(&shared, &ticket, id, rotate).await?;
    answer(&shared, StatusCode::OK, done, Some(secret)).await
}
