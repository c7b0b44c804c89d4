//! What Stripe is asked and what its answers mean, held against Python's `stripe` package.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::call::{Said, Stripe};
use crate::{
    domain::{
        id::{MeterId, TenantId},
        time::UnixMillis,
    },
    ports::{ExportState, MeterExport, OutgoingAnswer, OutgoingRequest},
    wire::stripe::{API_VERSION, package},
};

const KEY: &str = "rk_test_of_this_test";
const NAME: &str = "api requests & 100 %/ü";
const CUSTOMER: &str = "cus_1&x=y+z";
const ID: &str = "0af-7-0";

fn piece(state: ExportState) -> MeterExport {
    MeterExport {
        id: ID.to_owned(),
        tenant: TenantId::parse("acme").unwrap(),
        customer: CUSTOMER.to_owned(),
        meter: MeterId::parse("requests").unwrap(),
        event_name: NAME.to_owned(),
        units: 12,
        at: UnixMillis(1_760_000_000_999),
        state,
        attempts: 1,
        first_sent: None,
        error: None,
    }
}

/// A form's fields, as a server reads them.
fn fields(form: &str) -> BTreeMap<String, String> {
    // What stands for itself in a form may not in an address.
    let form = form.replace('[', "%5B").replace(']', "%5D");
    let uri: http::Uri = format!("/?{form}").parse().unwrap();
    axum::extract::Query::try_from_uri(&uri).unwrap().0
}

/// Status, body, the package's word for it, and whether it is taken, refused, or told later.
fn answers() -> Vec<(u16, &'static str, &'static str, &'static str)> {
    vec![
        (200, r#"{"object": "billing.meter_event"}"#, "taken", "taken"),
        (
            400,
            r#"{"error": {"type": "invalid_request_error", "message": "An event already exists with identifier 0af-7-0."}}"#,
            "InvalidRequestError",
            "taken",
        ),
        (
            400,
            r#"{"error": {"type": "invalid_request_error", "code": "duplicate_meter_event", "message": "twice"}}"#,
            "InvalidRequestError",
            "taken",
        ),
        (
            400,
            r#"{"error": {"type": "invalid_request_error", "param": "payload[stripe_customer_id]", "message": "No such customer"}}"#,
            "InvalidRequestError",
            "refused",
        ),
        (
            400,
            r#"{"error": {"type": "idempotency_error", "message": "Keys for idempotent requests"}}"#,
            "IdempotencyError",
            "refused",
        ),
        (400, r#"{"error": {"code": "rate_limit", "message": "too many"}}"#, "RateLimitError", "later"),
        (401, r#"{"error": {"message": "Invalid API Key provided"}}"#, "AuthenticationError", "later"),
        (402, r#"{"error": {"message": "declined"}}"#, "CardError", "refused"),
        (403, r#"{"error": {"message": "the key may not"}}"#, "PermissionError", "later"),
        (404, r#"{"error": {"message": "No such meter"}}"#, "InvalidRequestError", "refused"),
        (
            409,
            r#"{"error": {"code": "idempotency_key_in_use", "message": "still at it"}}"#,
            "APIError",
            "later",
        ),
        (429, r#"{"error": {"code": "rate_limit", "message": "too many"}}"#, "RateLimitError", "later"),
        (429, r#"{"error": {"code": "lock_timeout", "message": "later"}}"#, "RateLimitError", "later"),
        (500, r#"{"error": {"type": "api_error", "message": "ours"}}"#, "APIError", "later"),
        (502, "<html>bad gateway</html>", "APIError", "later"),
        (503, r#"{"error": {"message": "away"}}"#, "APIError", "later"),
    ]
}

fn asked() -> Value {
    let answers: Vec<Value> = answers()
        .into_iter()
        .map(|(status, body, ..)| json!([status, { "retry-after": "7" }, body]))
        .collect();
    json!({
        "key": KEY,
        "event": {
            "event_name": NAME,
            "payload": { "stripe_customer_id": CUSTOMER, "value": "12" },
            "identifier": ID,
            "timestamp": 1_760_000_000,
            "idempotency_key": ID,
        },
        "adjustment": {
            "event_name": NAME,
            "type": "cancel",
            "cancel": { "identifier": ID },
            "idempotency_key": format!("{ID}-cancel"),
        },
        "answers": answers,
    })
}

#[test]
fn what_is_sent_is_what_the_package_sends_and_answers_mean_the_same() {
    let Some(found) = package::ask("meter_events.py", &asked()) else { return };
    assert_eq!(found["version"], API_VERSION, "the newest version's shapes are those that are read");
    let stripe = Stripe::new("http://127.0.0.1:1", KEY);
    for (theirs, state) in [(0, ExportState::Waiting), (1, ExportState::Withdrawing)] {
        let theirs = &found["sent"][theirs];
        let OutgoingRequest { url, headers, body } = stripe.request(&piece(state));
        assert_eq!(url, format!("http://127.0.0.1:1{}", theirs["path"].as_str().unwrap()));
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(fields(&body), fields(theirs["body"].as_str().unwrap()), "{body}");
        let ours: BTreeMap<&str, &str> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for name in ["authorization", "content-type", "idempotency-key", "stripe-version"] {
            assert_eq!(ours.get(name).copied(), theirs["headers"][name].as_str(), "{name}");
        }
    }
    for ((status, body, class, meaning), said) in answers().iter().zip(found["said"].as_array().unwrap()) {
        assert_eq!(said, class, "{status} {body}");
        let answer =
            OutgoingAnswer { status: *status, body: Bytes::from_static(body.as_bytes()), retry_after: None };
        let ours = match Stripe::read(&answer) {
            Said::Taken => "taken",
            Said::Refused(_) => "refused",
            Said::Later(_) => "later",
        };
        assert_eq!(ours, *meaning, "{status} {body}");
    }
}
