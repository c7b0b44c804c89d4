//! Quotas, rates and allowances as JSON, in the shape of the plan files: written, and read with every mistake and its place.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{FieldError, duration};
use crate::domain::{
    id::InvalidId,
    money::Decimal,
    period::Window,
    plan::{Overage, Quota, Rollover},
    rate::Rate,
    spend::{InvalidSpendCap, SpendCap},
    units::{Allowance, Units},
};

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
    if let Some(rollover) = quota.rollover {
        let max = match rollover {
            Rollover::Percent(percent) => json!(format!("{percent}%")),
            Rollover::Units(units) => json!(units.get()),
        };
        object.insert("rollover".into(), json!({ "max": max }));
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

/// A share such as `20%`: a whole number from 0 to 100 with its sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u8);

/// The text is not such a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a share such as `20%`, from `0%` to `100%`")]
pub struct InvalidPercent;

impl std::str::FromStr for Percent {
    type Err = InvalidPercent;

    fn from_str(text: &str) -> Result<Self, InvalidPercent> {
        let digits = text.strip_suffix('%').ok_or(InvalidPercent)?;
        let written = digits == "0" || digits.starts_with(|c: char| matches!(c, '1'..='9'));
        let number = digits.parse().ok().filter(|number| written && *number <= 100);
        number.map(Self).ok_or(InvalidPercent)
    }
}

pub(super) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Collects every error instead of stopping at the first.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) errors: Vec<FieldError>,
}

impl Reader {
    pub(super) fn fail<T>(&mut self, at: &str, detail: impl Into<String>) -> Option<T> {
        self.errors.push(FieldError::new(at, detail));
        None
    }

    pub(super) fn unknown(&mut self, at: &str, expected: &str) {
        self.errors.push(FieldError::new(at, format!("unknown field: expected {expected}")));
    }

    pub(super) fn object<'a>(&mut self, at: &str, value: &'a Value) -> Vec<(&'a String, &'a Value)> {
        if let Value::Object(map) = value {
            map.iter().collect()
        } else {
            self.errors.push(FieldError::new(at, format!("expected an object, got {}", kind(value))));
            Vec::new()
        }
    }

    pub(super) fn named<K: Ord, V>(
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

    pub(super) fn switch(&mut self, at: &str, value: &Value) -> Option<bool> {
        value.as_bool().or_else(|| self.fail(at, format!("expected true or false, got {}", kind(value))))
    }

    pub(super) fn units(&mut self, at: &str, value: &Value) -> Option<Units> {
        match value.as_u64().map(Units::new) {
            Some(Ok(units)) => Some(units),
            _ => self.fail(at, format!("expected a whole number in 0..2^53, got {}", kind(value))),
        }
    }

    pub(super) fn allowance(&mut self, at: &str, value: &Value) -> Option<Allowance> {
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

    pub(super) fn quota(&mut self, at: &str, value: &Value) -> Option<Quota> {
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
                "rollover" => quota.rollover = self.rollover(&at, value),
                _ => self.unknown(&at, "limit, hour, day, week, overage or rollover"),
            }
        }
        let Some(month) = month else {
            return self.fail(at, "`limit` is missing: expected a whole number or \"unlimited\"");
        };
        let quota = Quota { month: month?, ..quota };
        if quota.rollover.is_some() && quota.hard_limit(Window::Month).is_none() {
            return self.fail(
                &format!("{at}/rollover"),
                "nothing is left over of a month without a hard limit: set `limit`, and a `cap` for the overage",
            );
        }
        Some(quota)
    }

    fn rollover(&mut self, at: &str, value: &Value) -> Option<Rollover> {
        let mut max = None;
        for (key, value) in self.object(at, value) {
            let at = format!("{at}/{}", escape(key));
            if key != "max" {
                self.unknown(&at, "max");
                continue;
            }
            let percent = value.as_str().map(|text| text.parse::<Percent>());
            max = match (percent, value.as_u64().map(Units::new)) {
                (Some(Ok(Percent(percent))), _) => Some(Some(Rollover::Percent(percent))),
                (_, Some(Ok(units))) => Some(Some(Rollover::Units(units))),
                _ => Some(self.fail(
                    &at,
                    format!(
                        "expected a share such as \"20%\", or a whole number in 0..2^53, got {}",
                        kind(value)
                    ),
                )),
            };
        }
        max.unwrap_or_else(|| {
            self.fail(at, "`max` is missing: expected a share such as \"20%\", or a number of units")
        })
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

    pub(super) fn decimal(&mut self, at: &str, value: &Value) -> Option<Decimal> {
        match value.as_str().map(str::parse::<Decimal>) {
            Some(Ok(decimal)) => Some(decimal),
            Some(Err(error)) => self.fail(at, error.to_string()),
            None => self.fail(at, format!("expected a quoted decimal, got {}", kind(value))),
        }
    }

    #[allow(clippy::option_option, reason = "the outer option is the error, the inner one means no rate")]
    pub(super) fn rate(&mut self, at: &str, value: &Value) -> Option<Option<Rate>> {
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

impl Reader {
    pub(super) fn spend_cap(&mut self, at: &str, value: &Value) -> Option<SpendCap> {
        let Some(text) = value.as_str() else {
            let detail = format!(
                "expected a quoted decimal such as \"200.00\", or \"unlimited\", got {}",
                kind(value)
            );
            return self.fail(at, detail);
        };
        text.parse().map_err(|error: InvalidSpendCap| self.fail::<()>(at, error.to_string())).ok()
    }
}

pub(super) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "a boolean".into(),
        Value::Number(number) => format!("`{number}`"),
        Value::String(text) => format!("`{}`", text.chars().take(40).collect::<String>()),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}
