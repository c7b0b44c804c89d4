//! The product behind the demo's gateway: a small chat service with JSON calls, an event stream and a WebSocket.
//!
//! It knows nothing of plans. That is the point: who may call what is the gateway's business.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State, WebSocketUpgrade, ws::Message},
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::{get, post},
};
use futures_util::stream;
use serde_json::{Value, json};

/// How many messages the service remembers; older ones are forgotten.
const REMEMBERED: usize = 1000;

type Messages = Arc<Mutex<Vec<(u64, String)>>>;

/// The service.
pub fn router() -> Router {
    let messages: Messages = Arc::new(Mutex::new(vec![(1, "welcome to the chat".to_owned())]));
    Router::new()
        .route("/healthz", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/v1/messages", get(list).post(send))
        .route("/v1/messages/{id}", get(read))
        .route("/v1/export/{*rest}", get(export))
        .route("/v1/ai/chat", post(assist))
        .route("/v1/events", get(events))
        .route("/v1/ws", get(echo))
        .with_state(messages)
}

/// The tenant, as the gateway tells it. Nobody else can set this header.
fn tenant(headers: &HeaderMap) -> String {
    let value = headers.get("x-plangate-tenant").and_then(|value| value.to_str().ok());
    value.unwrap_or("nobody").to_owned()
}

async fn list(State(messages): State<Messages>, headers: HeaderMap) -> Json<Value> {
    let messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
    let items: Vec<Value> =
        messages.iter().rev().take(20).map(|(id, text)| json!({ "id": id, "text": text })).collect();
    Json(json!({ "tenant": tenant(&headers), "messages": items }))
}

async fn read(State(messages): State<Messages>, Path(id): Path<u64>) -> Response {
    let messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
    match messages.iter().find(|(known, _)| *known == id) {
        Some((id, text)) => Json(json!({ "id": id, "text": text })).into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({ "error": "no such message" }))).into_response(),
    }
}

async fn send(State(messages): State<Messages>, Json(message): Json<Value>) -> Response {
    let Some(text) = message.get("text").and_then(Value::as_str) else {
        let error = Json(json!({ "error": "send {\"text\": \"...\"}" }));
        return (StatusCode::UNPROCESSABLE_ENTITY, error).into_response();
    };
    let mut messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
    let id = messages.last().map_or(1, |(last, _)| last + 1);
    messages.push((id, text.chars().take(2000).collect()));
    if messages.len() > REMEMBERED {
        messages.remove(0);
    }
    (StatusCode::CREATED, Json(json!({ "id": id }))).into_response()
}

async fn export(State(messages): State<Messages>) -> Response {
    let messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
    let lines: String = messages.iter().map(|(id, text)| format!("{id},{text:?}\n")).collect();
    ([("content-type", "text/csv")], format!("id,text\n{lines}")).into_response()
}

/// Says what the answer took, so that the gateway can count it. That is all that the product does about its quotas.
async fn assist(Json(question): Json<Value>) -> Response {
    let asked = question.get("prompt").and_then(Value::as_str).unwrap_or("nothing").to_owned();
    let tokens = asked.split_whitespace().count() + 5;
    let answer = Json(json!({ "answer": format!("you asked: {asked}"), "usage": { "tokens": tokens } }));
    ([("x-usage-ai-tokens", tokens.to_string())], answer).into_response()
}

async fn events() -> Sse<impl stream::Stream<Item = Result<Event, Infallible>>> {
    let ticks = stream::unfold(1u32, |tick| async move {
        if tick > 5 {
            return None;
        }
        if tick > 1 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Some((Ok(Event::default().event("tick").data(tick.to_string())), tick + 1))
    });
    Sse::new(ticks)
}

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.max_message_size(64 * 1024).on_upgrade(|mut socket| async move {
        while let Some(Ok(message)) = socket.recv().await {
            let answer = match message {
                Message::Text(text) => Message::Text(format!("echo: {text}").into()),
                Message::Binary(bytes) => Message::Binary(bytes),
                Message::Close(_) => return,
                Message::Ping(_) | Message::Pong(_) => continue,
            };
            if socket.send(answer).await.is_err() {
                return;
            }
        }
    })
}
