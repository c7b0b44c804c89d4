//! The head of an audit log, as it was written down before or as the server says it.

use serde_json::Value;

use crate::{cli::Failure, wire::audit_chain::Link};

/// A head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    /// The last line.
    pub(super) last: Link,
    /// What the oldest line followed, where it is known.
    pub(super) anchor: Option<Link>,
    /// Lines up to it had no hashes.
    pub(super) start: u64,
}

fn link(value: &Value) -> Option<Link> {
    let cursor = value.get("cursor")?.as_u64()?;
    let hash = value.get("hash")?.as_str().filter(|hash| is_hash(hash))?;
    Some(Link { cursor, hash: hash.to_owned() })
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

impl Given {
    /// Reads an answer of the server.
    pub(super) fn of(answer: &Value) -> Option<Self> {
        let start = answer.get("start").and_then(Value::as_u64).unwrap_or(0);
        Some(Self { last: link(answer)?, anchor: answer.get("anchor").and_then(link), start })
    }

    /// Reads `CURSOR:HASH`, or a file with what `audit head --output json` printed.
    pub(super) fn read(text: &str) -> Result<Self, Failure> {
        if let Some((cursor, hash)) = text.split_once(':')
            && let Ok(cursor) = cursor.parse()
            && is_hash(hash)
        {
            let last = Link { cursor, hash: hash.to_owned() };
            return Ok(Self { last, anchor: None, start: 0 });
        }
        let read = std::fs::read(text).map_err(|error| {
            Failure::Usage(format!("`{text}` is neither CURSOR:HASH nor a file that can be read: {error}"))
        })?;
        serde_json::from_slice(&read).ok().and_then(|value| Self::of(&value)).ok_or_else(|| {
            Failure::Usage(format!("`{text}` does not hold what `plangate audit head --output json` prints"))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_are_read() {
        let hash = "ab".repeat(32);
        let given = Given::read(&format!("17:{hash}")).unwrap();
        assert_eq!((given.last.cursor, given.last.hash == hash, given.anchor), (17, true, None));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("head.json");
        let anchor = json!({ "cursor": 3, "hash": hash });
        let head = json!({ "cursor": 17, "hash": hash, "at": null, "start": 1, "anchor": anchor });
        std::fs::write(&file, head.to_string()).unwrap();
        let given = Given::read(file.to_str().unwrap()).unwrap();
        assert_eq!((given.last.cursor, given.start, given.anchor.unwrap().cursor), (17, 1, 3));
        for wrong in ["", "17", "17:abc", &format!("x:{hash}"), "/no/such/file"] {
            assert!(matches!(Given::read(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
        std::fs::write(&file, "{}").unwrap();
        assert!(matches!(Given::read(file.to_str().unwrap()), Err(Failure::Usage(_))));
    }
}
