//! `GET|POST /v1/messages/{id}`: a route's methods and path, the path in the canonical form that requests are matched in.

use std::{borrow::Cow, fmt::Write as _};

use crate::domain::{
    path::{AmbiguousPath, canonicalise},
    route::{InvalidPattern, Methods, Pattern},
};

/// Why a text is no route, with what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::policy) struct Wrong {
    pub(in crate::policy) code: &'static str,
    pub(in crate::policy) message: String,
    pub(in crate::policy) help: Option<String>,
}

fn wrong(code: &'static str, message: impl Into<String>, help: Option<String>) -> Wrong {
    Wrong { code, message: message.into(), help }
}

/// Bounds that keep the table's depth small; the gateway's longest request head is of this order, too.
const MOST_PATH: usize = 2048;
const MOST_TEXT: usize = 3072;
const MOST_SEGMENTS: usize = 64;

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "PROPFIND"];

/// Reads a route.
pub(in crate::policy) fn parse(text: &str) -> Result<(Methods, Pattern), Wrong> {
    if text.len() > MOST_TEXT {
        return Err(wrong("invalid-route", format!("the text is longer than {MOST_TEXT} bytes"), None));
    }
    let parts: Vec<&str> = text.split_ascii_whitespace().take(3).collect();
    let (methods, path) = match parts.as_slice() {
        [methods, path] => (*methods, *path),
        [path] if path.starts_with('/') => {
            let help = Some(format!("write `GET {path}`, or `* {path}` for every method"));
            return Err(wrong("invalid-route", "a method is missing before the path", help));
        }
        [_] | [] => {
            let help = Some("write it as `GET /v1/messages/{id}`".to_owned());
            return Err(wrong("invalid-route", "expected methods, a space and a path", help));
        }
        _ => {
            let help = Some("methods are joined by `|`; a space within a path is written `%20`".to_owned());
            return Err(wrong("invalid-route", "expected methods, one space and a path", help));
        }
    };
    Ok((parse_methods(methods)?, pattern(path)?))
}

fn parse_methods(text: &str) -> Result<Methods, Wrong> {
    if text == "*" {
        return Ok(Methods::Any);
    }
    let mut names: Vec<String> = Vec::new();
    for name in text.split('|') {
        if name == "*" {
            return Err(wrong("invalid-method", "`*` means every method: it stands alone", None));
        }
        let upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        if name.is_empty() || name.len() > 32 || !name.bytes().all(upper) {
            let capital = name.to_ascii_uppercase();
            let help = (!name.is_empty() && capital.bytes().all(upper)).then(|| format!("write `{capital}`"));
            let message =
                format!("`{name}` is not a method: expected upper-case words joined by `|`, or `*`");
            return Err(wrong("invalid-method", message, help));
        }
        if matches!(name, "TRACE" | "CONNECT") {
            let message = format!("`{name}` can never match: such requests are refused before any route");
            return Err(wrong("invalid-method", message, None));
        }
        if names.iter().any(|other| other == name) {
            return Err(wrong("invalid-method", format!("the method `{name}` stands twice"), None));
        }
        if !METHODS.contains(&name)
            && let Some(near) = near_method(name)
        {
            let message = format!("`{name}` is not a method that anybody sends");
            return Err(wrong("invalid-method", message, Some(format!("did you mean `{near}`?"))));
        }
        names.push(name.to_owned());
    }
    Ok(Methods::Named(names))
}

/// A method one letter away from a common one is a typo, not an extension.
fn near_method(name: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|known| strsim::damerau_levenshtein(name, known) == 1)
}

fn pattern(path: &str) -> Result<Pattern, Wrong> {
    let invalid = |message: String, help: Option<String>| wrong("invalid-route", message, help);
    if path.len() > MOST_PATH || path.split('/').count() > MOST_SEGMENTS + 1 {
        let message = format!("the path is longer than {MOST_PATH} bytes or {MOST_SEGMENTS} segments");
        return Err(invalid(message, None));
    }
    let mut canonical = String::new();
    for (place, segment) in path.split('/').enumerate() {
        if place > 0 {
            canonical.push('/');
        }
        if segment.contains(['{', '}']) {
            canonical.push_str(segment);
        } else {
            canonical.push_str(&literal(segment)?);
        }
    }
    if canonical == "/.plangate" || canonical.starts_with("/.plangate/") {
        return Err(invalid("paths under `/.plangate/` are the gateway's own".to_owned(), None));
    }
    if canonical.contains("//") {
        return Err(invalid(
            "a path with `//` can never match: no canonical path has an empty segment".to_owned(),
            None,
        ));
    }
    Pattern::parse(&canonical).map_err(|error| {
        let help = match &error {
            InvalidPattern::BadSegment(segment) if segment.contains('-') => {
                Some("names are of letters, digits and `_`".to_owned())
            }
            _ => None,
        };
        invalid(error.to_string(), help)
    })
}

