//! Events as Stripe sends them (API version 2026-10-28), and requests signed as Stripe signs them.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

/// A second in which nothing special happened.
pub const START: i64 = 1_760_000_000;
pub const DAY: i64 = 86_400;

/// An event of a customer's object.
pub fn event(id: &str, kind: &str, created: i64, object: Value) -> String {
    json!({
        "id": id,
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": created,
        "data": { "object": object },
        "livemode": false,
        "pending_webhooks": 1,
        "request": { "id": null, "idempotency_key": null },
        "type": kind,
    })
    .to_string()
}

/// A subscription with items of these prices' lookup keys, and how many.
pub fn subscription(customer: &str, id: &str, status: &str, items: &[(&str, u64)]) -> Value {
    let data: Vec<Value> = items
        .iter()
        .map(|(key, quantity)| {
            json!({
                "id": format!("si_{key}"),
                "object": "subscription_item",
                "current_period_start": START,
                "current_period_end": START + 30 * DAY,
                "price": {
                    "id": format!("price_{key}"),
                    "object": "price",
                    "lookup_key": key,
                    "recurring": { "interval": "month", "interval_count": 1 },
                },
                "quantity": quantity,
            })
        })
        .collect();
    json!({
        "id": id,
        "object": "subscription",
        "billing_cycle_anchor": START,
        "cancel_at": null,
        "cancel_at_period_end": false,
        "canceled_at": null,
        "created": START,
        "customer": customer,
        "ended_at": null,
        "items": { "object": "list", "data": data, "has_more": false },
        "metadata": {},
        "start_date": START,
        "status": status,
        "trial_end": null,
    })
}

/// The same with other fields.
pub fn with(mut object: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        object[name] = value.clone();
    }
    object
}

/// An invoice of a subscription.
pub fn invoice(customer: &str, subscription: &str) -> Value {
    json!({
        "id": "in_1",
        "object": "invoice",
        "customer": customer,
        "parent": {
            "type": "subscription_details",
            "subscription_details": { "subscription": subscription, "metadata": {} },
        },
    })
}

/// A checkout that names a tenant.
pub fn checkout(customer: &str, tenant: &str) -> Value {
    json!({
        "id": "cs_1",
        "object": "checkout.session",
        "client_reference_id": tenant,
        "customer": customer,
        "metadata": {},
        "mode": "subscription",
        "payment_link": null,
        "subscription": "sub_1",
    })
}

/// All features of a customer.
pub fn entitlements(customer: &str, keys: &[&str]) -> Value {
    let data: Vec<Value> = keys
        .iter()
        .map(|key| json!({ "id": format!("ent_{key}"), "object": "entitlements.active_entitlement", "feature": "feat_1", "lookup_key": key }))
        .collect();
    json!({
        "object": "entitlements.active_entitlement_summary",
        "customer": customer,
        "entitlements": { "object": "list", "data": data, "has_more": false },
        "livemode": false,
    })
}

/// The `Stripe-Signature` of a body.
pub fn signature(seconds: i64, body: &str, secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={digits}")
}
