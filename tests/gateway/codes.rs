//! Every code of the contract, provoked over a real socket: status, document, headers, and that it cost nothing.

mod failures;
mod order;

use std::collections::BTreeSet;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::{
    client::{Ask, Reply, Wire, ask, get},
    process::{Gateway, Setup, write},
    upstream::Upstream,
};

const SECRET: &str = "a-secret-of-at-least-thirty-two-bytes-for-hs256";

/// A token that says so, as [`with_tokens`] accepts them.
pub(crate) fn token(claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&json!({ "alg": "HS256" })), encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// A valid token of a tenant.
pub(crate) fn token_of(tenant: &str) -> String {
    token(&json!({ "iss": "https://id.test", "aud": "plangate", "exp": 4_000_000_000_u64, "tenant": tenant }))
}

/// Adds an issuer of tokens.
pub(crate) fn with_tokens(setup: Setup) -> Setup {
    let file = write(setup.path("policies").parent().unwrap(), "secret", SECRET);
    let issuer = json!([{
        "issuer": "https://id.test", "audience": "plangate", "algorithms": ["HS256"],
        "hs256_secret_file": file, "tenant_claim": "tenant",
    }]);
    setup.with("/identity", json!({ "jwt": issuer }))
}

const ALWAYS: &[&str] = &["type", "title", "status", "detail", "code", "request_id"];

/// Checks a refusal whole: the code and status, the document's fields and no others, and the headers that go with them.
#[track_caller]
fn expect(reply: &Reply, status: u16, code: &str, fields: &[&str]) -> Value {
    assert_eq!((reply.status, reply.code().as_str()), (status, code), "{reply:?}");
    let body = reply.json();
    let has: BTreeSet<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    let wanted: BTreeSet<&str> = ALWAYS.iter().chain(fields).copied().collect();
    assert_eq!(has, wanted, "{body}");
    assert_eq!(reply.header("x-request-id"), body["request_id"].as_str(), "{reply:?}");
    assert!(!body["request_id"].as_str().unwrap().is_empty());
    let retry = reply.header("retry-after").map(|seconds| seconds.parse::<u64>().unwrap());
    assert_eq!(retry, body["retry_after"].as_u64(), "{reply:?}");
    assert_eq!(retry.is_some(), matches!(status, 429 | 503), "{reply:?}");
    assert!(retry.is_none_or(|seconds| seconds > 0));
    assert_eq!(reply.header("www-authenticate").is_some(), status == 401, "{reply:?}");
    let limited = matches!(code, "rate-limited" | "quota-exhausted");
    assert_eq!(reply.header("ratelimit").is_some(), limited, "{reply:?}");
    assert_eq!(reply.header("ratelimit-policy").is_some(), limited, "{reply:?}");
    body
}

async fn started() -> (Upstream, Setup, Gateway) {
    let upstream = Upstream::start().await;
    let setup = with_tokens(Setup::before(&upstream));
    // One unit of everything, and slowly: after the first request both the rate and the quota refuse.
    setup.policy(
        "plans/tight.yaml",
        "plan: tight\nfeatures: [chat]\nquotas:\n  requests: { limit: 1 }\nrates:\n  requests: { limit: 1, per: 1h, burst: 1 }\n",
    );
    let gateway = setup.start().await;
    (upstream, setup, gateway)
}

#[tokio::test]
async fn credentials() {
    let (upstream, _setup, gateway) = started().await;
    let key = gateway.admin.tenant("acme", "small").await;

    let missing = get("/v1/messages").send(gateway.data).await;
    expect(&missing, 401, "credential-missing", &[]);
    assert_eq!(missing.header("www-authenticate"), Some("Bearer realm=\"plangate\""));
    let other = get("/v1/messages").with("authorization", "Basic dTpw").send(gateway.data).await;
    expect(&other, 401, "credential-missing", &[]);

    let mut typo = key.clone().into_bytes();
    let last = typo.last_mut().unwrap();
    *last = if *last == b'a' { b'b' } else { b'a' };
    let claims =
        |exp: u64, aud: &str| json!({ "iss": "https://id.test", "aud": aud, "exp": exp, "tenant": "acme" });
    for invalid in [
        get("/v1/messages").key(std::str::from_utf8(&typo).unwrap()),
        get("/v1/messages").key(""),
        get("/v1/messages").key("an-imported-key-that-nobody-has-imported"),
        get("/v1/messages").bearer("pgk_x"),
        get("/v1/messages").bearer("not.a.token"),
        get("/v1/messages").bearer(&token(&claims(4_000_000_000, "somebody else"))),
    ] {
        let invalid = invalid.send(gateway.data).await;
        expect(&invalid, 401, "credential-invalid", &[]);
        let challenge = invalid.header("www-authenticate").unwrap();
        assert_eq!(challenge, "Bearer realm=\"plangate\", error=\"invalid_token\"");
    }
    let expired =
        get("/v1/messages").bearer(&token(&claims(1_000_000_000, "plangate"))).send(gateway.data).await;
    expect(&expired, 401, "credential-expired", &[]);

    for ambiguous in [
        get("/v1/messages").key(&key).bearer(&key),
        get("/v1/messages").key(&key).key(&key),
        get("/v1/messages").bearer(&key).bearer(&key),
        get("/v1/messages").key(&key).bearer(&token_of("acme")),
    ] {
        expect(&ambiguous.send(gateway.data).await, 400, "credential-ambiguous", &[]);
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.admin.used("acme", "requests").await, 0);

    let made = gateway.admin.get("/v1/tenants/acme/keys").await;
    let id = made["items"][0]["id"].as_str().unwrap();
    assert_eq!(get("/v1/me").key(&key).send(gateway.data).await.status, 200);
    gateway.admin.call("DELETE", &format!("/v1/tenants/acme/keys/{id}"), Value::Null).await;
    expect(&get("/v1/me").key(&key).send(gateway.data).await, 401, "credential-invalid", &[]);
}