/// The canonical form of a path in which characters outside ASCII may stand as they are: a request has them encoded.
pub(in crate::policy) fn canonical(path: &str) -> Result<String, AmbiguousPath> {
    let mut encoded = String::with_capacity(path.len());
    for character in path.chars() {
        if character.is_ascii() {
            encoded.push(character);
        } else {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a string cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    canonicalise(&encoded).map(Cow::into_owned)
}

/// One segment without parameters, in the form in which requests are matched. What no canonical path can contain is
/// refused.
fn literal(segment: &str) -> Result<String, Wrong> {
    match canonical(&format!("/{segment}")) {
        Ok(path) => Ok(path.trim_start_matches('/').to_owned()),
        // Refused with the pattern, which knows the whole path.
        Err(AmbiguousPath::DotSegment) => Ok(segment.replace("%2e", ".").replace("%2E", ".")),
        Err(why) => Err(refusal(segment, why)),
    }
}

fn refusal(segment: &str, why: AmbiguousPath) -> Wrong {
    let invalid = |message: String, help: Option<String>| wrong("invalid-route", message, help);
    match why {
        AmbiguousPath::BadEncoding => {
            invalid(format!("`{segment}` has a `%` that no two hexadecimal digits follow"), None)
        }
        AmbiguousPath::NotUtf8 => {
            invalid(format!("`{segment}` can never match: its encoded bytes are not UTF-8"), None)
        }
        AmbiguousPath::Forbidden | AmbiguousPath::Control if !segment.contains('\0') => {
            let alone = |c: &char| *c != '%' && *c != '.' && canonical(&format!("/{c}")).is_err();
            match segment.chars().find(alone) {
                Some(c @ ('?' | '#')) => invalid(
                    format!("`{c}` in a path: a route is matched by the path alone"),
                    Some("leave the query out".to_owned()),
                ),
                Some(c) => invalid(
                    format!("`{}` cannot stand in a path", c.escape_default()),
                    Some(format!("write it as `%{:02X}`", u32::from(c))),
                ),
                None => invalid(format!("`{segment}` can never match: {why}"), None),
            }
        }
        _ => invalid(
            format!(
                "`{segment}` can never match: requests with `/`, `\\`, `;` or NUL within a segment, encoded or not, are refused"
            ),
            None,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::route::Segment;
    use proptest::prelude::*;

    #[test]
    fn literals_become_canonical() {
        for (written, canonical) in [
            ("caf\u{e9}", "caf%C3%A9"),
            ("caf%c3%a9", "caf%C3%A9"),
            ("%7euser", "~user"),
            ("a%20b", "a%20b"),
            ("a:b@c", "a:b@c"),
            ("%3f", "%3F"),
        ] {
            assert_eq!(literal(written), Ok(canonical.to_owned()));
        }
        for written in [
            "a;b", "a%2Fb", "a%5cb", "%3b", "%00", "%", "%4", "%zz", "a\\b", "a?b", "a#b", "%ff", "%c0%af",
            "a|b",
        ] {
            assert!(literal(written).is_err(), "{written}");
        }
    }

    #[test]
    fn dot_segments_are_seen_behind_their_encoding() {
        assert!(parse("GET /a/%2e%2E/b").is_err());
        assert!(parse("GET /a/.well-known").is_ok());
    }

    #[test]
    fn methods_and_paths() {
        let (methods, pattern) = parse("GET|POST  /v1/{id}/{*rest}").unwrap();
        assert_eq!(methods, Methods::Named(vec!["GET".into(), "POST".into()]));
        assert!(matches!(pattern.segments(), [Segment::Literal(_), Segment::Parameter(_), Segment::Rest(_)]));
        assert_eq!(parse("* /").unwrap().0, Methods::Any);
        assert_eq!(parse("get /").unwrap_err().help.as_deref(), Some("write `GET`"));
        assert_eq!(parse("GTE /").unwrap_err().help.as_deref(), Some("did you mean `GET`?"));
        for text in [
            "",
            "GET",
            "/",
            "GET /a b",
            "GET|GET /",
            "*|GET /",
            "GET| /",
            "TRACE /",
            "GET /.plangate/x",
            "GET a",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&format!("GET {}", "/a".repeat(100))).is_err());
    }

    proptest! {
        #[test]
        fn canonical_is_a_fixed_point(segment in "[a-zA-Z0-9%é ~.;/:-]{0,12}") {
            if let Ok(once) = literal(&segment) {
                prop_assert_eq!(literal(&once), Ok(once));
            }
        }

        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,60}") {
            let _ = parse(&text);
        }
    }
}
