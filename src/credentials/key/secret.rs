//! A new API key, and the id under which people know it.

use std::fmt;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use super::checksum::{self, ALPHABET};
use crate::domain::{id::KeyId, time::UnixMillis};

/// How every key of ours begins, so that scanners of source code and people recognise it.
pub(crate) const PREFIX: &str = "pgk_";

/// Random characters of a key: 30 of 62 kinds are 178 bits.
const RANDOM: usize = 30;

/// The system has no randomness to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's source of randomness failed")]
pub struct NoRandomness;

/// An API key in the clear: `pgk_`, 30 random letters and digits (178 bits), and six for a checksum.
///
/// It is shown to its owner once and not kept. It has no `Display`, so that it gets into no log by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeySecret(String);

impl ApiKeySecret {
    /// A new key.
    ///
    /// # Errors
    /// [`NoRandomness`], when the system's source fails.
    pub fn generate() -> Result<Self, NoRandomness> {
        random(PREFIX).map(Self)
    }

    /// The key itself, to be shown to its owner.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeySecret(..)")
    }
}

/// A text of this beginning that nobody has seen before: 30 random letters and digits, and six for a checksum.
///
/// # Errors
/// [`NoRandomness`], when the system's source fails.
pub(super) fn random(prefix: &str) -> Result<String, NoRandomness> {
    let source = SystemRandom::new();
    let mut text = String::with_capacity(prefix.len() + RANDOM + checksum::LENGTH);
    text.push_str(prefix);
    while text.len() < prefix.len() + RANDOM {
        let mut bytes = [0u8; 2 * RANDOM];
        source.fill(&mut bytes).map_err(|_| NoRandomness)?;
        // Of 256 values the 248 that are a multiple of 62 are taken, so that every digit is as likely as another.
        let digits = bytes.iter().filter(|byte| **byte < 248).map(|byte| usize::from(*byte % 62));
        for digit in digits.take(prefix.len() + RANDOM - text.len()) {
            text.push(char::from(ALPHABET[digit]));
        }
    }
    let sum = checksum::of(text.as_bytes());
    text.extend(sum.iter().map(|digit| char::from(*digit)));
    Ok(text)
}

/// Whether a text can be a key of ours at all: its length, its letters and its checksum.
pub(super) fn is_well_formed(text: &[u8]) -> bool {
    has_form(text, PREFIX)
}

/// Whether a text can be one of [`random`] with this beginning.
pub(super) fn has_form(text: &[u8], prefix: &str) -> bool {
    let Some((body, sum)) = text.split_last_chunk::<{ checksum::LENGTH }>() else { return false };
    text.len() == prefix.len() + RANDOM + checksum::LENGTH
        && text.starts_with(prefix.as_bytes())
        && text[prefix.len()..].iter().all(u8::is_ascii_alphanumeric)
        && checksum::of(body) == *sum
}

/// A new id for a key: `key_` and a UUID that begins with the time, so that ids sort by age.
///
/// # Errors
/// [`NoRandomness`], when the system's source fails.
pub fn new_key_id(now: UnixMillis) -> Result<KeyId, NoRandomness> {
    let mut random = [0u8; 10];
    SystemRandom::new().fill(&mut random).map_err(|_| NoRandomness)?;
    let millis = u64::try_from(now.0).unwrap_or(0);
    let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    // `key_` and 32 hexadecimal digits always are an id; the error type only spares a panic.
    KeyId::parse(&format!("key_{}", uuid.simple())).map_err(|_| NoRandomness)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_new_key_is_well_formed_and_its_own() {
        let keys: HashSet<String> =
            (0..200).map(|_| ApiKeySecret::generate().unwrap().reveal().to_owned()).collect();
        assert_eq!(keys.len(), 200);
        for key in &keys {
            assert_eq!(key.len(), 40);
            assert!(is_well_formed(key.as_bytes()), "{key}");
        }
        let digits: HashSet<char> = keys.iter().flat_map(|key| key[4..34].chars()).collect();
        assert_eq!(digits.len(), 62, "every digit occurs");
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", ApiKeySecret::generate().unwrap()), "ApiKeySecret(..)");
    }

    #[test]
    fn every_changed_character_is_found() {
        let key = ApiKeySecret::generate().unwrap();
        for place in 0..key.reveal().len() {
            for other in 0..=255u8 {
                let mut changed = key.reveal().as_bytes().to_vec();
                if changed[place] != other {
                    changed[place] = other;
                    assert!(!is_well_formed(&changed), "place {place}");
                }
            }
        }
    }

    #[test]
    fn every_other_length_is_refused() {
        let key = ApiKeySecret::generate().unwrap();
        for end in 0..key.reveal().len() {
            assert!(!is_well_formed(&key.reveal().as_bytes()[..end]));
        }
        assert!(!is_well_formed(format!("{}0", key.reveal()).as_bytes()));
    }

    #[test]
    fn key_ids_sort_by_age() {
        let older = new_key_id(UnixMillis(1_000_000)).unwrap();
        let newer = new_key_id(UnixMillis(1_000_001)).unwrap();
        assert!(older < newer, "{older} {newer}");
        assert_eq!(older.as_str().len(), 36);
        assert!(new_key_id(UnixMillis(i64::MIN)).is_ok());
        assert!(new_key_id(UnixMillis(i64::MAX)).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = is_well_formed(&text);
        }
    }
}
