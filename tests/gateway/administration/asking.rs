//! `POST /v1/check` says what the gateway then does, and charges nothing.

use serde_json::{Value, json};

use super::{Place, outcome};
use crate::support::{
    admin::Admin,
    client::{Wire, ask},
};

on_both_databases!(check_agrees_with_the_gateway, check_explains);

const REQUESTS: &[(&str, &str)] = &[
    ("GET", "/v1/messages"),
    ("HEAD", "/v1/messages"),
    ("POST", "/v1/messages?page=2"),
    ("GET", "/v1/messages/7"),
    ("GET", "/v1/messages/7/"),
    ("GET", "/v1/messages/a%2Db%20c"),
    ("DELETE", "/v1/messages/7"),
    ("GET", "/v1/messages/7/8"),
    ("get", "/v1/messages"),
    ("GET", "/v1/export"),
    ("PUT", "/v1/export/a/b"),
    ("POST", "/v1/ai/chat"),
    ("GET", "/v1/ai/chat"),
    ("GET", "/v1/me"),
    ("GET", "/healthz"),
    ("POST", "/healthz"),
    ("GET", "/nothing"),
    ("GET", "/V1/messages"),
    ("GET", "/v1/export/../messages"),
    ("GET", "/v1//messages"),
    ("GET", "/v1/messages/a%2fb"),
    ("GET", "/v1/messages/%"),
    ("GET", "/v1/messages/%c0%af"),
    ("GET", "/v1/messages;x=1"),
    ("TRACE", "/v1/messages"),
    ("GET", "/.plangate"),
    ("GET", "/.plangate/rights"),
    ("GET", "/.plangates"),
    ("GET", "v1/messages"),
];

/// Tenants that stand in different ways, with their keys.
async fn cast(place: &Place) -> Vec<(&'static str, String)> {
    let admin = place.gateway.admin;
    let mut cast = Vec::new();
    for (name, plan) in [
        ("small", "small"),
        ("spent", "small"),
        ("big", "big"),
        ("open", "open"),
        ("held", "big"),
        ("burst", "big"),
    ] {
        cast.push((name, admin.tenant(name, plan).await));
    }
    assert_eq!(place.use_up(&cast[1].1, 9).await.0, 5);
    admin.ok("POST", "/v1/tenants/held/suspend", Value::Null).await;
    // An export costs ten, which this burst never has; one request a day leaves what was asked before without effect.
    let rates = json!({ "rates": { "requests": { "limit": 1000, "per": "1s", "burst": 9 } },
                        "quotas": { "ai_tokens": { "limit": 4 }, "requests": { "limit": 100, "hour": 90 } } });
    admin.overrides("burst", rates).await;
    admin.ok("PUT", "/v1/tenants/bare", json!({})).await;
    let bare = admin.key("bare").await;
    cast.push(("bare", bare));
    cast
}

/// A tenant's quotas, but for when they will end at this pace: that is another instant at each look.
async fn quotas(admin: &Admin, tenant: &str) -> Value {
    let mut quotas = admin.get(&format!("/v1/tenants/{tenant}/rights")).await["quotas"].clone();
    for quota in quotas.as_object_mut().unwrap().values_mut() {
        quota.as_object_mut().unwrap().remove("ends_at").unwrap();
    }
    quotas
}