#[tokio::test]
async fn heads() {
    let (upstream, _setup, gateway) = started().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let whole = |line: &str, fields: &str| format!("{line}\r\n{fields}x-api-key: {key}\r\n\r\n");
    let long = format!("Host: h\r\nX-Long: {}\r\n", "x".repeat(70 * 1024));
    let many = format!("Host: h\r\n{}", "A: b\r\n".repeat(101));
    for (request, status, code) in [
        (whole("GET /v1//messages HTTP/1.1", "Host: h\r\n"), 400, "path-ambiguous"),
        (whole("GET http://h/v1/messages HTTP/1.1", "Host: h\r\n"), 400, "path-ambiguous"),
        (whole("GET /v1/messages HTTP/1.1", ""), 400, "request-malformed"),
        (whole("TRACE /v1/messages HTTP/1.1", "Host: h\r\n"), 400, "request-malformed"),
        (whole("CONNECT h:80 HTTP/1.1", "Host: h\r\n"), 400, "request-malformed"),
        (whole("GET /v1/messages HTTP/1.1", &long), 431, "head-too-large"),
        (whole("GET /v1/messages HTTP/1.1", &many), 431, "head-too-large"),
    ] {
        let mut wire = Wire::to(gateway.data).await;
        wire.try_send(&request).await;
        expect(&wire.reply().await, status, code, &[]);
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.admin.used("acme", "requests").await, 0);
}

#[tokio::test]
async fn tenants_and_subscriptions() {
    let (upstream, _setup, gateway) = started().await;
    let unknown = get("/v1/messages").bearer(&token_of("nobody")).send(gateway.data).await;
    let body = expect(&unknown, 403, "tenant-unknown", &["tenant"]);
    assert_eq!(body["tenant"], "nobody");

    let key = gateway.admin.tenant("acme", "small").await;
    gateway.admin.ok("POST", "/v1/tenants/acme/suspend", Value::Null).await;
    let suspended = get("/v1/messages").key(&key).send(gateway.data).await;
    let body = expect(&suspended, 403, "tenant-suspended", &["tenant", "plan"]);
    assert_eq!((&body["tenant"], &body["plan"]), (&json!("acme"), &json!("small")));
    gateway.admin.ok("POST", "/v1/tenants/acme/resume", Value::Null).await;
    assert_eq!(get("/v1/me").key(&key).send(gateway.data).await.status, 200);

    gateway.admin.ok("PUT", "/v1/tenants/new", json!({})).await;
    let key = gateway.admin.key("new").await;
    let inactive = get("/v1/messages").key(&key).send(gateway.data).await;
    let body = expect(&inactive, 402, "subscription-inactive", &["tenant", "state", "plans"]);
    assert_eq!(body["state"], "none");
    assert_eq!(body["plans"].as_array().unwrap().len(), 5, "any plan has the feature: {body}");
    assert_eq!(upstream.count(), 1);
    assert_eq!(gateway.admin.used("acme", "requests").await, 0);
}

