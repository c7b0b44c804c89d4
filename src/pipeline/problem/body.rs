//! The JSON of a problem, written straight into its one piece of memory.

use std::fmt::Display;

use bytes::Bytes;
use serde::Serializer;

use super::super::header_text::push_number;

/// Longer than nearly all of them.
const CAPACITY: usize = 640;

/// A body that is being written.
pub(super) struct Body(Vec<u8>);

impl Body {
    /// Begins the details of a problem with this code.
    pub(super) fn of(code: &str) -> Self {
        let mut text = Vec::with_capacity(CAPACITY);
        text.extend_from_slice(b"{\"type\":\"urn:plangate:problem:");
        text.extend_from_slice(code.as_bytes());
        text.push(b'"');
        Self(text)
    }

    fn key(&mut self, key: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        // Memory takes whatever is written to it, and a text can always be written.
        let _ = serde_json::to_writer(&mut self.0, value);
    }

    /// A text that is written as it is shown.
    pub(super) fn shown(&mut self, key: &str, value: &impl Display) {
        self.key(key);
        let _ = serde_json::Serializer::new(&mut self.0).collect_str(value);
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        push_number(&mut self.0, value);
    }

    /// What is JSON already.
    pub(super) fn raw(&mut self, key: &str, value: &str) {
        self.key(key);
        self.0.extend_from_slice(value.as_bytes());
    }

    pub(super) fn end(mut self) -> Bytes {
        self.0.push(b'}');
        self.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_written_is_one_object() {
        let mut body = Body::of("some-code");
        let odd = "quotes \" and \\ and \u{1} and \u{e9}";
        body.text("text", odd);
        body.shown("shown", &format_args!("<{odd}>"));
        body.number("number", 9_007_199_254_740_991);
        body.raw("raw", "[\"a\",1]");
        let value: serde_json::Value = serde_json::from_slice(&body.end()).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "type": "urn:plangate:problem:some-code",
                "text": odd,
                "shown": format!("<{odd}>"),
                "number": 9_007_199_254_740_991_u64,
                "raw": ["a", 1],
            })
        );
    }
}
