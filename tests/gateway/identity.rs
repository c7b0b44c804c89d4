//! API keys, and which of a request's headers count as a credential (contract, 4.2).

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::{
    client::{Ask, ask, get},
    postgres::Postgres,
    process::{Gateway, Setup, eventually},
    upstream::{Seen, Upstream},
};

/// 62 signs in no order, at least 128 bits by any estimate.
const CUSTOMERS: &str = "q7Xv2LkP9sRt4WzB8nJc6HdF3gYm5TaQ";

fn messages() -> Ask {
    get("/v1/messages")
}

/// Sends a request that must be refused by code, and checks that it did not arrive.
async fn refused(gateway: &Gateway, upstream: &Upstream, ask: Ask, status: u16, code: &str) {
    let before = upstream.count();
    let reply = ask.send(gateway.data).await;
    assert_eq!((reply.status, reply.code().as_str()), (status, code), "{ask:?}");
    assert_eq!(reply.header("www-authenticate").is_some(), status == 401, "{reply:?}");
    assert_eq!(upstream.count(), before, "{ask:?} arrived");
}

fn holds(seen: &Seen, text: &str) -> bool {
    let head = seen.headers.iter().any(|(name, value)| name.contains(text) || value.contains(text));
    head || seen.target.contains(text) || String::from_utf8_lossy(&seen.body).contains(text)
}

#[tokio::test]
async fn a_key_is_taken_in_both_places_and_never_forwarded() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "big").await;
    assert!(key.starts_with("pgk_") && key.len() > 4 + 160 / 6, "{key}");

    let bearer = |scheme: &str| messages().with("authorization", &format!("{scheme} {key}"));
    for ask in [messages().key(&key), bearer("Bearer"), bearer("bearer"), bearer("BEARER  ")] {
        assert_eq!(ask.send(gateway.data).await.status, 200, "{ask:?}");
        let seen = upstream.last();
        assert!(!holds(&seen, &key), "{seen:?}");
        assert_eq!((seen.header("x-api-key"), seen.header("authorization")), (None, None));
        assert_eq!(seen.header("x-plangate-tenant"), Some("acme"));
        assert_eq!(seen.header("x-plangate-plan"), Some("big"));
    }
    // Nor where no key is needed.
    let preflight = ask("OPTIONS", "/v1/messages")
        .with("origin", "https://app.example")
        .with("access-control-request-method", "GET");
    for open in [get("/healthz"), preflight] {
        for ask in [open.clone().key(&key), open.clone().bearer(&key)] {
            let before = upstream.count();
            assert_eq!(ask.send(gateway.data).await.status, 200, "{ask:?}");
            assert_eq!(upstream.count(), before + 1);
            assert!(!holds(&upstream.last(), "pgk_"), "{:?}", upstream.last());
        }
    }
}

#[tokio::test]
async fn the_header_of_keys_can_have_another_name() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream).with("/identity/api_key_header", "X-Acme-Token");
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "big").await;
    let both = messages().with("x-acme-token", &key).with("x-api-key", "the upstream's own");
    assert_eq!(both.send(gateway.data).await.status, 200);
    assert_eq!(upstream.last().header("x-acme-token"), None);
    assert_eq!(upstream.last().header("x-api-key"), Some("the upstream's own"));
    refused(&gateway, &upstream, messages().key(&key), 401, "credential-missing").await;
}

#[tokio::test]
async fn what_is_no_valid_key_is_refused() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "big").await;
    let changed: String = key[..key.len() - 1].to_owned() + if key.ends_with('0') { "1" } else { "0" };
    let (cut, upper) = (key[..key.len() - 1].to_owned(), key.to_uppercase());
    for wrong in [changed.as_str(), &cut, &upper, &format!("{key}0"), "pgk_", "x", CUSTOMERS, "\u{e4}"] {
        refused(&gateway, &upstream, messages().key(wrong), 401, "credential-invalid").await;
    }
    refused(&gateway, &upstream, messages().key(""), 401, "credential-invalid").await;
    refused(&gateway, &upstream, messages().bearer(&changed), 401, "credential-invalid").await;
    refused(&gateway, &upstream, messages(), 401, "credential-missing").await;
    let reply = messages().send(gateway.data).await;
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"plangate\""));
    // Who is not identified is not told which routes there are.
    refused(&gateway, &upstream, get("/v1/nowhere"), 401, "credential-missing").await;
    assert_eq!(gateway.admin.used("acme", "requests").await, 0);
}

#[tokio::test]
async fn a_wrong_checksum_is_refused_without_a_look_up() {
    let (upstream, postgres) = (Upstream::start().await, Postgres::private());
    let setup = Setup::before(&upstream).with("/database", postgres.url());
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "big").await;
    let other = gateway.admin.key("acme").await;
    postgres.stop();
    let changed: String = key[..key.len() - 1].to_owned() + if key.ends_with('0') { "1" } else { "0" };
    refused(&gateway, &upstream, messages().key(&changed), 401, "credential-invalid").await;
    // A well-formed one that is not in memory cannot be judged without the database.
    let reply = messages().key(&other).send(gateway.data).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "rights-unavailable"));
    assert!(reply.header("retry-after").is_some());
}