#[tokio::test]
async fn what_the_plan_lacks() {
    let (upstream, _setup, gateway) = started().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let nowhere = get("/v1/nowhere").key(&key).send(gateway.data).await;
    expect(&nowhere, 404, "route-not-covered", &["tenant", "plan"]);
    let wrong_method = ask("DELETE", "/v1/me").key(&key).send(gateway.data).await;
    expect(&wrong_method, 404, "route-not-covered", &["tenant", "plan"]);
    let own = get("/.plangate/other").key(&key).send(gateway.data).await;
    expect(&own, 404, "route-not-covered", &["tenant", "plan"]);

    let feature = get("/v1/export/all").key(&key).send(gateway.data).await;
    let body = expect(&feature, 403, "feature-not-in-plan", &["tenant", "plan", "feature", "plans"]);
    assert_eq!((&body["feature"], &body["plans"]), (&json!("export"), &json!(["big", "open"])));
    let meter = ask("POST", "/v1/ai/chat").key(&key).send(gateway.data).await;
    let body = expect(&meter, 403, "feature-not-in-plan", &["tenant", "plan", "meter", "plans"]);
    assert_eq!((&body["meter"], &body["plans"]), (&json!("ai_tokens"), &json!(["big", "open"])));
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.admin.used("acme", "requests").await, 0, "the other meter was not charged either");
}

#[tokio::test]
async fn rates_and_quotas() {
    let (upstream, _setup, gateway) = started().await;
    let key = gateway.admin.tenant("hasty", "slow").await;
    for _ in 0..2 {
        assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200);
    }
    let fast = get("/v1/messages").key(&key).send(gateway.data).await;
    let fields = ["tenant", "plan", "meter", "limit", "retry_after", "plans"];
    let body = expect(&fast, 429, "rate-limited", &fields);
    assert_eq!((&body["meter"], &body["limit"]), (&json!("requests"), &json!(2)));
    let wait = body["retry_after"].as_u64().unwrap();
    assert!((1..=1800).contains(&wait), "one of two an hour: {wait}");
    assert!(fast.header("ratelimit-policy").unwrap().contains("\"requests-rate\";q=2;w=3600"));
    assert!(fast.header("ratelimit").unwrap().contains("\"requests-rate\";r=0;t="));
    assert_eq!(upstream.count(), 2);
    assert_eq!(gateway.admin.used("hasty", "requests").await, 2, "a throttled request spends no quota");

    let key = gateway.admin.tenant("busy", "big").await;
    for _ in 0..4 {
        assert_eq!(ask("POST", "/v1/ai/chat").key(&key).send(gateway.data).await.status, 200);
    }
    let over = ask("POST", "/v1/ai/chat").key(&key).send(gateway.data).await;
    let fields = ["tenant", "plan", "meter", "window", "limit", "used", "resets_at", "retry_after", "plans"];
    let body = expect(&over, 429, "quota-exhausted", &fields);
    assert_eq!((&body["meter"], &body["window"]), (&json!("ai_tokens"), &json!("day")));
    assert_eq!((&body["limit"], &body["used"]), (&json!(20), &json!(20)));
    assert_eq!(
        body["plans"],
        json!([]),
        "`open` has no day's limit, but no more than 20 a month with its cap"
    );
    let resets = body["resets_at"].as_str().unwrap();
    assert!(resets.ends_with("T00:00:00Z"), "{resets}");
    assert!((1..=86_400).contains(&body["retry_after"].as_u64().unwrap()));
    assert_eq!(over.header("ratelimit-policy"), Some("\"ai_tokens-day\";q=20;w=86400"));
    assert!(over.header("ratelimit").unwrap().starts_with("\"ai_tokens-day\";r=0;t="));
    assert_eq!(upstream.count(), 6);
    assert_eq!(gateway.admin.used("busy", "requests").await, 4, "all or nothing");
    assert_eq!(gateway.admin.used("busy", "ai_tokens").await, 20);
}

/// What answers to HEAD must not have: a body, and a length that the answer to GET would not have.
#[tokio::test]
async fn refusals_of_head_are_heads() {
    let (upstream, _setup, gateway) = started().await;
    let key = gateway.admin.tenant("acme", "small").await;
    for (target, key, status) in [
        ("/v1/messages", "", 401),
        ("/v1//messages", "", 400),
        ("/v1/a b", "", 400),
        ("/v1/nowhere", key.as_str(), 404),
        ("/v1/export/all", key.as_str(), 403),
    ] {
        let with = |ask: Ask| if key.is_empty() { ask } else { ask.key(key) };
        let mut wire = Wire::to(gateway.data).await;
        wire.send(with(ask("HEAD", target)).bytes(gateway.data, false)).await;
        let head = wire.head().await;
        assert_eq!(head.status, status, "{target}");
        assert_eq!(head.header("content-type"), Some("application/problem+json"));
        assert!(head.header("x-request-id").is_some());
        assert_eq!(wire.rest().await, b"", "{target}: no body");
        let whole = with(get(target)).send(gateway.data).await;
        if let Some(length) = head.header("content-length") {
            assert_eq!(Some(length), whole.header("content-length"), "{target}");
        }
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(gateway.admin.used("acme", "requests").await, 0);
}
