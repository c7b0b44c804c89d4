//! What the admin API tells: rights, usage, changes, the audit log, nodes and its own description.

use serde_json::{Value, json};

use super::{Place, is_instant, now};
use crate::support::process::eventually;

on_both_databases!(rights, usage, feeds, nodes_and_the_description);

async fn rights(place: Place) {
    let admin = place.gateway.admin;
    admin.ok("PUT", "/v1/tenants/acme", json!({ "timezone": "Europe/Berlin" })).await;
    let bare = admin.get("/v1/tenants/acme/rights").await;
    let nothing = json!({ "tenant": "acme", "plan": null, "plan_version": null, "state": "none", "version": 1, "cost": null,
                          "period": null, "until": null, "addons": [], "features": [], "limits": {}, "quotas": {}, "rates": {} });
    assert_eq!(bare, nothing);
    admin.ok("PUT", "/v1/tenants/acme/subscription", json!({ "plan": "big", "anchor_day": 1 })).await;
    let key = admin.key("acme").await;
    for (method, path) in
        [("POST", "/v1/ai/chat"), ("GET", "/v1/messages"), ("GET", "/v1/export/x"), ("GET", "/v1/me")]
    {
        assert_eq!(place.answer(method, path, &key).await.0, 200);
    }
    let rights = admin.get("/v1/tenants/acme/rights").await;
    let (month, day) =
        (rights["period"]["end"].clone(), rights["quotas"]["ai_tokens"]["windows"][0]["resets_at"].clone());
    let plan = |limit: u64, used: u64| {
        json!({ "source": "plan", "id": null, "limit": limit, "used": used, "remaining": limit - used, "priority": 100,
                "expires_at": month, "uncertain": 0 })
    };
    assert!([&month, &day, &rights["period"]["start"]].into_iter().all(is_instant), "{rights}");
    assert_eq!(
        rights,
        json!({
            "tenant": "acme", "plan": "big", "plan_version": 1, "state": "active", "version": 2,
            "period": { "start": rights["period"]["start"], "end": month }, "until": null, "addons": [], "cost": null,
            "features": ["chat", "export"], "limits": { "seats": 100 }, "rates": {},
            "quotas": {
                "requests": { "limit": 1_000_000, "included": 1_000_000, "used": 12, "remaining": 999_988,
                              "ends_at": rights["quotas"]["requests"]["ends_at"],
                              "resets_at": month, "uncertain": 0, "windows": [], "sources": [plan(1_000_000, 12)] },
                "ai_tokens": { "limit": 100, "included": 100, "used": 5, "remaining": 95, "resets_at": month,
                    "ends_at": rights["quotas"]["ai_tokens"]["ends_at"],
                    "uncertain": 0, "sources": [plan(100, 5)],
                    "windows": [{ "per": "day", "limit": 20, "used": 5, "remaining": 15, "resets_at": day, "uncertain": 0 }] },
            },
        })
    );
    // The month begins at midnight of the anchor day where the tenant is.
    for instant in [&rights["period"]["start"], &month] {
        let zoned =
            instant.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().in_tz("Europe/Berlin").unwrap();
        assert_eq!((zoned.day(), zoned.hour(), zoned.minute()), (1, 0, 0), "{zoned}");
    }

    // Unlimited quotas count, and what is beyond a limit is shown as overage.
    let key = admin.tenant("open", "open").await;
    for _ in 0..3 {
        assert_eq!(place.answer("POST", "/v1/ai/chat", &key).await.0, 200);
    }
    let quotas = admin.get("/v1/tenants/open/rights").await["quotas"].clone();
    let requests = &quotas["requests"];
    assert_eq!(
        (&requests["limit"], &requests["remaining"], &requests["used"]),
        (&json!("unlimited"), &json!("unlimited"), &json!(3))
    );
    let tokens = &quotas["ai_tokens"];
    assert_eq!(
        (&tokens["limit"], &tokens["used"], &tokens["remaining"]),
        (&json!(10), &json!(15), &json!(0))
    );
    assert_eq!(tokens["overage"], json!({ "mode": "bill", "cap": 10, "used": 5 }));
    admin.tenant("slow", "slow").await;
    let slow = admin.get("/v1/tenants/slow/rights").await;
    assert_eq!(slow["rates"]["requests"], json!({ "limit": 2, "per": "1h", "burst": 2 }));
}

