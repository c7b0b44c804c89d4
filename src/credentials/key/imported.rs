//! Keys that a customer brings along, and when one is too weak to be taken over.

use std::fmt;

use super::secret::PREFIX;

/// The least and the greatest length of an imported key.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=512;

/// The least number of bits that a guesser must be up against.
const BITS: f64 = 128.0;

/// A key that is good enough to be taken over. It is accepted from the header for API keys only.
///
/// It is 16 to 512 visible ASCII characters without spaces, does not begin with `pgk_`, and has at least 128 bits by
/// this careful estimate: each letter and digit counts as one of its alphabet (digits 10, hexadecimal 16, letters of
/// one case 26, and so on up to 62); other characters, a leading label such as `sk_live_`, and repetitions of the
/// beginning count nothing. Texts of fewer than six different letters and digits, runs such as `abcdef`, and UUIDs (at
/// most 122 random bits) are refused.
#[derive(Clone, PartialEq, Eq)]
pub struct ImportedKey(String);

/// Why a key is not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakKey {
    /// Too short or too long.
    #[error("an imported key has 16 to 512 characters, this one has {0}")]
    Length(usize),
    /// It cannot be sent in a header as it is.
    #[error("an imported key is made of visible ASCII characters without spaces")]
    Characters,
    /// It would be taken for one of ours.
    #[error("keys that begin with `pgk_` are made here and cannot be imported")]
    Reserved,
    /// A UUID.
    #[error("a UUID has at most 122 random bits, expected at least 128")]
    Uuid,
    /// Guessable.
    #[error("the key has about {bits} random bits, expected at least 128")]
    Guessable {
        /// The estimate.
        bits: u32,
    },
}

impl ImportedKey {
    /// Checks a key.
    ///
    /// # Errors
    /// [`WeakKey`] says what is wrong, without the key.
    pub fn parse(text: &str) -> Result<Self, WeakKey> {
        if !LENGTHS.contains(&text.len()) {
            return Err(WeakKey::Length(text.chars().count()));
        }
        if !has_shape(text.as_bytes()) {
            return Err(WeakKey::Characters);
        }
        if text.as_bytes()[..PREFIX.len()].eq_ignore_ascii_case(PREFIX.as_bytes()) {
            return Err(WeakKey::Reserved);
        }
        if is_uuid(text.as_bytes()) {
            return Err(WeakKey::Uuid);
        }
        let bits = estimate(text.as_bytes());
        if bits < BITS {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 128")]
            return Err(WeakKey::Guessable { bits: bits as u32 });
        }
        Ok(Self(text.to_owned()))
    }

    /// The key itself, to be hashed.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ImportedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImportedKey(..)")
    }
}

/// Whether a text can be an imported key at all.
pub(super) fn has_shape(text: &[u8]) -> bool {
    LENGTHS.contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn estimate(text: &[u8]) -> f64 {
    let signs: Vec<u8> = unlabelled(text).iter().copied().filter(u8::is_ascii_alphanumeric).collect();
    let signs = &signs[..period(&signs)];
    let mut kinds = [false; 256];
    signs.iter().for_each(|sign| kinds[usize::from(*sign)] = true);
    let runs = signs.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 1).count();
    if kinds.iter().filter(|seen| **seen).count() < 6 || runs * 3 > signs.len() * 2 {
        return 0.0;
    }
    #[allow(clippy::cast_precision_loss, reason = "at most 512")]
    let length = signs.len() as f64;
    length * alphabet(signs).log2()
}

fn alphabet(signs: &[u8]) -> f64 {
    let any = |test: fn(&u8) -> bool| signs.iter().any(test);
    let (digits, lower, upper) =
        (any(u8::is_ascii_digit), any(u8::is_ascii_lowercase), any(u8::is_ascii_uppercase));
    if signs.iter().all(u8::is_ascii_hexdigit) && (digits || lower != upper) && !(lower && upper) {
        return if lower || upper { 16.0 } else { 10.0 };
    }
    let kinds = [(digits, 10.0), (lower, 26.0), (upper, 26.0)];
    kinds.into_iter().filter(|(seen, _)| *seen).map(|(_, kinds)| kinds).sum::<f64>().max(1.0)
}

