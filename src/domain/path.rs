//! The canonical path: one form that is matched and forwarded, so that no two parties can read a path differently.

use std::borrow::Cow;

/// Why a path has no one meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AmbiguousPath {
    /// Not an origin-form path.
    #[error("the path does not begin with `/`")]
    NoSlash,
    /// `.` or `..`, written plainly or encoded.
    #[error("the path has a `.` or `..` segment")]
    DotSegment,
    /// `//`.
    #[error("the path has an empty segment (`//`)")]
    EmptySegment,
    /// A backslash, which some servers read as a slash.
    #[error("the path has a backslash")]
    Backslash,
    /// A semicolon, after which some servers cut a segment.
    #[error("the path has a semicolon")]
    Semicolon,
    /// `%2F`: some servers decode it to a separator.
    #[error("the path has an encoded slash (`%2F`)")]
    EncodedSlash,
    /// `%5C`.
    #[error("the path has an encoded backslash (`%5C`)")]
    EncodedBackslash,
    /// `%3B`.
    #[error("the path has an encoded semicolon (`%3B`)")]
    EncodedSemicolon,
    /// `%00`, where some servers end the path.
    #[error("the path has an encoded NUL (`%00`)")]
    EncodedNul,
    /// A `%` that two hexadecimal digits do not follow.
    #[error("the path has a `%` without two hexadecimal digits")]
    BadEncoding,
    /// Encoded bytes that are not UTF-8, overlong forms among them.
    #[error("the path has encoded bytes that are not valid UTF-8")]
    NotUtf8,
    /// A raw control byte or space.
    #[error("the path has a control byte or a space")]
    Control,
    /// A raw byte outside ASCII.
    #[error("the path has a byte outside ASCII that is not percent-encoded")]
    NonAscii,
    /// A raw character that RFC 3986 allows in no path.
    #[error("the path has a character that must be percent-encoded")]
    Forbidden,
}

impl AmbiguousPath {
    /// The same text as `Display`, for those that cannot hold an owned one.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoSlash => "the path does not begin with `/`",
            Self::DotSegment => "the path has a `.` or `..` segment",
            Self::EmptySegment => "the path has an empty segment (`//`)",
            Self::Backslash => "the path has a backslash",
            Self::Semicolon => "the path has a semicolon",
            Self::EncodedSlash => "the path has an encoded slash (`%2F`)",
            Self::EncodedBackslash => "the path has an encoded backslash (`%5C`)",
            Self::EncodedSemicolon => "the path has an encoded semicolon (`%3B`)",
            Self::EncodedNul => "the path has an encoded NUL (`%00`)",
            Self::BadEncoding => "the path has a `%` without two hexadecimal digits",
            Self::NotUtf8 => "the path has encoded bytes that are not valid UTF-8",
            Self::Control => "the path has a control byte or a space",
            Self::NonAscii => "the path has a byte outside ASCII that is not percent-encoded",
            Self::Forbidden => "the path has a character that must be percent-encoded",
        }
    }
}

/// What a byte means for a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Slash,
    Dot,
    Percent,
    Refused(AmbiguousPath),
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

const fn class(byte: u8) -> Class {
    match byte {
        b'/' => Class::Slash,
        b'.' => Class::Dot,
        b'%' => Class::Percent,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => Class::Plain,
        b'\\' => Class::Refused(AmbiguousPath::Backslash),
        b';' => Class::Refused(AmbiguousPath::Semicolon),
        0..=0x20 | 0x7f => Class::Refused(AmbiguousPath::Control),
        0x80..=0xff => Class::Refused(AmbiguousPath::NonAscii),
        byte if is_unreserved(byte) => Class::Plain,
        _ => Class::Refused(AmbiguousPath::Forbidden),
    }
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0_u8;
    loop {
        classes[byte as usize] = class(byte);
        if byte == 255 {
            break classes;
        }
        byte += 1;
    }
};

/// How far the present segment consists of dots only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment {
    Empty,
    Dots(u8),
    Other,
}

impl Segment {
    const fn dot(self) -> Self {
        match self {
            Self::Empty => Self::Dots(1),
            Self::Dots(1) => Self::Dots(2),
            Self::Dots(_) | Self::Other => Self::Other,
        }
    }

    const fn is_dot_segment(self) -> bool {
        matches!(self, Self::Dots(_))
    }
}

