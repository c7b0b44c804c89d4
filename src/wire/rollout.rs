//! How policies are tried, as it is written in the database, in calls and in answers: `"shadow"`, or
//! `{"tenants": "5%"}`, or `{"tenants": ["acme", "nova"]}`.

use serde_json::{Value, json};

use crate::domain::{
    id::TenantId,
    revision::{Rollout, Selection, Share},
};

/// More tenants than this are better named by a share.
pub const MOST_TENANTS: usize = 10_000;

/// As JSON.
#[must_use]
pub fn encode(rollout: &Rollout) -> Value {
    match rollout {
        Rollout::Shadow => json!("shadow"),
        Rollout::Staged(Selection::Share(share)) => json!({ "tenants": share.to_string() }),
        Rollout::Staged(Selection::Tenants(tenants)) => {
            json!({ "tenants": tenants.iter().map(TenantId::as_str).collect::<Vec<_>>() })
        }
    }
}

/// Why something says of no roll-out how it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRollout {
    /// Of another form.
    #[error("expected \"shadow\", or `tenants` with a share such as \"5%\" or a list of tenants")]
    Form,
    /// A text that is no share.
    #[error("`{0}` is no share: expected \"0.01%\" to \"100%\"")]
    Share(String),
    /// No name of a tenant.
    #[error("`{0}` is no tenant's id")]
    Tenant(String),
    /// Too few, or too many.
    #[error("expected 1 to {MOST_TENANTS} tenants")]
    Count,
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// [`InvalidRollout`] says what is wrong.
pub fn decode(value: &Value) -> Result<Rollout, InvalidRollout> {
    match value {
        Value::String(word) if word == "shadow" => Ok(Rollout::Shadow),
        Value::Object(fields) if fields.len() == 1 => {
            fields.get("tenants").ok_or(InvalidRollout::Form).and_then(selection).map(Rollout::Staged)
        }
        _ => Err(InvalidRollout::Form),
    }
}

fn selection(value: &Value) -> Result<Selection, InvalidRollout> {
    match value {
        Value::String(text) => {
            Share::parse(text).map(Selection::Share).ok_or_else(|| InvalidRollout::Share(short(text)))
        }
        Value::Array(items) if items.is_empty() || items.len() > MOST_TENANTS => Err(InvalidRollout::Count),
        Value::Array(items) => {
            let tenant = |item: &Value| {
                let text = item.as_str().ok_or(InvalidRollout::Form)?;
                TenantId::parse(text).map_err(|_| InvalidRollout::Tenant(short(text)))
            };
            items.iter().map(tenant).collect::<Result<_, _>>().map(Selection::Tenants)
        }
        _ => Err(InvalidRollout::Form),
    }
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        for value in [json!("shadow"), json!({"tenants": "0.5%"}), json!({"tenants": ["acme", "nova"]})] {
            assert_eq!(encode(&decode(&value).unwrap()), value);
        }
    }

    #[test]
    fn nothing_else_is() {
        for value in [
            json!("dark"),
            json!({}),
            json!({"tenants": "5"}),
            json!({"tenants": []}),
            json!({"tenants": ["A b"]}),
            json!({"tenants": [1]}),
            json!({"tenants": "5%", "more": 1}),
            json!(null),
        ] {
            assert!(decode(&value).is_err(), "{value}");
        }
    }
}