#[tokio::test]
async fn keys_are_made_and_revoked_at_once_on_every_node() {
    let upstream = Upstream::start().await;
    let database = Postgres::shared().url();
    let on = |node: &str| Setup::before(&upstream).with("/database", database.clone()).with("/node", node);
    let (first, second) = (on("one"), on("two"));
    let (one, two) = (first.start().await, second.start().await);
    let admin = one.admin;
    admin.tenant("acme", "big").await;
    for _ in 0..5 {
        // The other node remembers that there is no such key.
        refused(&two, &upstream, messages().key(CUSTOMERS), 401, "credential-invalid").await;
        let made =
            admin.ok("POST", "/v1/tenants/acme/keys", json!({ "name": "n", "import": CUSTOMERS })).await;
        assert_eq!(made["applied"]["pending"], json!([]));
        let own = admin.ok("POST", "/v1/tenants/acme/keys", json!({ "name": "m" })).await;
        for node in [&one, &two] {
            assert_eq!(messages().key(CUSTOMERS).send(node.data).await.status, 200);
            assert_eq!(messages().key(own["key"].as_str().unwrap()).send(node.data).await.status, 200);
        }
        for id in [&made["id"], &own["id"]] {
            let path = format!("/v1/tenants/acme/keys/{}", id.as_str().unwrap());
            admin.ok("DELETE", &path, Value::Null).await;
        }
        for node in [&two, &one] {
            refused(node, &upstream, messages().key(CUSTOMERS), 401, "credential-invalid").await;
            let own = messages().bearer(own["key"].as_str().unwrap());
            refused(node, &upstream, own, 401, "credential-invalid").await;
        }
    }
}

#[tokio::test]
async fn a_key_expires_by_itself() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    gateway.admin.tenant("acme", "big").await;
    let keys = "/v1/tenants/acme/keys";
    #[allow(clippy::disallowed_methods, reason = "the gateway's clock is the system's")]
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + Duration::from_millis(1500);
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.as_millis()).unwrap()).unwrap();
    let made = gateway.admin.ok("POST", keys, json!({ "name": "short", "expires_at": at.to_string() })).await;
    let ask = messages().key(made["key"].as_str().unwrap());
    assert_eq!(ask.send(gateway.data).await.status, 200);
    eventually("the key expires", async || ask.send(gateway.data).await.status != 200).await;
    refused(&gateway, &upstream, ask.clone(), 401, "credential-expired").await;
    let expected = "Bearer realm=\"plangate\", error=\"invalid_token\"";
    assert_eq!(ask.send(gateway.data).await.header("www-authenticate"), Some(expected));

    let past = gateway.admin.call("POST", keys, json!({ "expires_at": "2020-01-01T00:00:00Z" })).await;
    assert_eq!(past.status, 422, "{past:?}");
    assert!(past.text().contains("/expires_at"), "{}", past.text());
}

#[tokio::test]
async fn an_imported_key_is_taken_from_its_header_only() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    gateway.admin.tenant("acme", "big").await;
    let keys = "/v1/tenants/acme/keys";
    let made = gateway.admin.ok("POST", keys, json!({ "name": "theirs", "import": CUSTOMERS })).await;
    assert!(made["key"].is_null() && made["id"].is_string(), "it is not shown again: {made}");
    assert_eq!(messages().key(CUSTOMERS).send(gateway.data).await.status, 200);
    assert!(!holds(&upstream.last(), CUSTOMERS));
    refused(&gateway, &upstream, messages().bearer(CUSTOMERS), 401, "credential-missing").await;

    for weak in
        ["short", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "6f1a0c52-7e1f-4b6e-9a55-0b9c1d2e3f40", "pgk_abc"]
    {
        let reply = gateway.admin.call("POST", keys, json!({ "import": weak })).await;
        assert_eq!(reply.status, 400, "{reply:?}");
        assert!(reply.text().contains("/import") && !reply.text().contains(weak), "{}", reply.text());
    }
}

#[tokio::test]
async fn two_credentials_are_ambiguous() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let (key, other) = (gateway.admin.tenant("acme", "big").await, gateway.admin.key("acme").await);
    for ask in [
        messages().key(&key).key(&key),
        messages().key(&key).key(&other),
        messages().key(&key).bearer(&key),
        messages().bearer(&key).bearer(&other),
        messages().bearer(&key).with("authorization", "Basic eDp5"),
    ] {
        refused(&gateway, &upstream, ask, 400, "credential-ambiguous").await;
    }
}

#[tokio::test]
async fn other_authorization_is_the_upstreams_business() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "big").await;
    // No issuer of tokens is configured, so that a token is none of Plangate's business either.
    for value in
        ["Basic dXNlcjpwYXNz", "Digest username=\"x\"", "Bearer eyJh.eyJi.c2ln", "Bearer", "pgk_bare"]
    {
        let ask = messages().with("authorization", value);
        assert_eq!(ask.clone().key(&key).send(gateway.data).await.status, 200, "{value}");
        assert_eq!(upstream.last().all("authorization"), [value]);
        assert_eq!(upstream.last().header("x-api-key"), None);
        refused(&gateway, &upstream, ask, 401, "credential-missing").await;
    }
}
