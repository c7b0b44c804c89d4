//! The calls that make and change webhooks.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::*;
use crate::{
    domain::{command::Change, id::TenantId},
    ports::{
        Origin, Outgoing, OutgoingAnswer, OutgoingError, OutgoingRequest, TenantStore, Tried, WebhookStore,
    },
    store::memory::Memory,
    wire::signed_message::{SigningKey, verify},
};

/// Whoever is told: remembers it, and answers 204.
#[derive(Default)]
pub struct Endpoints {
    told: Mutex<Vec<OutgoingRequest>>,
}

#[async_trait]
impl Outgoing for Endpoints {
    fn check(&self, url: &str) -> Result<(), OutgoingError> {
        if url.starts_with("https://") {
            return Ok(());
        }
        Err(OutgoingError::Url { url: url.to_owned(), reason: "expected `https://`".to_owned() })
    }

    async fn post(&self, request: OutgoingRequest) -> Result<OutgoingAnswer, OutgoingError> {
        self.told.lock().unwrap().push(request);
        Ok(OutgoingAnswer { status: 204, body: "thanks".into(), retry_after: None })
    }
}

struct Scene {
    api: Api,
    store: Arc<Memory>,
    endpoints: Arc<Endpoints>,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let store = Arc::new(Memory::with_clock(world.clock.clone()).unwrap());
        let endpoints = Arc::new(Endpoints::default());
        let state = crate::admin::AdminState {
            webhooks: store.clone(),
            outgoing: endpoints.clone(),
            ..world.state(Some(TOKEN))
        };
        Self { api: Api { router: crate::admin::router(state), world }, store, endpoints }
    }

    async fn made(&self) -> (String, Value) {
        let body = r#"{"url":"https://a.example/hook","events":["plan.changed"],"description":"d"}"#;
        let made = self.api.ok("POST", "/v1/webhooks", body).await;
        (made["id"].as_str().unwrap().to_owned(), made)
    }
}

