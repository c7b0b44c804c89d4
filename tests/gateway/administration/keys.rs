//! API keys: shown once, in force at once, gone at once, and nobody else's.

use serde_json::{Value, json};

use super::{Place, is_instant, now};

on_both_databases!(made_listed_and_revoked, imported, expiring);

const KEYS: &str = "/v1/tenants/acme/keys";

async fn made_listed_and_revoked(place: Place) {
    let admin = place.gateway.admin;
    let first = admin.tenant("acme", "small").await;
    admin.tenant("other", "small").await;
    let mut made = place.done("POST", KEYS, json!({ "name": "ci" }), 201).await;
    let (id, key) = (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned());
    assert!(key.starts_with("pgk_") && !key.contains(&id), "{made}");
    made["key"] = Value::Null;
    assert_eq!(
        made,
        json!({ "version": 7, "applied": { "nodes": 1, "pending": [] }, "id": id, "key": null, "name": "ci",
                "expires_at": null, "imported": false })
    );
    assert_eq!(place.answer("GET", "/v1/messages", &key).await.0, 200, "in force at once");
    let list = place.done("GET", KEYS, Value::Null, 200).await;
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(
        (&items[1]["id"], &items[1]["name"], &items[1]["imported"]),
        (&json!(id), &json!("ci"), &json!(false))
    );
    assert!(is_instant(&items[1]["created_at"]));
    assert!(!list.to_string().contains("pgk_") && !list.to_string().contains("hash"), "{list}");
    let audit = admin.get("/v1/audit").await.to_string();
    assert!(!audit.contains("pgk_") && audit.contains(&id), "{audit}");

    // Another tenant's name does not reach it.
    place.refused("DELETE", &format!("/v1/tenants/other/keys/{id}"), "", 404, "key-not-found").await;
    assert_eq!(place.answer("GET", "/v1/messages", &key).await.0, 200);
    let revoked = place.done("DELETE", &format!("{KEYS}/{id}"), Value::Null, 200).await;
    assert_eq!((&revoked["id"], &revoked["state"]), (&json!(id), &json!("revoked")));
    assert_eq!(place.answer("GET", "/v1/messages", &key).await, (401, "credential-invalid".into()));
    assert_eq!(place.answer("GET", "/v1/messages", &first).await.0, 200, "the other key stays");
    place.refused("DELETE", &format!("{KEYS}/{id}"), "", 404, "key-not-found").await;
    place.refused("POST", "/v1/tenants/nobody/keys", "", 404, "tenant-not-found").await;
    place.refused("GET", "/v1/tenants/nobody/keys", "", 404, "tenant-not-found").await;
    assert!(!place.gateway.log().contains(&key), "a key is never logged");
}

async fn imported(place: Place) {
    let admin = place.gateway.admin;
    admin.tenant("acme", "small").await;
    admin.tenant("other", "small").await;
    let theirs = "sk_live_0f8fad5bd9cb469fa165708677d21c40b3e5";
    let made = place.done("POST", KEYS, json!({ "import": theirs, "name": "theirs" }), 201).await;
    assert_eq!((&made["imported"], made.get("key")), (&json!(true), None));
    assert!(!made.to_string().contains(theirs));
    assert_eq!(place.answer("GET", "/v1/messages", theirs).await.0, 200);
    let again = format!(r#"{{"import":"{theirs}"}}"#);
    for tenant in ["acme", "other"] {
        let path = format!("/v1/tenants/{tenant}/keys");
        let taken = place.refused("POST", &path, &again, 409, "key-taken").await;
        assert!(!taken.to_string().contains("sk_live") && !taken.to_string().contains("acme"), "{taken}");
    }
    for (weak, what) in
        [("password", "short"), ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "of one letter"), ("", "empty")]
    {
        let body = json!({ "import": weak }).to_string();
        let refused = place.refused("POST", KEYS, &body, 400, "field-invalid").await;
        assert_eq!(refused["pointer"], "/import", "{what}");
    }
    let id = made["id"].as_str().unwrap();
    place.done("DELETE", &format!("{KEYS}/{id}"), Value::Null, 200).await;
    assert_eq!(place.answer("GET", "/v1/messages", theirs).await, (401, "credential-invalid".into()));
    assert!(!place.gateway.log().contains("sk_live"));
}

async fn expiring(place: Place) {
    place.gateway.admin.tenant("acme", "small").await;
    let soon = now() + jiff::SignedDuration::from_millis(1500);
    let made = place.done("POST", KEYS, json!({ "expires_at": soon.to_string() }), 201).await;
    let key = made["key"].as_str().unwrap();
    assert_eq!(place.answer("GET", "/v1/messages", key).await.0, 200);
    crate::support::process::eventually("the key expires", async || {
        place.answer("GET", "/v1/me", key).await == (401, "credential-expired".into())
    })
    .await;
    assert!(now() >= soon, "not before its time");
    let past = r#"{"expires_at":"2020-01-01T00:00:00Z"}"#;
    assert_eq!(place.refused("POST", KEYS, past, 422, "value-impossible").await["pointer"], "/expires_at");
}
