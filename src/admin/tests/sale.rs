//! What is had beside a plan, by calls: grants and add-ons, and how rights and decisions count them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Api, fakes};
use crate::{
    domain::{
        grant::{Grant, GrantSource},
        period::Window,
        rights::Source,
        time::Version,
    },
    ports::GrantRow,
};

const GRANTS: &str = "/v1/tenants/acme/grants";
const DAY: Duration = Duration::from_secs(86_400);

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|grant| grant["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_grant_is_given_listed_and_voided() {
    let api = Api::with_acme().await;
    let body = r#"{"meter":"requests","units":500,"expires_at":"2026-12-01T00:00:00Z","priority":7,"recurring":true,"reason":"sorry"}"#;
    let given = api.call("POST", GRANTS, body).await;
    assert_eq!(given.status, 201);
    let grant = json!({
        "id": "g3", "meter": "requests", "units": 500, "used": 0, "remaining": 500, "priority": 7, "recurring": true,
        "source": "grant", "reason": "sorry", "created_at": "2026-11-22T10:00:00Z",
        "expires_at": "2026-12-01T00:00:00Z", "ended_at": null,
        "period": {"start": "2026-11-14T23:00:00Z", "end": "2026-12-14T23:00:00Z"},
    });
    let mut whole = json!({"version": 3, "applied": {"nodes": 1, "pending": []}});
    whole.as_object_mut().unwrap().extend(grant.as_object().unwrap().clone());
    assert_eq!(given.body, whole);
    let plain = api.ok("POST", GRANTS, r#"{"meter":"requests","units":9007199254740991}"#).await;
    assert_eq!(
        (&plain["priority"], &plain["recurring"], &plain["expires_at"], &plain["reason"]),
        (&json!(100), &json!(false), &Value::Null, &Value::Null)
    );
    let listed = api.ok("GET", GRANTS, "").await;
    assert_eq!(
        (ids(&listed), &listed["items"][1], &listed["next"]),
        (vec!["g4", "g3"], &grant, &Value::Null)
    );
    api.world.beside.lock().unwrap().insert(("requests", Source::Grant(Version(3))), (120, 5));
    let used = &api.ok("GET", GRANTS, "").await["items"][1];
    assert_eq!((&used["used"], &used["remaining"]), (&json!(120), &json!(375)));
    let first = api.ok("GET", &format!("{GRANTS}?limit=1"), "").await;
    assert_eq!((ids(&first), &first["next"]), (vec!["g4"], &json!(4)));
    assert_eq!(ids(&api.ok("GET", &format!("{GRANTS}?limit=1&cursor=4"), "").await), ["g3"]);
    let gone = api.ok("DELETE", &format!("{GRANTS}/g4"), "").await;
    assert_eq!((&gone["id"], &gone["state"]), (&json!("g4"), &json!("voided")));
    api.refused("DELETE", &format!("{GRANTS}/g4"), "", 404, "grant-not-found").await;
    // What has ended stays in the list, also before anybody has written down that it did.
    api.world.clock.advance(10 * DAY);
    let listed = api.ok("GET", GRANTS, "").await;
    let ends: Vec<_> = listed["items"].as_array().unwrap().iter().map(|grant| &grant["ended_at"]).collect();
    assert_eq!(ends, ["2026-11-22T10:00:00Z", "2026-12-01T00:00:00Z"]);
    assert_eq!((&listed["items"][1]["used"], &listed["items"][1]["remaining"]), (&Value::Null, &Value::Null));
    for query in ["limit=0", "cursor=x", "cursor=-1", "before=1"] {
        api.refused("GET", &format!("{GRANTS}?{query}"), "", 400, "parameter-invalid").await;
    }
}

#[tokio::test]
async fn bad_grants() {
    let api = Api::with_acme().await;
    for (body, status, code, pointer) in [
        (r#"{"units":5}"#, 400, "field-invalid", "/meter"),
        (r#"{"meter":"requests"}"#, 400, "field-invalid", "/units"),
        (r#"{"meter":"ai.tokens","units":5}"#, 400, "field-invalid", "/meter"),
        (r#"{"meter":"coins","units":5}"#, 422, "name-unknown", "/meter"),
        (r#"{"meter":"requests","units":0}"#, 422, "value-impossible", "/units"),
        (r#"{"meter":"requests","units":-5}"#, 422, "value-impossible", "/units"),
        (r#"{"meter":"requests","units":9007199254740992}"#, 422, "value-impossible", "/units"),
        (r#"{"meter":"requests","units":1.5}"#, 400, "field-invalid", "/units"),
        (r#"{"meter":"requests","units":"5"}"#, 400, "field-invalid", "/units"),
        (r#"{"meter":"requests","units":5,"priority":1001}"#, 422, "value-impossible", "/priority"),
        (r#"{"meter":"requests","units":5,"priority":-1}"#, 422, "value-impossible", "/priority"),
        (r#"{"meter":"requests","units":5,"priority":true}"#, 400, "field-invalid", "/priority"),
        (r#"{"meter":"requests","units":5,"recurring":"no"}"#, 400, "field-invalid", "/recurring"),
        (r#"{"meter":"requests","units":5,"reason":""}"#, 422, "value-impossible", "/reason"),
        (r#"{"meter":"requests","units":5,"reason":"a\u0007"}"#, 422, "value-impossible", "/reason"),
        (r#"{"meter":"requests","units":5,"expires_at":"soon"}"#, 400, "field-invalid", "/expires_at"),
        (
            r#"{"meter":"requests","units":5,"expires_at":"2026-11-22T10:00:00Z"}"#,
            422,
            "value-impossible",
            "/expires_at",
        ),
        (r#"{"meter":"requests","units":5,"id":"x"}"#, 400, "field-invalid", "/id"),
    ] {
        let answer = api.refused("POST", GRANTS, body, status, code).await;
        assert_eq!(answer.body["pointer"], pointer, "{body}: {}", answer.body);
        assert!(!answer.body.to_string().contains("i128"), "{}", answer.body);
    }
    assert_eq!(api.world.log.lock().unwrap().len(), 2);
    for _ in 0..100 {
        api.ok("POST", GRANTS, r#"{"meter":"requests","units":1}"#).await;
    }
    api.refused("POST", GRANTS, r#"{"meter":"requests","units":1}"#, 409, "grants-full").await;
}

#[tokio::test]
async fn what_was_rolled_over_together_is_on_one_page() {
    let api = Api::with_acme().await;
    api.ok("POST", GRANTS, r#"{"meter":"requests","units":5}"#).await;
    {
        let mut grants = api.world.grants.lock().unwrap();
        let rows = grants.get_mut("acme").unwrap();
        let given = rows[0].grant.clone();
        for (number, meter) in ["ai_tokens", "requests"].into_iter().enumerate() {
            let grant = Grant {
                id: format!("r7.{number}").parse().unwrap(),
                number: Version(7),
                meter: meter.parse().unwrap(),
                source: GrantSource::Rollover,
                ..given.clone()
            };
            rows.push(GrantRow { grant, ended_at: None });
        }
    }
    let first = api.ok("GET", &format!("{GRANTS}?limit=1"), "").await;
    assert_eq!((ids(&first), &first["next"]), (vec!["r7.1", "r7.0"], &json!(7)));
    assert_eq!(first["items"][0]["source"], "rollover");
    let last = api.ok("GET", &format!("{GRANTS}?limit=1&cursor=7"), "").await;
    assert_eq!((ids(&last), &last["next"]), (vec!["g3"], &Value::Null));
}

#[tokio::test]
async fn rights_sum_up_the_sources_in_the_order_of_burning() {
    let api = Api::with_acme().await;
    api.ok("PUT", "/v1/tenants/acme/subscription", r#"{"plan":"pro"}"#).await;
    for body in [
        r#"{"meter":"ai_tokens","units":30,"expires_at":"2026-12-01T00:00:00Z","priority":200}"#,
        r#"{"meter":"ai_tokens","units":20,"priority":1}"#,
        r#"{"meter":"requests","units":7}"#,
    ] {
        api.ok("POST", GRANTS, body).await;
    }
    {
        // Units that were left of the month before.
        let mut tenants = api.world.tenants.lock().unwrap();
        let acme = tenants.get_mut("acme").unwrap();
        acme.subscription.as_mut().unwrap().rolls_at = fakes::at("2026-11-14T23:00:00Z");
        let unused = ("ai_tokens".parse().unwrap(), fakes::units(4));
        acme.roll_over(&[unused], fakes::now(&api.world), Version(9));
    }
    api.world.used.lock().unwrap().insert(("ai_tokens", Window::Month), (2, 0));
    for (source, used) in
        [(Source::Grant(Version(5)), (20, 0)), (Source::Grant(Version(9)), (3, 1)), (Source::Overage, (1, 0))]
    {
        api.world.beside.lock().unwrap().insert(("ai_tokens", source), used);
    }
    let rights = api.ok("GET", "/v1/tenants/acme/rights", "").await;
    assert_eq!(rights["until"], "2026-12-01T00:00:00Z");
    let tokens = &rights["quotas"]["ai_tokens"];
    let end = "2026-12-14T23:00:00Z";
    assert_eq!(
        tokens,
        &json!({
            "limit": 64, "included": 10, "used": 26, "remaining": 38, "resets_at": end, "uncertain": 1,
            "ends_at": "2026-12-03T07:36:55.385Z",
            "overage": {"mode": "allow", "cap": 5, "used": 1},
            "sources": [
                {"source": "grant", "id": "g5", "limit": 20, "used": 20, "remaining": 0, "priority": 1,
                 "expires_at": null, "uncertain": 0},
                {"source": "rollover", "id": "r9.0", "limit": 4, "used": 3, "remaining": 0, "priority": 99,
                 "expires_at": end, "uncertain": 1},
                {"source": "plan", "id": null, "limit": 10, "used": 2, "remaining": 8, "priority": 100,
                 "expires_at": end, "uncertain": 0},
                {"source": "grant", "id": "g4", "limit": 30, "used": 0, "remaining": 30, "priority": 200,
                 "expires_at": "2026-12-01T00:00:00Z", "uncertain": 0},
                {"source": "overage", "id": null, "limit": 5, "used": 1, "remaining": 4, "priority": null,
                 "expires_at": end, "uncertain": 0},
            ],
            "windows": [],
        })
    );
    assert_eq!(rights["quotas"]["requests"]["limit"], 1007);
    // Once one has expired, only the others are there.
    api.world.clock.advance(9 * DAY);
    assert_eq!(api.ok("GET", "/v1/tenants/acme/rights", "").await["quotas"]["ai_tokens"]["limit"], 34);
}

#[tokio::test]
async fn a_check_counts_what_plan_grants_and_overage_have_together() {
    let api = Api::with_acme().await;
    api.world.used.lock().unwrap().insert(("requests", Window::Month), (100, 0));
    let check = r#"{"tenant":"acme","method":"GET","path":"/v1/messages/1"}"#;
    let full = api.ok("POST", "/v1/check", check).await;
    assert_eq!((&full["allow"], &full["code"]), (&json!(false), &json!("quota-exhausted")));
    api.ok("POST", GRANTS, r#"{"meter":"requests","units":2}"#).await;
    let enough = api.ok("POST", "/v1/check", check).await;
    assert_eq!(enough["allow"], true, "{enough}");
    assert_eq!(enough["period"]["end"], "2026-12-14T23:00:00Z");
    let month = enough["quotas"].as_array().unwrap().iter().find(|quota| quota["window"] == "month").unwrap();
    assert_eq!((&month["limit"], &month["used"]), (&json!(102), &json!(100)));
    // The plan's is overrun: that takes nothing from the grant.
    api.world.used.lock().unwrap().insert(("requests", Window::Month), (150, 0));
    assert_eq!(api.ok("POST", "/v1/check", check).await["allow"], true);
    api.world.beside.lock().unwrap().insert(("requests", Source::Grant(Version(3))), (1, 1));
    assert_eq!(api.ok("POST", "/v1/check", check).await["code"], "quota-exhausted");
    api.ok("PUT", "/v1/tenants/acme/addons/boost", "").await;
    let export = r#"{"tenant":"acme","method":"GET","path":"/v1/export"}"#;
    let refused = api.ok("POST", "/v1/check", export).await;
    assert_eq!((&refused["code"], &refused["charge"]), (&json!("quota-exhausted"), &json!({"requests": 10})));
}

#[tokio::test]
async fn addons_are_attached_counted_and_detached() {
    let api = Api::with_acme().await;
    let path = "/v1/tenants/acme/addons/boost";
    let made = api.call("PUT", path, "").await;
    assert_eq!(made.status, 201);
    assert_eq!(
        made.body,
        json!({"version": 3, "applied": {"nodes": 1, "pending": []}, "addon": "boost", "title": "BOOST",
               "state": "attached", "quantity": 1, "since": "2026-11-22T10:00:00Z", "ends_at": null, "in_force": true,
               "period": {"start": "2026-11-14T23:00:00Z", "end": "2026-12-14T23:00:00Z"}})
    );
    let more = api.call("PUT", path, r#"{"quantity":10000}"#).await;
    assert_eq!((more.status.as_u16(), &more.body["quantity"]), (200, &json!(10_000)));
    api.ok("PUT", path, r#"{"quantity":3}"#).await;
    let rights = api.ok("GET", "/v1/tenants/acme/rights", "").await;
    assert_eq!(
        (&rights["addons"], &rights["features"], &rights["limits"]),
        (
            &json!([{"addon": "boost", "quantity": 3, "ends_at": null}]),
            &json!(["chat", "export"]),
            &json!({"seats": 7})
        )
    );
    let requests = &rights["quotas"]["requests"];
    assert_eq!((&requests["limit"], &requests["included"]), (&json!(250), &json!(250)));
    let end = "2026-12-14T23:00:00Z";
    let later = api.ok("DELETE", &format!("{path}?at=period_end"), "").await;
    assert_eq!((&later["state"], &later["ends_at"]), (&json!("attached"), &json!(end)));
    assert_eq!(api.ok("GET", "/v1/tenants/acme/addons", "").await["items"][0]["ends_at"], end);
    assert_eq!(api.ok("PUT", path, "").await["ends_at"], Value::Null, "it goes on");
    let gone = api.ok("DELETE", path, "").await;
    assert_eq!(
        (&gone["addon"], &gone["state"], &gone["ends_at"]),
        (&json!("boost"), &json!("detached"), &Value::Null)
    );
    api.refused("DELETE", path, "", 404, "addon-not-found").await;
    assert_eq!(api.ok("GET", "/v1/tenants/acme/addons", "").await["items"], json!([]));
    let path = format!("{path}?at=2026-11-01T00:00:00Z");
    let passed = api.refused("DELETE", &path, "", 422, "value-impossible").await;
    assert_eq!(passed.body["parameter"], "at");
}

#[tokio::test]
async fn addons_that_cannot_be_had() {
    let api = Api::with_acme().await;
    let desks = "/v1/tenants/acme/addons/desks";
    let detail = |answer: super::Answered| answer.body["detail"].as_str().unwrap().to_owned();
    let unknown = detail(api.refused("PUT", "/v1/tenants/acme/addons/sofa", "", 422, "name-unknown").await);
    assert!(unknown.contains("boost, desks"), "{unknown}");
    let other = detail(api.refused("PUT", desks, "", 422, "value-impossible").await);
    assert!(other.contains("pro, team") && other.contains("`free`"), "{other}");
    api.ok("PUT", "/v1/tenants/new", "").await;
    api.refused("PUT", "/v1/tenants/new/addons/desks", "", 422, "value-impossible").await;
    api.ok("PUT", "/v1/tenants/new/addons/boost", "").await;
    for (body, status, code, pointer) in [
        (r#"{"quantity":0}"#, 422, "value-impossible", "/quantity"),
        (r#"{"quantity":10001}"#, 422, "value-impossible", "/quantity"),
        (r#"{"quantity":-1}"#, 422, "value-impossible", "/quantity"),
        (r#"{"quantity":"2"}"#, 400, "field-invalid", "/quantity"),
        (r#"{"count":2}"#, 400, "field-invalid", "/count"),
    ] {
        let answer = api.refused("PUT", "/v1/tenants/acme/addons/boost", body, status, code).await;
        assert_eq!(answer.body["pointer"], pointer, "{body}");
    }
    // One that does not go with the plan any more is shown, and adds nothing.
    api.ok("PUT", "/v1/tenants/acme/subscription", r#"{"plan":"pro"}"#).await;
    assert_eq!(api.ok("PUT", desks, "").await["in_force"], true);
    api.ok("PUT", "/v1/tenants/acme/subscription", r#"{"plan":"free"}"#).await;
    assert_eq!(api.ok("GET", "/v1/tenants/acme/addons", "").await["items"][0]["in_force"], false);
    let rights = api.ok("GET", "/v1/tenants/acme/rights", "").await;
    assert_eq!((&rights["addons"], &rights["limits"]), (&json!([]), &json!({"seats": 1})));
}

#[tokio::test]
async fn what_is_sold() {
    let api = Api::with_acme().await;
    api.ok("PUT", "/v1/tenants/lost", "").await;
    api.ok("PUT", "/v1/tenants/lost/subscription", r#"{"plan":"free"}"#).await;
    api.world.tenants.lock().unwrap().get_mut("lost").unwrap().subscription.as_mut().unwrap().plan =
        "gone@4".parse().unwrap();
    let plans = api.ok("GET", "/v1/plans", "").await["items"].clone();
    let named: Vec<_> = plans.as_array().unwrap().iter().map(|plan| plan["plan"].as_str().unwrap()).collect();
    assert_eq!(named, ["free", "gone", "pro", "team"]);
    assert_eq!(plans[1], json!({"plan": "gone", "version": 4, "current": false, "tenants": 1}));
    assert_eq!((&plans[0]["tenants"], &plans[2]["tenants"]), (&json!(1), &json!(0)));
    assert_eq!(plans[2]["grace_days"], 7);
    assert_eq!(
        plans[3],
        json!({
            "plan": "team", "version": 1, "current": true, "tenants": 0, "title": "Team",
            "price": {"amount": "49.00", "currency": "USD"},
            "trial": {"days": 14, "then": "free", "usage": "reset"},
            "changes": {"upgrade": "now", "downgrade": "period_end"},
            "spend_cap": null, "grace_days": 3, "existing": "stay", "introduced_at": null,
        })
    );
    let addons = api.ok("GET", "/v1/addons", "").await["items"].clone();
    assert_eq!(
        addons[0],
        json!({"addon": "boost", "title": "BOOST", "price": {"amount": "5", "currency": "USD"}, "plans": [],
               "features": ["export"], "limits": {"seats": 2}, "quotas": {"requests": {"limit": 50}}})
    );
    assert_eq!((&addons[1]["plans"], &addons[1]["quotas"]), (&json!(["pro", "team"]), &json!({})));
    api.refused("GET", "/v1/plans?limit=1", "", 400, "parameter-invalid").await;
    api.refused("GET", "/v1/addons?limit=1", "", 400, "parameter-invalid").await;
}
