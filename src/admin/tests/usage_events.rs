//! Usage events: how they come, what they are charged to, and what is answered of each.

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Answered, Api, fakes::at, problem};
use crate::{
    domain::{
        period::Window,
        time::{UnixMillis, Version},
    },
    ports::*,
};

/// A store that charges whatever comes, unless a test says otherwise.
#[derive(Default)]
pub struct Events {
    known: Mutex<HashMap<EventKey, EventDigest>>,
    asked: Mutex<Vec<UsageEvent>>,
    next: Mutex<VecDeque<EventOutcome>>,
    calls: Mutex<HashMap<String, (String, Option<String>)>>,
}

#[async_trait]
impl UsageEventStore for Events {
    async fn known_events(&self, keys: &[EventKey]) -> Result<Vec<Option<EventDigest>>, StoreError> {
        let known = self.known.lock().unwrap();
        Ok(keys.iter().map(|key| known.get(key).copied()).collect())
    }

    async fn charge_events(&self, events: &[UsageEvent]) -> Result<Vec<EventOutcome>, StoreError> {
        let mut outcomes = Vec::new();
        for event in events {
            self.asked.lock().unwrap().push(event.clone());
            let outcome = self.next.lock().unwrap().pop_front().unwrap_or(EventOutcome::Charged);
            if outcome == EventOutcome::Charged {
                self.known.lock().unwrap().insert(event.key.clone(), event.digest);
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    async fn claim_call(&self, idempotency: &Idempotency, _: UnixMillis) -> Result<EarlierCall, StoreError> {
        let Idempotency { key, fingerprint } = idempotency;
        let mut calls = self.calls.lock().unwrap();
        let (known, answer) = calls.entry(key.clone()).or_insert_with(|| (fingerprint.clone(), None));
        Ok(match answer {
            _ if known != fingerprint => EarlierCall::Another,
            Some(answer) => EarlierCall::Answered(answer.clone()),
            None => EarlierCall::Open,
        })
    }

    async fn keep_call(&self, idempotency: &Idempotency, answer: &str) -> Result<(), StoreError> {
        self.calls.lock().unwrap().get_mut(&idempotency.key).unwrap().1 = Some(answer.to_owned());
        Ok(())
    }
}

fn event(id: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut event = json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": "plangate.usage", "subject": "acme",
        "data": { "meter": "requests", "units": 3 },
    });
    change(&mut event);
    event
}

fn plain(id: &str) -> Value {
    event(id, |_| {})
}

impl Api {
    async fn events(&self, events: &Value) -> Value {
        self.ok("POST", "/v1/usage/events", &events.to_string()).await
    }

    async fn typed(&self, kind: &str, body: &str) -> Answered {
        self.send("POST", "/v1/usage/events", &[("content-type", kind)], body).await
    }

