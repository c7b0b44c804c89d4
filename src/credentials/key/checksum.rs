//! The checksum at the end of a key, by which a mistyped or invented one is refused without a look-up.
//!
//! CRC-32 (the IEEE polynomial, reflected): it finds every change within four neighbouring characters. It guards against
//! accidents and careless guesses, not against forgery: that is what the random part is for.

/// Digits of keys and checksums: letters of both cases and digits, so that a double click selects a whole key.
pub(super) const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// How many characters a checksum has: 62^6 > 2^32.
pub(super) const LENGTH: usize = 6;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0u32; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "below 256")]
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            remainder = if remainder & 1 == 1 { (remainder >> 1) ^ 0xEDB8_8320 } else { remainder >> 1 };
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8))
}

/// The checksum of `bytes`, in the digits of [`ALPHABET`].
pub(super) fn of(bytes: &[u8]) -> [u8; LENGTH] {
    let mut rest = crc32(bytes);
    let mut digits = [ALPHABET[0]; LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn a_checksum_is_never_cut() {
        assert!(62u64.pow(6) > u64::from(u32::MAX));
        assert_eq!(&of(b""), b"000000");
    }
}
