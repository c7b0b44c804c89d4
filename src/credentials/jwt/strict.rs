//! Reads JSON that has exactly one meaning: a repeated member, which parsers resolve differently, is an error.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// The JSON object in one part of a token; `None` where there is none of exactly one meaning.
pub(super) fn object(part: &str) -> Option<Map<String, Value>> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    match serde_json::from_slice(&json) {
        Ok(Unique(Value::Object(members))) => Some(members),
        _ => None,
    }
}

struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Unique, E> {
        Ok(Unique(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Unique, E> {
        Ok(Unique(Value::Number(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Unique, E> {
        Ok(Unique(Value::Number(value.into())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Unique, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(Unique(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Unique, E> {
        Ok(Unique(Value::String(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Unique, E> {
        Ok(Unique(Value::String(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unique, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Unique(Value::Array(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Unique, A::Error> {
        let mut members = Map::new();
        while let Some((name, Unique(value))) = entries.next_entry::<String, Unique>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is repeated"));
            }
        }
        Ok(Unique(Value::Object(members)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: impl AsRef<[u8]>) -> Option<Map<String, Value>> {
        object(&URL_SAFE_NO_PAD.encode(json))
    }

    #[test]
    fn an_object_is_read_as_it_is() {
        let json = r#"{"a":1,"b":-2,"c":[1.5,null,true,"x"],"d":{"a":{"a":""}}}"#;
        assert_eq!(Value::Object(read(json).unwrap()), serde_json::from_str::<Value>(json).unwrap());
    }

    #[test]
    fn what_has_more_than_one_meaning_is_refused() {
        for json in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[{"a":1,"a":2}]}"#,
            r#"{"a":1} {"#,
            r#"{"a":1}x"#,
            r#"{"a":1,}"#,
            r#"{"a":1e999}"#,
            r#"{"a":NaN}"#,
            r#"{"a":"\ud800"}"#,
            "[]",
            "null",
            "",
        ] {
            assert_eq!(read(json), None, "{json}");
        }
        assert_eq!(read(b"{\"a\":\"\xff\"}"), None);
        assert_eq!(read("[".repeat(4000)), None);
        assert_eq!(read(format!("{{\"a\":{}1{}}}", "[".repeat(2000), "]".repeat(2000))), None);
    }

    #[test]
    fn base64_has_one_form() {
        let part = URL_SAFE_NO_PAD.encode(r#"{"a":12}"#);
        assert!(object(&part).is_some());
        assert_eq!(object(&format!("{part}=")), None);
        assert_eq!(object(&format!("{part}\n")), None);
        let mut loose = part.into_bytes();
        let last = loose.last_mut().unwrap();
        *last += 1;
        assert_eq!(object(std::str::from_utf8(&loose).unwrap()), None, "unused bits must be zero");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(bytes);
        }
    }
}
