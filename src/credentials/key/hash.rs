//! The keyed hash that stands for a key wherever it is kept.

use std::fmt;

use aws_lc_rs::hmac;

use crate::domain::identity::KeyHash;

/// Makes the hashes under which keys are stored: HMAC-SHA-256 with the installation's secret. A stolen database alone
/// thus tells nothing about keys, not even whether a guessed one is among them.
#[derive(Clone)]
pub struct KeyHasher(hmac::Key);

impl KeyHasher {
    /// A hasher with the installation's secret.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The hash of a key's text.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        let tag = hmac::sign(&self.0, key);
        let mut hash = [0; 32];
        // HMAC-SHA-256 has 32 bytes; written so that not even a wrong one could panic.
        for (to, from) in hash.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        KeyHash(hash)
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_hmac_sha_256() {
        // The second case of RFC 4231, its key filled up with zeros as HMAC itself does.
        let mut secret = [0; 32];
        secret[..4].copy_from_slice(b"Jefe");
        let hash = KeyHasher::new(&secret).hash(b"what do ya want for nothing?");
        assert_eq!(hash.0[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
        assert_eq!(hash.0[28..], [0x64, 0xec, 0x38, 0x43]);
    }

    #[test]
    fn the_secret_matters() {
        assert_ne!(KeyHasher::new(&[1; 32]).hash(b"k"), KeyHasher::new(&[2; 32]).hash(b"k"));
    }
}
