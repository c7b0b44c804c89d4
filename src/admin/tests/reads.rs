//! Reads: tenants, rights, usage, decisions, nodes and feeds.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Api, fakes};
use crate::{
    domain::{period::Window, rights::Source},
    ports::UsageRow,
};

#[tokio::test]
async fn tenants_are_listed_in_pages() {
    let api = Api::new();
    for id in ["c", "a", "b"] {
        api.ok("PUT", &format!("/v1/tenants/{id}"), "").await;
    }
    let ids = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|t| t["tenant"].as_str().unwrap().to_owned()).collect()
    };
    let first = api.ok("GET", "/v1/tenants?limit=2", "").await;
    assert_eq!((ids(&first), &first["next"]), (vec!["a".into(), "b".into()], &json!("b")));
    let last = api.ok("GET", "/v1/tenants?limit=2&cursor=b", "").await;
    assert_eq!((ids(&last), &last["next"]), (vec!["c".into()], &Value::Null));
    assert_eq!(api.ok("GET", "/v1/tenants/b", "").await["version"], 3);
    for query in ["limit=0", "limit=501", "limit=x", "limit=", "cursor=A%20B", "page=2"] {
        api.refused("GET", &format!("/v1/tenants?{query}"), "", 400, "parameter-invalid").await;
    }
}

#[tokio::test]
async fn rights_show_what_is_left() {
    let api = Api::with_acme().await;
    {
        let mut used = api.world.used.lock().unwrap();
        used.insert(("requests", Window::Month), (60, 30));
        used.insert(("requests", Window::Day), (25, 0));
    }
    let rights = api.ok("GET", "/v1/tenants/acme/rights", "").await;
    assert_eq!(
        rights,
        json!({
            "tenant": "acme", "plan": "free", "plan_version": 1, "state": "active", "version": 2, "cost": null,
            "period": {"start": "2026-11-14T23:00:00Z", "end": "2026-12-14T23:00:00Z"},
            "until": null, "addons": [], "features": ["chat"], "limits": {"seats": 1},
            "quotas": {"requests": {
                "limit": 100, "included": 100, "used": 60, "remaining": 10, "resets_at": "2026-12-14T23:00:00Z",
                "ends_at": "2026-11-23T05:53:20Z", "uncertain": 30,
                "sources": [{"source": "plan", "id": null, "limit": 100, "used": 60, "remaining": 10, "priority": 100,
                             "expires_at": "2026-12-14T23:00:00Z", "uncertain": 30}],
                "windows": [{"per": "day", "limit": 20, "used": 25, "remaining": 0,
                             "resets_at": "2026-11-22T23:00:00Z", "uncertain": 0}],
            }},
            "rates": {"requests": {"limit": 50, "per": "1s", "burst": 100}},
        })
    );
}

#[tokio::test]
async fn an_admin_sees_what_the_customer_sees() {
    let api = Api::with_acme().await;
    api.world.used.lock().unwrap().insert(("requests", Window::Month), (60, 0));
    let view = api.ok("GET", "/v1/tenants/acme/view", "").await;
    assert!(crate::admin::customer_view::is_as_described(&view), "{view}");
    assert_eq!(
        (&view["tenant"], &view["plan"], &view["state"], &view["nearest"]["meter"]),
        (&json!("acme"), &json!("free"), &json!("active"), &json!("requests")),
        "{view}"
    );
    let chinese = api.ok("GET", "/v1/tenants/acme/view?language=zh", "").await;
    assert_ne!(view["message"], chinese["message"]);
    assert_eq!(view["quotas"], chinese["quotas"]);
    for (path, status, code) in [
        ("/v1/tenants/nobody/view", 404, "tenant-not-found"),
        ("/v1/tenants/acme/view?language=fr", 400, "parameter-invalid"),
        ("/v1/tenants/acme/view?lang=zh", 400, "parameter-invalid"),
    ] {
        api.refused("GET", path, "", status, code).await;
    }
    api.ok("PUT", "/v1/tenants/new", "{}").await;
    assert_eq!(api.ok("GET", "/v1/tenants/new/view", "").await["state"], "none");
}