/// The sum of a meter's rows, each checked for its form.
fn sum(usage: &Value, meter: &str) -> u64 {
    let rows = usage["rows"].as_array().unwrap();
    rows.iter()
        .filter(|row| row["meter"] == meter)
        .inspect(|row| {
            assert!(is_instant(&row["start"]) && is_instant(&row["end"]), "{row}");
            assert!(row["units"].as_u64().unwrap() > 0, "{row}");
        })
        .map(|row| row["units"].as_u64().unwrap())
        .sum()
}

async fn usage(place: Place) {
    let admin = place.gateway.admin;
    // Kathmandu is 5:45 off: its days do not begin with an hour of UTC.
    admin.ok("PUT", "/v1/tenants/acme", json!({ "timezone": "Asia/Kathmandu" })).await;
    admin.subscribe("acme", "big").await;
    let key = admin.key("acme").await;
    let other = admin.tenant("other", "big").await;
    assert_eq!(place.answer("GET", "/v1/messages", &other).await.0, 200);
    for path in ["/v1/messages", "/v1/export/all", "/v1/messages/7", "/v1/me"] {
        assert_eq!(place.answer("GET", path, &key).await.0, 200);
    }
    for _ in 0..4 {
        assert_eq!(place.answer("POST", "/v1/ai/chat", &key).await.0, 200);
    }
    assert_eq!(place.answer("POST", "/v1/ai/chat", &key).await.0, 429, "20 tokens a day");
    let path = "/v1/tenants/acme/usage";
    eventually("usage is recorded", async || sum(&admin.get(path).await, "ai_tokens") == 20).await;
    for bucket in ["hour", "day", "month"] {
        let usage = admin.get(&format!("{path}?bucket={bucket}")).await;
        assert_eq!((&usage["tenant"], &usage["bucket"]), (&json!("acme"), &json!(bucket)));
        assert_eq!((sum(&usage, "requests"), sum(&usage, "ai_tokens")), (16, 20), "{usage}");
        for row in usage["rows"].as_array().unwrap() {
            let instant = |name: &str| row[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
            let (start, end) = (instant("start"), instant("end"));
            let local = start.in_tz("Asia/Kathmandu").unwrap();
            let hours = (end.as_second() - start.as_second()) / 3600;
            match bucket {
                "hour" => assert_eq!((start.as_second() % 3600, hours), (0, 1), "{row}"),
                "day" => assert_eq!((local.hour(), local.minute(), hours), (0, 0, 24), "{row}"),
                _ => assert_eq!(
                    (json!(start.to_string()), json!(end.to_string())),
                    (usage["from"].clone(), usage["to"].clone())
                ),
            }
        }
    }
    assert_eq!(admin.get(path).await["bucket"], "day", "the default");
    let rights = admin.get("/v1/tenants/acme/rights").await;
    assert_eq!(rights["quotas"]["requests"]["used"], 16, "the same numbers as the quota's");
    // A span before all of it, and one that ends with it.
    let before = admin.get(&format!("{path}?from=2020-01-01&to=2020-02-01")).await;
    assert_eq!(before["rows"], json!([]));
    assert_eq!(before["from"], "2019-12-31T18:15:00Z", "a date is the start of the day where the tenant is");
    let now = now();
    let (from, to) = (now - jiff::SignedDuration::from_hours(2), now + jiff::SignedDuration::from_hours(1));
    let near = admin.get(&format!("{path}?from={from}&to={to}&bucket=hour")).await;
    assert_eq!(sum(&near, "requests"), 16);
    // What is recorded stays when the count begins anew.
    admin.ok("PUT", "/v1/tenants/acme/subscription", json!({ "plan": "big", "usage": "reset" })).await;
    assert_eq!(admin.used("acme", "requests").await, 0);
    assert_eq!(sum(&admin.get(path).await, "requests"), 16);
}

async fn feeds(place: Place) {
    let admin = place.gateway.admin;
    let key = admin.tenant("acme", "small").await;
    admin.overrides("acme", json!({ "quotas": { "requests": { "limit": 9 } } })).await;
    admin.ok("POST", "/v1/tenants/acme/suspend", Value::Null).await;
    let all = admin.get("/v1/changes").await;
    let kinds: Vec<&str> =
        all["items"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["tenant.put", "subscription.put", "key.created", "overrides.put", "tenant.suspended"]);
    for (place_in, item) in all["items"].as_array().unwrap().iter().enumerate() {
        assert_eq!((&item["version"], &item["tenant"]), (&json!(place_in + 1), &json!("acme")));
        assert!(is_instant(&item["at"]));
    }
    assert_eq!(all["next"], Value::Null);
    let page = admin.get("/v1/changes?after=1&limit=2").await;
    assert_eq!((&page["items"][0]["version"], &page["next"]), (&json!(2), &json!(3)));
    assert_eq!(admin.get("/v1/changes?after=3").await["items"].as_array().unwrap().len(), 2);
    assert_eq!(admin.get("/v1/changes?after=5").await["items"], json!([]));

    let audit = admin.get("/v1/audit").await;
    let items = audit["items"].as_array().unwrap();
    assert_eq!(items.len(), 5);
    for (item, change) in items.iter().zip(all["items"].as_array().unwrap()) {
        for name in ["version", "tenant", "kind", "at"] {
            assert_eq!(item[name], change[name]);
        }
        assert_eq!((&item["actor"], &item["source"]), (&json!("admin"), &json!("127.0.0.1")));
    }
    let put = json!({ "plan": "small", "plan_version": 1, "at": "now", "anchor_day": null, "usage": null });
    assert_eq!(items[1]["detail"], put);
    assert_eq!(items[3]["detail"]["quotas"], json!({ "requests": { "limit": 9 } }));
    assert!(!audit.to_string().contains(&key), "no secrets");
    let (mut cursors, mut at) = (Vec::new(), 0);
    loop {
        let page = admin.get(&format!("/v1/audit?cursor={at}&limit=2")).await;
        cursors.extend(page["items"].as_array().unwrap().iter().map(|item| item["cursor"].clone()));
        match page["next"].as_u64() {
            Some(next) => at = next,
            None => break,
        }
    }
    assert_eq!(cursors, items.iter().map(|item| item["cursor"].clone()).collect::<Vec<_>>());
}

async fn nodes_and_the_description(place: Place) {
    let admin = place.gateway.admin;
    let version = admin.ok("PUT", "/v1/tenants/acme", json!({})).await["version"].clone();
    eventually("the heartbeat shows the version", async || {
        admin.get("/v1/nodes").await["items"][0]["applied"] == version
    })
    .await;
    let nodes = admin.get("/v1/nodes").await;
    assert_eq!((nodes["items"].as_array().unwrap().len(), &nodes["warnings"]), (1, &json!([])));
    let node = &nodes["items"][0];
    assert_eq!((&node["name"], &node["live"]), (&json!("a"), &json!(true)));
    assert!(node["age_ms"].as_u64().unwrap() < 5000 && node["incarnation"].is_string(), "{node}");
    assert_eq!(node["digest"].as_str().unwrap().len(), 64);

    let document = admin.get("/openapi.json").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    for (path, methods) in [
        ("/v1/tenants", &["get"][..]),
        ("/v1/tenants/{tenant}", &["get", "put", "delete"]),
        ("/v1/tenants/{tenant}/suspend", &["post"]),
        ("/v1/tenants/{tenant}/resume", &["post"]),
        ("/v1/tenants/{tenant}/subscription", &["put"]),
        ("/v1/tenants/{tenant}/overrides", &["put"]),
        ("/v1/tenants/{tenant}/keys", &["get", "post"]),
        ("/v1/tenants/{tenant}/keys/{key}", &["delete"]),
        ("/v1/tenants/{tenant}/rights", &["get"]),
        ("/v1/tenants/{tenant}/usage", &["get"]),
        ("/v1/check", &["post"]),
        ("/v1/nodes", &["get"]),
        ("/v1/changes", &["get"]),
        ("/v1/audit", &["get"]),
        ("/healthz", &["get"]),
        ("/readyz", &["get"]),
        ("/metrics", &["get"]),
    ] {
        for method in methods {
            assert!(document["paths"][path][method]["responses"].is_object(), "{method} {path}");
        }
    }
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}