/// The text without up to three leading words of at most 16 lower-case letters that end in `_` or `-`.
fn unlabelled(text: &[u8]) -> &[u8] {
    let mut rest = text;
    for _ in 0..3 {
        let word = rest.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
        match rest.get(word) {
            Some(b'_' | b'-') if (1..=16).contains(&word) => rest = &rest[word + 1..],
            _ => break,
        }
    }
    rest
}

/// The length of the shortest beginning whose repetition the text is.
fn period(text: &[u8]) -> usize {
    (1..=text.len() / 2)
        .find(|&length| text[length..].iter().zip(text).all(|(later, earlier)| later == earlier))
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weak(text: &str) -> WeakKey {
        ImportedKey::parse(text).unwrap_err()
    }

    #[test]
    fn usual_keys_of_other_systems_are_taken() {
        for key in [
            "9f86d081884c7d659a2feaa0c55ad015",
            "9F86D081884C7D659A2FEAA0C55AD015",
            "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
            "dGhpcyBpcyBub3QgcmVhbGx5IHJhbmRvbSE=",
            "V1StGXR8_Z5jdHi6B-myTQ9aLk",
            "73019284650192837465019283746591028374650",
        ] {
            let imported = ImportedKey::parse(key);
            assert_eq!(imported.map(|key| key.reveal().to_owned()), Ok(key.to_owned()));
        }
    }

    #[test]
    fn weak_keys_are_refused() {
        assert_eq!(weak("short"), WeakKey::Length(5));
        assert_eq!(weak(&"aB3".repeat(171)), WeakKey::Length(513));
        assert_eq!(weak("9f86d081 84c7d659a2feaa0c55ad015"), WeakKey::Characters);
        assert_eq!(weak("9f86d081é84c7d659a2feaa0c55ad015"), WeakKey::Characters);
        assert_eq!(weak("9f86d081\u{7f}84c7d659a2feaa0c55ad015"), WeakKey::Characters);
        assert_eq!(weak("pgk_9f86d081884c7d659a2feaa0c55ad015"), WeakKey::Reserved);
        assert_eq!(weak("PGK_9f86d081884c7d659a2feaa0c55ad015"), WeakKey::Reserved);
        assert_eq!(weak("9f86d081-884c-4d65-9a2f-eaa0c55ad015"), WeakKey::Uuid);
        assert_eq!(weak("9f86d081884c7d659a2feaa0c55ad01"), WeakKey::Guessable { bits: 124 });
        for guessable in [
            "a".repeat(100),
            "ab".repeat(100),
            "0123456789abcdef".repeat(2),
            "abcdefghijklmnopqrstuvwxyz0123456789".to_owned(),
            "correct-horse-battery-x".to_owned(),
            "!#$%&()*+,-./:;<=>?@[]^_{|}~!#$%&()".to_owned(),
            "1234567890".repeat(3),
            "production_sk_live_4eC39HqL".to_owned(),
        ] {
            assert!(matches!(weak(&guessable), WeakKey::Guessable { .. }), "{guessable}");
        }
    }

    #[test]
    fn a_repetition_counts_once() {
        assert_eq!(period(b"abcabcab"), 3);
        assert_eq!(period(b"abcd"), 4);
        assert_eq!(period(b""), 0);
    }

    proptest! {
        #[test]
        fn random_keys_of_enough_bits_are_taken(bytes in any::<[u8; 16]>().prop_filter("random", |bytes| {
            bytes.iter().collect::<std::collections::HashSet<_>>().len() > 8
        })) {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            prop_assert!(ImportedKey::parse(&hex).is_ok(), "{}", hex);
        }

        #[test]
        fn no_text_panics(text in ".{0,600}") {
            let _ = ImportedKey::parse(&text);
        }
    }
}