#[tokio::test]
async fn the_customers_view_is_explained() {
    let api = Api::with_acme().await;
    let check = async |tenant: &str, method: &str, path: &str| {
        let body = json!({ "tenant": tenant, "method": method, "path": path }).to_string();
        api.ok("POST", "/v1/check", &body).await
    };
    for path in ["/.plangate/usage", "/.plangate/usage?x=1", "/%2eplangate/usage"] {
        let said = check("acme", "GET", path).await;
        assert_eq!(
            (&said["allow"], &said["status"], &said["answered_by"], &said["charge"], &said["plan"]),
            (&json!(true), &json!(200), &json!("plangate"), &json!({}), &json!("free")),
            "{said}"
        );
        let steps: Vec<&Value> = said["steps"].as_array().unwrap().iter().map(|step| &step["step"]).collect();
        assert_eq!(steps, ["path", "tenant", "view"]);
        let detail = said["steps"][2]["detail"].as_str().unwrap();
        assert!(detail.contains("nothing is counted") && detail.contains("5 times at once"), "{detail}");
    }
    let post = check("acme", "POST", "/.plangate/usage").await;
    assert_eq!(
        (&post["allow"], &post["code"], &post["status"]),
        (&json!(false), &json!("method-not-allowed"), &json!(405))
    );
    assert_eq!(check("nobody", "GET", "/.plangate/usage").await["code"], "tenant-unknown");
    api.ok("POST", "/v1/tenants/acme/suspend", "").await;
    assert_eq!(check("acme", "GET", "/.plangate/usage").await["allow"], true, "it says so, and is seen");
    let other = check("acme", "GET", "/.plangate/usages").await;
    assert_eq!((&other["allow"], &other["answered_by"]), (&json!(false), &Value::Null));
}

