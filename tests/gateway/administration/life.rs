//! A plan's life by calls: each is in force when it is answered, and what was scheduled comes by itself.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Place, now};
use crate::support::process::eventually;

on_both_databases!(every_state_by_a_call, what_is_scheduled, grants, what_is_refused);

const PLAN: &str = "/v1/tenants/acme/subscription";

fn ahead(time: Duration) -> String {
    (now() + time).to_string()
}

async fn act(place: &Place, action: &str, body: Value) -> Value {
    place.done("POST", &format!("{PLAN}/{action}"), body, 200).await["subscription"].clone()
}

async fn every_state_by_a_call(place: Place) {
    let key = place.gateway.admin.tenant("acme", "small").await;
    let answer = async || place.answer("GET", "/v1/me", &key).await;
    let refused = (402, "subscription-inactive".to_owned());
    assert_eq!(act(&place, "pause", json!({})).await["state"], "paused");
    assert_eq!(answer().await, refused);
    assert_eq!(act(&place, "resume", json!({})).await["state"], "active");
    assert_eq!(answer().await.0, 200);
    assert_eq!(act(&place, "past_due", json!({ "grace_days": 1 })).await["state"], "past_due");
    assert_eq!(answer().await.0, 200, "it still entitles");
    assert_eq!(act(&place, "past_due", json!({ "grace_days": 0 })).await["state"], "unpaid");
    assert_eq!(answer().await, refused);
    assert_eq!(act(&place, "paid", json!({})).await["state"], "active");
    assert_eq!(answer().await.0, 200);
    let canceled = place.done("DELETE", &format!("{PLAN}?at=now"), Value::Null, 200).await;
    assert_eq!(canceled["subscription"]["state"], "canceled");
    assert_eq!(answer().await, refused);
    assert_eq!(act(&place, "undo", json!({})).await["state"], "active");
    assert_eq!(answer().await.0, 200);
    assert_eq!(place.upstream.count(), 4, "a refusal is not forwarded");
    let plans = place.done("GET", "/v1/plans", Value::Null, 200).await;
    let small = plans["items"].as_array().unwrap().iter().find(|plan| plan["plan"] == "small").unwrap();
    assert_eq!(
        (&small["version"], &small["current"], &small["tenants"]),
        (&json!(1), &json!(true), &json!(1))
    );
}

async fn what_is_scheduled(place: Place) {
    let key = place.gateway.admin.tenant("acme", "small").await;
    let put = async |body: Value| place.done("PUT", PLAN, body, 200).await["subscription"].clone();
    let later = put(json!({ "plan": "big", "at": "period_end", "usage": "reset" })).await;
    assert_eq!((&later["plan"], &later["scheduled"]["at"]), (&json!("small"), &later["period"]["end"]));
    assert_eq!(act(&place, "undo", json!({})).await["scheduled"], Value::Null);
    let undo = format!("{PLAN}/undo");
    place.refused("POST", &undo, "", 409, "nothing-to-undo").await;
    let soon = put(json!({ "plan": "big", "at": ahead(Duration::from_millis(1500)) })).await;
    let upcoming = place.done("GET", "/v1/upcoming", Value::Null, 200).await;
    assert_eq!(upcoming["items"], json!([{ "tenant": "acme", "upcoming": soon["upcoming"] }]));
    assert_eq!(soon["upcoming"][0]["event"], "subscription.changed");
    assert_eq!(place.answer("GET", "/v1/export/all", &key).await.0, 403);
    eventually("the plan comes by itself", async || {
        place.answer("GET", "/v1/export/all", &key).await.0 == 200
    })
    .await;
    let then = place.done("GET", PLAN, Value::Null, 200).await;
    assert_eq!((&then["plan"], &then["since"]), (&json!("big"), &soon["scheduled"]["at"]));
    // A trial of which nothing is left, and the plan that follows, are told and come alike.
    let trial = put(json!({ "plan": "open", "trial_days": 3, "then": "small" })).await;
    assert_eq!((&trial["state"], &trial["trial"]["then"]), (&json!("trialing"), &json!("small")));
    place.refused("PUT", PLAN, r#"{"plan":"open","trial_days":3}"#, 409, "trial-used").await;
}

async fn grants(place: Place) {
    place.gateway.admin.tenant("acme", "small").await;
    place.gateway.admin.tenant("other", "small").await;
    let path = "/v1/tenants/acme/grants";
    let body = json!({ "meter": "requests", "units": 7, "expires_at": ahead(Duration::from_secs(1)), "reason": "x" });
    let once = [("idempotency-key", "one")];
    let first = place.send("POST", path, &once, &body.to_string()).await;
    assert_eq!(first.status, 201, "{}", first.text());
    let given = first.json();
    let other = place.done("POST", path, json!({ "meter": "requests", "units": 5 }), 201).await;
    let rights = place.done("GET", "/v1/tenants/acme/rights", Value::Null, 200).await;
    assert_eq!(rights["quotas"]["requests"]["included"], 5);
    assert!(rights["until"].is_string(), "{rights}");
    eventually("the first one expires", async || {
        place.done("GET", path, Value::Null, 200).await["items"][1]["ended_at"].is_string()
    })
    .await;
    // The same call again answers the same grant, though its instant has passed and another was given since.
    let again = place.send("POST", path, &once, &body.to_string()).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, Some("true")), "{}", again.text());
    assert_eq!((&again.json()["id"], &again.json()["units"]), (&given["id"], &json!(7)));
    let grant = format!("grants/{}", other["id"].as_str().unwrap());
    place.refused("DELETE", &format!("/v1/tenants/other/{grant}"), "", 404, "grant-not-found").await;
    place.done("DELETE", &format!("/v1/tenants/acme/{grant}"), Value::Null, 200).await;
    place.refused("DELETE", &format!("/v1/tenants/acme/{grant}"), "", 404, "grant-not-found").await;
    let listed = place.done("GET", &format!("{path}?limit=1"), Value::Null, 200).await;
    assert_eq!((&listed["items"][0]["id"], &listed["next"]), (&other["id"], &other["version"]));
    assert!(listed["items"][0]["ended_at"].is_string());
    let last = place.done("GET", &format!("{path}?cursor={}", listed["next"]), Value::Null, 200).await;
    assert_eq!((&last["items"][0]["id"], &last["next"]), (&given["id"], &Value::Null));
}

