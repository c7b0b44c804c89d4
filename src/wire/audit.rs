//! A line of the audit log as it is hashed: one text for each line, the same wherever it is computed.

use serde_json::Value;

use super::hex::sha256;
use crate::domain::time::UnixMillis;

/// What the first line of a chain follows.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What is hashed of a line, in this order.
pub const HASHED: [&str; 11] =
    ["cursor", "version", "at", "actor", "source", "tenant", "kind", "detail", "before", "after", "previous"];

/// What is hashed of a line.
#[derive(Debug, Clone, Copy)]
pub struct Hashed<'a> {
    /// Its place in the log.
    pub cursor: u64,
    /// The version of the change.
    pub version: u64,
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub actor: &'a str,
    /// From where.
    pub source: &'a str,
    /// The tenant it concerns.
    pub tenant: Option<&'a str>,
    /// What it was.
    pub kind: &'a str,
    /// What was asked.
    pub detail: &'a Value,
    /// What was altered, as it was.
    pub before: &'a Value,
    /// What was altered, as it is.
    pub after: &'a Value,
    /// The hash of the line before it.
    pub previous: &'a str,
}

impl Hashed<'_> {
    /// The line's hash: SHA-256, in hexadecimal digits, of a JSON array without white space, whose objects are sorted by
    /// their keys.
    #[must_use]
    pub fn hash(&self) -> String {
        let Self { cursor, version, at, actor, source, tenant, kind, detail, before, after, previous } = self;
        let at = at.to_string();
        let fields = (cursor, version, at, actor, source, tenant, kind, detail, before, after, previous);
        sha256(serde_json::to_string(&fields).unwrap_or_default().as_bytes())
    }
}

/// The hash of a line as the admin API shows it; a field that is not there counts as null.
#[must_use]
pub fn hash_of(line: &Value) -> String {
    let null = Value::Null;
    let fields: Vec<&Value> = HASHED.iter().map(|name| line.get(name).unwrap_or(&null)).collect();
    sha256(serde_json::to_string(&fields).unwrap_or_default().as_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_form_is_the_documented_one() {
        let (detail, after) =
            (json!({ "b": "\u{7f}\u{1}ü\"\\\n", "a": [1, null, true] }), json!({ "x": {} }));
        let line = Hashed {
            cursor: 7,
            version: 42,
            at: UnixMillis(1_500),
            actor: "ci",
            source: "10.0.0.1",
            tenant: None,
            kind: "tenant.put",
            detail: &detail,
            before: &Value::Null,
            after: &after,
            previous: GENESIS,
        };
        let form = format!(
            "[7,42,\"1970-01-01T00:00:01.5Z\",\"ci\",\"10.0.0.1\",null,\"tenant.put\",\
             {{\"a\":[1,null,true],\"b\":\"\u{7f}\\u0001ü\\\"\\\\\\n\"}},null,{{\"x\":{{}}}},\"{GENESIS}\"]"
        );
        assert_eq!(line.hash(), sha256(form.as_bytes()));
        let shown = json!({
            "cursor": 7, "version": 42, "at": "1970-01-01T00:00:01.5Z", "actor": "ci", "source": "10.0.0.1",
            "tenant": null, "kind": "tenant.put", "detail": detail, "before": null, "after": after,
            "previous": GENESIS, "hash": "whatever",
        });
        assert_eq!(hash_of(&shown), line.hash());
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
