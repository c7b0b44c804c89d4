//! Writes: what they do, what they answer, and that they do it once.

use std::time::Duration;

use serde_json::json;

use super::{Api, fakes, problem};
use crate::{
    domain::{
        command::{Change, Subscribe},
        subscription::UsageRule,
        time::Version,
    },
    ports::Idempotency,
};

#[tokio::test]
async fn a_tenant_is_made_changed_and_removed() {
    let api = Api::new();
    let made = api.call("PUT", "/v1/tenants/acme", r#"{"name":"Acme","timezone":"Europe/Berlin"}"#).await;
    assert_eq!(made.status, 201);
    assert_eq!(
        made.body,
        json!({
            "version": 1, "applied": {"nodes": 1, "pending": []},
            "tenant": "acme", "name": "Acme", "timezone": "Europe/Berlin", "state": "active",
            "attributes": {}, "subscription": null,
            "overrides": {"features": {}, "limits": {}, "quotas": {}, "rates": {}},
            "created_at": "2026-11-22T10:00:00Z",
        })
    );
    let changed = api.call("PUT", "/v1/tenants/acme", r#"{"name":"Acme Inc"}"#).await;
    assert_eq!(changed.status, 200);
    assert_eq!(
        (&changed.body["name"], &changed.body["timezone"]),
        (&json!("Acme Inc"), &json!("Europe/Berlin"))
    );
    // An empty body is an empty object.
    assert_eq!(api.call("PUT", "/v1/tenants/other", "").await.status, 201);
    let gone = api.call("DELETE", "/v1/tenants/acme", "").await;
    assert_eq!(gone.status, 200);
    assert_eq!(
        gone.body,
        json!({"version": 4, "applied": {"nodes": 1, "pending": []}, "tenant": "acme", "state": "deleted"})
    );
    api.refused("GET", "/v1/tenants/acme", "", 404, "tenant-not-found").await;
    assert_eq!(*api.world.waited.lock().unwrap(), [1, 2, 3, 4].map(Version));
}

#[tokio::test]
async fn suspended_and_resumed() {
    let api = Api::with_acme().await;
    assert_eq!(api.ok("POST", "/v1/tenants/acme/suspend", "").await["state"], "suspended");
    assert_eq!(api.ok("GET", "/v1/tenants/acme/rights", "").await["state"], "suspended");
    assert_eq!(api.ok("POST", "/v1/tenants/acme/resume", "{}").await["state"], "active");
    api.refused("POST", "/v1/tenants/acme/suspend", r#"{"why":1}"#, 400, "field-invalid").await;
}

#[tokio::test]
async fn a_plan_is_taken_up() {
    let api = Api::with_acme().await;
    let body = r#"{"plan":"pro","at":"now","usage":"reset","anchor_at":"2026-11-30T23:30:00Z"}"#;
    let answer = api.ok("PUT", "/v1/tenants/acme/subscription", body).await;
    // 23:30 UTC is already the next day in Berlin.
    assert_eq!(
        answer["subscription"],
        json!({
            "plan": "pro", "plan_version": 1, "state": "active", "anchor_day": 1, "since": "2026-11-22T10:00:00Z",
            // The month that runs keeps its start, and ends with a month of the new anchor.
            "period": {"start": "2026-11-14T23:00:00Z", "end": "2026-11-30T23:00:00Z"},
            "trial": null, "grace_ends_at": null, "canceled_at": null, "undo_until": null, "scheduled": null,
            "upcoming": [],
        })
    );
    let (command, origin) = api.world.last();
    assert!(matches!(command.change, Change::Subscribe(Subscribe { usage: Some(UsageRule::Reset), .. })));
    assert_eq!((origin.actor.as_str(), origin.source.as_str()), ("admin", "local"));
    assert_eq!((origin.at, origin.idempotency), (fakes::now(&api.world), None));
    api.ok("PUT", "/v1/tenants/acme/subscription", r#"{"plan":"free","usage":null,"at":null}"#).await;
    assert_eq!(api.world.last().0.change, Change::Subscribe(Subscribe::to("free".parse().unwrap())));
}

#[tokio::test]
async fn overrides_replace_the_plan() {
    let api = Api::with_acme().await;
    let body = r#"{"features":{"export":true},"quotas":{"requests":{"limit":5}},"rates":{"requests":"unlimited"},"limits":{"seats":"unlimited"}}"#;
    let answer = api.ok("PUT", "/v1/tenants/acme/overrides", body).await;
    assert_eq!(answer["overrides"]["quotas"], json!({"requests": {"limit": 5}}));
    let rights = api.ok("GET", "/v1/tenants/acme/rights", "").await;
    assert_eq!(rights["features"], json!(["chat", "export"]));
    assert_eq!(rights["limits"], json!({"seats": "unlimited"}));
    assert_eq!((&rights["quotas"]["requests"]["limit"], &rights["rates"]), (&json!(5), &json!({})));
    api.ok("PUT", "/v1/tenants/acme/overrides", "{}").await;
    assert_eq!(api.ok("GET", "/v1/tenants/acme/rights", "").await["features"], json!(["chat"]));
}

#[tokio::test]
async fn a_key_is_shown_once() {
    let api = Api::with_acme().await;
    let path = "/v1/tenants/acme/keys";
    let made = api.call("POST", path, r#"{"name":"ci","expires_at":"2027-01-01T00:00:00Z"}"#).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.headers["cache-control"], "no-store");
    assert_eq!((&made.body["id"], &made.body["key"]), (&json!("k1"), &json!("pgk_secret1")));
    let brought = api.call("POST", path, r#"{"import":"0123456789abcdef0123"}"#).await;
    assert_eq!((brought.status.as_u16(), brought.body.get("key")), (201, None));
    let list = api.ok("GET", path, "").await;
    assert_eq!(
        list["items"][0],
        json!({"id": "k1", "name": "ci", "expires_at": "2027-01-01T00:00:00Z", "imported": false,
               "created_at": "2026-11-22T10:00:00Z"})
    );
    assert_eq!(list["items"][1]["imported"], true);
    assert!(!list.to_string().contains("secret"));
    let revoked = api.ok("DELETE", "/v1/tenants/acme/keys/k1", "").await;
    assert_eq!((&revoked["id"], &revoked["state"]), (&json!("k1"), &json!("revoked")));
    api.refused("DELETE", "/v1/tenants/acme/keys/k1", "", 404, "key-not-found").await;
}

#[tokio::test]
async fn bad_keys() {
    let api = Api::with_acme().await;
    let path = "/v1/tenants/acme/keys";
    let short = api.refused("POST", path, r#"{"import":"secretsecret"}"#, 400, "field-invalid").await;
    assert_eq!(short.body["pointer"], "/import");
    assert!(!short.body.to_string().contains("secretsecret"));
    api.refused("POST", path, r#"{"import":"taken-0123456789abcdef"}"#, 409, "key-taken").await;
    let past = r#"{"expires_at":"2026-11-22T10:00:00Z"}"#;
    let answer = api.refused("POST", path, past, 422, "value-impossible").await;
    assert_eq!(answer.body["pointer"], "/expires_at");
    api.refused("POST", path, r#"{"expires_at":"soon"}"#, 400, "field-invalid").await;
    api.refused("POST", "/v1/tenants/nobody/keys", "", 404, "tenant-not-found").await;
    api.refused("GET", "/v1/tenants/nobody/keys", "", 404, "tenant-not-found").await;
}

#[tokio::test]
async fn the_same_idempotency_key_has_one_effect() {
    let api = Api::with_acme().await;
    let path = "/v1/tenants/acme/keys";
    let key = [("idempotency-key", "once-1")];
    let first = api.send("POST", path, &key, r#"{"name":"ci"}"#).await;
    let again = api.send("POST", path, &key, r#"{"name":"ci"}"#).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201));
    assert!(!first.headers.contains_key("idempotency-replayed"));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.body["id"], first.body["id"]);
    assert_eq!((again.body.get("key"), &again.body["version"]), (None, &first.body["version"]));
    assert_eq!(api.world.keys.lock().unwrap().len(), 1);
    // The barrier is waited for anew.
    assert_eq!(api.world.waited.lock().unwrap()[2..], [Version(3), Version(3)]);
    for (method, path, body) in
        [("POST", path, r#"{"name":"cd"}"#), ("POST", "/v1/tenants/acme/keys?wait=none", r#"{"name":"ci"}"#)]
    {
        problem(&api.send(method, path, &key, body).await, 409, "idempotency-conflict");
    }
}

#[tokio::test]
async fn every_write_passes_its_idempotency_key_on() {
    let api = Api::with_acme().await;
    api.ok("POST", "/v1/tenants/acme/keys", "").await;
    let writes = [
        ("PUT", "/v1/tenants/acme", "{}"),
        ("PUT", "/v1/tenants/acme/subscription", r#"{"plan":"pro"}"#),
        ("PUT", "/v1/tenants/acme/overrides", "{}"),
        ("POST", "/v1/tenants/acme/keys", ""),
        ("DELETE", "/v1/tenants/acme/keys/k1", ""),
        ("POST", "/v1/tenants/acme/suspend", ""),
        ("POST", "/v1/tenants/acme/resume", ""),
        ("DELETE", "/v1/tenants/acme", ""),
    ];
    let mut fingerprints = std::collections::BTreeSet::new();
    for (place, (method, path, body)) in writes.into_iter().enumerate() {
        let key = format!("key-{place}");
        let answer = api.send(method, path, &[("idempotency-key", &key)], body).await;
        assert!(answer.status.is_success(), "{}", answer.body);
        let Some(Idempotency { key: stored, fingerprint }) = api.world.last().1.idempotency else { panic!() };
        assert_eq!(stored, key);
        assert_eq!(fingerprint.len(), 64);
        assert!(fingerprints.insert(fingerprint), "{method} {path}");
    }
    for bad in ["", "a b", "\u{e9}", &"x".repeat(256)] {
        let answer = api.send("PUT", "/v1/tenants/acme", &[("idempotency-key", bad)], "").await;
        problem(&answer, 400, "header-invalid");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    problem(&api.send("PUT", "/v1/tenants/acme", &twice, "").await, 400, "header-invalid");
    assert_eq!(
        api.send("PUT", "/v1/tenants/acme", &[("idempotency-key", &"x".repeat(255))], "").await.status,
        201
    );
}

#[tokio::test]
async fn a_write_waits_for_the_barrier_or_not() {
    let api = Api::with_acme().await;
    *api.world.pending.lock().unwrap() = vec!["b".into()];
    let waited = api.ok("POST", "/v1/tenants/acme/suspend?wait=applied", "").await;
    assert_eq!(waited["applied"], json!({"nodes": 1, "pending": ["b"]}));
    let calls = api.world.waited.lock().unwrap().len();
    let young = Duration::from_millis(10);
    *api.world.nodes.lock().unwrap() =
        vec![fakes::node("a", 4, "d1", young), fakes::node("b", 3, "d1", young)];
    // Without waiting only what the nodes have reported is claimed.
    let unwaited = api.ok("POST", "/v1/tenants/acme/resume?wait=none", "").await;
    assert_eq!(
        (&unwaited["version"], &unwaited["applied"]),
        (&json!(4), &json!({"nodes": 1, "pending": ["b"]}))
    );
    assert_eq!(api.world.waited.lock().unwrap().len(), calls);
    let answer =
        api.refused("POST", "/v1/tenants/acme/resume?wait=maybe", "", 400, "parameter-invalid").await;
    assert_eq!(answer.body["parameter"], "wait");
    api.refused("POST", "/v1/tenants/acme/resume?wiat=none", "", 400, "parameter-invalid").await;
    api.refused("POST", "/v1/tenants/acme/resume?wait=none&wait=none", "", 400, "parameter-invalid").await;
}