/// The canonical form of a path (without its query): borrowed where the path has it already.
///
/// Percent-encoded unreserved characters are decoded once; other valid encodings stay, their digits upper-cased.
/// Everything that two servers might read in two ways is refused.
///
/// # Errors
/// [`AmbiguousPath`] says what the path contains.
pub fn canonicalise(path: &str) -> Result<Cow<'_, str>, AmbiguousPath> {
    if is_evidently_canonical(path.as_bytes()) { Ok(Cow::Borrowed(path)) } else { walk(path) }
}

/// Whether the path is one of the usual ones: slashes, unreserved characters, and no segment that is empty or begins with
/// a dot. It is canonical then; one for which this does not hold may be, too. Two passes without a branch, so that the
/// compiler can take many bytes at a time.
fn is_evidently_canonical(bytes: &[u8]) -> bool {
    let usual = |byte: u8| {
        (byte | 0x20).wrapping_sub(b'a') < 26
            // From `-` on: `-`, `.`, `/` and the digits.
            || byte.wrapping_sub(b'-') < 13
            || byte == b'_'
            || byte == b'~'
    };
    let odd = |first: u8, second: u8| first == b'/' && (second == b'/' || second == b'.');
    let Some((b'/', rest)) = bytes.split_first() else { return false };
    let all_usual = rest.iter().fold(true, |all, byte| all & usual(*byte));
    let any_odd = bytes.iter().zip(rest).fold(false, |any, (first, second)| any | odd(*first, *second));
    all_usual & !any_odd
}

/// The canonical form of any path, byte by byte.
fn walk(path: &str) -> Result<Cow<'_, str>, AmbiguousPath> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(AmbiguousPath::NoSlash);
    }
    let mut out = Out { path, written: None };
    let mut segment = Segment::Empty;
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match CLASSES[usize::from(byte)] {
            Class::Plain => {
                segment = Segment::Other;
                out.keep(at);
                at += 1;
            }
            Class::Dot => {
                segment = segment.dot();
                out.keep(at);
                at += 1;
            }
            Class::Slash => {
                if segment == Segment::Empty {
                    return Err(AmbiguousPath::EmptySegment);
                }
                if segment.is_dot_segment() {
                    return Err(AmbiguousPath::DotSegment);
                }
                segment = Segment::Empty;
                out.keep(at);
                at += 1;
            }
            Class::Percent => {
                let encoded = Encoded::read(&bytes[at..])?;
                segment = if encoded == Encoded::Unreserved(b'.') { segment.dot() } else { Segment::Other };
                at = out.encoded(at, encoded);
            }
            Class::Refused(why) => return Err(why),
        }
    }
    if segment.is_dot_segment() {
        return Err(AmbiguousPath::DotSegment);
    }
    Ok(out.finish())
}

/// The canonical form as far as it is known; nothing is copied until it differs from the path as given.
struct Out<'a> {
    path: &'a str,
    written: Option<String>,
}

impl<'a> Out<'a> {
    fn keep(&mut self, at: usize) {
        if let Some(written) = &mut self.written {
            written.push(char::from(self.path.as_bytes()[at]));
        }
    }

    /// Takes in what stands encoded at `at`; the place after it.
    fn encoded(&mut self, at: usize, encoded: Encoded) -> usize {
        match encoded {
            Encoded::Unreserved(byte) => {
                self.own(at).push(char::from(byte));
                at + 3
            }
            Encoded::Kept(triples) => {
                let end = at + 3 * triples;
                let source = &self.path[at..end];
                if self.written.is_some() || source.bytes().any(|b| b.is_ascii_lowercase()) {
                    let upper = source.to_ascii_uppercase();
                    self.own(at).push_str(&upper);
                }
                end
            }
        }
    }

    fn own(&mut self, at: usize) -> &mut String {
        let path = self.path;
        self.written.get_or_insert_with(|| {
            let mut copy = String::with_capacity(path.len());
            copy.push_str(&path[..at]);
            copy
        })
    }

    fn finish(self) -> Cow<'a, str> {
        self.written.map_or(Cow::Borrowed(self.path), Cow::Owned)
    }
}

/// A percent-encoded character.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoded {
    /// One that needs no encoding.
    Unreserved(u8),
    /// One that stays as it is, so many triples long.
    Kept(usize),
}

