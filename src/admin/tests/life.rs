//! A plan's life by calls: what is scheduled, tried, canceled, paused and paid, and how each answer shows it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Answered, Api, fakes, policies, problem};

const PATH: &str = "/v1/tenants/acme/subscription";
const DAY: Duration = Duration::from_secs(86_400);

impl Api {
    /// Puts a new tenant on a plan, and shows its subscription.
    async fn put(&self, tenant: &str, body: Value) -> Value {
        if self.call("GET", &format!("/v1/tenants/{tenant}"), "").await.status == 404 {
            self.ok("PUT", &format!("/v1/tenants/{tenant}"), "").await;
        }
        let path = format!("/v1/tenants/{tenant}/subscription");
        self.ok("PUT", &path, &body.to_string()).await["subscription"].clone()
    }

    async fn subscription(&self, tenant: &str) -> Value {
        self.ok("GET", &format!("/v1/tenants/{tenant}/subscription"), "").await
    }

    async fn act(&self, action: &str, body: &str) -> Value {
        self.ok("POST", &format!("{PATH}/{action}"), body).await["subscription"].clone()
    }

    async fn forbidden(&self, method: &str, path: &str, code: &str) -> String {
        let answer = self.refused(method, path, "", 409, code).await;
        answer.body["detail"].as_str().unwrap().to_owned()
    }
}

fn changed(at: &str, plan: &str) -> Value {
    json!({"at": at, "event": "subscription.changed", "state": "active", "plan": plan, "plan_version": 1})
}

#[tokio::test]
async fn a_later_change_is_shown_replaced_undone_and_happens() {
    let api = Api::with_acme().await;
    let later = api.put("acme", json!({"plan": "pro", "at": "period_end", "anchor_day": 3})).await;
    let end = "2026-12-14T23:00:00Z";
    assert_eq!(
        (&later["plan"], &later["scheduled"], &later["upcoming"]),
        (
            &json!("free"),
            &json!({"at": end, "change": "plan", "plan": "pro", "plan_version": 1, "anchor_day": 3, "usage": "keep"}),
            &json!([changed(end, "pro")])
        )
    );
    let shown = api.subscription("acme").await;
    assert_eq!((&shown["tenant"], &shown["version"]), (&json!("acme"), &json!(3)));
    assert_eq!(api.ok("GET", "/v1/tenants/acme", "").await["subscription"], later);
    let other =
        api.put("acme", json!({"plan": "pro", "at": "2026-11-30T00:00:00+01:00", "usage": "prorate"})).await;
    assert_eq!(
        other["scheduled"],
        json!({"at": "2026-11-29T23:00:00Z", "change": "plan", "plan": "pro", "plan_version": 1,
               "anchor_day": null, "usage": "prorate"})
    );
    let undone = api.act("undo", "").await;
    assert_eq!((&undone["scheduled"], &undone["upcoming"]), (&Value::Null, &json!([])));
    api.forbidden("POST", &format!("{PATH}/undo"), "nothing-to-undo").await;
    // What is due has happened in every answer, though nobody has written it down.
    api.put("acme", json!({"plan": "pro", "at": "2026-11-23T00:00:00Z"})).await;
    api.world.clock.advance(DAY);
    for shown in [
        api.subscription("acme").await,
        api.ok("GET", "/v1/tenants/acme", "").await["subscription"].clone(),
        api.ok("GET", "/v1/tenants", "").await["items"][0]["subscription"].clone(),
    ] {
        assert_eq!(
            (&shown["plan"], &shown["since"], &shown["scheduled"]),
            (&json!("pro"), &json!("2026-11-23T00:00:00Z"), &Value::Null)
        );
    }
    assert_eq!(api.ok("GET", "/v1/tenants/acme/rights", "").await["plan"], "pro");
}

