//! A tenant's overrides as JSON: what the admin API takes and the database keeps.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{FieldError, duration};
use crate::domain::{
    id::{FeatureId, InvalidId, LimitId, MeterId},
    money::Decimal,
    plan::{Overage, Quota},
    rate::Rate,
    tenant::Overrides,
    units::{Allowance, Units},
};

/// Reads overrides. Names are checked for their form only; whether the policies have them is the caller's question.
///
/// # Errors
/// All fields that are wrong, each with its pointer.
pub fn decode(document: &Value) -> Result<Overrides, Vec<FieldError>> {
    let mut reader = Reader { errors: Vec::new() };
    let mut overrides = Overrides::default();
    for (key, value) in reader.object("", document) {
        let at = format!("/{}", escape(key));
        match key.as_str() {
            "features" => overrides.features = reader.named(&at, value, FeatureId::parse, Reader::switch),
            "limits" => overrides.limits = reader.named(&at, value, LimitId::parse, Reader::allowance),
            "quotas" => overrides.quotas = reader.named(&at, value, MeterId::parse, Reader::quota),
            "rates" => overrides.rates = reader.named(&at, value, MeterId::parse, Reader::rate),
            _ => reader.unknown(&at, "features, limits, quotas or rates"),
        }
    }
    if reader.errors.is_empty() { Ok(overrides) } else { Err(reader.errors) }
}

/// Writes overrides in the form that [`decode`] reads.
#[must_use]
pub fn encode(overrides: &Overrides) -> Value {
    let map = |entries: Vec<(String, Value)>| Value::Object(entries.into_iter().collect());
    json!({
        "features": map(overrides.features.iter().map(|(id, on)| (id.to_string(), json!(on))).collect()),
        "limits": map(overrides.limits.iter().map(|(id, a)| (id.to_string(), allowance(*a))).collect()),
        "quotas": map(overrides.quotas.iter().map(|(id, q)| (id.to_string(), quota(q))).collect()),
        "rates": map(overrides.rates.iter().map(|(id, r)| (id.to_string(), rate(r.as_ref()))).collect()),
    })
}

/// An allowance as JSON: a number, or `"unlimited"`.
#[must_use]
pub fn allowance(allowance: Allowance) -> Value {
    allowance.limit().map_or_else(|| json!("unlimited"), |units| json!(units.get()))
}

/// A quota as JSON, in the shape of the plan files.
#[must_use]
pub fn quota(quota: &Quota) -> Value {
    let mut object = Map::new();
    object.insert("limit".into(), allowance(quota.month));
    for (name, window) in [("hour", quota.hour), ("day", quota.day), ("week", quota.week)] {
        if let Some(window) = window {
            object.insert(name.into(), allowance(window));
        }
    }
    let cap = |cap: Option<Units>| cap.map_or(Value::Null, |cap| json!(cap.get()));
    let overage = match quota.overage {
        Overage::Block => None,
        Overage::Allow { cap: most } => Some(json!({ "mode": "allow", "cap": cap(most) })),
        Overage::Bill { cap: most, price, per } => {
            Some(json!({ "mode": "bill", "price": price.to_string(), "per": per.get(), "cap": cap(most) }))
        }
    };
    if let Some(Value::Object(mut overage)) = overage {
        overage.retain(|_, value| !value.is_null());
        object.insert("overage".into(), Value::Object(overage));
    }
    Value::Object(object)
}