async fn check_agrees_with_the_gateway(place: Place) {
    let admin = place.gateway.admin;
    for (tenant, key) in cast(&place).await {
        for (method, path) in REQUESTS {
            let quotas = quotas(&admin, tenant).await;
            let before = place.upstream.count();
            let asked = json!({ "tenant": tenant, "method": method, "path": path });
            let said = place.done("POST", "/v1/check", asked, 200).await;
            assert_eq!(self::quotas(&admin, tenant).await, quotas, "asking is free");
            assert_eq!(place.upstream.count(), before, "and nothing is forwarded");

            let reply = ask(method, path).key(&key).send(place.gateway.data).await;
            let (status, code) = outcome(&reply);
            let what =
                format!("{tenant}: {method} {path}: check says {said}, the gateway answered {status} {code}");
            assert_eq!(said["allow"], json!(status == 200), "{what}");
            assert_eq!(place.upstream.count() - before, usize::from(status == 200), "{what}");
            if status != 200 && *method == "HEAD" {
                // The refusal of a HEAD has no body.
                assert_eq!(said["status"], status, "{what}");
                continue;
            }
            if status != 200 {
                assert_eq!(
                    (said["status"].as_u64(), said["code"].as_str()),
                    (Some(status.into()), Some(code.as_str())),
                    "{what}"
                );
                let plans = said.get("plans").cloned().unwrap_or_else(|| json!([]));
                let offered = reply.json().get("plans").cloned().unwrap_or_else(|| json!([]));
                assert_eq!(plans, offered, "{what}");
                continue;
            }
            // What it said would be charged was charged, on every meter.
            let after = admin.get(&format!("/v1/tenants/{tenant}/rights")).await["quotas"].clone();
            for (meter, quota) in quotas.as_object().unwrap() {
                let charged = after[meter]["used"].as_u64().unwrap() - quota["used"].as_u64().unwrap();
                assert_eq!(said["charge"][meter].as_u64().unwrap_or(0), charged, "{meter}: {what}");
            }
        }
    }
}

async fn check_explains(place: Place) {
    let admin = place.gateway.admin;
    let key = admin.tenant("acme", "small").await;
    let check = async |tenant: &str, method: &str, path: &str| {
        admin.ok("POST", "/v1/check", json!({ "tenant": tenant, "method": method, "path": path })).await
    };
    let names = |said: &Value| -> Vec<(String, bool)> {
        let steps = said["steps"].as_array().unwrap();
        steps.iter().map(|step| (step["step"].as_str().unwrap().to_owned(), step["ok"] == true)).collect()
    };
    let passes = check("acme", "GET", "/v1/messages?x=1#y").await;
    let all = ["path", "tenant", "subscription", "route", "features", "rate", "quota"];
    assert_eq!(names(&passes), all.map(|step| (step.to_owned(), true)), "in the gateway's order");
    assert_eq!((&passes["allow"], &passes["plan"]), (&json!(true), &json!("small")));
    assert_eq!((&passes["route"], &passes["charge"]), (&json!("* /v1/messages"), &json!({ "requests": 1 })));
    let quota = &passes["quotas"][0];
    assert_eq!(
        (&quota["meter"], &quota["window"], &quota["needs"], &quota["limit"], &quota["used"]),
        (&json!("requests"), &json!("month"), &json!(1), &json!(5), &json!(0))
    );
    let lacks = check("acme", "GET", "/v1/export/all").await;
    assert_eq!((&lacks["code"], &lacks["plans"]), (&json!("feature-not-in-plan"), &json!(["big", "open"])));
    assert_eq!(names(&lacks).last().unwrap(), &("features".to_owned(), false));
    assert_eq!(check("nobody", "GET", "/v1/messages").await["code"], "tenant-unknown");
    assert_eq!(check("nobody", "GET", "/healthz").await["allow"], true, "public routes need no tenant");
    assert_eq!(place.use_up(&key, 9).await.0, 5);
    let spent = check("acme", "GET", "/v1/messages").await;
    assert_eq!((&spent["code"], &spent["quotas"][0]["used"]), (&json!("quota-exhausted"), &json!(5)));
    // A space ends the target on the wire, so what check calls ambiguous is malformed there: refused by both.
    assert_eq!(check("acme", "GET", "/v1/messages/a b").await["allow"], false);
    let mut wire = Wire::to(place.gateway.data).await;
    wire.send("GET /v1/messages/a b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(wire.reply().await.status, 400);
}
