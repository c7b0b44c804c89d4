//! The name under which a presented credential is remembered: a keyed hash that nobody outside can compute or steer.
//!
//! Two credentials of one fingerprint would be taken for each other, so it must not happen, not even to somebody who tries.
//! SipHash-1-3 with 128 bits of output is a pseudorandom function of the text for anybody who lacks the key; the key is
//! random, made anew by each authenticator, and neither it nor a fingerprint ever leaves memory. Whoever sends credentials
//! can thus only guess: with a million remembered and 2^40 tried, one meets another with a chance of 2^-68. It is not the
//! hash under which keys are stored: that one (HMAC-SHA-256) must also withstand somebody who holds the database.

use std::hash::Hasher;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::{
    key::NoRandomness,
    presented::{Channel, Presented},
};

/// A credential's name in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint(pub(super) u128);

/// Makes fingerprints with a random key of its own.
pub(super) struct Fingerprinter(SipHasher13);

impl Fingerprinter {
    pub(super) fn new() -> Result<Self, NoRandomness> {
        let mut key = [0; 16];
        SystemRandom::new().fill(&mut key).map_err(|_| NoRandomness)?;
        Ok(Self(SipHasher13::new_with_key(&key)))
    }

    /// The fingerprint of what was presented, and of how: a token that is good in one place need not be in another.
    ///
    /// A key of ours means the same in either header (what is taken from `Authorization` always begins with the prefix,
    /// and what begins with it is never taken for an imported key), so both ways share a fingerprint.
    pub(super) fn of(&self, presented: &Presented<'_>) -> Fingerprint {
        // Eight bytes: of fixed length, so that no text can stand for another way; and they keep the text's words whole.
        let (way, text) = match *presented {
            Presented::Key(text) | Presented::BearerKey(text) => (0, text),
            Presented::Token { text, channel: Channel::Bearer } => (1, text),
            Presented::Token { text, channel: Channel::Cookie(place) } => (2 + place as u64, text),
        };
        let mut hasher = self.0;
        hasher.write_u64(way);
        hasher.write(text);
        Fingerprint(hasher.finish128().as_u128())
    }
}

/// Hashes what is a hash already: a fingerprint's first word does for tables.
#[derive(Default, Clone)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "half of the bits is what a table takes")]
    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = fingerprint as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn ways(text: &[u8]) -> [Presented<'_>; 4] {
        let token = |channel| Presented::Token { text, channel };
        [Presented::Key(text), token(Channel::Bearer), token(Channel::Cookie(0)), token(Channel::Cookie(1))]
    }

    #[test]
    fn every_text_and_every_way_has_its_own() {
        let fingerprinter = Fingerprinter::new().unwrap();
        let long = [b'x'; 400];
        let texts = (0..400).map(|end| &long[..end]).chain([&b"\0"[..], b"\x01", b"\0\0\0\0\0\0\0\0", b"y"]);
        let all: Vec<_> = texts.flat_map(ways).map(|presented| fingerprinter.of(&presented)).collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert_eq!(
            fingerprinter.of(&Presented::Key(b"pgk_x")),
            fingerprinter.of(&Presented::BearerKey(b"pgk_x"))
        );
    }

    #[test]
    fn the_key_is_random() {
        let [one, other] = [(); 2].map(|()| Fingerprinter::new().unwrap());
        assert_ne!(one.of(&Presented::Key(b"k")), other.of(&Presented::Key(b"k")));
    }

    #[test]
    fn the_function_is_siphash_1_3_of_way_and_text() {
        let key: [u8; 16] = std::array::from_fn(|place| u8::try_from(place).unwrap());
        let fingerprinter = Fingerprinter(SipHasher13::new_with_key(&key));
        let expected = SipHasher13::new_with_key(&key).hash(b"\x01\0\0\0\0\0\0\0a.b.c").as_u128();
        let token = Presented::Token { text: b"a.b.c", channel: Channel::Bearer };
        assert_eq!(fingerprinter.of(&token), Fingerprint(expected));
    }
}
