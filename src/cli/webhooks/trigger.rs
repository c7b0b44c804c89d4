//! `plangate webhooks trigger`: signs a sample and sends it from this machine.

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::{
    super::{
        Failure,
        output::{Format, show},
    },
    kinds, one,
};
use crate::{
    clock::SystemClock,
    credentials,
    domain::event::EventKind,
    outgoing::{HttpOutgoing, Rule},
    ports::{Outgoing, OutgoingRequest},
    wire::{
        sample_event,
        signed_message::{SigningKey, headers, new_id},
    },
};

/// `plangate webhooks trigger`.
#[derive(Debug, Args)]
pub(super) struct Trigger {
    /// Of which kind
    #[arg(value_parser = kinds())]
    kind: String,
    /// Where to
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4242/")]
    to: String,
    /// What to sign it with
    #[arg(long, value_name = "WHSEC", env = "PLANGATE_WEBHOOK_SECRET", hide_env_values = true)]
    secret: String,
    /// How to print
    #[arg(long, value_enum, value_name = "FORM")]
    output: Option<Format>,
}

/// Requests that a developer makes may go anywhere.
pub(super) fn to_anybody() -> Result<HttpOutgoing, Failure> {
    credentials::install_crypto();
    let everything = ["0.0.0.0/0", "::/0"].iter().filter_map(|net| net.parse().ok()).collect();
    HttpOutgoing::new(Rule { allow: everything, http: true })
        .map_err(|error| Failure::Refused(error.to_string()))
}

impl Trigger {
    pub(super) async fn run(self) -> Result<(), Failure> {
        SigningKey::parse(&self.secret).map_err(|error| Failure::Usage(format!("--secret: {error}")))?;
        let kind = EventKind::named(&self.kind)
            .ok_or_else(|| Failure::Usage(format!("`{}` is no kind of facts", self.kind)))?;
        let event = new_id("evt_test_").map_err(|error| Failure::Refused(error.to_string()))?;
        let now = SystemClock::uncorrected();
        let body = sample_event::body(kind, now);
        let headers = headers([self.secret.as_str()], &event, now.0.div_euclid(1_000), body.as_bytes());
        let outgoing = to_anybody()?;
        outgoing.check(&self.to).map_err(|error| Failure::Usage(error.to_string()))?;
        let request = OutgoingRequest { url: self.to, headers, body: Bytes::from(body) };
        let answer = outgoing.post(request).await.map_err(|error| Failure::Unreachable(error.to_string()))?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let said = json!({ "event": event, "kind": kind.as_str(), "status": answer.status, "answer": text });
        let columns = ["/event", "/kind", "/status", "/answer"];
        show(self.output, &said, &one(&said, &["EVENT", "KIND", "STATUS", "ANSWER"], &columns))?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        Err(Failure::Refused("it was not taken".to_owned()))
    }
}
