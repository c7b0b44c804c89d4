//! A tenant's attributes as JSON: what the admin API takes and shows, and the database keeps.

use serde_json::{Map, Value, json};

use super::{FieldError, terms::escape};
use crate::domain::attributes::{AttributeName, AttributeValue, Attributes, InvalidAttribute};

/// Why a document is no attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// Each field that is wrong.
    pub errors: Vec<FieldError>,
    /// All of them could stand there, but for being too large or too many.
    pub only_bounds: bool,
}

/// Reads attributes. `null` is none.
///
/// # Errors
/// [`Unfit`].
pub fn decode(document: &Value) -> Result<Attributes, Unfit> {
    let object = match document {
        Value::Null => return Ok(Attributes::default()),
        Value::Object(object) => object,
        _ => return Err(one("", "expected an object".to_owned(), false)),
    };
    let (mut found, mut errors, mut only_bounds) = (Vec::new(), Vec::new(), true);
    for (name, value) in object {
        let at = format!("/{}", escape(name));
        match AttributeName::parse(name).and_then(|name| Ok((name, read(value)?))) {
            Ok((name, Some(value))) => found.push((name, value)),
            Ok((_, None)) => {
                only_bounds = false;
                errors.push(FieldError::new(at, "expected a string, a whole number, `true` or `false`"));
            }
            Err(why) => {
                only_bounds &= is_bound(&why);
                errors.push(FieldError::new(at, why.to_string()));
            }
        }
    }
    if !errors.is_empty() {
        return Err(Unfit { errors, only_bounds });
    }
    Attributes::new(found).map_err(|why| one("", why.to_string(), is_bound(&why)))
}

const fn is_bound(why: &InvalidAttribute) -> bool {
    match why {
        InvalidAttribute::Text | InvalidAttribute::Number | InvalidAttribute::TooMany => true,
        InvalidAttribute::Name(_) | InvalidAttribute::Own(_) | InvalidAttribute::Twice(_) => false,
    }
}

fn one(pointer: &str, detail: String, only_bounds: bool) -> Unfit {
    Unfit { errors: vec![FieldError::new(pointer, detail)], only_bounds }
}

/// `None`: it is of no kind that an attribute can be.
fn read(value: &Value) -> Result<Option<AttributeValue>, InvalidAttribute> {
    Ok(Some(match value {
        Value::String(text) => AttributeValue::text(text)?,
        Value::Bool(flag) => AttributeValue::Flag(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => AttributeValue::number(number)?,
            (None, Some(_)) => return Err(InvalidAttribute::Number),
            (None, None) => return Ok(None),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => return Ok(None),
    }))
}

/// Writes attributes in the form that [`decode`] reads.
#[must_use]
pub fn encode(attributes: &Attributes) -> Value {
    let value = |value: &AttributeValue| match value {
        AttributeValue::Text(text) => json!(text),
        AttributeValue::Number(number) => json!(number),
        AttributeValue::Flag(flag) => json!(flag),
    };
    let all: Map<String, Value> =
        attributes.iter().map(|(name, one)| (name.to_string(), value(one))).collect();
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let written = json!({ "beta": true, "region": "eu", "seats": -3 });
        let read = decode(&written).unwrap();
        assert_eq!(encode(&read), written);
        assert_eq!(decode(&Value::Null).unwrap(), decode(&json!({})).unwrap());
        assert_eq!(encode(&Attributes::default()), json!({}));
    }

    #[test]
    fn what_is_wrong_is_said_of_each() {
        let pointers = |document: Value| {
            let Unfit { errors, only_bounds } = decode(&document).unwrap_err();
            (errors.into_iter().map(|error| error.pointer).collect::<Vec<_>>().join(" "), only_bounds)
        };
        for (document, wrong) in [
            (json!([]), ("", false)),
            (json!("eu"), ("", false)),
            (json!({ "Region": "eu", "a": null, "b": [], "c": 1.5 }), ("/Region /a /b /c", false)),
            (json!({ "id": "x", "a/b": 1 }), ("/a~1b /id", false)),
            (json!({ "a": "x".repeat(257), "b": 9_007_199_254_740_992_i64 }), ("/a /b", true)),
            (json!({ "a": u64::MAX }), ("/a", true)),
            (json!({ "a": "x".repeat(257), "b": null }), ("/a /b", false)),
        ] {
            let (pointers, only_bounds) = pointers(document);
            assert_eq!((pointers.as_str(), only_bounds), wrong);
        }
        let many: Map<String, Value> = (0..33).map(|n| (format!("a{n}"), json!(n))).collect();
        assert_eq!(pointers(Value::Object(many)), (String::new(), true));
    }
}
