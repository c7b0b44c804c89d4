//! Everything that a client may get wrong, and everything that may be wrong here.

use std::{sync::atomic::Ordering, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body_util::StreamBody;
use hyper::body::Frame;

use super::{Api, TOKEN, fakes::World, problem};
use crate::ports::StoreError;

#[tokio::test]
async fn the_token_is_needed_for_all_but_the_probes() {
    let api = Api::new();
    let get = |uri: &str, authorization: Option<&str>| {
        let mut request = Request::builder().uri(uri.to_owned());
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        request.body(Body::empty()).unwrap()
    };
    let good = format!("Bearer {TOKEN}");
    for uri in ["/v1/tenants", "/metrics", "/openapi.json", "/nothing", "/healthz/", "//healthz", "/v1/nodes"]
    {
        let answer = api.raw(get(uri, None)).await;
        problem(&answer, 401, "credential-missing");
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
        let longer = format!("{good}x");
        for bad in ["Bearer wrong", "Bearer ", "Bearer", "Basic dGhlLXRva2Vu", TOKEN, "", &longer] {
            problem(&api.raw(get(uri, Some(bad))).await, 401, "credential-invalid");
        }
    }
    for uri in ["/healthz", "/readyz"] {
        assert_eq!(api.raw(get(uri, None)).await.status, 200);
    }
    assert_eq!(api.raw(get("/v1/tenants", Some(&good))).await.status, 200);
    assert_eq!(api.raw(get("/v1/tenants", Some("bearer the-token"))).await.status, 200);
    let twice =
        Request::builder().uri("/v1/tenants").header("authorization", &good).header("authorization", &good);
    problem(&api.raw(twice.body(Body::empty()).unwrap()).await, 401, "credential-invalid");
}

#[tokio::test]
async fn without_a_token_everything_is_refused() {
    for token in [None, Some("")] {
        let world = World::new();
        let api = Api { router: crate::admin::router(world.state(token)), world };
        for presented in ["Bearer the-token", "Bearer "] {
            let request = Request::builder().uri("/v1/tenants").header("authorization", presented);
            let answer = api.raw(request.body(Body::empty()).unwrap()).await;
            problem(&answer, 401, "admin-token-unset");
            assert!(answer.body["detail"].as_str().unwrap().contains("PLANGATE_ADMIN_TOKEN"));
        }
    }
}

#[tokio::test]
async fn probes_and_metrics() {
    let api = Api::new();
    assert_eq!(api.ok("GET", "/healthz", "").await, "ok\n");
    assert_eq!(api.ok("GET", "/readyz", "").await["ready"], true);
    *api.world.failure.lock().unwrap() = Some(StoreError::Unavailable("refused".into()));
    let away = api.call("GET", "/readyz", "").await;
    assert_eq!((away.status.as_u16(), &away.body["ready"]), (503, &false.into()));
    assert!(away.body["reasons"][0].as_str().unwrap().contains("refused"));
    let metrics = api.call("GET", "/metrics", "").await;
    assert!(metrics.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
}

#[tokio::test]
async fn wrong_paths_and_methods() {
    let api = Api::new();
    for path in ["/", "/v1", "/v1/tenants/", "/v1/tenants/a/keys/b/c", "/v1/tenants/acme/"] {
        api.refused("GET", path, "", 404, "path-not-found").await;
    }
    let answer = api.refused("PATCH", "/v1/tenants/acme", "", 405, "method-not-allowed").await;
    let mut allow: Vec<&str> = answer.headers["allow"].to_str().unwrap().split(',').collect();
    allow.sort_unstable();
    assert_eq!(allow, ["DELETE", "GET", "HEAD", "PUT"]);
    api.refused("POST", "/healthz", "", 405, "method-not-allowed").await;
    assert_eq!(api.call("HEAD", "/healthz", "").await.status, 200);
}

#[tokio::test]
async fn hostile_ids() {
    let api = Api::new();
    let long = "a".repeat(64);
    api.refused("POST", "/v1/tenants//keys", "", 400, "path-invalid").await;
    for id in ["..", "%2e%2e", "a%2fb", "a%00", "A", "%ff", "a%20b", "-a", "%F0%9F%98%80", "'%3bdrop", &long]
    {
        for (method, rest) in
            [("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/keys"), ("GET", "/rights")]
        {
            api.refused(method, &format!("/v1/tenants/{id}{rest}"), "", 400, "path-invalid").await;
        }
        api.refused("DELETE", &format!("/v1/tenants/acme/keys/{id}"), "", 400, "path-invalid").await;
    }
    let huge = "a".repeat(8_000);
    let answer = api.refused("GET", &format!("/v1/tenants/{huge}"), "", 400, "path-invalid").await;
    assert!(answer.body.to_string().len() < 1_000);
    assert!(api.world.log.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_bad_field_is_pointed_at() {
    let api = Api::with_acme().await;
    let subscription = "/v1/tenants/acme/subscription";
    for (path, body, pointer) in [
        ("/v1/tenants/acme", r#"{"nmae":"x"}"#, "/nmae"),
        ("/v1/tenants/acme", r#"{"name":5}"#, "/name"),
        ("/v1/tenants/acme", r#"{"name":""}"#, "/name"),
        ("/v1/tenants/acme", r#"{"name":"a\u001bb"}"#, "/name"),
        ("/v1/tenants/acme", r#"{"name":"a","name":"b"}"#, ""),
        ("/v1/tenants/acme", r#"{"timezone":"Mars/Olympus"}"#, "/timezone"),
        ("/v1/tenants/acme", r#"{"timezone":["UTC"]}"#, "/timezone"),
        ("/v1/tenants/acme", r#"["x","UTC"]"#, ""),
        ("/v1/tenants/acme", "null", ""),
        (subscription, "{}", "/plan"),
        (subscription, r#"{"plan":"No Plan"}"#, "/plan"),
        (subscription, r#"{"plan":7}"#, "/plan"),
        (subscription, r#"{"plan":"pro","at":"tomorrow"}"#, "/at"),
        (subscription, r#"{"plan":"pro","usage":"double"}"#, "/usage"),
        (subscription, r#"{"plan":"pro","anchor_day":0}"#, "/anchor_day"),
        (subscription, r#"{"plan":"pro","anchor_day":32}"#, "/anchor_day"),
        (subscription, r#"{"plan":"pro","anchor_day":1.5}"#, "/anchor_day"),
        (subscription, r#"{"plan":"pro","anchor_day":"1"}"#, "/anchor_day"),
        (subscription, r#"{"plan":"pro","anchor_at":"2026-02-30T00:00:00Z"}"#, "/anchor_at"),
        (subscription, r#"{"plan":"pro","anchor_day":1,"anchor_at":"2026-01-01T00:00:00Z"}"#, "/anchor_at"),
        ("/v1/tenants/acme/overrides", r#"{"quotas":{"requests":{"limit":-1}}}"#, "/quotas/requests/limit"),
        ("/v1/tenants/acme/overrides", r#"{"features":{"a/b":true}}"#, "/features/a~1b"),
        ("/v1/tenants/acme/overrides", r#"{"limits":{"seats":1,"seats":2}}"#, "/limits"),
    ] {
        let answer = api.refused("PUT", path, body, 400, "field-invalid").await;
        assert_eq!(answer.body["pointer"], pointer, "{body}: {}", answer.body);
        assert_eq!(answer.body["errors"][0]["pointer"], pointer);
        let text = answer.body.to_string();
        assert!(!text.contains("i64") && !text.contains("struct"), "{text}");
    }
    assert_eq!(api.world.log.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn names_that_the_policies_lack() {
    let api = Api::with_acme().await;
    let plan =
        api.refused("PUT", "/v1/tenants/acme/subscription", r#"{"plan":"gold"}"#, 422, "name-unknown").await;
    assert_eq!(plan.body["pointer"], "/plan");
    assert!(plan.body["detail"].as_str().unwrap().contains("free, pro"));
    let body = r#"{"features":{"flying":true,"chat":true},"limits":{"sofas":1},"quotas":{"coins":1},"rates":{"coins":"unlimited"}}"#;
    let names = api.refused("PUT", "/v1/tenants/acme/overrides", body, 422, "name-unknown").await;
    let errors = names.body["errors"].as_array().unwrap();
    let pointers: Vec<&str> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/features/flying", "/limits/sofas", "/quotas/coins", "/rates/coins"]);
}

#[tokio::test]
async fn unknown_tenants() {
    let api = Api::new();
    for (method, path, body) in [
        ("GET", "/v1/tenants/nobody", ""),
        ("DELETE", "/v1/tenants/nobody", ""),
        ("POST", "/v1/tenants/nobody/suspend", ""),
        ("PUT", "/v1/tenants/nobody/overrides", "{}"),
        ("PUT", "/v1/tenants/nobody/subscription", r#"{"plan":"pro"}"#),
        ("PUT", "/v1/tenants/nobody/subscription", r#"{"plan":"pro","anchor_at":"2026-01-01T00:00:00Z"}"#),
        ("DELETE", "/v1/tenants/nobody/keys/k1", ""),
        ("GET", "/v1/tenants/nobody/usage", ""),
    ] {
        api.refused(method, path, body, 404, "tenant-not-found").await;
    }
}

#[tokio::test]
async fn bodies_that_are_not_json() {
    let api = Api::new();
    let deep = "[".repeat(100_000);
    for body in ["{", "{}x", "{'a':1}", "\u{feff}{}", "{\"name\":\"\u{1}\"}", "{\"name\":1e999}", &deep] {
        api.refused("PUT", "/v1/tenants/acme", body, 400, "body-malformed").await;
    }
    for kind in ["text/xml", "multipart/form-data; boundary=x", "text/csv", "application/yaml"] {
        let answer = api.send("PUT", "/v1/tenants/acme", &[("content-type", kind)], "{}").await;
        problem(&answer, 415, "body-unsupported");
    }
    let packed = api.send("PUT", "/v1/tenants/acme", &[("content-encoding", "gzip")], "{}").await;
    problem(&packed, 415, "body-unsupported");
    for kind in [
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/x-www-form-urlencoded",
        "application/merge-patch+json",
    ] {
        let answer = api.send("PUT", "/v1/tenants/acme", &[("content-type", kind)], "{}").await;
        assert!(answer.status.is_success(), "{kind}: {}", answer.body);
    }
}

#[tokio::test]
async fn bodies_that_are_too_large_or_too_slow() {
    let api = Api::new();
    let big = format!(r#"{{"name":"{}"}}"#, "x".repeat(256 * 1024));
    api.refused("PUT", "/v1/tenants/acme", &big, 413, "body-too-large").await;
    // Without a length, only reading shows it.
    let chunks =
        stream::iter((0..300).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![b' '; 1024])))));
    let request = |body| {
        Request::builder()
            .method("PUT")
            .uri("/v1/tenants/acme")
            .header("authorization", format!("Bearer {TOKEN}"))
            .body(body)
            .unwrap()
    };
    problem(&api.raw(request(Body::new(StreamBody::new(chunks)))).await, 413, "body-too-large");
    let world = World::new();
    let hasty =
        Api { router: crate::admin::build(world.state(Some(TOKEN)), Duration::from_millis(20)), world };
    let never = stream::pending::<Result<Frame<Bytes>, std::io::Error>>();
    problem(&hasty.raw(request(Body::new(StreamBody::new(never)))).await, 408, "body-timeout");
    let broken = stream::iter([Err::<Frame<Bytes>, _>(std::io::Error::other("gone"))]);
    problem(&api.raw(request(Body::new(StreamBody::new(broken)))).await, 400, "body-malformed");
    assert!(api.world.log.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_store_that_fails() {
    let api = Api::with_acme().await;
    for (failure, status, code, retry) in [
        (StoreError::Unavailable("host db-7 refused".into()), 503, "store-unavailable", Some("1")),
        (StoreError::Full("disk".into()), 503, "store-full", Some("30")),
        (StoreError::Corrupt("row".into()), 500, "internal", None),
    ] {
        *api.world.failure.lock().unwrap() = Some(failure);
        for (method, path, body) in [
            ("GET", "/v1/tenants/acme", ""),
            ("PUT", "/v1/tenants/acme", ""),
            ("GET", "/v1/tenants/acme/rights", ""),
            ("GET", "/v1/nodes", ""),
            ("POST", "/v1/check", r#"{"tenant":"acme","method":"GET","path":"/v1/export"}"#),
        ] {
            let answer = api.refused(method, path, body, status, code).await;
            assert_eq!(answer.headers.get("retry-after").map(|v| v.to_str().unwrap()), retry);
            assert!(!answer.body.to_string().contains("db-7"));
        }
    }
}

#[tokio::test]
async fn a_defect_is_an_answer_too() {
    let api = Api::with_acme().await;
    api.world.panics.store(true, Ordering::SeqCst);
    api.refused("GET", "/v1/tenants/acme", "", 500, "internal").await;
    api.world.panics.store(false, Ordering::SeqCst);
    api.ok("GET", "/v1/tenants/acme", "").await;
}

#[tokio::test]
async fn a_replay_for_a_tenant_that_is_gone_says_so() {
    let api = Api::new();
    let key = [("idempotency-key", "once")];
    assert_eq!(api.send("PUT", "/v1/tenants/acme", &key, "").await.status, 201);
    api.ok("DELETE", "/v1/tenants/acme", "").await;
    let answer = api.send("PUT", "/v1/tenants/acme", &key, "").await;
    problem(&answer, 404, "tenant-not-found");
    assert_eq!(answer.body["version"], 1);
    assert!(api.world.tenants.lock().unwrap().is_empty());
}
