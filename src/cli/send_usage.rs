//! `plangate usage send`: usage events of a file, in pieces that the admin API takes. What was sent before is answered
//! `duplicate`, so that a file may be sent again whole.

use std::{
    fs::File,
    io::{BufReader, Read, stdin},
};

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::{
    Failure,
    client::{Call, Connection},
    output::{Rows, field, note, show},
};

/// Events in one call, and bytes of them: the admin API takes 1,000 events in 256 KiB.
const MOST_EVENTS: usize = 1_000;
const MOST_BYTES: usize = 250_000;
/// Refusals that are shown one by one, and that are told as JSON.
const SHOWN: usize = 20;
const TOLD: usize = 1_000;
/// How many events are sent between two lines of progress.
const PROGRESS: u64 = 10_000;

/// `plangate usage send`.
#[derive(Debug, Args)]
pub struct SendUsage {
    /// CloudEvents as JSON: one, an array, or one after the other (NDJSON); `-` is standard input
    file: String,
    #[command(flatten)]
    connection: Connection,
}

/// What has become of the events so far.
#[derive(Debug, Default)]
struct Sum {
    sent: u64,
    charged: u64,
    duplicate: u64,
    refused: u64,
    refusals: Vec<Value>,
}

impl SendUsage {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut sum = Sum::default();
        let sent = self.send_all(&mut sum).await;
        let answer = json!({
            "sent": sum.sent, "charged": sum.charged, "duplicate": sum.duplicate, "refused": sum.refused,
            "refusals": sum.refusals,
        });
        show(self.connection.output, &answer, &rows(&answer))?;
        for refusal in sum.refusals.iter().take(SHOWN) {
            let part = |path| field(refusal, path);
            note(&format!("{} {}: {} ({})", part("/source"), part("/id"), part("/detail"), part("/code")));
        }
        if sum.refused > SHOWN as u64 {
            note("there are more: --output json lists the first thousand");
        }
        sent?;
        if sum.refused > 0 {
            return Err(Failure::Refused(format!("{} of {} events were refused", sum.refused, sum.sent)));
        }
        Ok(())
    }

    fn open(&self) -> Result<Box<dyn Read>, Failure> {
        if self.file == "-" {
            return Ok(Box::new(BufReader::new(stdin())));
        }
        let file = File::open(&self.file)
            .map_err(|error| Failure::Usage(format!("`{}` cannot be read: {error}", self.file)))?;
        Ok(Box::new(BufReader::new(file)))
    }

    async fn send_all(&self, sum: &mut Sum) -> Result<(), Failure> {
        let mut piece = Piece::default();
        for value in serde_json::Deserializer::from_reader(self.open()?).into_iter::<Value>() {
            let value = value.map_err(|error| {
                Failure::Usage(format!(
                    "`{}` is not JSON: {error}; the {} events before were sent, to send them again does no harm",
                    self.file, sum.sent
                ))
            })?;
            let events = match value {
                Value::Array(events) => events,
                event => vec![event],
            };
            for event in events {
                if let Some(full) = piece.add(event) {
                    self.send(full, sum).await?;
                }
            }
        }
        match piece.events.is_empty() {
            true => Ok(()),
            false => self.send(piece.events, sum).await,
        }
    }

    async fn send(&self, events: Vec<Value>, sum: &mut Sum) -> Result<(), Failure> {
        let before = sum.sent / PROGRESS;
        let count = events.len() as u64;
        let call = Call::new(Method::POST, &["v1", "usage", "events"]).body(Value::Array(events));
        let answer = self.connection.call(call).await.map_err(|failure| again(failure, sum.sent))?;
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
        sum.sent += count;
        sum.charged += number("charged");
        sum.duplicate += number("duplicate");
        sum.refused += number("refused");
        let outcomes = answer.get("events").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let refused = outcomes.iter().filter(|event| event.get("status") == Some(&json!("refused")));
        sum.refusals.extend(refused.take(TOLD.saturating_sub(sum.refusals.len())).cloned());
        if sum.sent / PROGRESS > before {
            note(&format!("{} events sent", sum.sent));
        }
        Ok(())
    }
}

/// Events that are sent in one call.
#[derive(Debug, Default)]
struct Piece {
    events: Vec<Value>,
    bytes: usize,
}

impl Piece {
    /// Adds an event; the ones before it, where there is no room for it beside them.
    fn add(&mut self, event: Value) -> Option<Vec<Value>> {
        let bytes = event.to_string().len() + 1;
        let full = self.events.len() == MOST_EVENTS || self.bytes + bytes > MOST_BYTES;
        let full = (full && !self.events.is_empty()).then(|| std::mem::take(self).events);
        self.events.push(event);
        self.bytes += bytes;
        full
    }
}

/// A failure after which the whole file may be sent again.
fn again(failure: Failure, sent: u64) -> Failure {
    let more = |text: String| {
        format!("{text}\n{sent} events were sent before: send the file again, nothing is counted twice")
    };
    match failure {
        Failure::Refused(text) => Failure::Refused(more(text)),
        Failure::Unreachable(text) => Failure::Unreachable(more(text)),
        other => other,
    }
}

fn rows(answer: &Value) -> Rows {
    let mut rows = Rows::new(&["SENT", "CHARGED", "DUPLICATE", "REFUSED"]);
    rows.add(
        ["/sent", "/charged", "/duplicate", "/refused"].iter().map(|path| field(answer, path)).collect(),
    );
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_fit_into_a_call() {
        let mut piece = Piece::default();
        let mut pieces = Vec::new();
        let events = (0..2_500).map(|i| json!(i)).chain((0..5).map(|_| json!("x".repeat(100_000))));
        let all: Vec<Value> = events.collect();
        for event in all.clone() {
            pieces.extend(piece.add(event));
        }
        pieces.push(piece.events);
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 502, 2, 1]);
        assert!(pieces.iter().all(|piece| Value::Array(piece.clone()).to_string().len() <= 256 * 1024));
        assert_eq!(pieces.concat(), all);
    }
}