#[tokio::test]
async fn a_webhook_is_made_shown_changed_and_deleted() {
    let Scene { api, store, .. } = &Scene::new();
    let asked =
        r#"{"url":"https://a.example/hook","events":["quota.threshold","plan.changed","plan.changed"]}"#;
    let made = api.call("POST", "/v1/webhooks", asked).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let secret = made.body["secret"].as_str().unwrap();
    assert!(SigningKey::parse(secret).is_ok());
    let path = format!("/v1/webhooks/{}", made.body["id"].as_str().unwrap());
    let shown = api.ok("GET", &path, "").await;
    assert_eq!(shown["events"], json!(["plan.changed", "quota.threshold"]));
    assert_eq!((&shown["enabled"], &shown["url"]), (&json!(true), &json!("https://a.example/hook")));
    let all = api.ok("GET", "/v1/webhooks", "").await;
    assert_eq!(all["items"], json!([shown]));
    assert!(!all.to_string().contains("whsec_"), "the secret is shown once: {all}");

    let changed = api.ok("PUT", &path, r#"{"events":[],"enabled":false,"description":"x"}"#).await;
    assert_eq!((&changed["events"], &changed["enabled"]), (&json!([]), &json!(false)));
    assert_eq!(changed["disabled_reason"], "disabled by an administrator");
    assert_eq!(changed["url"], "https://a.example/hook", "what is absent stays");
    api.refused("POST", &format!("{path}/test"), "{}", 409, "webhook-disabled").await;
    api.refused("POST", &format!("{path}/replay"), "{}", 409, "webhook-disabled").await;
    assert_eq!(api.ok("PUT", &path, r#"{"enabled":true}"#).await["disabled_at"], Value::Null);

    let rotated = api.ok("POST", &format!("{path}/secret"), r#"{"expire_after":"1h"}"#).await;
    assert_ne!(rotated["secret"], secret);
    assert_eq!(rotated["secrets"][0]["expires_at"], Value::Null);
    assert_eq!(rotated["secrets"][1]["expires_at"], "2026-11-22T11:00:00Z");
    for _ in 0..3 {
        api.ok("POST", &format!("{path}/secret"), "").await;
    }
    api.refused("POST", &format!("{path}/secret"), "{}", 409, "webhooks-full").await;
    let lines = store.audit(0, 99).await.unwrap();
    let kinds: Vec<&str> = lines.iter().take(3).map(|line| line.kind.as_str()).collect();
    assert_eq!(kinds, ["webhook.created", "webhook.updated", "webhook.updated"]);
    assert!(lines.iter().all(|line| !line.detail.to_string().contains("whsec_")));

    assert_eq!(api.ok("DELETE", &path, "").await["state"], "deleted");
    for (method, path) in
        [("GET", path.clone()), ("DELETE", path.clone()), ("GET", format!("{path}/deliveries"))]
    {
        api.refused(method, &path, "", 404, "webhook-not-found").await;
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_place() {
    let scene = Scene::new();
    let (id, _) = scene.made().await;
    let api = &scene.api;
    for (body, status, code, pointer) in [
        ("{}", 400, "field-invalid", "/url"),
        (r#"{"url":7}"#, 400, "field-invalid", "/url"),
        (r#"{"url":"https://a.example","nothing":1}"#, 400, "field-invalid", "/nothing"),
        (r#"{"url":"http://a.example"}"#, 422, "value-impossible", "/url"),
        (
            r#"{"url":"https://a.example","events":["plan.changed","x"]}"#,
            422,
            "value-impossible",
            "/events/1",
        ),
        (r#"{"url":"https://a.example","secret":"x"}"#, 422, "value-impossible", "/secret"),
        (r#"{"url":"https://a.example","description":"\u0007"}"#, 422, "value-impossible", "/description"),
    ] {
        let answer = api.refused("POST", "/v1/webhooks", body, status, code).await;
        assert_eq!(answer.body["pointer"], pointer, "{}", answer.body);
        assert!(!answer.body.to_string().contains("\"x\""), "secrets are not repeated: {}", answer.body);
    }
    let path = format!("/v1/webhooks/{id}");
    for (method, call, body, pointer) in [
        ("PUT", "", r#"{"url":"ftp://a"}"#, "/url"),
        ("POST", "/secret", r#"{"expire_after":"31d"}"#, "/expire_after"),
        ("POST", "/replay", r#"{"since":"yesterday"}"#, "/since"),
        ("POST", "/test", r#"{"kind":"nothing"}"#, "/kind"),
    ] {
        let answer = api.refused(method, &format!("{path}{call}"), body, 422, "value-impossible").await;
        assert_eq!(answer.body["pointer"], pointer, "{}", answer.body);
    }
    api.refused("GET", &format!("{path}/deliveries?state=lost"), "", 400, "parameter-invalid").await;
    api.refused("POST", &format!("{path}/deliveries/evt_1/replay"), "", 404, "delivery-not-found").await;
    api.refused("GET", "/v1/webhooks/A", "", 400, "path-invalid").await;
    for _ in 1..50 {
        scene.made().await;
    }
    let body = r#"{"url":"https://a.example"}"#;
    api.refused("POST", "/v1/webhooks", body, 409, "webhooks-full").await;
}

#[tokio::test]
async fn the_same_key_has_one_effect_and_shows_no_secret_again() {
    let scene = Scene::new();
    let body = r#"{"url":"https://a.example"}"#;
    let key = [("idempotency-key", "k")];
    let first = scene.api.send("POST", "/v1/webhooks", &key, body).await;
    let again = scene.api.send("POST", "/v1/webhooks", &key, body).await;
    assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(first.body["id"], again.body["id"]);
    assert!(first.body["secret"].is_string() && again.body["secret"].is_null());
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let other = scene.api.send("POST", "/v1/webhooks", &key, r#"{"url":"https://b.example"}"#).await;
    problem(&other, 409, "idempotency-conflict");
    assert_eq!(scene.store.webhooks().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_sample_is_sent_at_once_and_signed() {
    let scene = Scene::new();
    let (id, made) = scene.made().await;
    let path = format!("/v1/webhooks/{id}/test");
    let answer =
        scene.api.send("POST", &path, &[("idempotency-key", "t")], r#"{"kind":"quota.threshold"}"#).await;
    assert_eq!((&answer.body["delivered"], &answer.body["status"]), (&json!(true), &json!(204)));
    assert_eq!(answer.body["answer"], "thanks");
    scene.api.send("POST", &path, &[("idempotency-key", "t")], r#"{"kind":"quota.threshold"}"#).await;
    let told = scene.endpoints.told.lock().unwrap().clone();
    let header = |place: usize, name: &str| {
        told[place].headers.iter().find(|(given, _)| *given == name).unwrap().1.clone()
    };
    assert_eq!(header(0, "webhook-id"), header(1, "webhook-id"), "a repetition is the same message");
    let body: Value = serde_json::from_slice(&told[0].body).unwrap();
    assert_eq!((&body["type"], &body["data"]["sample"]), (&json!("quota.threshold"), &json!(true)));
    let key = SigningKey::parse(made["secret"].as_str().unwrap()).unwrap();
    let (id, at) = (header(0, "webhook-id"), header(0, "webhook-timestamp"));
    let now = at.parse().unwrap();
    verify(&key, (&id, &at, &header(0, "webhook-signature")), &told[0].body, now).unwrap();
}

#[tokio::test]
async fn deliveries_are_listed_and_told_again() {
    let scene = Scene::new();
    let (id, _) = scene.made().await;
    let origin = Origin { at: scene.world_now(), actor: "a".into(), source: "s".into(), idempotency: None };
    let tenant = TenantId::parse("acme").unwrap();
    for change in [
        Change::PutTenant { name: None, zone: None, attributes: None },
        Change::Subscribe(crate::domain::command::Subscribe::to("free".parse().unwrap())),
    ] {
        let command = crate::domain::command::Command { tenant: tenant.clone(), change };
        scene.store.execute(&command, &origin).await.unwrap();
    }
    let path = format!("/v1/webhooks/{id}/deliveries");
    let listed = scene.api.ok("GET", &path, "").await;
    let event = listed["items"][0]["event"].as_str().unwrap().to_owned();
    assert_eq!(
        (&listed["items"][0]["kind"], &listed["items"][0]["state"]),
        (&json!("plan.changed"), &json!("pending"))
    );
    let claim = crate::ports::Claim {
        by: crate::ports::Incarnation(uuid::Uuid::nil()),
        lease: std::time::Duration::from_secs(9),
        most: 9,
        each: 9,
        but: Vec::new(),
    };
    let due = scene.store.claim_deliveries(&claim).await.unwrap().remove(0);
    let row = crate::ports::AttemptRow {
        attempt: 1,
        at: origin.at,
        status: Some(500),
        error: None,
        duration: std::time::Duration::from_millis(12),
        answer: "no".into(),
    };
    let failed =
        Tried { event: due.event, webhook: due.webhook, url: due.url, row, then: crate::ports::Then::Failed };
    scene.store.settle_delivery(&failed).await.unwrap();
    let listed = scene.api.ok("GET", &format!("{path}?state=failed&limit=1"), "").await;
    let log = &listed["items"][0]["log"][0];
    assert_eq!(
        (&log["status"], &log["answer"], &log["duration_ms"]),
        (&json!(500), &json!("no"), &json!(12))
    );
    assert_eq!(listed["next"], Value::Null);
    assert_eq!(scene.api.ok("GET", &format!("{path}?state=delivered"), "").await["items"], json!([]));

    let replay = format!("/v1/webhooks/{id}/replay");
    let none = scene.api.ok("POST", &replay, r#"{"since":"2027-01-01T00:00:00Z"}"#).await;
    assert_eq!((&none["deliveries"], &none["more"]), (&json!(0), &json!(false)));
    assert_eq!(scene.api.ok("POST", &replay, "").await["deliveries"], 1);
    let one = format!("{path}/{event}/replay");
    assert_eq!(scene.api.ok("POST", &one, "").await["deliveries"], 1);
}

impl Scene {
    fn world_now(&self) -> crate::domain::time::UnixMillis {
        crate::clock::Clock::now(&*self.api.world.clock)
    }
}
