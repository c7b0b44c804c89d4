//! Tenants, their plans and overrides: what the calls answer, and that each is in force for the very next request.

use serde_json::{Value, json};

use super::{Place, is_instant};

on_both_databases!(
    made_changed_listed_and_removed,
    suspended_resumed_and_deleted_at_once,
    deleted_and_made_anew,
    overrides_in_force_at_once,
    overrides_of_rates_and_windows,
    usage_kept_and_reset,
    versions_without_gaps,
);

async fn made_changed_listed_and_removed(place: Place) {
    let asked = json!({ "name": "Acme", "timezone": "Europe/Berlin" });
    let mut made = place.done("PUT", "/v1/tenants/acme", asked, 201).await;
    assert!(is_instant(&made["created_at"]), "{made}");
    made["created_at"] = Value::Null;
    assert_eq!(
        made,
        json!({ "version": 1, "applied": { "nodes": 1, "pending": [] }, "tenant": "acme", "name": "Acme",
                "timezone": "Europe/Berlin", "attributes": {}, "state": "active", "subscription": null, "created_at": null,
                "overrides": { "features": {}, "limits": {}, "quotas": {}, "rates": {} } })
    );
    let changed = place.done("PUT", "/v1/tenants/acme", json!({ "name": "Acme Inc" }), 200).await;
    assert_eq!((&changed["name"], &changed["timezone"]), (&json!("Acme Inc"), &json!("Europe/Berlin")));
    let plan = json!({ "plan": "small", "anchor_day": 31 });
    let mut on_plan = place.done("PUT", "/v1/tenants/acme/subscription", plan, 200).await;
    assert!(is_instant(&on_plan["subscription"]["since"]), "{on_plan}");
    on_plan["subscription"]["since"] = Value::Null;
    let period = on_plan["subscription"]["period"].take();
    assert!(is_instant(&period["start"]) && is_instant(&period["end"]), "{period}");
    let subscription = json!({
        "plan": "small", "plan_version": 1, "state": "active", "anchor_day": 31, "since": null, "period": null,
        "trial": null, "grace_ends_at": null, "canceled_at": null, "undo_until": null, "scheduled": null,
        "upcoming": [],
    });
    assert_eq!(on_plan["subscription"], subscription);
    let read = place.done("GET", "/v1/tenants/acme", Value::Null, 200).await;
    assert_eq!(
        (&read["tenant"], &read["version"], &read["name"]),
        (&json!("acme"), &json!(3), &json!("Acme Inc"))
    );

    // Ids may have dots, dashes and underscores, and be as long as 63 characters.
    let long = "0".repeat(63);
    for id in ["a.b-c_d", "b", "c", &long] {
        place.done("PUT", &format!("/v1/tenants/{id}"), json!({}), 201).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = place.done("GET", &format!("/v1/tenants?limit=2{cursor}"), Value::Null, 200).await;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2 && items.iter().all(|item| item["state"] == "active"), "{page}");
        seen.extend(items.iter().map(|item| item["tenant"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, [long.as_str(), "a.b-c_d", "acme", "b", "c"]);

    let gone = place.done("DELETE", "/v1/tenants/acme", Value::Null, 200).await;
    let expected = json!({ "version": 8, "applied": { "nodes": 1, "pending": [] }, "tenant": "acme", "state": "deleted" });
    assert_eq!(gone, expected);
    place.refused("GET", "/v1/tenants/acme", "", 404, "tenant-not-found").await;
}

async fn suspended_resumed_and_deleted_at_once(place: Place) {
    let key = place.gateway.admin.tenant("acme", "small").await;
    let other = place.gateway.admin.tenant("other", "small").await;
    for round in 1..=2 {
        let suspended = place.done("POST", "/v1/tenants/acme/suspend", Value::Null, 200).await;
        assert_eq!(
            (&suspended["state"], &suspended["subscription"]["plan"]),
            (&"suspended".into(), &"small".into())
        );
        assert_eq!(place.answer("GET", "/v1/messages", &key).await, (403, "tenant-suspended".into()));
        assert_eq!(
            place.done("GET", "/v1/tenants/acme/rights", Value::Null, 200).await["state"],
            "suspended"
        );
        let resumed = place.done("POST", "/v1/tenants/acme/resume", Value::Null, 200).await;
        assert_eq!(resumed["state"], "active");
        assert_eq!(place.answer("GET", "/v1/messages", &key).await.0, 200);
        assert_eq!(place.gateway.admin.used("acme", "requests").await, round, "refusals cost nothing");
    }
    // Twice the same is not an error.
    place.done("POST", "/v1/tenants/acme/resume", Value::Null, 200).await;
    assert_eq!(place.upstream.count(), 2);
    place.done("DELETE", "/v1/tenants/acme", Value::Null, 200).await;
    assert_eq!(place.answer("GET", "/v1/messages", &key).await, (401, "credential-invalid".into()));
    assert_eq!(place.answer("GET", "/v1/messages", &other).await.0, 200, "the neighbour is not concerned");
    assert_eq!(place.upstream.count(), 3);
}

async fn deleted_and_made_anew(place: Place) {
    let admin = place.gateway.admin;
    let old = admin.tenant("acme", "small").await;
    admin.ok("PUT", "/v1/tenants/acme", json!({ "name": "Old", "timezone": "Asia/Tokyo" })).await;
    admin.overrides("acme", json!({ "features": { "export": true } })).await;
    assert_eq!(place.use_up(&old, 3).await.0, 3);
    admin.ok("DELETE", "/v1/tenants/acme", Value::Null).await;
    let new = admin.tenant("acme", "small").await;
    let tenant = admin.get("/v1/tenants/acme").await;
    assert_eq!((&tenant["name"], &tenant["timezone"]), (&Value::Null, &json!("UTC")));
    assert_eq!(tenant["overrides"]["features"], json!({}));
    assert_eq!(admin.get("/v1/tenants/acme/keys").await["items"].as_array().unwrap().len(), 1);
    assert_eq!(admin.used("acme", "requests").await, 0);
    assert_eq!(place.answer("GET", "/v1/messages", &old).await, (401, "credential-invalid".into()));
    assert_eq!(place.answer("GET", "/v1/export/all", &new).await, (403, "feature-not-in-plan".into()));
    assert_eq!(place.use_up(&new, 9).await, (5, "quota-exhausted".into()), "all five units of the new one");
    assert_eq!((admin.used("acme", "requests").await, place.upstream.count()), (5, 8));
}

async fn overrides_in_force_at_once(place: Place) {
    let admin = place.gateway.admin;
    let key = admin.tenant("acme", "small").await;
    let messages = async || place.answer("GET", "/v1/messages", &key).await;

    let given = json!({ "features": { "export": true }, "quotas": { "requests": { "limit": 100 } } });
    let answer = admin.overrides("acme", given).await;
    assert_eq!(answer["overrides"]["quotas"], json!({ "requests": { "limit": 100 } }));
    assert_eq!(answer["applied"], json!({ "nodes": 1, "pending": [] }));
    assert_eq!(place.answer("GET", "/v1/export/all", &key).await.0, 200, "switched on");
    admin.overrides("acme", json!({ "features": { "chat": false } })).await;
    assert_eq!(messages().await, (403, "feature-not-in-plan".into()), "switched off");
    admin.overrides("acme", json!({ "quotas": { "requests": { "limit": 4 } } })).await;
    assert_eq!(place.answer("GET", "/v1/export/all", &key).await.0, 403, "replaced as a whole");

    // Ten are used. Below that nothing passes; above it exactly what is missing.
    assert_eq!(admin.used("acme", "requests").await, 10);
    assert_eq!(messages().await, (429, "quota-exhausted".into()));
    let refused = crate::support::client::get("/v1/messages").key(&key).send(place.gateway.data).await.json();
    assert_eq!((&refused["limit"], &refused["used"]), (&json!(4), &json!(10)));
    let quota = admin.get("/v1/tenants/acme/rights").await["quotas"]["requests"].clone();
    assert_eq!((&quota["limit"], &quota["used"], &quota["remaining"]), (&json!(4), &json!(10), &json!(0)));
    for (limit, pass) in [(11, 1), (10, 0), (14, 3), (0, 0)] {
        admin.overrides("acme", json!({ "quotas": { "requests": { "limit": limit } } })).await;
        assert_eq!(place.use_up(&key, 9).await, (pass, "quota-exhausted".into()), "limit {limit}");
    }
    // A number alone is the month's limit; `unlimited` only counts.
    admin.overrides("acme", json!({ "quotas": { "requests": 15 } })).await;
    assert_eq!(place.use_up(&key, 9).await.0, 1);
    admin.overrides("acme", json!({ "quotas": { "requests": "unlimited" } })).await;
    assert_eq!(place.use_up(&key, 9).await.0, 9);
    assert_eq!(admin.used("acme", "requests").await, 24, "what was unlimited is counted all the same");
    // A limit that comes back counts all of it.
    admin.overrides("acme", json!({ "quotas": { "requests": { "limit": 26 } } })).await;
    assert_eq!(place.use_up(&key, 9).await.0, 2);
    admin.overrides("acme", json!({})).await;
    assert_eq!(messages().await, (429, "quota-exhausted".into()), "the plan's five again");
    assert_eq!(place.upstream.count(), 1 + 1 + 3 + 1 + 9 + 2);
}

async fn overrides_of_rates_and_windows(place: Place) {
    let admin = place.gateway.admin;
    let key = admin.tenant("acme", "slow").await;
    assert_eq!(place.use_up(&key, 9).await, (2, "rate-limited".into()));
    admin.overrides("acme", json!({ "rates": { "requests": "unlimited" } })).await;
    assert_eq!(place.use_up(&key, 9).await.0, 9);
    let rate = json!({ "limit": 1, "per": "1h", "burst": 3 });
    let answer = admin.overrides("acme", json!({ "rates": { "requests": rate } })).await;
    assert_eq!(answer["overrides"]["rates"]["requests"], rate);
    assert_eq!(admin.get("/v1/tenants/acme/rights").await["rates"]["requests"], rate);
    let (passed, code) = place.use_up(&key, 9).await;
    assert!(passed <= 3, "{passed} passed a burst of 3");
    assert_eq!(code, "rate-limited");
    let windows = json!({ "rates": { "requests": "unlimited" }, "limits": { "seats": 7 },
                          "quotas": { "requests": { "limit": 100000, "day": 16, "week": 1000, "hour": "unlimited" } } });
    let answer = admin.overrides("acme", windows.clone()).await;
    for part in ["rates", "limits", "quotas"] {
        assert_eq!(answer["overrides"][part], windows[part]);
    }
    let before = admin.used("acme", "requests").await;
    let (_, code) = place.use_up(&key, 20).await;
    assert_eq!(code, "quota-exhausted");
    let rights = admin.get("/v1/tenants/acme/rights").await;
    assert_eq!(rights["limits"], json!({ "seats": 7 }));
    let day = rights["quotas"]["requests"]["windows"]
        .as_array()
        .unwrap()
        .iter()
        .find(|w| w["per"] == "day")
        .unwrap();
    assert_eq!((&day["limit"], &day["remaining"]), (&json!(16), &json!(0)), "{rights}");
    assert!(rights["quotas"]["requests"]["used"].as_u64().unwrap() > before);
}

async fn usage_kept_and_reset(place: Place) {
    let admin = place.gateway.admin;
    let key = admin.tenant("acme", "small").await;
    let put = async |body: Value| admin.ok("PUT", "/v1/tenants/acme/subscription", body).await;
    assert_eq!(place.use_up(&key, 2).await.0, 2);
    put(json!({ "plan": "small", "usage": "keep" })).await;
    assert_eq!(admin.used("acme", "requests").await, 2);
    assert_eq!(place.use_up(&key, 9).await.0, 3, "what was used counts");
    put(json!({ "plan": "big", "at": "now" })).await;
    assert_eq!(admin.used("acme", "requests").await, 5, "keep is the default");
    assert_eq!(place.use_up(&key, 2).await.0, 2);
    put(json!({ "plan": "small" })).await;
    assert_eq!(place.use_up(&key, 9).await, (0, "quota-exhausted".into()), "7 of 5 are used");
    put(json!({ "plan": "small", "usage": "reset" })).await;
    assert_eq!(admin.used("acme", "requests").await, 0);
    assert_eq!(place.use_up(&key, 9).await, (5, "quota-exhausted".into()), "a new count, of exactly five");
    assert_eq!(place.upstream.count(), 12);
    // Without a plan of its own nothing passes, and the refusal says so.
    let bare = {
        admin.ok("PUT", "/v1/tenants/bare", json!({})).await;
        admin.key("bare").await
    };
    assert_eq!(place.answer("GET", "/v1/messages", &bare).await, (402, "subscription-inactive".into()));
    admin.subscribe("bare", "small").await;
    assert_eq!(place.answer("GET", "/v1/messages", &bare).await.0, 200);
}

async fn versions_without_gaps(place: Place) {
    let admin = place.gateway.admin;
    let mut versions = Vec::new();
    let writes = [
        ("PUT", "/v1/tenants/acme", json!({})),
        ("PUT", "/v1/tenants/acme/subscription", json!({ "plan": "small" })),
        ("PUT", "/v1/tenants/acme/overrides", json!({})),
        ("POST", "/v1/tenants/acme/keys", json!({})),
        ("POST", "/v1/tenants/acme/suspend", Value::Null),
        ("POST", "/v1/tenants/acme/resume?wait=none", Value::Null),
        ("PUT", "/v1/tenants/acme?wait=applied", json!({ "name": "A" })),
        ("DELETE", "/v1/tenants/acme", Value::Null),
    ];
    let kinds = [
        "tenant.put",
        "subscription.put",
        "overrides.put",
        "key.created",
        "tenant.suspended",
        "tenant.resumed",
        "tenant.put",
        "tenant.deleted",
    ];
    for (method, path, body) in writes {
        let answer = admin.ok(method, path, body).await;
        if !path.ends_with("wait=none") {
            assert_eq!(answer["applied"], json!({ "nodes": 1, "pending": [] }), "{path}");
        }
        versions.push(answer["version"].as_u64().unwrap());
    }
    assert_eq!(versions, (1..=8).collect::<Vec<_>>());
    // What was refused has no version.
    place.refused("POST", "/v1/tenants/acme/resume", "", 404, "tenant-not-found").await;
    let changes = admin.get("/v1/changes").await;
    let items = changes["items"].as_array().unwrap();
    let listed: Vec<(u64, &str)> = items
        .iter()
        .map(|item| (item["version"].as_u64().unwrap(), item["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(listed, versions.into_iter().zip(kinds).collect::<Vec<_>>());
}
