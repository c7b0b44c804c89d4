//! Bytes as lower-case hexadecimal digits, such as those of a digest.

use std::fmt::Write as _;

use aws_lc_rs::digest;

/// The digits of some bytes.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // A string takes whatever is written to it.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// The bytes of exactly so many digits, in lower case.
#[must_use]
pub fn decode<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let nibble = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
    }
    Some(bytes)
}

/// The digits of the SHA-256 of some bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    encode(digest::digest(&digest::SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_back() {
        assert_eq!(encode(&[0, 0x0a, 0xf0, 255]), "000af0ff");
        assert_eq!(encode(&[]), "");
        assert_eq!(decode("000af0ff"), Some([0, 0x0a, 0xf0, 255]));
        for wrong in ["", "000af0f", "000af0ff0", "000af0f ", "+00af0ff", "000AF0FF", "000af0fé"] {
            assert_eq!(decode::<4>(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_digest_is_the_known_one() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
