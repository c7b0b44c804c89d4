//! A bad value of the configuration in words: the key, the value (unless it is a secret), and what was expected.

use serde_json::Value;

/// The most that is shown of a value.
const SHOWN: usize = 80;

/// A key and what is wrong with its value.
pub(super) type Mistake = (String, String);

/// Puts a decoder's error in the words of somebody who writes configuration.
pub(super) fn describe(document: &Value, path: &str, error: &str) -> Mistake {
    let inside = |name: &str| if path == "." { name.to_owned() } else { format!("{path}.{name}") };
    if let Some(name) = quoted(error, "missing field `") {
        return (inside(name), "missing: expected a value".to_owned());
    }
    if let Some(name) = quoted(error, "unknown field `") {
        let known = error.rsplit_once(", expected ").map_or("nothing here", |(_, known)| known);
        let key =
            if path == name || path.ends_with(&format!(".{name}")) { path.to_owned() } else { inside(name) };
        return (key, format!("unknown key: expected {known}"));
    }
    let expected = match error.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {}", expected.replace("a sequence", "a list")),
        None => error.to_owned(),
    };
    let key = if path == "." { "(top level)".to_owned() } else { path.to_owned() };
    let value = document.pointer(&pointer(path)).filter(|_| path != ".");
    match value.map(|value| shown(path, value)) {
        Some(value) => (key, format!("{value}: {expected}")),
        None => (key, expected),
    }
}

fn quoted<'e>(error: &'e str, before: &str) -> Option<&'e str> {
    error.strip_prefix(before)?.split('`').next()
}

/// A path such as `identity.jwt[0].issuer` as a JSON pointer.
fn pointer(path: &str) -> String {
    format!("/{}", path.replace(['.', '['], "/").replace(']', ""))
}

/// A value as it may be shown: short, in one line, without secrets.
pub(super) fn shown(key: &str, value: &Value) -> String {
    if matches!(key, "admin" | "admin.token" | "database") || key.starts_with("stripe.webhook_secrets") {
        return "(not shown)".to_owned();
    }
    let text = match value {
        Value::Array(_) => return "a list".to_owned(),
        Value::Object(_) => return "a map".to_owned(),
        Value::String(text) => without_user(text),
        other => other.to_string(),
    };
    let mut short: String = text.chars().take(SHOWN).flat_map(printable).collect();
    if text.chars().nth(SHOWN).is_some() {
        short.push_str("...");
    }
    format!("`{short}`")
}

fn printable(c: char) -> impl Iterator<Item = char> {
    let (plain, escaped) = if c.is_control() { (None, Some(c.escape_default())) } else { (Some(c), None) };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

/// A URL without the user's name and password.
fn without_user(text: &str) -> String {
    match text.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, host)) => format!("{scheme}://***@{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_not_shown_and_the_rest_is_short() {
        assert_eq!(shown("admin.token", &json!(12345)), "(not shown)");
        assert_eq!(shown("admin", &json!("oops")), "(not shown)");
        assert_eq!(shown("upstream", &json!("ftp://me:secret@host/x")), "`ftp://***@host/x`");
        assert_eq!(shown("node", &json!("a\nb")), "`a\\nb`");
        assert_eq!(shown("node", &json!("x".repeat(100))), format!("`{}...`", "x".repeat(80)));
        assert_eq!(shown("workers", &json!({ "a": 1 })), "a map");
    }

    #[test]
    fn decoders_words_are_replaced() {
        let document = json!({ "workers": "many", "identity": { "jwt": [{}] } });
        let told = |path, error| describe(&document, path, error);
        assert_eq!(
            told("workers", "invalid type: string \"many\", expected a sequence"),
            ("workers".into(), "`many`: expected a list".into())
        );
        assert_eq!(
            told("identity.jwt[0]", "missing field `issuer`"),
            ("identity.jwt[0].issuer".into(), "missing: expected a value".into())
        );
        assert_eq!(
            told("lisen", "unknown field `lisen`, expected one of `listen`, `node`"),
            ("lisen".into(), "unknown key: expected one of `listen`, `node`".into())
        );
    }
}
