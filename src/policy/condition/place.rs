//! Where in a policy file a part of a condition stands: its text is a value of YAML, and mostly written there as it is.

use std::ops::Range;

use crate::policy::source::Place;

/// The place of some bytes of `text`, which stands at `whole` and is `written` there. Where YAML writes it otherwise (folded
/// over lines, with escapes), the whole place.
pub(super) fn within(whole: Place, written: Option<&str>, text: &str, span: Range<usize>) -> Place {
    let narrow = || {
        let offsets = offsets(written?, text)?;
        let start = *offsets.get(span.start)?;
        let end = *offsets.get(span.end.max(span.start + 1).min(text.len()))?;
        let base = usize::try_from(whole.start).ok()?;
        Some(Place::new(whole.file, base + start, base + end.max(start + 1)))
    };
    narrow().unwrap_or(whole)
}

/// For each byte of `text`, and its end, the byte where that is written.
fn offsets(written: &str, text: &str) -> Option<Vec<usize>> {
    let quote = match written.as_bytes().first()? {
        quote @ (b'\'' | b'"') if !text.starts_with(char::from(*quote)) || written.len() > text.len() + 1 => {
            Some(*quote)
        }
        _ => None,
    };
    let written = written.as_bytes();
    let mut at = usize::from(quote.is_some());
    let mut offsets = Vec::with_capacity(text.len() + 1);
    for byte in text.bytes() {
        let escaped = match (quote, written.get(at)?) {
            (Some(b'\''), b'\'') => true,
            (Some(b'"'), b'\\') => matches!(written.get(at + 1)?, b'"' | b'\\' | b'/'),
            _ => false,
        };
        let place = at + usize::from(escaped);
        if *written.get(place)? != byte {
            return None;
        }
        offsets.push(at);
        at = place + 1;
    }
    offsets.push(at);
    Some(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_as_it_is_written() {
        for (written, text, place) in [
            ("abc", "abc", Some(vec![0, 1, 2, 3])),
            ("\"abc\"", "abc", Some(vec![1, 2, 3, 4])),
            ("'a''b'", "a'b", Some(vec![1, 2, 4, 5])),
            (r#""a\"b""#, "a\"b", Some(vec![1, 2, 4, 5])),
            (r#""a\tb""#, "a\tb", None),
            ("a\n  b", "a b", None),
            ("'a' == b", "'a' == b", Some((0..=8).collect())),
            ("", "abc", None),
        ] {
            assert_eq!(offsets(written, text), place, "{written}");
        }
    }
}
