//! Statements over the API: their shape, their forms, and periods that are not.

use serde_json::json;

use super::Api;
use crate::admin::statement_views::StatementView;

#[tokio::test]
async fn the_running_period_is_as_the_document_says() {
    let api = Api::with_acme().await;
    for period in ["current", "2026-11-15", "2026-11"] {
        let statement = api.ok("GET", &format!("/v1/tenants/acme/statements/{period}"), "").await;
        assert_eq!(
            (
                &statement["statement"],
                &statement["status"],
                &statement["zone"],
                &statement["usage"][0]["included"]
            ),
            (&json!("2026-11-15"), &json!("open"), &json!("Europe/Berlin"), &json!(100)),
            "{statement}"
        );
        serde_json::from_value::<StatementView>(statement).unwrap();
    }
    let none = api.ok("GET", "/v1/tenants/acme/statements", "").await;
    assert_eq!(none, json!({ "items": [], "next": null }));
    let csv = api.ok("GET", "/v1/tenants/acme/statements/current?format=csv", "").await;
    assert!(csv.as_str().unwrap().starts_with("kind,item,meter,"), "{csv}");
}

#[tokio::test]
async fn periods_that_are_not() {
    let api = Api::with_acme().await;
    api.ok("PUT", "/v1/tenants/bare", "").await;
    for (path, status, code) in [
        ("acme/statements/2026-12-15", 422, "value-impossible"),
        ("acme/statements/2026-12", 422, "value-impossible"),
        ("acme/statements/2026-11-16", 404, "statement-not-found"),
        ("acme/statements/2026-10", 404, "statement-not-found"),
        ("acme/statements/2026-13", 400, "path-invalid"),
        ("acme/statements/last", 400, "path-invalid"),
        ("acme/statements/current?format=pdf", 400, "parameter-invalid"),
        ("acme/statements?limit=0", 400, "parameter-invalid"),
        ("bare/statements/current", 404, "statement-not-found"),
        ("nobody/statements/current", 404, "tenant-not-found"),
        ("nobody/statements", 404, "tenant-not-found"),
    ] {
        api.refused("GET", &format!("/v1/tenants/{path}"), "", status, code).await;
    }
}