/// A rate as JSON, in the shape of the plan files; `None` is `"unlimited"`.
#[must_use]
pub fn rate(rate: Option<&Rate>) -> Value {
    rate.map_or_else(
        || json!("unlimited"),
        |rate| {
            json!({
                "limit": rate.limit.get(),
                "per": duration::format(rate.per),
                "burst": rate.burst.get(),
            })
        },
    )
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Collects every error instead of stopping at the first.
struct Reader {
    errors: Vec<FieldError>,
}

impl Reader {
    fn fail<T>(&mut self, at: &str, detail: impl Into<String>) -> Option<T> {
        self.errors.push(FieldError::new(at, detail));
        None
    }

    fn unknown(&mut self, at: &str, expected: &str) {
        self.errors.push(FieldError::new(at, format!("unknown field: expected {expected}")));
    }

    fn object<'a>(&mut self, at: &str, value: &'a Value) -> Vec<(&'a String, &'a Value)> {
        if let Value::Object(map) = value {
            map.iter().collect()
        } else {
            self.errors.push(FieldError::new(at, format!("expected an object, got {}", kind(value))));
            Vec::new()
        }
    }

    fn named<K: Ord, V>(
        &mut self,
        at: &str,
        value: &Value,
        key: fn(&str) -> Result<K, InvalidId>,
        read: fn(&mut Self, &str, &Value) -> Option<V>,
    ) -> BTreeMap<K, V> {
        let mut entries = BTreeMap::new();
        for (name, value) in self.object(at, value) {
            let at = format!("{at}/{}", escape(name));
            match key(name) {
                Ok(key) => {
                    if let Some(value) = read(self, &at, value) {
                        entries.insert(key, value);
                    }
                }
                Err(error) => self.errors.push(FieldError::new(at, error.to_string())),
            }
        }
        entries
    }

    fn switch(&mut self, at: &str, value: &Value) -> Option<bool> {
        value.as_bool().or_else(|| self.fail(at, format!("expected true or false, got {}", kind(value))))
    }

    fn units(&mut self, at: &str, value: &Value) -> Option<Units> {
        match value.as_u64().map(Units::new) {
            Some(Ok(units)) => Some(units),
            _ => self.fail(at, format!("expected a whole number in 0..2^53, got {}", kind(value))),
        }
    }

    fn allowance(&mut self, at: &str, value: &Value) -> Option<Allowance> {
        if value.as_str() == Some("unlimited") {
            return Some(Allowance::Unlimited);
        }
        match value.as_u64().map(Units::new) {
            Some(Ok(units)) => Some(Allowance::Limited(units)),
            _ => self.fail(
                at,
                format!("expected a whole number in 0..2^53 or \"unlimited\", got {}", kind(value)),
            ),
        }
    }

    fn quota(&mut self, at: &str, value: &Value) -> Option<Quota> {
        if !value.is_object() {
            return self.allowance(at, value).map(Quota::monthly);
        }
        let (mut month, mut quota) = (None, Quota::monthly(Allowance::Unlimited));
        for (key, value) in self.object(at, value) {
            let at = format!("{at}/{}", escape(key));
            match key.as_str() {
                "limit" => month = Some(self.allowance(&at, value)),
                "hour" => quota.hour = self.allowance(&at, value),
                "day" => quota.day = self.allowance(&at, value),
                "week" => quota.week = self.allowance(&at, value),
                "overage" => quota.overage = self.overage(&at, value).unwrap_or_default(),
                _ => self.unknown(&at, "limit, hour, day, week or overage"),
            }
        }
        match month {
            None => self.fail(at, "`limit` is missing: expected a whole number or \"unlimited\""),
            Some(month) => month.map(|month| Quota { month, ..quota }),
        }
    }

    fn overage(&mut self, at: &str, value: &Value) -> Option<Overage> {
        let (mut mode, mut cap, mut price, mut per) = (None, None, None, None);
        for (key, value) in self.object(at, value) {
            let at = format!("{at}/{}", escape(key));
            match key.as_str() {
                "mode" => mode = value.as_str(),
                "cap" => cap = Some(self.units(&at, value)?),
                "price" => price = Some(self.decimal(&at, value)?),
                "per" => match self.units(&at, value)? {
                    Units::ZERO => return self.fail(&at, "expected at least 1"),
                    units => per = Some(units),
                },
                _ => self.unknown(&at, "mode, cap, price or per"),
            }
        }
        match (mode, price) {
            (Some("block"), None) if cap.is_none() && per.is_none() => Some(Overage::Block),
            (Some("allow"), None) if per.is_none() => Some(Overage::Allow { cap }),
            (Some("bill"), Some(price)) => Some(Overage::Bill { cap, price, per: per.unwrap_or(Units::ONE) }),
            (Some("bill"), None) => self.fail(at, "`price` is missing for mode bill"),
            (Some("block" | "allow"), _) => {
                self.fail(at, "price and per belong to mode bill, cap to allow and bill")
            }
            _ => self.fail(&format!("{at}/mode"), "expected block, allow or bill"),
        }
    }

    fn decimal(&mut self, at: &str, value: &Value) -> Option<Decimal> {
        match value.as_str().map(str::parse::<Decimal>) {
            Some(Ok(decimal)) => Some(decimal),
            Some(Err(error)) => self.fail(at, error.to_string()),
            None => self.fail(at, format!("expected a quoted decimal, got {}", kind(value))),
        }
    }

    #[allow(clippy::option_option, reason = "the outer option is the error, the inner one means no rate")]
    fn rate(&mut self, at: &str, value: &Value) -> Option<Option<Rate>> {
        if value.as_str() == Some("unlimited") {
            return Some(None);
        }
        let (mut limit, mut per, mut burst) = (None, None, None);
        for (key, value) in self.object(at, value) {
            let at = format!("{at}/{}", escape(key));
            match key.as_str() {
                "limit" => limit = Some(self.allowance(&at, value)?),
                "per" => match value.as_str().map(duration::parse) {
                    Some(Ok(span)) if !span.is_zero() => per = Some(span),
                    _ => return self.fail(&at, "expected a duration above zero, such as \"1s\""),
                },
                "burst" => burst = Some(self.units(&at, value)?),
                _ => self.unknown(&at, "limit, per or burst"),
            }
        }
        match (limit, per) {
            (Some(Allowance::Unlimited), _) => Some(None),
            (Some(Allowance::Limited(limit)), Some(per)) => {
                Some(Some(Rate { limit, per, burst: burst.unwrap_or(limit) }))
            }
            _ => self.fail(at, "`limit` and `per` are both needed"),
        }
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "a boolean".into(),
        Value::Number(number) => format!("`{number}`"),
        Value::String(text) => format!("`{}`", text.chars().take(40).collect::<String>()),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
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
            },
            "rates": { "requests": { "limit": 5, "per": "1s", "burst": 9 }, "other": "unlimited" },
        });
        assert_eq!(encode(&decode(&document).unwrap()), document);
        assert!(decode(&json!({})).unwrap().is_empty());
    }

    #[test]
    fn every_error_has_its_pointer() {
        let document = json!({
            "features": { "export": 1, "No": true },
            "limits": { "seats": -1 },
            "quotas": { "requests": { "day": 2 }, "a": { "limit": 1.5 }, "b": { "limit": 1, "x/y": 1 },
                        "c": { "limit": 1, "overage": { "mode": "bill" } } },
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
                "/quotas/requests",
                "/rates/requests/per",
            ]
        );
        assert_eq!(decode(&json!([])).unwrap_err().len(), 1);
    }
}