#[tokio::test]
async fn rights_with_overage_without_limit_and_without_plan() {
    let api = Api::with_acme().await;
    api.ok("PUT", "/v1/tenants/acme/subscription", r#"{"plan":"pro"}"#).await;
    api.ok("PUT", "/v1/tenants/acme/overrides", r#"{"quotas":{"requests":{"limit":"unlimited"}}}"#).await;
    api.world.used.lock().unwrap().insert(("ai_tokens", Window::Month), (10, 0));
    api.world.beside.lock().unwrap().insert(("ai_tokens", Source::Overage), (2, 0));
    let quotas = api.ok("GET", "/v1/tenants/acme/rights", "").await["quotas"].clone();
    assert_eq!(quotas["ai_tokens"]["overage"], json!({"mode": "allow", "cap": 5, "used": 2}));
    assert_eq!((&quotas["ai_tokens"]["remaining"], &quotas["ai_tokens"]["used"]), (&json!(0), &json!(12)));
    // Never used: the ledger does not know of it.
    assert_eq!(
        quotas["requests"],
        json!({"limit": "unlimited", "included": "unlimited", "used": 0, "remaining": "unlimited", "uncertain": 0,
               "ends_at": null, "resets_at": "2026-12-14T23:00:00Z", "windows": [],
               "sources": [{"source": "plan", "id": null, "limit": "unlimited", "used": 0, "remaining": "unlimited",
                            "priority": 100, "expires_at": "2026-12-14T23:00:00Z", "uncertain": 0}]})
    );
    api.ok("PUT", "/v1/tenants/new", "").await;
    let none = api.ok("GET", "/v1/tenants/new/rights", "").await;
    assert_eq!(
        (&none["state"], &none["plan"], &none["period"]),
        (&json!("none"), &Value::Null, &Value::Null)
    );
    assert_eq!(none["quotas"], json!({}));
    api.refused("GET", "/v1/tenants/nobody/rights", "", 404, "tenant-not-found").await;
}

#[tokio::test]
async fn a_plan_that_the_policies_lost() {
    let api = Api::with_acme().await;
    api.world.tenants.lock().unwrap().get_mut("acme").unwrap().subscription.as_mut().unwrap().plan =
        "gone".parse().unwrap();
    api.refused("GET", "/v1/tenants/acme/rights", "", 409, "plan-missing").await;
    let check = r#"{"tenant":"acme","method":"GET","path":"/v1/messages/1"}"#;
    api.refused("POST", "/v1/check", check, 409, "plan-missing").await;
}

fn row(hour: &str, units: i64) -> UsageRow {
    let (meter, window) = ("requests".parse().unwrap(), Window::Hour);
    UsageRow { meter, hour: fakes::at(hour), window, units }
}

#[tokio::test]
async fn usage_in_the_tenants_own_days_and_months() {
    let api = Api::with_acme().await;
    *api.world.rows.lock().unwrap() = vec![
        row("2026-11-14T22:00:00Z", 1),
        row("2026-11-14T23:00:00Z", 2),
        row("2026-11-20T22:00:00Z", 4),
        row("2026-11-20T23:00:00Z", 8),
        row("2026-11-21T05:00:00Z", 0),
    ];
    api.world.used.lock().unwrap().insert(("requests", Window::Month), (14, 3));
    let path = "/v1/tenants/acme/usage";
    let usage = api.ok("GET", path, "").await;
    assert_eq!(
        usage,
        json!({"tenant": "acme", "bucket": "day", "from": "2026-11-14T23:00:00Z", "to": "2026-12-14T23:00:00Z", "rows": [
            {"meter": "requests", "start": "2026-11-14T23:00:00Z", "end": "2026-11-15T23:00:00Z", "units": 2},
            {"meter": "requests", "start": "2026-11-19T23:00:00Z", "end": "2026-11-20T23:00:00Z", "units": 4},
            {"meter": "requests", "start": "2026-11-20T23:00:00Z", "end": "2026-11-21T23:00:00Z", "units": 8},
        ], "uncertain": {"requests": 3}})
    );
    let earlier = api.ok("GET", &format!("{path}?from=2026-01-01&to=2026-02-01"), "").await;
    assert_eq!(earlier["uncertain"], json!({}), "what is uncertain is of the current month");
    let months = api.ok("GET", &format!("{path}?bucket=month&from=2026-11-01&to=2026-12-01"), "").await;
    let units: Vec<_> = months["rows"].as_array().unwrap().iter().map(|r| r["units"].clone()).collect();
    assert_eq!((units, &months["from"]), (vec![json!(1), json!(14)], &json!("2026-10-31T23:00:00Z")));
    let hours = api.ok("GET", &format!("{path}?bucket=hour&to=2026-11-20T23:30:00%2B00:00"), "").await;
    assert_eq!(hours["rows"].as_array().unwrap().len(), 3);
    assert_eq!(hours["rows"][2]["end"], "2026-11-21T00:00:00Z");
    *api.world.rows.lock().unwrap() = vec![
        row("2026-11-14T23:00:00Z", 1),
        UsageRow { window: Window::Day, ..row("2026-11-14T23:00:00Z", 2) },
        UsageRow { window: Window::Day, ..row("2026-11-15T23:00:00Z", 4) },
        row("2026-11-16T23:00:00Z", 8),
    ];
    let hours = api.ok("GET", &format!("{path}?bucket=hour&to=2026-11-20"), "").await;
    assert_eq!(
        hours["rows"],
        json!([
            {"meter": "requests", "start": "2026-11-14T23:00:00Z", "end": "2026-11-15T23:00:00Z", "units": 3},
            {"meter": "requests", "start": "2026-11-15T23:00:00Z", "end": "2026-11-16T23:00:00Z", "units": 4},
            {"meter": "requests", "start": "2026-11-16T23:00:00Z", "end": "2026-11-17T00:00:00Z", "units": 8},
        ]),
        "of rolled-up usage only the days are known"
    );
    api.ok("GET", &format!("{path}?bucket=hour&to=2026-11-20T23:30:00%2B00:00"), "").await;
    let asked = *api.world.asked_usage.lock().unwrap().last().unwrap();
    assert_eq!(
        (asked.start, asked.end),
        (fakes::at("2026-11-14T23:00:00Z"), fakes::at("2026-11-21T00:00:00Z"))
    );
}

#[tokio::test]
async fn usage_refuses_spans_that_make_no_sense() {
    let api = Api::with_acme().await;
    for query in [
        "bucket=week",
        "from=yesterday",
        "from=2026-12-01&to=2026-12-01",
        "from=2026-12-02&to=2026-12-01",
        "from=2020-01-01",
        "from=-9999-01-01T00:00:00Z",
        "to=9999-12-31T00:00:00Z",
        "since=2026-01-01",
    ] {
        api.refused("GET", &format!("/v1/tenants/acme/usage?{query}"), "", 400, "parameter-invalid").await;
    }
}

async fn check(api: &Api, tenant: &str, request: &str) -> Value {
    let (method, path) = request.split_once(' ').unwrap();
    let body = json!({"tenant": tenant, "method": method, "path": path}).to_string();
    api.ok("POST", "/v1/check", &body).await
}

fn last_step(decision: &Value) -> (&str, bool) {
    let step = decision["steps"].as_array().unwrap().last().unwrap();
    (step["step"].as_str().unwrap(), step["ok"].as_bool().unwrap())
}

#[tokio::test]
async fn a_check_says_what_would_pass() {
    let api = Api::with_acme().await;
    let decision = check(&api, "acme", "GET /v1/messages/1?x=1").await;
    assert_eq!(
        (&decision["allow"], &decision["status"], decision.get("code")),
        (&json!(true), &Value::Null, None)
    );
    assert_eq!((&decision["plan"], &decision["charge"]), (&json!("free"), &json!({"requests": 1})));
    assert_eq!(decision["route"], "GET /v1/messages/{id}");
    assert_eq!(
        decision["quotas"],
        json!([
            {"meter": "requests", "window": "day", "needs": 1, "limit": 20, "used": 0, "remaining": 20,
             "resets_at": "2026-11-22T23:00:00Z", "ok": true, "rule": null},
            {"meter": "requests", "window": "month", "needs": 1, "limit": 100, "used": 0, "remaining": 100,
             "resets_at": "2026-12-14T23:00:00Z", "ok": true, "rule": null,
             "sources": [{"source": "plan", "id": null, "limit": 100, "used": 0, "remaining": 100, "priority": 100,
                          "expires_at": "2026-12-14T23:00:00Z", "uncertain": 0}]},
        ])
    );
    assert_eq!(
        (&decision["node"], &decision["age_ms"], &decision["version"]),
        (&json!("a"), &json!(85), &json!(2))
    );
    assert_eq!(decision["policy"], json!({"number": null, "digest": "d1", "source": "none", "trial": false}));
    let steps: Vec<_> = decision["steps"].as_array().unwrap().iter().map(|s| s["step"].clone()).collect();
    assert_eq!(steps, ["path", "tenant", "subscription", "route", "features", "rate", "quota"]);
    let public = check(&api, "nobody", "GET /healthz").await;
    assert_eq!((&public["allow"], last_step(&public)), (&json!(true), ("route", true)));
}

#[tokio::test]
async fn a_check_says_why_not() {
    let api = Api::with_acme().await;
    api.ok("PUT", "/v1/tenants/new", "").await;
    api.ok("PUT", "/v1/tenants/off", "").await;
    api.ok("POST", "/v1/tenants/off/suspend", "").await;
    for (tenant, request, code, status, step) in [
        ("nobody", "GET /v1/messages/1", "tenant-unknown", 403, "tenant"),
        ("off", "GET /v1/messages/1", "tenant-suspended", 403, "tenant"),
        ("new", "GET /v1/nothing", "subscription-inactive", 402, "subscription"),
        ("acme", "GET /v1/nothing", "route-not-covered", 404, "route"),
        ("acme", "GET /v1/export", "feature-not-in-plan", 403, "features"),
        ("acme", "POST /v1/ai", "feature-not-in-plan", 403, "features"),
        ("acme", "POST /v1/bulk", "rate-limited", 429, "rate"),
        ("acme", "GET /v1/../admin", "path-ambiguous", 400, "path"),
        ("acme", "GET /v1%2fmessages/1", "path-ambiguous", 400, "path"),
        ("acme", "GET v1", "path-ambiguous", 400, "path"),
        ("acme", "TRACE /v1/messages/1", "request-malformed", 400, "path"),
    ] {
        let decision = check(&api, tenant, request).await;
        assert_eq!(
            (&decision["allow"], &decision["code"], &decision["status"]),
            (&json!(false), &json!(code), &json!(status)),
            "{tenant} {request}"
        );
        assert_eq!(last_step(&decision), (step, false), "{request}");
    }
    assert_eq!(check(&api, "acme", "GET /v1/export").await["plans"], json!(["pro"]));
    api.world.used.lock().unwrap().insert(("requests", Window::Day), (20, 0));
    let full = check(&api, "acme", "GET /v1/messages/1").await;
    assert_eq!((&full["code"], last_step(&full)), (&json!("quota-exhausted"), ("quota", false)));
    assert_eq!((&full["plans"], &full["quotas"][0]["used"]), (&json!(["pro"]), &json!(20)));
    for body in [
        r#"{"tenant":"A","method":"GET","path":"/"}"#,
        r#"{"tenant":"acme","method":"G T","path":"/"}"#,
        r#"{"tenant":"acme","method":"GET"}"#,
    ] {
        api.refused("POST", "/v1/check", body, 400, "field-invalid").await;
    }
}

#[tokio::test]
async fn nodes_and_what_differs() {
    let api = Api::new();
    let (young, old) = (Duration::from_millis(40), Duration::from_secs(6));
    *api.world.nodes.lock().unwrap() = vec![fakes::node("a", 7, "d1", young), fakes::node("b", 6, "d1", old)];
    let nodes = api.ok("GET", "/v1/nodes", "").await;
    assert_eq!(nodes["warnings"], json!([]));
    assert_eq!(
        nodes["items"][0],
        json!({"name": "a", "incarnation": "00000000-0000-0000-0000-000000000000", "applied": 7, "digest": "d1",
               "age_ms": 40, "live": true})
    );
    assert_eq!(nodes["items"][1]["live"], false);
    api.world.nodes.lock().unwrap().push(fakes::node("c", 7, "d2", young));
    let warnings = api.ok("GET", "/v1/nodes", "").await["warnings"].clone();
    assert_eq!(warnings, json!(["the nodes run different policies: a, b on d1; c on d2"]));
}

#[tokio::test]
async fn a_node_is_declared_lost() {
    let api = Api::new();
    let lost = api.ok("POST", "/v1/nodes/a/lost", "").await;
    assert_eq!(lost, json!({"name": "a", "state": "lost", "leases": 2, "units": 7}));
    assert_eq!(api.ok("POST", "/v1/nodes/a/lost", "{}").await, lost);
    api.refused("POST", "/v1/nodes/b/lost", "", 404, "node-not-found").await;
    api.refused("POST", "/v1/nodes/%0a/lost", "", 400, "path-invalid").await;
    api.refused("POST", "/v1/nodes/a/lost", r#"{"x":1}"#, 400, "field-invalid").await;
}

#[tokio::test]
async fn changes_and_the_audit_log() {
    let api = Api::with_acme().await;
    api.ok("POST", "/v1/tenants/acme/suspend", "").await;
    let page = api.ok("GET", "/v1/changes?after=1&limit=1", "").await;
    assert_eq!(
        page,
        json!({"items": [{"version": 2, "tenant": "acme", "kind": "subscription.put", "at": "2026-11-22T10:00:00Z"}], "next": 2})
    );
    assert_eq!(api.ok("GET", "/v1/changes?after=2", "").await["next"], Value::Null);
    let audit = api.ok("GET", "/v1/audit?cursor=2", "").await;
    assert_eq!(
        (&audit["items"][0]["kind"], &audit["items"][0]["actor"]),
        (&json!("tenant.suspended"), &json!("admin"))
    );
    for uri in [
        "/v1/changes?after=-1",
        "/v1/audit?cursor=x",
        "/v1/audit?after=1",
        "/v1/changes?after=18446744073709551615",
    ] {
        api.refused("GET", uri, "", 400, "parameter-invalid").await;
    }
}

/// What the contract names.
const CALLS: &[(&str, &str)] = &[
    ("get", "/v1/tenants"),
    ("put get delete", "/v1/tenants/{tenant}"),
    ("post", "/v1/tenants/{tenant}/suspend"),
    ("post", "/v1/tenants/{tenant}/resume"),
    ("put get delete", "/v1/tenants/{tenant}/subscription"),
    ("post", "/v1/tenants/{tenant}/subscription/undo"),
    ("post", "/v1/tenants/{tenant}/subscription/pause"),
    ("post", "/v1/tenants/{tenant}/subscription/resume"),
    ("post", "/v1/tenants/{tenant}/subscription/past_due"),
    ("post", "/v1/tenants/{tenant}/subscription/paid"),
    ("post get", "/v1/tenants/{tenant}/grants"),
    ("delete", "/v1/tenants/{tenant}/grants/{grant}"),
    ("get", "/v1/tenants/{tenant}/addons"),
    ("put delete", "/v1/tenants/{tenant}/addons/{addon}"),
    ("put get delete", "/v1/tenants/{tenant}/billing"),
    ("get", "/v1/billing/events"),
    ("get", "/v1/billing/events/{id}"),
    ("post", "/v1/billing/events/{id}/replay"),
    ("post", "/v1/billing/events/replay"),
    ("get", "/v1/upcoming"),
    ("get", "/v1/plans"),
    ("get", "/v1/addons"),
    ("put", "/v1/tenants/{tenant}/overrides"),
    ("post get", "/v1/tenants/{tenant}/keys"),
    ("delete", "/v1/tenants/{tenant}/keys/{key}"),
    ("get", "/v1/tenants/{tenant}/rights"),
    ("get", "/v1/tenants/{tenant}/usage"),
    ("get", "/v1/tenants/{tenant}/view"),
    ("get", "/v1/tenants/{tenant}/statements"),
    ("get", "/v1/tenants/{tenant}/statements/{period}"),
    ("post", "/v1/check"),
    ("get", "/v1/refusals"),
    ("get", "/v1/refusals/{request_id}"),
    ("get", "/v1/policy"),
    ("get", "/v1/policy/revisions"),
    ("get", "/v1/policy/revisions/{number}"),
    ("get", "/v1/policy/shadow"),
    ("post", "/v1/policy/apply"),
    ("post", "/v1/policy/promote"),
    ("post", "/v1/policy/discard"),
    ("post", "/v1/policy/rollback"),
    ("post", "/v1/policy/diff"),
    ("get", "/v1/nodes"),
    ("post", "/v1/nodes/{name}/lost"),
    ("get", "/v1/changes"),
    ("get", "/v1/events"),
    ("get", "/v1/audit"),
    ("get", "/v1/audit/head"),
    ("get post", "/v1/tokens"),
    ("delete", "/v1/tokens/{token}"),
    ("post", "/v1/usage/events"),
    ("get post", "/v1/webhooks"),
    ("delete get put", "/v1/webhooks/{webhook}"),
    ("get", "/v1/webhooks/{webhook}/deliveries"),
    ("post", "/v1/webhooks/{webhook}/deliveries/{event}/replay"),
    ("post", "/v1/webhooks/{webhook}/replay"),
    ("post", "/v1/webhooks/{webhook}/secret"),
    ("post", "/v1/webhooks/{webhook}/test"),
    ("get", "/v1/billing/exports"),
    ("post", "/v1/billing/exports/{export}/retry"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/openapi.json"),
];

#[tokio::test]
async fn the_document_has_every_route_of_the_contract() {
    let api = Api::new();
    let document = api.ok("GET", "/openapi.json", "").await;
    assert_eq!(document["paths"].as_object().unwrap().len(), CALLS.len());
    for (methods, path) in CALLS {
        for method in methods.split(' ') {
            let operation = &document["paths"][path][method];
            assert!(operation["summary"].is_string(), "{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
            if path.starts_with("/v1/") {
                for status in ["400", "401", "404", "503"] {
                    let schema = &responses[status]["content"]["application/problem+json"]["schema"]["$ref"];
                    assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
                }
                let success = responses.iter().find(|(status, _)| status.starts_with('2')).unwrap().1;
                assert!(success["content"]["application/json"]["schema"].is_object(), "{method} {path}");
            }
            let asks = ["/v1/check", "/v1/policy/diff"].contains(path);
            let write = method != "get" && !asks;
            let parameters = operation["parameters"].to_string();
            assert_eq!(parameters.contains("Idempotency-Key"), write, "{method} {path}");
            if method == "put" || asks {
                assert!(operation["requestBody"].is_object(), "{method} {path}");
            }
        }
    }
    // Every reference leads somewhere.
    let text = document.to_string();
    for part in text.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
    assert_eq!(document["security"], json!([{"token": []}]));
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
}
