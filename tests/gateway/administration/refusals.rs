//! What the admin API refuses, each with its status, code and place, and without any effect.

use serde_json::{Value, json};

use super::Place;
use crate::support::{
    admin::TOKEN,
    client::{Wire, ask},
};

on_both_databases!(hostile_ids, unknown_parameters, bad_fields, other_mistakes);

async fn hostile_ids(place: Place) {
    let long = "a".repeat(64);
    let very_long = "a".repeat(5000);
    let ids = [
        "A",
        "-a",
        ".",
        "..",
        "_a",
        "%2e%2e",
        "a%2fb",
        "a%00b",
        "a%20b",
        "%ff",
        "a%0d%0aX:1",
        "'%3b--",
        "a;b",
        "%F0%9F%98%80",
        "%7e",
        "*",
        "$(id)",
        &long,
        &very_long,
    ];
    for id in ids {
        for (method, rest) in [
            ("GET", ""),
            ("PUT", ""),
            ("DELETE", ""),
            ("POST", "/suspend"),
            ("POST", "/resume"),
            ("PUT", "/subscription"),
            ("PUT", "/overrides"),
            ("POST", "/keys"),
            ("GET", "/keys"),
            ("DELETE", "/keys/key_1"),
            ("GET", "/rights"),
            ("GET", "/usage"),
        ] {
            let problem =
                place.refused(method, &format!("/v1/tenants/{id}{rest}"), "", 400, "path-invalid").await;
            assert!(problem.to_string().len() < 1000);
        }
        place.refused("DELETE", &format!("/v1/tenants/a/keys/{id}"), "", 400, "path-invalid").await;
        let check = json!({ "tenant": id, "method": "GET", "path": "/v1/me" }).to_string();
        assert_eq!(
            place.refused("POST", "/v1/check", &check, 400, "field-invalid").await["pointer"],
            "/tenant"
        );
    }
    for cursor in ["A", "%00", "..", ""] {
        place.refused("GET", &format!("/v1/tenants?cursor={cursor}"), "", 400, "parameter-invalid").await;
    }
    assert_eq!(place.done("GET", "/v1/tenants", Value::Null, 200).await["items"], json!([]));
    assert_eq!(place.done("GET", "/v1/audit", Value::Null, 200).await["items"], json!([]));
}

