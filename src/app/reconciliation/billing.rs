//! A billing system that writes down what it is told, and now and then does not answer though it has understood.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use async_trait::async_trait;
use bytes::Bytes;

use crate::ports::{Outgoing, OutgoingAnswer, OutgoingError, OutgoingRequest};

/// One meter event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) customer: String,
    pub(super) value: u64,
    pub(super) seconds: i64,
}

#[derive(Default)]
pub(super) struct Book {
    /// By identifier.
    pub(super) events: BTreeMap<String, Event>,
    cancelled: BTreeSet<String>,
    calls: u64,
}

#[derive(Default)]
pub(super) struct Billing(pub(super) Mutex<Book>);

fn fields(body: &Bytes) -> BTreeMap<String, String> {
    let text = std::str::from_utf8(body).unwrap();
    let decode = |part: &str| {
        let mut bytes = part.bytes();
        let mut out = Vec::new();
        while let Some(byte) = bytes.next() {
            out.push(if byte == b'%' {
                let pair = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap()
            } else {
                byte
            });
        }
        String::from_utf8(out).unwrap()
    };
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(n, v)| (decode(n), decode(v))).collect()
}

fn answer(status: u16, body: &str) -> OutgoingAnswer {
    OutgoingAnswer { status, body: Bytes::copy_from_slice(body.as_bytes()), retry_after: None }
}

#[async_trait]
impl Outgoing for Billing {
    fn check(&self, _: &str) -> Result<(), OutgoingError> {
        Ok(())
    }

    async fn post(&self, request: OutgoingRequest) -> Result<OutgoingAnswer, OutgoingError> {
        let mut book = self.0.lock().unwrap();
        book.calls += 1;
        let given = fields(&request.body);
        let authorized = request
            .headers
            .iter()
            .any(|(name, value)| *name == "authorization" && value == "Bearer sk_test_year");
        if !authorized {
            return Ok(answer(401, "{}"));
        }
        if book.calls.is_multiple_of(7) {
            return Ok(answer(503, "{}"));
        }
        let taken = if request.url.ends_with("/v1/billing/meter_event_adjustments") {
            let id = given["cancel[identifier]"].clone();
            assert_eq!(given["type"], "cancel");
            if book.events.remove(&id).is_none() && !book.cancelled.contains(&id) {
                return Ok(answer(400, r#"{"error":{"message":"No such meter event"}}"#));
            }
            book.cancelled.insert(id);
            "{}"
        } else {
            assert!(request.url.ends_with("/v1/billing/meter_events"), "{}", request.url);
            let id = given["identifier"].clone();
            if book.events.contains_key(&id) || book.cancelled.contains(&id) {
                let text =
                    format!(r#"{{"error":{{"message":"An event already exists with identifier {id}."}}}}"#);
                return Ok(answer(400, &text));
            }
            let event = Event {
                name: given["event_name"].clone(),
                customer: given["payload[stripe_customer_id]"].clone(),
                value: given["payload[value]"].parse().unwrap(),
                seconds: given["timestamp"].parse().unwrap(),
            };
            book.events.insert(id, event);
            "{}"
        };
        // Understood, and the answer is lost.
        if book.calls.is_multiple_of(5) {
            return Err(OutgoingError::Failed("the connection was reset".into()));
        }
        Ok(answer(200, taken))
    }
}
