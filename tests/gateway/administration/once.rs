//! `Idempotency-Key` and `?wait=`: every write has one effect, however often and at once it is sent.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::Place;

on_both_databases!(
    every_write_is_replayed,
    a_keys_creation_is_replayed_without_the_key,
    the_same_at_once,
    another_request_is_a_conflict,
    a_refusal_leaves_the_key_free,
    bad_keys_and_waits,
);

async fn every_write_is_replayed(place: Place) {
    let admin = place.gateway.admin;
    let key = admin.tenant("acme", "small").await;
    let id = admin.get("/v1/tenants/acme/keys").await["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(place.use_up(&key, 2).await.0, 2);
    let writes = [
        ("PUT", "/v1/tenants/new".to_owned(), r#"{"name":"New"}"#),
        ("PUT", "/v1/tenants/acme/subscription".to_owned(), r#"{"plan":"small","usage":"reset"}"#),
        ("PUT", "/v1/tenants/acme/overrides".to_owned(), r#"{"features":{"export":true}}"#),
        ("POST", "/v1/tenants/acme/suspend".to_owned(), ""),
        ("POST", "/v1/tenants/acme/resume".to_owned(), ""),
        ("DELETE", format!("/v1/tenants/acme/keys/{id}"), ""),
        ("DELETE", "/v1/tenants/acme".to_owned(), ""),
    ];
    for (place_in, (method, path, body)) in writes.iter().enumerate() {
        let name = format!("write-{place_in}");
        let headers = [("idempotency-key", name.as_str())];
        let first = place.send(method, path, &headers, body).await;
        assert!(first.status < 300, "{method} {path}: {}", first.text());
        assert_eq!(first.header("idempotency-replayed"), None);
        if path.ends_with("subscription") {
            // A replay of the reset must not give the units away again.
            assert_eq!(place.use_up(&key, 3).await.0, 3);
        }
        let again = place.send(method, path, &headers, body).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{method} {path}");
        assert_eq!((again.status, again.json()), (first.status, first.json()), "{method} {path}");
        if path.ends_with("subscription") {
            assert_eq!(admin.used("acme", "requests").await, 3);
        }
    }
    let changes = admin.get("/v1/changes").await["items"].as_array().unwrap().len();
    assert_eq!(changes, 3 + writes.len(), "a replay is no change");
}

async fn a_keys_creation_is_replayed_without_the_key(place: Place) {
    let admin = place.gateway.admin;
    admin.tenant("acme", "small").await;
    let path = "/v1/tenants/acme/keys";
    let headers = [("idempotency-key", "make-ci")];
    let first = place.send("POST", path, &headers, r#"{"name":"ci"}"#).await;
    assert_eq!(first.status, 201);
    let key = first.json()["key"].as_str().unwrap().to_owned();
    let again = place.send("POST", path, &headers, r#"{"name":"ci"}"#).await;
    let mut expected = first.json();
    expected.as_object_mut().unwrap().remove("key");
    assert_eq!((again.status, again.json()), (201, expected), "the same id, without the key");
    assert_eq!(admin.get(path).await["items"].as_array().unwrap().len(), 2);
    assert_eq!(place.answer("GET", "/v1/messages", &key).await.0, 200);
}

async fn the_same_at_once(place: Place) {
    let admin = place.gateway.admin;
    admin.tenant("acme", "small").await;
    let headers = [("idempotency-key", "all-at-once")];
    let sent = (0..8).map(|_| place.send("POST", "/v1/tenants/acme/keys", &headers, r#"{"name":"ci"}"#));
    let replies = join_all(sent).await;
    let bodies: Vec<Value> = replies.iter().map(|reply| reply.json()).collect();
    assert!(replies.iter().all(|reply| reply.status == 201), "{bodies:?}");
    assert!(
        bodies.iter().all(|body| body["id"] == bodies[0]["id"] && body["version"] == bodies[0]["version"])
    );
    let shown: Vec<&str> = bodies.iter().filter_map(|body| body["key"].as_str()).collect();
    assert_eq!(shown.len(), 1, "one of them has the key");
    assert_eq!(place.answer("GET", "/v1/messages", shown[0]).await.0, 200);
    assert_eq!(admin.get("/v1/tenants/acme/keys").await["items"].as_array().unwrap().len(), 2);

    // Without an idempotency key each is its own, and all versions differ.
    let sent = (0..8).map(|_| place.send("POST", "/v1/tenants/acme/keys", &[], ""));
    let mut versions: Vec<u64> =
        join_all(sent).await.iter().map(|reply| reply.json()["version"].as_u64().unwrap()).collect();
    versions.sort_unstable();
    assert_eq!(versions, (5..=12).collect::<Vec<_>>());
    // Of tenants that are made at once by several, one call made it.
    let made = join_all((0..6).map(|_| place.send("PUT", "/v1/tenants/new", &[], "{}"))).await;
    let mut statuses: Vec<u16> = made.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 201]);
}

async fn another_request_is_a_conflict(place: Place) {
    let headers = [("idempotency-key", "once")];
    assert_eq!(place.send("PUT", "/v1/tenants/acme", &headers, r#"{"name":"A"}"#).await.status, 201);
    for (method, path, body) in [
        ("PUT", "/v1/tenants/acme", r#"{"name":"B"}"#),
        ("PUT", "/v1/tenants/other", r#"{"name":"A"}"#),
        ("POST", "/v1/tenants/acme/suspend", ""),
        ("DELETE", "/v1/tenants/acme", ""),
    ] {
        let reply = place.send(method, path, &headers, body).await;
        assert_eq!((reply.status, reply.code().as_str()), (409, "idempotency-conflict"), "{method} {path}");
    }
    let tenant = place.done("GET", "/v1/tenants/acme", Value::Null, 200).await;
    assert_eq!((&tenant["name"], &tenant["version"]), (&json!("A"), &json!(1)));
    place.refused("GET", "/v1/tenants/other", "", 404, "tenant-not-found").await;
}

async fn a_refusal_leaves_the_key_free(place: Place) {
    let headers = [("idempotency-key", "retry")];
    let path = "/v1/tenants/acme/subscription";
    let body = r#"{"plan":"small"}"#;
    assert_eq!(place.send("PUT", path, &headers, body).await.status, 404);
    place.done("PUT", "/v1/tenants/acme", json!({}), 201).await;
    assert_eq!(place.send("PUT", path, &headers, body).await.status, 200);
    assert_eq!(place.send("PUT", path, &headers, body).await.header("idempotency-replayed"), Some("true"));
}

async fn bad_keys_and_waits(place: Place) {
    let long = "x".repeat(256);
    for bad in ["", "a b", long.as_str()] {
        let reply = place.send("PUT", "/v1/tenants/acme", &[("idempotency-key", bad)], "{}").await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "header-invalid"), "{bad:?}");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    assert_eq!(place.send("PUT", "/v1/tenants/acme", &twice, "{}").await.code(), "header-invalid");
    for bad in ["wait=", "wait=yes", "wait=none&wait=none", "wait=applied&dry_run=1", "Wait=none"] {
        let path = format!("/v1/tenants/acme?{bad}");
        place.refused("PUT", &path, "{}", 400, "parameter-invalid").await;
    }
    place.refused("GET", "/v1/tenants/acme", "", 404, "tenant-not-found").await;
    let made = place.done("PUT", "/v1/tenants/acme?wait=none", json!({}), 201).await;
    assert_eq!(made["version"], 1);
    assert!(made["applied"]["nodes"].is_u64() && made["applied"]["pending"].is_array(), "{made}");
    // The change is made all the same, and in force soon.
    let waited = place.done("PUT", "/v1/tenants/acme?wait=applied", json!({}), 200).await;
    assert_eq!((&waited["version"], &waited["applied"]), (&json!(2), &json!({ "nodes": 1, "pending": [] })));
}