impl Encoded {
    fn read(bytes: &[u8]) -> Result<Self, AmbiguousPath> {
        let first = triple(bytes).ok_or(AmbiguousPath::BadEncoding)?;
        match first {
            b'/' => Err(AmbiguousPath::EncodedSlash),
            b'\\' => Err(AmbiguousPath::EncodedBackslash),
            b';' => Err(AmbiguousPath::EncodedSemicolon),
            0 => Err(AmbiguousPath::EncodedNul),
            byte if is_unreserved(byte) => Ok(Self::Unreserved(byte)),
            byte if byte.is_ascii() => Ok(Self::Kept(1)),
            lead => Self::read_utf8(lead, bytes),
        }
    }

    fn read_utf8(lead: u8, bytes: &[u8]) -> Result<Self, AmbiguousPath> {
        let length = match lead {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return Err(AmbiguousPath::NotUtf8),
        };
        let mut character = [lead, 0, 0, 0];
        for (place, byte) in character.iter_mut().enumerate().take(length).skip(1) {
            let rest = bytes.get(3 * place..).unwrap_or_default();
            if rest.first() != Some(&b'%') {
                return Err(AmbiguousPath::NotUtf8);
            }
            *byte = triple(rest).ok_or(AmbiguousPath::BadEncoding)?;
        }
        match std::str::from_utf8(&character[..length]) {
            Ok(_) => Ok(Self::Kept(length)),
            Err(_) => Err(AmbiguousPath::NotUtf8),
        }
    }
}

