//! Who is answered at all: the token, the probes, and a gateway that was given no token.

use serde_json::{Value, json};

use super::Place;
use crate::support::{
    admin::TOKEN,
    client::{ask, get},
    process::Setup,
    upstream::Upstream,
};

on_both_databases!(nothing_without_the_token);

async fn nothing_without_the_token(place: Place) {
    let address = place.gateway.admin.0;
    place.done("PUT", "/v1/tenants/acme", json!({}), 201).await;
    let calls = [
        ("GET", "/v1/tenants"),
        ("PUT", "/v1/tenants/acme"),
        ("DELETE", "/v1/tenants/acme"),
        ("POST", "/v1/tenants/acme/suspend"),
        ("POST", "/v1/tenants/acme/resume"),
        ("PUT", "/v1/tenants/acme/subscription"),
        ("PUT", "/v1/tenants/acme/overrides"),
        ("POST", "/v1/tenants/acme/keys"),
        ("GET", "/v1/tenants/acme/keys"),
        ("DELETE", "/v1/tenants/acme/keys/key_1"),
        ("GET", "/v1/tenants/acme/rights"),
        ("GET", "/v1/tenants/acme/usage"),
        ("POST", "/v1/check"),
        ("GET", "/v1/refusals"),
        ("GET", "/v1/refusals/x"),
        ("GET", "/v1/nodes"),
        ("GET", "/v1/changes"),
        ("GET", "/v1/audit"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/nothing/here"),
    ];
    for (method, path) in calls {
        let bare = ask(method, path).send(address).await;
        assert_eq!((bare.status, bare.code().as_str()), (401, "credential-missing"), "{method} {path}");
        assert!(bare.header("www-authenticate").unwrap().starts_with("Bearer"));
        for wrong in
            ["Bearer wrong".to_owned(), format!("Basic {TOKEN}"), format!("Bearer {TOKEN}x"), TOKEN.into()]
        {
            let reply = ask(method, path).with("authorization", &wrong).send(address).await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (401, "credential-invalid"),
                "{method} {path} {wrong}"
            );
            assert!(!reply.text().contains(TOKEN) && !reply.text().contains("acme\""));
        }
    }
    let twice = get("/v1/tenants").bearer(TOKEN).bearer(TOKEN).send(address).await;
    assert_eq!(twice.status, 401);
    assert_eq!(
        place.done("GET", "/v1/changes", Value::Null, 200).await["items"].as_array().unwrap().len(),
        1
    );
    for path in ["/healthz", "/readyz"] {
        let probe = get(path).send(address).await;
        assert_eq!(probe.status, 200, "{path} needs no token");
        assert_eq!(get(path).bearer("wrong").send(address).await.status, 200);
    }
    let ready = get("/readyz").send(address).await;
    assert_eq!(ready.json(), json!({ "ready": true, "reasons": [] }));
}

#[tokio::test]
async fn a_gateway_without_a_token_refuses_every_call_and_serves() {
    let upstream = Upstream::start().await;
    let mut setup = Setup::before(&upstream);
    setup.set("/admin", json!({ "listen": "127.0.0.1:0" }));
    let gateway = setup.start().await;
    for presented in [TOKEN, ""] {
        let reply = get("/v1/tenants").bearer(presented).send(gateway.admin.0).await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "admin-token-unset"));
        assert!(reply.json()["detail"].as_str().unwrap().contains("PLANGATE_ADMIN_TOKEN"));
    }
    assert_eq!(get("/readyz").send(gateway.admin.0).await.status, 200);
    assert_eq!(get("/healthz").send(gateway.data).await.status, 200, "a public route");
}
