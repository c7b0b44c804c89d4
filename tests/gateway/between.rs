//! What falls between the areas: rules of the contract that hold on every way through the gateway.

use crate::support::{
    client::{ask, get},
    process::Setup,
    upstream::Upstream,
};

#[tokio::test]
async fn a_plangate_key_is_not_forwarded_on_any_way() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "big").await;
    let preflight = ask("OPTIONS", "/v1/messages")
        .with("origin", "https://app.example")
        .with("access-control-request-method", "POST");
    for (way, request) in
        [("metered", get("/v1/messages")), ("public", get("/healthz")), ("preflight", preflight)]
    {
        for presented in [request.clone().key(&key), request.bearer(&key)] {
            assert_eq!(presented.send(gateway.data).await.status, 200, "{way}");
            let seen = upstream.last();
            assert_eq!((seen.header("x-api-key"), seen.header("authorization")), (None, None), "{way}");
        }
    }
    let basic = get("/healthz").with("authorization", "Basic eDp5").send(gateway.data).await;
    assert_eq!(basic.status, 200);
    assert_eq!(upstream.last().header("authorization"), Some("Basic eDp5"), "other schemes pass untouched");
}

#[test]
fn a_value_that_is_found_bad_late_ends_the_start_with_one_line_too() {
    let bad = |pointer: &str, value: serde_json::Value| {
        let mut setup = Setup::at("http://127.0.0.1:9");
        setup.set("/database", "postgres://nobody@127.0.0.1:1/none");
        setup.set(pointer, value);
        let output = setup.command().output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.lines().all(|line| line.starts_with("error: ") || line.contains("WARN")), "{said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{said}");
        assert!(said.contains("/plangate.yaml: "), "{said}");
        said
    };
    let issuer = |algorithm: &str| serde_json::json!([{ "issuer": "i", "audience": "a", "algorithms": [algorithm], "jwks_file": "x" }]);
    let said = bad("/identity", serde_json::json!({ "jwt": issuer("none") }));
    assert!(said.contains("identity.jwt[0].algorithms[0]: `none`") && said.contains("EdDSA"), "{said}");
    let said = bad("/tenants", serde_json::json!({ "unknown": { "plan": "gold" } }));
    assert!(said.contains("tenants.unknown.plan: `gold`: expected a plan"), "{said}");
    let said = bad("/data_dir", "/proc/none".into());
    assert!(said.contains("data_dir: /proc/none"), "{said}");
    let said = bad("/database", "postgres://127.0.0.1:99999/x".into());
    assert!(said.contains("database: `postgres://127.0.0.1:99999/x`"), "{said}");
}

#[tokio::test]
async fn a_variable_is_named_where_its_value_is_found_bad_late() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut setup = Setup::at("http://127.0.0.1:9");
    let address = taken.local_addr().unwrap().to_string();
    setup.environment.push(("PLANGATE_ADMIN_LISTEN".into(), address.clone()));
    let output = setup.command().output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("error: PLANGATE_ADMIN_LISTEN: admin.listen: `{address}`: ")), "{said}");
}

#[tokio::test]
async fn no_plan_is_offered_that_the_tenants_own_overrides_would_defeat() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let overrides =
        serde_json::json!({ "features": { "export": false }, "quotas": { "requests": { "limit": 1 } } });
    gateway.admin.overrides("acme", overrides).await;
    assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200);
    for (method, path, code) in
        [("GET", "/v1/messages", "quota-exhausted"), ("GET", "/v1/export/all", "feature-not-in-plan")]
    {
        let refused = ask(method, path).key(&key).send(gateway.data).await;
        assert_eq!((refused.code().as_str(), &refused.json()["plans"]), (code, &serde_json::json!([])));
        let question = serde_json::json!({ "tenant": "acme", "method": method, "path": path });
        let check = gateway.admin.ok("POST", "/v1/check", question).await;
        assert_eq!(check["code"], code);
        assert!(check["plans"].as_array().is_none_or(Vec::is_empty), "{check}");
    }
    gateway.admin.overrides("acme", serde_json::json!({ "features": { "chat": false } })).await;
    let refused = get("/v1/export/all").key(&key).send(gateway.data).await;
    assert_eq!(refused.json()["plans"], serde_json::json!(["big", "open"]), "other overrides do not matter");
}
