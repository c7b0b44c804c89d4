//! Percent-encoding of names and values: of a form, of a query, of a path's segment.

use std::fmt::Write;

/// Appends a text with everything encoded but what RFC 3986 leaves unreserved: so it stands for itself in a form
/// (`application/x-www-form-urlencoded`), in a query and as one segment of a path.
///
/// ```
/// let mut text = String::from("name=");
/// plangate::wire::percent::encode("a b/c&d~é", &mut text);
/// assert_eq!(text, "name=a%20b%2Fc%26d~%C3%A9");
/// ```
pub fn encode(value: &str, text: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

/// Pairs of names and values, as a form and a query have them.
#[must_use]
pub fn pairs<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        encode(name, &mut text);
        text.push('=');
        encode(value, &mut text);
    }
    text
}