#[tokio::test]
async fn the_plan_that_is_left_says_when() {
    let api = Api::with_acme().await;
    let team = api.put("acme", json!({"plan": "team"})).await;
    assert_eq!((&team["plan"], &team["state"]), (&json!("team"), &json!("active")), "not its first plan");
    let down = api.put("acme", json!({"plan": "free"})).await;
    assert_eq!((&down["plan"], &down["scheduled"]["at"]), (&json!("team"), &json!("2026-12-14T23:00:00Z")));
    // The call has the last word; and whoever may use nothing has nothing to keep.
    let now = api.put("acme", json!({"plan": "free", "at": "now"})).await;
    assert_eq!((&now["plan"], &now["scheduled"]), (&json!("free"), &Value::Null));
    api.put("acme", json!({"plan": "team"})).await;
    api.ok("DELETE", &format!("{PATH}?at=now"), "").await;
    assert_eq!(api.put("acme", json!({"plan": "free"})).await["plan"], "free");
    // A trial begins at once, whatever the plan that is left says.
    api.put("acme", json!({"plan": "team"})).await;
    assert_eq!(api.put("acme", json!({"plan": "pro", "trial_days": 5})).await["state"], "trialing");
}

#[tokio::test]
async fn trials() {
    let api = Api::new();
    let own = api.put("own", json!({"plan": "team"})).await;
    let end = "2026-12-06T10:00:00Z";
    assert_eq!(
        (&own["state"], &own["trial"], &own["upcoming"]),
        (
            &json!("trialing"),
            &json!({"ends_at": end, "then": "free", "usage": "reset"}),
            &json!([{"at": end, "event": "trial.ended", "state": "active", "plan": "free", "plan_version": 1}])
        )
    );
    assert_eq!(api.put("none", json!({"plan": "team", "trial_days": 0})).await["state"], "active");
    let other = json!({"plan": "team", "trial_days": 3650, "then": "pro"});
    assert_eq!(
        api.put("other", other).await["trial"],
        json!({"ends_at": "2036-11-19T10:00:00Z", "then": "pro", "usage": "reset"})
    );
    let blocked = api.put("acme", json!({"plan": "pro", "trial_days": 2})).await;
    assert_eq!(blocked["trial"]["then"], "block");
    assert_eq!(
        blocked["upcoming"],
        json!([{"at": "2026-11-24T10:00:00Z", "event": "trial.ended", "state": "expired"}])
    );
    let block = json!({"plan": "team", "trial_days": 2, "then": "block"});
    assert_eq!(api.put("block", block).await["trial"]["then"], "block");
    api.world.clock.advance(2 * DAY);
    assert_eq!(api.subscription("acme").await["state"], "expired");
    let rights = api.ok("GET", "/v1/tenants/acme/rights", "").await;
    assert_eq!(
        (&rights["state"], &rights["plan"], &rights["plan_version"], &rights["until"], &rights["quotas"]),
        (&json!("expired"), &json!("pro"), &json!(1), &Value::Null, &json!({}))
    );
    assert_eq!(rights["period"], json!({"start": "2026-11-22T00:00:00Z", "end": "2026-12-22T00:00:00Z"}));
    let again = r#"{"plan":"pro","trial_days":2}"#;
    let used = api.refused("PUT", PATH, again, 409, "trial-used").await;
    assert!(used.body["detail"].as_str().unwrap().contains("trial_again"));
    let again = api.put("acme", json!({"plan": "pro", "trial_days": 2, "trial_again": true})).await;
    assert_eq!(again["state"], "trialing");
    // Without days it is the plan's own.
    let own = api.put("acme", json!({"plan": "team", "trial_again": true, "then": "pro"})).await;
    assert_eq!(own["trial"], json!({"ends_at": "2026-12-08T10:00:00Z", "then": "pro", "usage": "reset"}));
}