/// A misspelt parameter is an error, never without effect: `?wiat=none` or `?form=2026-01-01` would mislead whoever sent
/// it. Probes and metrics are asked by machines that add parameters of their own, so they take any.
async fn unknown_parameters(place: Place) {
    place.gateway.admin.tenant("acme", "small").await;
    for (method, path) in [
        ("GET", "/v1/tenants"),
        ("PUT", "/v1/tenants/acme"),
        ("GET", "/v1/tenants/acme"),
        ("DELETE", "/v1/tenants/acme"),
        ("POST", "/v1/tenants/acme/suspend"),
        ("POST", "/v1/tenants/acme/resume"),
        ("PUT", "/v1/tenants/acme/overrides"),
        ("POST", "/v1/tenants/acme/keys"),
        ("GET", "/v1/tenants/acme/keys"),
        ("GET", "/v1/tenants/acme/rights"),
        ("GET", "/v1/tenants/acme/usage"),
        ("POST", "/v1/check"),
        ("GET", "/v1/nodes"),
        ("GET", "/v1/changes"),
        ("GET", "/v1/audit"),
        ("GET", "/openapi.json"),
    ] {
        for (query, name) in [("wiat=none", "wiat"), ("_=1", "_"), ("x", "x")] {
            let body =
                if path.ends_with("check") { r#"{"tenant":"acme","method":"GET","path":"/"}"# } else { "" };
            let problem =
                place.refused(method, &format!("{path}?{query}"), body, 400, "parameter-invalid").await;
            assert_eq!(problem["parameter"], name, "{method} {path}");
        }
    }
    for path in ["/healthz?x=1", "/readyz?x=1", "/metrics?name[]=a"] {
        assert_eq!(place.send("GET", path, &[], "").await.status, 200, "{path}");
    }
    for (path, name) in [
        ("/v1/tenants?limit=0", "limit"),
        ("/v1/tenants?limit=501", "limit"),
        ("/v1/tenants?limit=ten", "limit"),
        ("/v1/tenants?limit=1&limit=2", "limit"),
        ("/v1/changes?after=-1", "after"),
        ("/v1/changes?after=99999999999999999999", "after"),
        ("/v1/audit?cursor=x", "cursor"),
        ("/v1/tenants/acme/usage?bucket=year", "bucket"),
        ("/v1/tenants/acme/usage?from=yesterday", "from"),
        ("/v1/tenants/acme/usage?from=2026-02-30", "from"),
        ("/v1/tenants/acme/usage?to=9999-01-01", "to"),
        ("/v1/tenants/acme/usage?from=2026-03-01&to=2026-03-01", "from"),
        ("/v1/tenants/acme/usage?from=2024-01-01&to=2026-01-01", "from"),
    ] {
        assert_eq!(
            place.refused("GET", path, "", 400, "parameter-invalid").await["parameter"],
            name,
            "{path}"
        );
    }
    assert_eq!(
        place.done("GET", "/v1/changes", Value::Null, 200).await["items"].as_array().unwrap().len(),
        3
    );
}

async fn bad_fields(place: Place) {
    place.gateway.admin.tenant("acme", "small").await;
    let (tenant, plan) = ("/v1/tenants/acme", "/v1/tenants/acme/subscription");
    let overrides = "/v1/tenants/acme/overrides";
    for (method, path, body, pointer) in [
        ("PUT", tenant, r#"{"name":7}"#, "/name"),
        ("PUT", tenant, r#"{"naem":"x"}"#, "/naem"),
        ("PUT", tenant, r#"{"timezone":"Moon/Base"}"#, "/timezone"),
        ("PUT", tenant, r#"{"timezone":"../../etc/passwd"}"#, "/timezone"),
        ("PUT", tenant, r#"[]"#, ""),
        ("PUT", plan, r#"{}"#, "/plan"),
        ("PUT", plan, r#"{"plan":"small","at":"never"}"#, "/at"),
        ("PUT", plan, r#"{"plan":"small","anchor_day":32}"#, "/anchor_day"),
        ("PUT", plan, r#"{"plan":"small","anchor_at":"today"}"#, "/anchor_at"),
        ("PUT", plan, r#"{"plan":"small","usage":"half"}"#, "/usage"),
        ("PUT", overrides, r#"{"features":{"export":"yes"}}"#, "/features/export"),
        ("PUT", overrides, r#"{"quotas":{"requests":{"limit":-1}}}"#, "/quotas/requests/limit"),
        ("PUT", overrides, r#"{"quotas":{"requests":{"limit":9007199254740993}}}"#, "/quotas/requests/limit"),
        ("PUT", overrides, r#"{"quotas":{"requests":{"day":1}}}"#, "/quotas/requests"),
        ("PUT", overrides, r#"{"rates":{"requests":{"limit":1,"per":"0s"}}}"#, "/rates/requests/per"),
        ("PUT", overrides, r#"{"limits":{"seats":1.5}}"#, "/limits/seats"),
        ("PUT", overrides, r#"{"plan":"big"}"#, "/plan"),
        ("POST", "/v1/tenants/acme/keys", r#"{"expires_at":"soon"}"#, "/expires_at"),
        ("POST", "/v1/tenants/acme/keys", r#"{"name":""}"#, "/name"),
        ("POST", "/v1/tenants/acme/suspend", r#"{"reason":"x"}"#, "/reason"),
        ("POST", "/v1/check", r#"{"tenant":"acme","method":"GE T","path":"/"}"#, "/method"),
        ("POST", "/v1/check", r#"{"tenant":"acme","method":"GET"}"#, "/path"),
    ] {
        let problem = place.refused(method, path, body, 400, "field-invalid").await;
        assert_eq!(problem["pointer"], pointer, "{path} {body}: {problem}");
    }
    // Names that the policies lack: well-formed, and impossible.
    for (path, body, pointers) in [
        (plan, r#"{"plan":"gold"}"#, vec!["/plan"]),
        (
            overrides,
            r#"{"features":{"fly":true},"limits":{"sofas":1},"quotas":{"coins":1},"rates":{"coins":"unlimited"}}"#,
            vec!["/features/fly", "/limits/sofas", "/quotas/coins", "/rates/coins"],
        ),
    ] {
        let problem = place.refused("PUT", path, body, 422, "name-unknown").await;
        let errors = problem["errors"].as_array().unwrap();
        let found: Vec<&str> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        assert_eq!(found, pointers);
    }
    assert_eq!(
        place.done("GET", "/v1/changes", Value::Null, 200).await["items"].as_array().unwrap().len(),
        3
    );
}

async fn other_mistakes(place: Place) {
    place.gateway.admin.tenant("acme", "small").await;
    for (method, path, body) in [
        ("GET", "/v1/tenants/nobody", ""),
        ("DELETE", "/v1/tenants/nobody", ""),
        ("POST", "/v1/tenants/nobody/suspend", ""),
        ("POST", "/v1/tenants/nobody/resume", ""),
        ("PUT", "/v1/tenants/nobody/subscription", r#"{"plan":"small"}"#),
        ("PUT", "/v1/tenants/nobody/overrides", "{}"),
        ("GET", "/v1/tenants/nobody/rights", ""),
        ("GET", "/v1/tenants/nobody/usage", ""),
    ] {
        place.refused(method, path, body, 404, "tenant-not-found").await;
    }
    for path in
        ["/", "/v1", "/v2/tenants", "/v1/tenants/acme/", "/v1/tenants/acme/nothing", "/.plangate/readyz"]
    {
        place.refused("GET", path, "", 404, "path-not-found").await;
    }
    for (method, path) in [("PATCH", "/v1/tenants/acme"), ("POST", "/v1/nodes"), ("DELETE", "/metrics")] {
        let reply = place.send(method, path, &[], "").await;
        assert_eq!((reply.status, reply.code().as_str()), (405, "method-not-allowed"));
        assert!(reply.header("allow").unwrap().contains("GET"));
    }
    let deep = "[".repeat(50_000);
    for body in ["{", "{}{}", "nope", "{\"name\":\"a\u{1}\"}", &deep] {
        place.refused("PUT", "/v1/tenants/acme", body, 400, "body-malformed").await;
    }
    let twice = r#"{"name":"a","name":"b"}"#;
    place.refused("PUT", "/v1/tenants/acme", twice, 400, "field-invalid").await;
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(300_000));
    place.refused("PUT", "/v1/tenants/acme", &large, 413, "body-too-large").await;
    let xml = place.send("PUT", "/v1/tenants/acme", &[("content-type", "text/xml")], "<a/>").await;
    assert_eq!((xml.status, xml.code().as_str()), (415, "body-unsupported"));
    // What no request is, is closed with an answer or without, and the next one is served.
    let mut wire = Wire::to(place.gateway.admin.0).await;
    wire.send(format!("PUT /v1/tenants/acme HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}")).await;
    let answer = String::from_utf8_lossy(&wire.rest().await).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    let alive = ask("HEAD", "/v1/tenants/acme").bearer(TOKEN).send(place.gateway.admin.0).await;
    assert_eq!(alive.status, 200);
    assert_eq!(place.done("GET", "/v1/tenants/acme", Value::Null, 200).await["name"], Value::Null);
}