async fn what_is_refused(place: Place) {
    place.gateway.admin.tenant("acme", "small").await;
    let passed = r#"{"plan":"big","at":"2026-01-01T00:00:00Z"}"#;
    let grant = r#"{"meter":"requests","units":5,"expires_at":"2026-01-01T00:00:00Z"}"#;
    for (method, path, body, status, code, pointer) in [
        ("PUT", "subscription", passed, 422, "value-impossible", Some("/at")),
        (
            "PUT",
            "subscription",
            r#"{"plan":"big","trial_days":9999}"#,
            422,
            "value-impossible",
            Some("/trial_days"),
        ),
        (
            "PUT",
            "subscription",
            r#"{"plan":"big","trial_days":9,"then":"gold"}"#,
            422,
            "name-unknown",
            Some("/then"),
        ),
        ("PUT", "subscription", r#"{"plan":"big","at":"soon"}"#, 400, "field-invalid", Some("/at")),
        ("DELETE", "subscription?at=2026-01-01T00:00:00Z", "", 422, "value-impossible", None),
        ("POST", "subscription/undo", "", 409, "nothing-to-undo", None),
        ("POST", "subscription/resume", "", 409, "state-forbids", None),
        ("POST", "subscription/paid", "", 409, "state-forbids", None),
        (
            "POST",
            "subscription/past_due",
            r#"{"grace_days":366}"#,
            422,
            "value-impossible",
            Some("/grace_days"),
        ),
        ("POST", "grants", grant, 422, "value-impossible", Some("/expires_at")),
        ("POST", "grants", r#"{"meter":"coins","units":5}"#, 422, "name-unknown", Some("/meter")),
        ("POST", "grants", r#"{"meter":"requests","units":0}"#, 422, "value-impossible", Some("/units")),
        ("DELETE", "grants/g1", "", 404, "grant-not-found", None),
        ("PUT", "addons/sofa", "", 422, "name-unknown", None),
        ("PUT", "addons/sofa", r#"{"quantity":0}"#, 422, "value-impossible", Some("/quantity")),
        ("DELETE", "addons/sofa", "", 404, "addon-not-found", None),
    ] {
        let problem = place.refused(method, &format!("/v1/tenants/acme/{path}"), body, status, code).await;
        assert_eq!(problem["pointer"].as_str(), pointer, "{path} {body}: {problem}");
        let nobody = format!("/v1/tenants/nobody/{path}");
        if status != 400 && status != 422 {
            place.refused(method, &nobody, body, 404, "tenant-not-found").await;
        }
    }
    place.done("PUT", "/v1/tenants/bare", json!({}), 201).await;
    place.refused("GET", "/v1/tenants/bare/subscription", "", 404, "subscription-not-found").await;
    place.refused("DELETE", "/v1/tenants/bare/subscription", "", 409, "state-forbids").await;
    let changes = place.done("GET", "/v1/changes", Value::Null, 200).await;
    assert_eq!(changes["items"].as_array().unwrap().len(), 4, "none of it had an effect: {changes}");
}