    async fn code(&self, change: impl FnOnce(&mut Value)) -> Value {
        let mut answer = self.events(&event("refused", change)).await;
        assert_eq!(answer["refused"], 1, "{answer}");
        answer["events"][0].take()
    }
}

#[tokio::test]
async fn each_event_is_answered_in_order() {
    let api = Api::with_acme().await;
    let answer = api
        .events(&json!([
            plain("1"),
            7,
            plain("1"),
            event("1", |e| e["data"]["units"] = json!(4)),
            plain("2")
        ]))
        .await;
    let charged = json!({ "source": "/shop", "id": "1", "status": "charged", "charged": { "requests": 3 } });
    let mut second = charged.clone();
    second["id"] = json!("2");
    assert_eq!(
        answer,
        json!({ "charged": 2, "duplicate": 1, "refused": 2, "events": [
            charged,
            { "source": null, "id": null, "status": "refused", "code": "event-invalid", "pointer": "",
              "detail": "expected an event, as an object" },
            { "source": "/shop", "id": "1", "status": "duplicate" },
            { "source": "/shop", "id": "1", "status": "refused", "code": "event-conflict",
              "detail": "another event with this source and id was sent before, and says otherwise" },
            second,
        ]})
    );
    let again = api.events(&plain("2")).await;
    assert_eq!((&again["duplicate"], &again["events"][0]["status"]), (&json!(1), &json!("duplicate")));
    // Also where it would be refused by now.
    api.ok("POST", "/v1/tenants/acme/suspend", "").await;
    assert_eq!(api.events(&plain("2")).await["duplicate"], 1);
    assert_eq!(api.events(&plain("3")).await["events"][0]["code"], "tenant-suspended");
    assert_eq!(api.world.events.asked.lock().unwrap().len(), 2, "what is known is not asked for");
}

#[tokio::test]
async fn an_event_is_charged_to_the_windows_of_its_time() {
    let api = Api::with_acme().await;
    // Half past midnight in Berlin.
    api.events(&event("1", |e| e["time"] = json!("2026-11-20T23:30:00Z"))).await;
    // A clock that is ahead counts as now.
    api.events(&event("2", |e| e["time"] = json!("2026-11-22T10:04:59Z"))).await;
    let asked = api.world.events.asked.lock().unwrap();
    let charge = &asked[0].charges[0];
    let spans = |buckets: &[EventBucket]| -> Vec<(Span, String, String, Option<u64>)> {
        let one = |b: &EventBucket| {
            (b.key.span, b.key.start.to_string(), b.end.to_string(), b.limit.map(|limit| limit.get()))
        };
        buckets.iter().map(one).collect()
    };
    let day =
        (Span::from(Window::Day), "2026-11-20T23:00:00Z".into(), "2026-11-21T23:00:00Z".into(), Some(20));
    let month = (Span::MONTH, "2026-11-14T23:00:00Z".into(), "2026-12-14T23:00:00Z".into(), Some(100));
    assert_eq!((spans(&charge.windows), spans(&charge.sources)), (vec![day], vec![month]));
    assert_eq!(charge.ceiling.map(|units| units.get()), Some(100));
    assert!(charge.counted.contains(Window::Day) && !charge.counted.contains(Window::Week));
    assert_eq!(
        (asked[0].version, asked[0].policies, asked[0].counting),
        (Version(2), Version(0), Version(2))
    );
    assert_eq!((asked[0].at, asked[1].at), (at("2026-11-20T23:30:00Z"), at("2026-11-22T10:00:00Z")));
}

#[tokio::test]
async fn what_is_beyond_the_plan_is_charged_to_grants_and_overage() {
    let api = Api::with_acme().await;
    api.ok("PUT", "/v1/tenants/acme/subscription", r#"{"plan":"pro"}"#).await;
    api.ok("POST", "/v1/tenants/acme/grants", r#"{"meter":"ai_tokens","units":7,"priority":5}"#).await;
    let both = json!({ "units": { "requests": 1, "ai_tokens": 2 } });
    let answer = api.events(&event("1", |e| e["data"] = both)).await;
    assert_eq!(answer["events"][0]["charged"], json!({ "ai_tokens": 2, "requests": 1 }));
    let asked = api.world.events.asked.lock().unwrap();
    let charges = &asked[0].charges;
    assert_eq!((charges[0].meter.as_str(), charges[1].meter.as_str()), ("ai_tokens", "requests"));
    let spans: Vec<(Span, Option<u64>)> =
        charges[0].sources.iter().map(|b| (b.key.span, b.limit.map(|limit| limit.get()))).collect();
    assert_eq!(spans, [(Span::Grant, Some(7)), (Span::MONTH, Some(10)), (Span::Overage, Some(5))]);
    assert_eq!(charges[0].ceiling.map(|units| units.get()), Some(15));
}

#[tokio::test]
async fn refusals_say_why() {
    let api = Api::with_acme().await;
    let unknown = api.code(|e| e["subject"] = json!("nobody")).await;
    assert_eq!(unknown["code"], "tenant-unknown");
    api.ok("PUT", "/v1/tenants/empty", "{}").await;
    let inactive = api.code(|e| e["subject"] = json!("empty")).await;
    assert_eq!((&inactive["code"], &inactive["state"]), (&json!("subscription-inactive"), &json!("none")));
    let lacking = api.code(|e| e["data"]["meter"] = json!("ai_tokens")).await;
    assert_eq!((&lacking["code"], &lacking["meter"]), (&json!("feature-not-in-plan"), &json!("ai_tokens")));
    let nonsense = api.code(|e| e["data"]["meter"] = json!("nonsense")).await;
    assert_eq!((&nonsense["code"], &nonsense["pointer"]), (&json!("event-invalid"), &json!("/data")));
    for (time, code) in [
        ("2026-11-22T10:05:01Z", "event-in-future"),
        ("2199-01-01T00:00:00Z", "event-in-future"),
        ("2026-11-14T22:59:59Z", "event-too-old"),
        ("2026-10-21T09:59:59Z", "event-too-old"),
    ] {
        let refused = api.code(|e| e["time"] = json!(time)).await;
        assert_eq!((&refused["code"], &refused["pointer"]), (&json!(code), &json!("/time")), "{time}");
    }
    assert!(api.world.events.asked.lock().unwrap().is_empty(), "none of them came so far");
}

fn short(held: u64) -> EventOutcome {
    EventOutcome::Exhausted(Shortage {
        meter: "requests".parse().unwrap(),
        window: Some(Window::Day),
        limit: super::fakes::units(20),
        used: super::fakes::units(19),
        held,
    })
}

#[tokio::test(start_paused = true)]
async fn what_may_come_free_is_waited_for() {
    let api = Api::with_acme().await;
    *api.world.events.next.lock().unwrap() = [short(5), short(1), EventOutcome::Charged].into();
    assert_eq!(api.events(&plain("1")).await["charged"], 1);
    assert_eq!(api.world.events.asked.lock().unwrap().len(), 3);
    *api.world.events.next.lock().unwrap() = [short(0)].into();
    let refused = api.code(|_| {}).await;
    assert_eq!(
        refused,
        json!({ "source": "/shop", "id": "refused", "status": "refused", "code": "quota-exhausted",
            "detail": "the plan's 20 `requests` per day are used up", "meter": "requests", "window": "day",
            "limit": 20, "used": 19, "resets_at": "2026-11-22T23:00:00Z" })
    );
    // Whoever holds units for long holds them: not for ever.
    *api.world.events.next.lock().unwrap() = std::iter::repeat_n(short(3), 100).collect();
    assert_eq!(api.code(|_| {}).await["code"], "quota-exhausted");
    assert_eq!(api.world.events.asked.lock().unwrap().len(), 3 + 1 + 5);
}

#[tokio::test(start_paused = true)]
async fn new_facts_are_read_anew() {
    let api = Api::with_acme().await;
    *api.world.events.next.lock().unwrap() =
        [EventOutcome::Stale, EventOutcome::Withheld, EventOutcome::Charged].into();
    assert_eq!(api.events(&plain("1")).await["charged"], 1);
    *api.world.events.next.lock().unwrap() = std::iter::repeat_n(EventOutcome::Withheld, 1_000).collect();
    let answer = api.call("POST", "/v1/usage/events", &plain("2").to_string()).await;
    problem(&answer, 503, "store-unavailable");
    assert_eq!(answer.headers["retry-after"], "1");
}

#[tokio::test]
async fn events_come_in_every_mode() {
    let api = Api::with_acme().await;
    let (one, two) = (plain("1").to_string(), json!([plain("1"), plain("2")]).to_string());
    for (kind, body, charged) in [
        ("application/cloudevents+json; charset=utf-8", &one, 1),
        ("application/cloudevents-batch+json", &two, 1),
        ("application/json", &one, 0),
        ("Application/JSON", &two, 0),
    ] {
        let answer = api.typed(kind, body).await;
        assert_eq!((answer.status.as_u16(), &answer.body["charged"]), (200, &json!(charged)), "{kind}");
    }
    let attributes = [
        ("ce-specversion", "1.0"),
        ("ce-id", "b%C3%A4r"),
        ("ce-source", "/shop"),
        ("ce-type", "t"),
        ("ce-subject", "acme"),
        ("ce-time", "2026-11-22T09:00:00Z"),
        ("content-type", "application/json"),
    ];
    let data = r#"{"meter":"requests","units":2}"#;
    let answer = api.send("POST", "/v1/usage/events", &attributes, data).await;
    let charged =
        json!({ "source": "/shop", "id": "b\u{e4}r", "status": "charged", "charged": { "requests": 2 } });
    assert_eq!(answer.body["events"][0], charged);
    let twice = [attributes[0], attributes[0]];
    problem(&api.send("POST", "/v1/usage/events", &twice, data).await, 400, "header-invalid");
    let broken = [attributes[0], ("ce-id", "%f")];
    problem(&api.send("POST", "/v1/usage/events", &broken, data).await, 400, "header-invalid");
    assert_eq!(
        api.typed("application/json", "[]").await.body,
        json!({ "charged": 0, "duplicate": 0, "refused": 0, "events": [] })
    );
}

#[tokio::test]
async fn hostile_bodies_do_nothing() {
    let api = Api::with_acme().await;
    let many = |count: usize| Value::Array((0..count).map(|i| plain(&i.to_string())).collect()).to_string();
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    for (kind, body, status, code) in [
        ("application/json", "", 400, "body-malformed"),
        ("application/json", "{", 400, "body-malformed"),
        ("application/json", "7", 400, "field-invalid"),
        ("application/json", "\"event\"", 400, "field-invalid"),
        ("application/json", &deep, 400, "body-malformed"),
        ("application/json", r#"{"id":"1","id":"2"}"#, 400, "field-invalid"),
        ("application/json", r#"[{"data":{"units":{"requests":1,"requests":2}}}]"#, 400, "field-invalid"),
        ("application/json", r#"{"data":1e999}"#, 400, "body-malformed"),
        ("application/json", &many(1001), 422, "value-impossible"),
        ("application/json", &" ".repeat(257 * 1024), 413, "body-too-large"),
        ("application/cloudevents+json", &many(2), 400, "field-invalid"),
        ("application/cloudevents-batch+json", &plain("1").to_string(), 400, "field-invalid"),
        ("application/cloudevents+avro", "x", 415, "body-unsupported"),
        ("text/csv", "a,b", 415, "body-unsupported"),
    ] {
        problem(&api.typed(kind, body).await, status, code);
    }
    let wait = api.call("POST", "/v1/usage/events?wait=none", &plain("1").to_string()).await;
    problem(&wait, 400, "parameter-invalid");
    let refused = api.call("GET", "/v1/usage/events", "").await;
    problem(&refused, 405, "method-not-allowed");
    assert!(api.world.events.asked.lock().unwrap().is_empty());
    let thousand = api.typed("application/json", &many(1000)).await;
    assert_eq!(thousand.body["charged"], 1000, "{}", thousand.body["detail"]);
}

#[tokio::test]
async fn an_idempotency_key_is_for_the_same_events() {
    let api = Api::with_acme().await;
    let send = async |body: Value, key: &str| {
        api.send("POST", "/v1/usage/events", &[("idempotency-key", key)], &body.to_string()).await
    };
    let first = send(plain("1"), "k").await;
    assert_eq!((&first.body["charged"], first.headers.get("idempotency-replayed")), (&json!(1), None));
    let again = send(plain("1"), "k").await;
    assert_eq!((&again.body, again.headers["idempotency-replayed"].as_bytes()), (&first.body, &b"true"[..]));
    // What was refused stays so for this key, and is decided anew without it.
    api.world.events.next.lock().unwrap().push_back(EventOutcome::Conflict);
    for replayed in [false, true] {
        let refused = send(plain("3"), "l").await;
        assert_eq!(refused.body["refused"], 1, "{}", refused.body);
        assert_eq!(refused.headers.contains_key("idempotency-replayed"), replayed);
    }
    assert_eq!(api.events(&plain("3")).await["charged"], 1);
    problem(&send(plain("2"), "k").await, 409, "idempotency-conflict");
    problem(&send(plain("2"), "two words").await, 400, "header-invalid");
}
