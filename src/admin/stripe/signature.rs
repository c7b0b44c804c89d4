//! Whether Stripe has sent a request: the signature over its raw body, by one of the secrets, not long ago.

use aws_lc_rs::hmac;
use http::HeaderMap;

use crate::domain::time::UnixMillis;

const HEADER: &str = "stripe-signature";
const LONGEST_HEADER: usize = 4096;
/// A header has one for each secret that Stripe has for the endpoint: two while one is rotated.
const MOST_SIGNATURES: usize = 16;
/// How far the signature's time and now may differ.
const TOLERANCE_SECONDS: i64 = 300;

/// Why a request is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsigned {
    #[error("there is no `Stripe-Signature` header")]
    Missing,
    #[error(
        "`Stripe-Signature`: expected one header with `t=` and a time, and `v1=` and 64 hexadecimal digits"
    )]
    Malformed,
    #[error(
        "no signature is of a secret of this endpoint and of this very body: are `stripe.webhook_secrets` those of the endpoint in Stripe, and does nothing on the way rewrite bodies?"
    )]
    Wrong,
    #[error(
        "the signature was made {0} s ago: expected at most {TOLERANCE_SECONDS} s; is this machine's clock right?"
    )]
    Late(i64),
    #[error(
        "the signature's time is {0} s ahead: expected at most {TOLERANCE_SECONDS} s; is this machine's clock right?"
    )]
    Ahead(i64),
}

/// What the header says.
struct Given<'h> {
    /// As it was signed.
    time: &'h str,
    seconds: i64,
    signatures: Vec<[u8; 32]>,
}

fn given(headers: &HeaderMap) -> Result<Given<'_>, Unsigned> {
    let mut values = headers.get_all(HEADER).iter();
    let value = values.next().ok_or(Unsigned::Missing)?;
    let text = value.to_str().ok().filter(|text| text.len() <= LONGEST_HEADER).ok_or(Unsigned::Malformed)?;
    if values.next().is_some() {
        return Err(Unsigned::Malformed);
    }
    let (mut time, mut signatures) = (None, Vec::new());
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("t", _)) if time.is_some() => return Err(Unsigned::Malformed),
            Some(("t", value)) => time = Some(value),
            Some(("v1", _)) if signatures.len() == MOST_SIGNATURES => return Err(Unsigned::Malformed),
            // One that is no signature is none of this body; another may be.
            Some(("v1", value)) => signatures.extend(digest(value)),
            // Signatures of other schemes are not believed, as they may be weaker.
            _ => {}
        }
    }
    // Of several ways to write a number one is believed, as it is not the number that is signed but the digits.
    let written = |time: &&str| {
        (1..=12).contains(&time.len()) && !time.starts_with('0') && time.bytes().all(|b| b.is_ascii_digit())
    };
    let time = time.filter(written);
    let time = time.ok_or(Unsigned::Malformed)?;
    let seconds = time.parse().map_err(|_| Unsigned::Malformed)?;
    if signatures.is_empty() { Err(Unsigned::Malformed) } else { Ok(Given { time, seconds, signatures }) }
}

/// The bytes of 64 hexadecimal digits, as Stripe writes them.
fn digest(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
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

/// Believes a request whose body is signed with one of the secrets, and was not long ago. Whatever the signatures are, all
/// are compared, each in a time that does not depend on what is in it.
pub(super) fn verify(
    headers: &HeaderMap,
    body: &[u8],
    secrets: &[String],
    now: UnixMillis,
) -> Result<(), Unsigned> {
    let Given { time, seconds, signatures } = given(headers)?;
    let mut signed = Vec::with_capacity(time.len() + 1 + body.len());
    signed.extend_from_slice(time.as_bytes());
    signed.push(b'.');
    signed.extend_from_slice(body);
    let mut genuine = false;
    for secret in secrets.iter().filter(|secret| !secret.trim().is_empty()) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, &signed);
        for signature in &signatures {
            genuine |= aws_lc_rs::constant_time::verify_slices_are_equal(tag.as_ref(), signature).is_ok();
        }
    }
    if !genuine {
        return Err(Unsigned::Wrong);
    }
    let age = now.0.div_euclid(1000).saturating_sub(seconds);
    if age > TOLERANCE_SECONDS {
        return Err(Unsigned::Late(age));
    }
    if age < -TOLERANCE_SECONDS { Err(Unsigned::Ahead(-age)) } else { Ok(()) }
}

/// The header's value for a body, as Stripe makes it.
#[cfg(test)]
pub(super) fn sign(seconds: i64, body: &[u8], secrets: &[&str]) -> String {
    let mut header = format!("t={seconds}");
    for secret in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, &[format!("{seconds}.").as_bytes(), body].concat());
        let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        header.push_str(&format!(",v1={digits}"));
    }
    header
}
