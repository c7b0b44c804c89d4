//! A tenant's overrides as JSON: what the admin API takes and the database keeps.

use serde_json::{Value, json};

pub use super::terms::{allowance, quota, rate};
use super::{
    FieldError,
    terms::{Reader, escape},
};
use crate::domain::{
    id::{FeatureId, LimitId, MeterId},
    tenant::Overrides,
};

/// Reads overrides. Names are checked for their form only; whether the policies have them is the caller's question.
///
/// # Errors
/// All fields that are wrong, each with its pointer.
pub fn decode(document: &Value) -> Result<Overrides, Vec<FieldError>> {
    let mut reader = Reader::default();
    let mut overrides = Overrides::default();
    for (key, value) in reader.object("", document) {
        let at = format!("/{}", escape(key));
        match key.as_str() {
            "features" => overrides.features = reader.named(&at, value, FeatureId::parse, Reader::switch),
            "limits" => overrides.limits = reader.named(&at, value, LimitId::parse, Reader::allowance),
            "quotas" => overrides.quotas = reader.named(&at, value, MeterId::parse, Reader::quota),
            "rates" => overrides.rates = reader.named(&at, value, MeterId::parse, Reader::rate),
            "spend_cap" => overrides.spend_cap = reader.spend_cap(&at, value),
            _ => reader.unknown(&at, "features, limits, quotas, rates or spend_cap"),
        }
    }
    if reader.errors.is_empty() { Ok(overrides) } else { Err(reader.errors) }
}

/// Writes overrides in the form that [`decode`] reads.
#[must_use]
pub fn encode(overrides: &Overrides) -> Value {
    let map = |entries: Vec<(String, Value)>| Value::Object(entries.into_iter().collect());
    let mut document = json!({
        "features": map(overrides.features.iter().map(|(id, on)| (id.to_string(), json!(on))).collect()),
        "limits": map(overrides.limits.iter().map(|(id, a)| (id.to_string(), allowance(*a))).collect()),
        "quotas": map(overrides.quotas.iter().map(|(id, q)| (id.to_string(), quota(q))).collect()),
        "rates": map(overrides.rates.iter().map(|(id, r)| (id.to_string(), rate(r.as_ref()))).collect()),
    });
    if let Some(cap) = overrides.spend_cap {
        document["spend_cap"] = json!(cap.to_string());
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let document = json!({
            "features": { "export": true, "chat": false },
            "limits": { "seats": 7, "rooms": "unlimited" },
            "quotas": {
                "requests": { "limit": 5, "day": 2, "week": "unlimited" },
                "ai_tokens": { "limit": 9, "overage": { "mode": "bill", "price": "0.002", "per": 1000, "cap": 3 } },
                "other": { "limit": "unlimited", "overage": { "mode": "allow" } },
                "shared": { "limit": 9, "rollover": { "max": "20%" } },
                "kept": { "limit": 9, "overage": { "mode": "allow", "cap": 1 }, "rollover": { "max": 5000 } },
            },
            "rates": { "requests": { "limit": 5, "per": "1s", "burst": 9 }, "other": "unlimited" },
            "spend_cap": "200.00",
        });
        assert_eq!(encode(&decode(&document).unwrap()), document);
        assert!(decode(&json!({})).unwrap().is_empty());
        let unlimited = decode(&json!({ "spend_cap": "unlimited" })).unwrap();
        assert!(!unlimited.is_empty(), "it replaces the plan's");
        assert_eq!(encode(&unlimited)["spend_cap"], "unlimited");
    }

    #[test]
    fn every_error_has_its_pointer() {
        let document = json!({
            "features": { "export": 1, "No": true },
            "limits": { "seats": -1 },
            "quotas": { "requests": { "day": 2 }, "a": { "limit": 1.5 }, "b": { "limit": 1, "x/y": 1 },
                        "c": { "limit": 1, "overage": { "mode": "bill" } },
                        "d": { "limit": "unlimited", "rollover": { "max": 1 } },
                        "e": { "limit": 1, "overage": { "mode": "allow" }, "rollover": { "max": 1 } },
                        "f": { "limit": 1, "rollover": {} }, "g": { "limit": 1, "rollover": { "max": "101%" } },
                        "h": { "limit": 1, "rollover": { "most": 1, "max": -1 } } },
            "rates": { "requests": { "limit": 1, "per": "0s" } },
            "plans": {},
        });
        let mut pointers: Vec<String> =
            decode(&document).unwrap_err().into_iter().map(|error| error.pointer).collect();
        pointers.sort();
        assert_eq!(
            pointers,
            [
                "/features/No",
                "/features/export",
                "/limits/seats",
                "/plans",
                "/quotas/a/limit",
                "/quotas/b/x~1y",
                "/quotas/c/overage",
                "/quotas/d/rollover",
                "/quotas/e/rollover",
                "/quotas/f/rollover",
                "/quotas/g/rollover/max",
                "/quotas/h/rollover/max",
                "/quotas/h/rollover/most",
                "/quotas/requests",
                "/rates/requests/per",
            ]
        );
        assert_eq!(decode(&json!([])).unwrap_err().len(), 1);
        for cap in
            [json!(200), json!("-1"), json!("1e3"), json!("0.0000000001"), json!("9000001"), json!(null)]
        {
            let errors = decode(&json!({ "spend_cap": cap })).unwrap_err();
            assert_eq!(
                errors.iter().map(|e| e.pointer.as_str()).collect::<Vec<_>>(),
                ["/spend_cap"],
                "{cap}"
            );
        }
    }
}