#[tokio::test]
async fn canceled_and_taken_back() {
    let api = Api::with_acme().await;
    let end = "2026-12-14T23:00:00Z";
    let later = api.ok("DELETE", PATH, "").await["subscription"].clone();
    assert_eq!(
        (&later["state"], &later["scheduled"]["change"], &later["upcoming"]),
        (
            &json!("active"),
            &json!("cancel"),
            &json!([{"at": end, "event": "subscription.canceled", "state": "canceled"}])
        )
    );
    assert_eq!(api.act("undo", "").await["scheduled"], Value::Null);
    let now = api.ok("DELETE", &format!("{PATH}?at=now&wait=none"), "").await["subscription"].clone();
    assert_eq!(
        (&now["state"], &now["canceled_at"], &now["undo_until"]),
        (&json!("canceled"), &json!("2026-11-22T10:00:00Z"), &json!(end))
    );
    assert_eq!(api.ok("GET", "/v1/tenants/acme/rights", "").await["state"], "canceled");
    assert_eq!(api.act("undo", "{}").await["state"], "active");
    api.ok("DELETE", &format!("{PATH}?at=2026-11-23T00:00:00Z"), "").await;
    api.world.clock.advance(DAY);
    let over = api.subscription("acme").await;
    assert_eq!(
        (&over["state"], &over["canceled_at"], &over["undo_until"]),
        (&json!("canceled"), &json!("2026-11-23T00:00:00Z"), &Value::Null)
    );
    api.forbidden("POST", &format!("{PATH}/undo"), "nothing-to-undo").await;
    let over = api.forbidden("DELETE", PATH, "state-forbids").await;
    assert!(over.contains("put on a plan"), "{over}");
}

