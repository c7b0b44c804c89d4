//! `plangate webhooks listen`: a receiver on this machine that verifies each message and prints it as it comes.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::any,
};
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::super::{
    Failure,
    output::{Format, note, printable, write},
};
use crate::{
    clock::SystemClock,
    outgoing::HttpOutgoing,
    ports::{Outgoing, OutgoingRequest},
    wire::signed_message::{ID, NotVerified, SIGNATURE, SigningKey, TIMESTAMP, new_secret, verify},
};

/// Messages that are remembered, to tell repetitions.
const REMEMBERED: usize = 1_000;
const LARGEST_BODY: usize = 1024 * 1024;

/// `plangate webhooks listen`.
#[derive(Debug, Args)]
pub(super) struct Listen {
    /// The port on 127.0.0.1; 0: any that is free
    #[arg(long, default_value_t = 4242)]
    port: u16,
    /// The webhook's secret; by default one is made and printed, for `webhooks create --secret`
    #[arg(long, value_name = "WHSEC", env = "PLANGATE_WEBHOOK_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Pass each verified message on to here, and answer as this does
    #[arg(long, value_name = "URL")]
    forward: Option<String>,
    /// How to print; `json`: one line each
    #[arg(long, value_enum, value_name = "FORM")]
    output: Option<Format>,
}

struct Receiver {
    key: SigningKey,
    outgoing: HttpOutgoing,
    forward: Option<String>,
    json: bool,
    known: Mutex<VecDeque<String>>,
}

/// A message's headers and body.
struct Message {
    id: String,
    timestamp: String,
    signature: String,
    body: Bytes,
}

impl Listen {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (secret, made) = match self.secret {
            Some(secret) => (secret, false),
            None => (new_secret().map_err(|error| Failure::Refused(error.to_string()))?, true),
        };
        let key = SigningKey::parse(&secret).map_err(|error| Failure::Usage(format!("--secret: {error}")))?;
        let outgoing = super::trigger::to_anybody()?;
        if let Some(url) = &self.forward {
            outgoing.check(url).map_err(|error| Failure::Usage(error.to_string()))?;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| Failure::Usage(format!("{address} cannot be listened on: {error}")))?;
        let bound = listener.local_addr().map_err(|error| Failure::Refused(error.to_string()))?;
        note(&format!("listening on http://{bound}/"));
        if made {
            note(&format!("secret {secret}"));
            note(&format!("plangate webhooks create http://{bound}/ --secret {secret}"));
            note("(a gateway calls this machine only with webhooks: { http: true, allow: [127.0.0.0/8] })");
        }
        let receiver = Arc::new(Receiver {
            key,
            outgoing,
            forward: self.forward,
            json: self.output == Some(Format::Json),
            known: Mutex::default(),
        });
        let router = Router::new()
            .fallback(any(receive))
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .with_state(receiver);
        let until = async { drop(tokio::signal::ctrl_c().await) };
        axum::serve(listener, router)
            .with_graceful_shutdown(until)
            .await
            .map_err(|error| Failure::Refused(error.to_string()))
    }
}

async fn receive(
    State(receiver): State<Arc<Receiver>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    match Message::read(&headers, body).and_then(|message| receiver.verify(&message).map(|()| message)) {
        Err(error) => {
            receiver.print(&json!({ "verified": false, "error": error.to_string() }));
            (StatusCode::BAD_REQUEST, error.to_string())
        }
        Ok(message) => {
            let (status, forwarded) = receiver.pass_on(&message).await;
            let event: Value = serde_json::from_slice(&message.body).unwrap_or(Value::Null);
            let again = receiver.again(&message.id);
            receiver.print(&json!({
                "verified": true, "id": message.id, "again": again, "forwarded": forwarded, "event": event,
            }));
            (status, String::new())
        }
    }
}

impl Message {
    fn read(headers: &HeaderMap, body: Bytes) -> Result<Self, NotVerified> {
        let one = |name: &'static str| {
            let mut values = headers.get_all(name).iter();
            let first = values.next().and_then(|value| value.to_str().ok());
            match (first, values.next()) {
                (Some(value), None) => Ok(value.to_owned()),
                _ => Err(NotVerified::Header(name)),
            }
        };
        Ok(Self { id: one(ID)?, timestamp: one(TIMESTAMP)?, signature: one(SIGNATURE)?, body })
    }
}

impl Receiver {
    fn verify(&self, message: &Message) -> Result<(), NotVerified> {
        let now = SystemClock::uncorrected().0.div_euclid(1_000);
        let head = (message.id.as_str(), message.timestamp.as_str(), message.signature.as_str());
        verify(&self.key, head, &message.body, now)
    }

    /// Passes a message on as it came; answers with what came back.
    async fn pass_on(&self, message: &Message) -> (StatusCode, Value) {
        let Some(url) = &self.forward else { return (StatusCode::NO_CONTENT, Value::Null) };
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            (ID, message.id.clone()),
            (TIMESTAMP, message.timestamp.clone()),
            (SIGNATURE, message.signature.clone()),
        ];
        let request = OutgoingRequest { url: url.clone(), headers, body: message.body.clone() };
        match self.outgoing.post(request).await {
            Ok(answer) => {
                let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
                (status, json!(answer.status))
            }
            Err(error) => (StatusCode::BAD_GATEWAY, json!(error.to_string())),
        }
    }

    /// Whether a message came before.
    fn again(&self, id: &str) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.iter().any(|had| had == id) {
            return true;
        }
        if known.len() == REMEMBERED {
            known.pop_front();
        }
        known.push_back(id.to_owned());
        false
    }

    fn print(&self, line: &Value) {
        let text = if self.json { line.to_string() } else { plain(line) };
        // Whoever reads the output has gone: messages are answered all the same.
        let _ = write(format!("{text}\n").as_bytes());
    }
}

/// A message as a person reads it.
fn plain(line: &Value) -> String {
    let text = |path: &str| line.pointer(path).and_then(Value::as_str).unwrap_or("-");
    if line["verified"] == false {
        return format!("refused: {}", printable(text("/error")));
    }
    let mut shown = format!("{}  {}  {}", text("/id"), text("/event/type"), text("/event/data/tenant"));
    if line["again"] == true {
        shown.push_str("  (again)");
    }
    match &line["forwarded"] {
        Value::Null => {}
        Value::String(error) => shown.push_str(&format!("  not forwarded: {error}")),
        status => shown.push_str(&format!("  forwarded: {status}")),
    }
    let shown = printable(&shown);
    let body = serde_json::to_string_pretty(&line["event"]).unwrap_or_default();
    let body: Vec<String> = body.lines().map(|line| format!("  {}", printable(line))).collect();
    format!("{shown}\n{}", body.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed() {
        let event = json!({ "type": "plan.changed", "data": { "tenant": "acme\u{1b}" } });
        let line =
            json!({ "verified": true, "id": "evt_1", "again": true, "forwarded": 204, "event": event });
        let text = plain(&line);
        assert!(
            text.starts_with("evt_1  plan.changed  acme\u{fffd}  (again)  forwarded: 204\n  {"),
            "{text}"
        );
        let refused = plain(&json!({ "verified": false, "error": "no" }));
        assert_eq!(refused, "refused: no");
    }
}