/// The byte that `%XX` at the beginning stands for.
fn triple(bytes: &[u8]) -> Option<u8> {
    let digit = |place: usize| bytes.get(place).and_then(|b| char::from(*b).to_digit(16));
    let (high, low) = (digit(1)?, digit(2)?);
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_paths_are_borrowed() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/v1/messages/42",
            "/a.b/..c/...",
            "/.well-known/x",
            "/a%20b",
            "/%C3%A9",
            "/a:b@c!$&'()*+,=~_-",
            "/%252e%252E",
        ] {
            assert!(matches!(canonicalise(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    #[test]
    fn what_is_evidently_canonical_is_so_by_the_full_walk() {
        for byte in 0..=255_u8 {
            for bytes in [[b'/', byte, b'a'], [b'/', b'a', byte], [byte, b'a', b'/']] {
                let evident = is_evidently_canonical(&bytes);
                let Ok(path) = std::str::from_utf8(&bytes) else {
                    assert!(!evident);
                    continue;
                };
                let canonical = matches!(walk(path), Ok(Cow::Borrowed(_)));
                assert!(canonical || !evident, "{path}");
                let unusual = !(is_unreserved(byte) || byte == b'/') || path.contains("/.");
                assert!(evident || !canonical || unusual, "{path}");
            }
        }
        let usual = "/v1/messages/0192f0c1-7f1e-7d3a-9b1e-2f3c4d5e6f70";
        assert!(is_evidently_canonical(usual.as_bytes()));
    }

    #[test]
    fn unreserved_characters_are_decoded_once_and_digits_upper_cased() {
        for (path, canonical) in [
            ("/%41%7e", "/A~"),
            ("/a%2eb", "/a.b"),
            ("/%2e%2e%2e", "/..."),
            ("/x%c3%a9/%e2%82%ac", "/x%C3%A9/%E2%82%AC"),
            ("/%f0%9f%98%80y", "/%F0%9F%98%80y"),
            ("/%252e", "/%252e"),
            ("/%2541", "/%2541"),
            ("/%25%34%31", "/%2541"),
            ("/%3a%3f%23", "/%3A%3F%23"),
            ("/%0a", "/%0A"),
        ] {
            assert_eq!(canonicalise(path).as_deref(), Ok(canonical), "{path}");
        }
    }

    #[test]
    fn whatever_has_two_meanings_is_refused() {
        use AmbiguousPath as A;
        for (path, why) in [
            ("", A::NoSlash),
            ("a", A::NoSlash),
            ("*", A::NoSlash),
            ("http://h/", A::NoSlash),
            ("/.", A::DotSegment),
            ("/..", A::DotSegment),
            ("/a/./b", A::DotSegment),
            ("/a/../b", A::DotSegment),
            ("/a/%2e%2E/b", A::DotSegment),
            ("/a/.%2e", A::DotSegment),
            ("/%2e/", A::DotSegment),
            ("//", A::EmptySegment),
            ("/a//b", A::EmptySegment),
            ("/a\\b", A::Backslash),
            ("/a;b", A::Semicolon),
            ("/%2F", A::EncodedSlash),
            ("/%2f", A::EncodedSlash),
            ("/%5c", A::EncodedBackslash),
            ("/%3b", A::EncodedSemicolon),
            ("/%00", A::EncodedNul),
            ("/%", A::BadEncoding),
            ("/%2", A::BadEncoding),
            ("/%zz", A::BadEncoding),
            ("/%+1", A::BadEncoding),
            ("/%u002f", A::BadEncoding),
            ("/%2%35", A::BadEncoding),
            ("/%c0%af", A::NotUtf8),
            ("/%e0%80%af", A::NotUtf8),
            ("/%ff", A::NotUtf8),
            ("/%80", A::NotUtf8),
            ("/%c3", A::NotUtf8),
            ("/%c3a9", A::NotUtf8),
            ("/%c3%", A::BadEncoding),
            ("/%ed%a0%80", A::NotUtf8),
            ("/a b", A::Control),
            ("/a\0", A::Control),
            ("/a\n", A::Control),
            ("/\u{7f}", A::Control),
            ("/é", A::NonAscii),
            ("/a?b", A::Forbidden),
            ("/a#b", A::Forbidden),
            ("/a|b", A::Forbidden),
            ("/<", A::Forbidden),
        ] {
            assert_eq!(canonicalise(path).unwrap_err(), why, "{path}");
            assert_eq!(why.to_string(), why.reason());
        }
    }

    /// What a lenient upstream would make of a path: decoded once.
    fn decoded(path: &str) -> Vec<u8> {
        let (bytes, mut out, mut at) = (path.as_bytes(), Vec::new(), 0);
        while at < bytes.len() {
            match (bytes[at] == b'%').then(|| triple(&bytes[at..])).flatten() {
                Some(byte) => {
                    out.push(byte);
                    at += 3;
                }
                None => {
                    out.push(bytes[at]);
                    at += 1;
                }
            }
        }
        out
    }

    fn paths() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("/".to_owned()),
            Just(".".to_owned()),
            Just("%2e".to_owned()),
            Just("%25".to_owned()),
            "[a-zA-Z0-9_~-]",
            "%[0-9a-fA-F]{2}",
            "[ -~]",
            any::<char>().prop_map(|c| c.to_string()),
            any::<char>().prop_map(|c| {
                let mut bytes = [0; 4];
                c.encode_utf8(&mut bytes).bytes().map(|b| format!("%{b:02x}")).collect()
            }),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn canonicalising_twice_changes_nothing(path in paths()) {
            if let Ok(canonical) = canonicalise(&path) {
                prop_assert!(matches!(canonicalise(&canonical), Ok(Cow::Borrowed(_))));
            }
        }

        #[test]
        fn the_meaning_is_kept_and_nothing_refused_remains(path in paths()) {
            if let Ok(canonical) = canonicalise(&path) {
                let meaning = decoded(&canonical);
                prop_assert_eq!(&decoded(&path), &meaning);
                prop_assert!(std::str::from_utf8(&meaning).is_ok());
                let text = String::from_utf8(meaning).unwrap();
                prop_assert!(text.starts_with('/') && !text.contains("//"));
                prop_assert!(!text.contains(['\\', ';', '\0']));
                prop_assert!(!text.split('/').any(|s| s == "." || s == ".."));
                prop_assert_eq!(text.matches('/').count(), path.matches('/').count());
                prop_assert!(canonical.bytes().all(|b| b.is_ascii_graphic()));
                let never = ['?', '#', '|', '"', '<', '>', '{', '}', '[', ']', '^', '`'];
                prop_assert!(!canonical.contains(never));
            }
        }

        #[test]
        fn the_short_way_answers_as_the_walk_does(path in prop_oneof![paths(), "/[a-z0-9./_~-]{0,80}"]) {
            prop_assert_eq!(canonicalise(&path), walk(&path));
        }

        #[test]
        fn any_text_gets_an_answer(text in any::<String>()) {
            let _ = canonicalise(&text);
            let _ = canonicalise(&format!("/{text}"));
        }
    }
}
