//! Environment variables: which key of the configuration each stands for, and what may be in it.

use serde_json::{Map, Value};

use super::environment::ConfigError;

/// What the name of each begins with.
pub(super) const PREFIX: &str = "PLANGATE_";

/// Keys whose variables hold plain text; the others hold JSON (numbers, lists, maps).
const TEXTS: &[&str] = &[
    "listen",
    "upstream",
    "policies",
    "database",
    "data_dir",
    "node",
    "mode",
    "tenants.unknown.plan",
    "probe",
    "serve_stale",
    "admin.listen",
    "admin.token",
    "identity.api_key_header",
    "timeouts.request_head",
    "timeouts.connect",
    "timeouts.response_head",
    "timeouts.idle",
    "timeouts.stream_idle",
    "timeouts.drain",
    "caps.request_head",
    "retention.usage_hours",
    "retention.usage_days",
    "retention.audit",
    "stripe.listen",
    "stripe.webhook_secrets_file",
    "stripe.api_key",
    "stripe.api_key_file",
    "stripe.api_base",
    "stripe.told_after",
];

/// Keys whose variables hold JSON, and what is expected there.
const JSON: &[(&str, &str)] = &[
    ("workers", "a whole number"),
    ("tenants", "a map as JSON"),
    ("tenants.unknown", "deny, or {\"plan\": NAME} as JSON"),
    ("trusted_proxies", "a list as JSON, such as [\"10.0.0.0/8\"]"),
    ("cors", "a map as JSON"),
    ("cors.origins", "a list as JSON, such as [\"https://app.example\"]"),
    ("admin", "a map as JSON"),
    ("identity", "a map as JSON"),
    ("identity.jwt", "a list of maps as JSON"),
    ("timeouts", "a map as JSON"),
    ("caps", "a map as JSON"),
    ("caps.connections", "a whole number"),
    ("caps.tenants_cached", "a whole number"),
    ("retention", "a map as JSON"),
    ("webhooks", "a map as JSON"),
    ("webhooks.allow", "a list as JSON, such as [\"10.0.0.0/8\"]"),
    ("webhooks.http", "true or false"),
    ("stripe", "a map as JSON"),
    ("stripe.webhook_secrets", "a list as JSON, such as [\"whsec_...\"]"),
];

/// Variables of the same prefix that the shell commands read.
pub(super) const OTHERS: &[&str] =
    &["PLANGATE_ADMIN_URL", "PLANGATE_CONFIG", "PLANGATE_LOG", "PLANGATE_WEBHOOK_SECRET"];

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// Lays one variable over the document. Returns the key that it stands for, if any.
pub(super) fn overlay(
    document: &mut Map<String, Value>,
    name: &str,
    text: &str,
) -> Result<Option<&'static str>, ConfigError> {
    let (key, value) = if let Some(key) = TEXTS.iter().copied().find(|key| variable(key) == name) {
        (key, Value::String(text.to_owned()))
    } else if let Some((key, expected)) = JSON.iter().copied().find(|(key, _)| variable(key) == name) {
        let plain = !text.trim_start().starts_with(['{', '[', '"']) && key == "tenants.unknown";
        let value = if plain { Ok(Value::String(text.to_owned())) } else { serde_json::from_str(text) };
        let value = value.map_err(|_| ConfigError::Value {
            place: name.to_owned(),
            key: key.to_owned(),
            // Where a map or a list was meant, nobody knows what part of the text is secret.
            detail: match expected {
                "a whole number" => format!("`{text}`: expected {expected}"),
                _ => format!("not readable: expected {expected}"),
            },
        })?;
        (key, value)
    } else {
        return Ok(None);
    };
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut place = document;
    for part in parts {
        let next = place.entry(part).or_insert_with(|| Value::Object(Map::new()));
        if !next.is_object() {
            *next = Value::Object(Map::new());
        }
        let Value::Object(map) = next else { return Ok(None) };
        place = map;
    }
    place.insert(last.to_owned(), value);
    Ok(Some(key))
}