#[tokio::test]
async fn paused_behind_and_paid() {
    let api = Api::with_acme().await;
    assert_eq!(api.act("pause", "").await["state"], "paused");
    let rights = api.ok("GET", "/v1/tenants/acme/rights", "").await;
    assert_eq!((&rights["state"], &rights["features"]), (&json!("paused"), &json!([])));
    assert_eq!(api.act("resume", "").await["state"], "active");
    let behind = api.act("past_due", r#"{"grace_days":2}"#).await;
    let grace = "2026-11-24T10:00:00Z";
    assert_eq!(
        (&behind["state"], &behind["grace_ends_at"], &behind["upcoming"]),
        (
            &json!("past_due"),
            &json!(grace),
            &json!([{"at": grace, "event": "grace.ended", "state": "unpaid"}])
        )
    );
    let rights = api.ok("GET", "/v1/tenants/acme/rights", "").await;
    assert_eq!((&rights["state"], &rights["until"]), (&json!("past_due"), &json!(grace)));
    assert_eq!(api.act("past_due", "").await["grace_ends_at"], "2026-11-29T10:00:00Z", "a week by default");
    assert_eq!(api.act("paid", "").await["grace_ends_at"], Value::Null);
    assert_eq!(api.act("past_due", r#"{"grace_days":0}"#).await["state"], "unpaid");
    assert_eq!(api.act("paid", "").await["state"], "active");
    api.put("acme", json!({"plan": "team"})).await;
    assert_eq!(api.act("past_due", "{}").await["grace_ends_at"], "2026-11-25T10:00:00Z", "as the plan says");
    api.world.clock.advance(3 * DAY);
    assert_eq!(api.subscription("acme").await["state"], "unpaid");
}

#[tokio::test]
async fn what_a_state_forbids() {
    let api = Api::with_acme().await;
    let post = |action: &str| format!("{PATH}/{action}");
    for action in ["resume", "paid"] {
        let detail = api.forbidden("POST", &post(action), "state-forbids").await;
        assert!(detail.starts_with("the subscription is `active`"), "{detail}");
        assert!(detail.contains("possible is: put on a plan, start a trial"), "{detail}");
    }
    api.act("pause", "").await;
    for action in ["pause", "past_due", "paid"] {
        let detail = api.forbidden("POST", &post(action), "state-forbids").await;
        assert!(detail.contains("`paused`") && detail.contains("resume"), "{detail}");
    }
    api.refused("PUT", PATH, r#"{"plan":"pro"}"#, 409, "state-forbids").await;
    api.refused("PUT", PATH, r#"{"plan":"pro","at":"period_end"}"#, 409, "state-forbids").await;
    // Nothing of what was refused is there.
    assert_eq!(api.subscription("acme").await["state"], "paused");
    api.ok("PUT", "/v1/tenants/new", "").await;
    let none = api.refused("GET", "/v1/tenants/new/subscription", "", 404, "subscription-not-found").await;
    assert!(none.body["detail"].as_str().unwrap().contains("`new`"));
    for (method, path) in [
        ("DELETE", ""),
        ("DELETE", "?at=now"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/past_due"),
        ("POST", "/paid"),
    ] {
        api.forbidden(method, &format!("/v1/tenants/new/subscription{path}"), "state-forbids").await;
    }
    api.forbidden("POST", "/v1/tenants/new/subscription/undo", "nothing-to-undo").await;
}

#[tokio::test]
async fn bad_fields_of_a_plans_life() {
    let api = Api::with_acme().await;
    let before = api.world.log.lock().unwrap().len();
    for (body, status, code, pointer) in [
        (r#"{"plan":"pro","at":"2026-11-22T10:00:00Z"}"#, 422, "value-impossible", "/at"),
        (r#"{"plan":"pro","at":5}"#, 400, "field-invalid", "/at"),
        (r#"{"plan":"pro","at":"1999-01-01T00:00:00Z"}"#, 400, "field-invalid", "/at"),
        (r#"{"plan":"pro","trial_days":-1}"#, 422, "value-impossible", "/trial_days"),
        (r#"{"plan":"pro","trial_days":3651}"#, 422, "value-impossible", "/trial_days"),
        (r#"{"plan":"pro","trial_days":18446744073709551615}"#, 422, "value-impossible", "/trial_days"),
        (r#"{"plan":"pro","trial_days":1.5}"#, 400, "field-invalid", "/trial_days"),
        (r#"{"plan":"pro","trial_days":"7"}"#, 400, "field-invalid", "/trial_days"),
        (r#"{"plan":"pro","trial_days":7,"at":"period_end"}"#, 422, "value-impossible", "/trial_days"),
        (r#"{"plan":"pro","then":"free","at":"period_end"}"#, 422, "value-impossible", "/trial_days"),
        (r#"{"plan":"pro","trial_days":7,"then":"gold"}"#, 422, "name-unknown", "/then"),
        (r#"{"plan":"pro","trial_days":7,"then":"G"}"#, 400, "field-invalid", "/then"),
        (r#"{"plan":"pro","trial_days":0,"then":"free"}"#, 422, "value-impossible", "/then"),
        (r#"{"plan":"pro","then":"free"}"#, 422, "value-impossible", "/then"),
        (r#"{"plan":"pro","trial_again":true}"#, 422, "value-impossible", "/trial_again"),
        (r#"{"plan":"pro","trial_again":"yes"}"#, 400, "field-invalid", "/trial_again"),
        (r#"{"plan":"pro","usage":"PRORATE"}"#, 400, "field-invalid", "/usage"),
    ] {
        let answer = api.refused("PUT", PATH, body, status, code).await;
        assert_eq!(answer.body["pointer"], pointer, "{body}: {}", answer.body);
    }
    for (body, status, code, pointer) in [
        (r#"{"grace_days":366}"#, 422, "value-impossible", "/grace_days"),
        (r#"{"grace_days":-1}"#, 422, "value-impossible", "/grace_days"),
        (r#"{"grace_days":"2"}"#, 400, "field-invalid", "/grace_days"),
        (r#"{"days":2}"#, 400, "field-invalid", "/days"),
    ] {
        let answer = api.refused("POST", &format!("{PATH}/past_due"), body, status, code).await;
        assert_eq!(answer.body["pointer"], pointer, "{body}: {}", answer.body);
    }
    for action in ["undo", "pause", "resume", "paid"] {
        api.refused("POST", &format!("{PATH}/{action}"), r#"{"x":1}"#, 400, "field-invalid").await;
        api.refused("POST", &format!("{PATH}/{action}?at=now"), "", 400, "parameter-invalid").await;
    }
    for (query, status, code) in [
        ("at=soon", 400, "parameter-invalid"),
        ("at=", 400, "parameter-invalid"),
        ("at=now&at=now", 400, "parameter-invalid"),
        ("when=now", 400, "parameter-invalid"),
        ("at=2026-11-22T10:00:00Z", 422, "value-impossible"),
    ] {
        let answer = api.refused("DELETE", &format!("{PATH}?{query}"), "", status, code).await;
        assert_eq!(answer.body["parameter"], query.split('=').next().unwrap());
    }
    assert_eq!(api.world.log.lock().unwrap().len(), before);
}

#[tokio::test]
async fn other_tenants_ids_are_not_found() {
    let api = Api::with_acme().await;
    let granted = api.ok("POST", "/v1/tenants/acme/grants", r#"{"meter":"requests","units":5}"#).await;
    let grant = format!("/v1/tenants/other/grants/{}", granted["id"].as_str().unwrap());
    for (method, path, body) in [
        ("GET", "/v1/tenants/other/subscription", ""),
        ("DELETE", "/v1/tenants/other/subscription", ""),
        ("POST", "/v1/tenants/other/subscription/undo", ""),
        ("POST", "/v1/tenants/other/subscription/pause", ""),
        ("POST", "/v1/tenants/other/subscription/resume", ""),
        ("POST", "/v1/tenants/other/subscription/past_due", ""),
        ("POST", "/v1/tenants/other/subscription/past_due", r#"{"grace_days":1}"#),
        ("POST", "/v1/tenants/other/subscription/paid", ""),
        ("POST", "/v1/tenants/other/grants", r#"{"meter":"requests","units":5}"#),
        ("GET", "/v1/tenants/other/grants", ""),
        ("DELETE", &grant, ""),
        ("PUT", "/v1/tenants/other/addons/boost", ""),
        ("DELETE", "/v1/tenants/other/addons/boost", ""),
        ("GET", "/v1/tenants/other/addons", ""),
    ] {
        api.refused(method, path, body, 404, "tenant-not-found").await;
    }
    // Another tenant's grant is nobody's, for this one.
    api.ok("PUT", "/v1/tenants/other", "").await;
    let missing = api.refused("DELETE", &grant, "", 404, "grant-not-found").await;
    assert!(missing.body["detail"].as_str().unwrap().contains(granted["id"].as_str().unwrap()));
    for id in ["A", "..", "%2e%2e", "a%2fb", "%ff", &"a".repeat(64)] {
        for part in ["grants", "addons"] {
            let path = format!("/v1/tenants/acme/{part}/{id}");
            api.refused("DELETE", &path, "", 400, "path-invalid").await;
        }
    }
}

fn replayed(answer: &Answered) -> bool {
    answer.headers.contains_key("idempotency-replayed")
}

#[tokio::test]
async fn each_call_is_made_once_under_one_key() {
    let api = Api::with_acme().await;
    api.put("acme", json!({"plan": "pro"})).await;
    for (place, (method, path, body)) in [
        ("PUT", "subscription", r#"{"plan":"free","at":"2026-11-23T00:00:00Z"}"#),
        ("POST", "subscription/undo", ""),
        ("POST", "subscription/pause", ""),
        ("POST", "subscription/resume", ""),
        ("POST", "subscription/past_due", r#"{"grace_days":3}"#),
        ("POST", "subscription/paid", ""),
        ("DELETE", "subscription?at=2026-11-23T00:00:00Z", ""),
        ("POST", "grants", r#"{"meter":"requests","units":5,"expires_at":"2026-11-23T00:00:00Z"}"#),
        ("DELETE", "grants/g11", ""),
        ("PUT", "addons/boost", r#"{"quantity":2}"#),
        ("DELETE", "addons/boost?at=2026-11-23T00:00:00Z", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let (path, key) = (format!("/v1/tenants/acme/{path}"), format!("once-{place}"));
        let key = [("idempotency-key", key.as_str())];
        let first = api.send(method, &path, &key, body).await;
        assert!(first.status.is_success() && !replayed(&first), "{path}: {}", first.body);
        let made = api.world.log.lock().unwrap().len();
        let again = api.send(method, &path, &key, body).await;
        assert!(again.status == first.status && replayed(&again), "{path}: {}", again.body);
        assert_eq!((&again.body["version"], &again.body["id"]), (&first.body["version"], &first.body["id"]));
        assert_eq!(api.world.log.lock().unwrap().len(), made, "{path}");
        problem(
            &api.send(
                method,
                &format!("{path}{}", if path.contains('?') { "&wait=none" } else { "?wait=none" }),
                &key,
                body,
            )
            .await,
            409,
            "idempotency-conflict",
        );
    }
    // Also once the instants of the calls have passed: it is the first time that counts.
    api.world.clock.advance(2 * DAY);
    for (place, method, path, body) in [
        (0, "PUT", "subscription", r#"{"plan":"free","at":"2026-11-23T00:00:00Z"}"#),
        (6, "DELETE", "subscription?at=2026-11-23T00:00:00Z", ""),
        (7, "POST", "grants", r#"{"meter":"requests","units":5,"expires_at":"2026-11-23T00:00:00Z"}"#),
    ] {
        let (path, key) = (format!("/v1/tenants/acme/{path}"), format!("once-{place}"));
        let again = api.send(method, &path, &[("idempotency-key", &key)], body).await;
        assert!(again.status.is_success() && replayed(&again), "{path}: {}", again.body);
        if place == 7 {
            assert_eq!((&again.body["id"], &again.body["units"]), (&json!("g11"), &json!(5)));
        }
    }
}

#[tokio::test]
async fn what_is_to_come_of_one_tenant_and_of_all() {
    let api = Api::new();
    api.put("a", json!({"plan": "team", "trial_days": 10, "then": "pro"})).await;
    api.put("b", json!({"plan": "free"})).await;
    api.put("c", json!({"plan": "pro"})).await;
    api.ok("POST", "/v1/tenants/c/subscription/past_due", r#"{"grace_days":2}"#).await;
    let grant = r#"{"meter":"requests","units":5,"expires_at":"2026-12-25T00:00:00Z"}"#;
    api.ok("POST", "/v1/tenants/a/grants", grant).await;
    api.ok("PUT", "/v1/tenants/a/addons/boost", "").await;
    api.ok("DELETE", "/v1/tenants/a/addons/boost?at=period_end", "").await;
    api.ok("DELETE", "/v1/tenants/a/subscription?at=2026-12-20T00:00:00Z", "").await;
    let trial = "2026-12-02T10:00:00Z";
    let of_a = json!([
        {"at": trial, "event": "trial.ended", "state": "active", "plan": "pro", "plan_version": 1},
        {"at": trial, "event": "addon.ended", "state": "active", "addon": "boost"},
        {"at": "2026-12-20T00:00:00Z", "event": "subscription.canceled", "state": "canceled"},
        {"at": "2026-12-25T00:00:00Z", "event": "grant.expired", "state": "canceled", "grant": "g8"},
    ]);
    assert_eq!(api.subscription("a").await["upcoming"], of_a);
    let of_c = json!([{"at": "2026-11-24T10:00:00Z", "event": "grace.ended", "state": "unpaid"}]);
    let all = api.ok("GET", "/v1/upcoming", "").await;
    assert_eq!(
        all,
        json!({"items": [{"tenant": "c", "upcoming": of_c}, {"tenant": "a", "upcoming": of_a}], "next": null})
    );
    let first = api.ok("GET", "/v1/upcoming?limit=1", "").await;
    let next = first["next"].as_str().unwrap();
    let second = api.ok("GET", &format!("/v1/upcoming?limit=1&cursor={next}"), "").await;
    assert_eq!((&second["items"][0]["tenant"], &second["next"]), (&json!("a"), &Value::Null));
    for query in ["limit=0", "cursor=x", "cursor=1", "cursor=1.A", "cursor=x.a", "after=1"] {
        api.refused("GET", &format!("/v1/upcoming?{query}"), "", 400, "parameter-invalid").await;
    }
}

#[tokio::test]
async fn moves_to_newer_versions_are_foretold_and_made() {
    let api = Api::with_acme().await;
    api.put("acme", json!({"plan": "team"})).await;
    *api.world.catalog.lock().unwrap() = policies::newer(fakes::at("2026-11-21T00:00:00Z"));
    let end = "2026-12-14T23:00:00Z";
    let before = api.subscription("acme").await;
    assert_eq!(
        (&before["plan_version"], &before["upcoming"]),
        (
            &json!(1),
            &json!([{"at": end, "event": "plan.moved", "state": "active", "plan": "team", "plan_version": 2}])
        )
    );
    let rights = api.ok("GET", "/v1/tenants/acme/rights", "").await;
    assert_eq!((&rights["plan_version"], &rights["until"]), (&json!(1), &json!(end)));
    api.put("new", json!({"plan": "team", "trial_days": 0})).await;
    let items = api.ok("GET", "/v1/plans", "").await["items"].clone();
    let team: Vec<_> = items.as_array().unwrap().iter().filter(|plan| plan["plan"] == "team").collect();
    let told = |plan: &Value| {
        (plan["version"].clone(), plan["current"].clone(), plan["tenants"].clone(), plan["existing"].clone())
    };
    assert_eq!(told(team[0]), (json!(1), json!(false), json!(1), json!("stay")));
    assert_eq!(told(team[1]), (json!(2), json!(true), json!(1), json!("next_period")));
    assert_eq!(team[1]["introduced_at"], "2026-11-21T00:00:00Z");
    api.world.clock.advance(23 * DAY);
    let after = api.subscription("acme").await;
    assert_eq!((&after["plan_version"], &after["upcoming"]), (&json!(2), &json!([])));
    assert_eq!(api.ok("GET", "/v1/tenants/acme/rights", "").await["plan_version"], 2);
}

#[tokio::test]
async fn usage_follows_the_billing_month_in_any_state() {
    let api = Api::with_acme().await;
    // The month that runs keeps its start, and ends with a month of the new anchor.
    api.put("acme", json!({"plan": "free", "anchor_day": 3})).await;
    let usage = api.ok("GET", "/v1/tenants/acme/usage", "").await;
    let span = |usage: &Value| (usage["from"].clone(), usage["to"].clone());
    let odd = (json!("2026-11-14T23:00:00Z"), json!("2026-12-02T23:00:00Z"));
    assert_eq!(span(&usage), odd);
    let rights = api.ok("GET", "/v1/tenants/acme/rights", "").await;
    assert_eq!((rights["period"]["start"].clone(), rights["period"]["end"].clone()), odd);
    for action in ["pause", "resume"] {
        api.act(action, "").await;
        assert_eq!(span(&api.ok("GET", "/v1/tenants/acme/usage?bucket=month", "").await), odd, "{action}");
    }
    api.ok("DELETE", &format!("{PATH}?at=now"), "").await;
    assert_eq!(span(&api.ok("GET", "/v1/tenants/acme/usage", "").await), odd);
    let rights = api.ok("GET", "/v1/tenants/acme/rights", "").await;
    assert_eq!((&rights["period"]["end"], &rights["state"]), (&odd.1, &json!("canceled")));
    // Once that month is over, they are the anchor's again.
    api.world.clock.advance(11 * DAY);
    let next = span(&api.ok("GET", "/v1/tenants/acme/usage", "").await);
    assert_eq!(next, (odd.1, json!("2027-01-02T23:00:00Z")));
}
