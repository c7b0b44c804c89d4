//! The order of the checks, and what the policies let in beside their routes.

use serde_json::{Value, json};

use super::{expect, started, token, token_of};
use crate::support::{
    client::{Ask, ask, get},
    process::Setup,
    upstream::Upstream,
};

/// The first check that fails answers, a later one is not tried: each neighbour against the next.
#[tokio::test]
async fn the_order_of_checks() {
    let (upstream, _setup, gateway) = started().await;
    let admin = &gateway.admin;
    let code = async |ask: Ask| ask.send(gateway.data).await.code();

    // Path and framing before identity; an anonymous request to an unknown route learns nothing.
    assert_eq!(code(get("/v1//messages")).await, "path-ambiguous");
    assert_eq!(code(get("/v1/%2e%2e/healthz").key("x").bearer("pgk_x")).await, "path-ambiguous");
    assert_eq!(code(ask("TRACE", "/v1/messages")).await, "request-malformed");
    assert_eq!(code(get("/v1/nowhere")).await, "credential-missing");
    assert_eq!(code(ask("DELETE", "/v1/me")).await, "credential-missing");
    assert_eq!(code(get("/.plangate/other")).await, "credential-missing");

    // Identity before tenant.
    let old = token(&json!({ "iss": "https://id.test", "aud": "plangate", "exp": 1, "tenant": "nobody" }));
    assert_eq!(code(get("/v1/messages").bearer(&old)).await, "credential-expired");
    admin.ok("PUT", "/v1/tenants/idle", json!({})).await;
    let idle = admin.key("idle").await;
    admin.ok("POST", "/v1/tenants/idle/suspend", Value::Null).await;
    assert_eq!(code(get("/v1/messages").key(&idle).bearer(&idle)).await, "credential-ambiguous");

    // Tenant before subscription, subscription before route.
    assert_eq!(code(get("/v1/nowhere").bearer(&token_of("nobody"))).await, "tenant-unknown");
    assert_eq!(code(get("/v1/nowhere").key(&idle)).await, "tenant-suspended");
    admin.ok("POST", "/v1/tenants/idle/resume", Value::Null).await;
    assert_eq!(code(get("/v1/nowhere").key(&idle)).await, "subscription-inactive");
    assert_eq!(code(get("/v1/export/all").key(&idle)).await, "subscription-inactive");

    // Route before features, features before rate, rate before quota.
    let tight = admin.tenant("tight", "tight").await;
    assert_eq!(get("/v1/messages").key(&tight).send(gateway.data).await.status, 200);
    assert_eq!(code(get("/v1/nowhere").key(&tight)).await, "route-not-covered");
    assert_eq!(code(get("/v1/export/all").key(&tight)).await, "feature-not-in-plan");
    assert_eq!(code(ask("POST", "/v1/ai/chat").key(&tight)).await, "feature-not-in-plan");
    assert_eq!(code(get("/v1/messages").key(&tight)).await, "rate-limited");
    assert_eq!(admin.used("tight", "requests").await, 1);

    // A public route is forwarded at once, whatever else is wrong.
    assert_eq!(upstream.count(), 1);
    for (n, open) in [
        get("/healthz"),
        get("/healthz").key("nonsense"),
        get("/healthz").key(&tight).bearer(&tight),
        get("/healthz").bearer(&token_of("nobody")),
        ask("HEAD", "/healthz"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(open.send(gateway.data).await.status, 200);
        assert_eq!(upstream.count(), n + 2);
        assert_eq!(upstream.last().header("x-plangate-tenant"), None);
    }
    assert_eq!(code(ask("POST", "/healthz")).await, "credential-missing");
}

#[tokio::test]
async fn unmatched_requests_may_be_let_in() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let routes = "unmatched: allow\ndefaults: { charge: { requests: 2 } }\nroutes:\n  - { match: \"GET /healthz\", public: true }\n";
    setup.policy("routes.yaml", routes);
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let anonymous = get("/any/where").send(gateway.data).await;
    expect(&anonymous, 401, "credential-missing", &[]);
    assert_eq!(get("/any/where").key(&key).send(gateway.data).await.status, 200);
    assert_eq!(ask("PURGE", "/healthz").key(&key).send(gateway.data).await.status, 200);
    assert_eq!(gateway.admin.used("acme", "requests").await, 4, "charged as the defaults say");
    let over = get("/any/where").key(&key).send(gateway.data).await;
    let body = expect(
        &over,
        429,
        "quota-exhausted",
        &["tenant", "plan", "meter", "window", "limit", "used", "resets_at", "retry_after", "plans"],
    );
    assert_eq!((&body["limit"], &body["used"]), (&json!(5), &json!(4)), "two are needed, one is left");
    let own = get("/.plangate/x").key(&key).send(gateway.data).await;
    expect(&own, 404, "route-not-covered", &["tenant", "plan"]);
    assert_eq!(upstream.count(), 2);
}
