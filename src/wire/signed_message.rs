//! Messages signed as Standard Webhooks says: made for endpoints, and verified as their owners do.

use std::fmt;

use aws_lc_rs::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::hex;

/// The header of a message's id.
pub const ID: &str = "webhook-id";
/// The header of the instant at which it was sent, in seconds since 1970.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header of its signatures.
pub const SIGNATURE: &str = "webhook-signature";
/// How far the time of a message may be from that of whoever verifies it.
pub const TOLERANCE_SECONDS: i64 = 300;

const PREFIX: &str = "whsec_";
const LEAST: usize = 24;
const MOST: usize = 64;
/// Bytes of a secret that is made here.
const MADE: usize = 32;
/// Signatures of one message that are looked at.
const MOST_SIGNATURES: usize = 20;

/// What is expected of a secret.
pub const EXPECTED: &str = "expected `whsec_` and 24 to 64 bytes in base64";

/// Not a secret. It does not repeat what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{EXPECTED}")]
pub struct InvalidSecret;

/// The system has no randomness to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's source of randomness failed")]
pub struct NoRandomness;

/// A key that messages are signed with.
pub struct SigningKey(hmac::Key);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// A new secret.
///
/// # Errors
/// [`NoRandomness`].
pub fn new_secret() -> Result<String, NoRandomness> {
    Ok(format!("{PREFIX}{}", BASE64.encode(random::<MADE>()?)))
}

/// A new id that begins with `prefix`: 96 random bits.
///
/// # Errors
/// [`NoRandomness`].
pub fn new_id(prefix: &str) -> Result<String, NoRandomness> {
    Ok(format!("{prefix}{}", hex::encode(&random::<12>()?)))
}

fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

impl SigningKey {
    /// The key of a secret.
    ///
    /// # Errors
    /// [`InvalidSecret`].
    pub fn parse(secret: &str) -> Result<Self, InvalidSecret> {
        let encoded = secret.strip_prefix(PREFIX).ok_or(InvalidSecret)?;
        let bytes = BASE64.decode(encoded).map_err(|_| InvalidSecret)?;
        if !(LEAST..=MOST).contains(&bytes.len()) {
            return Err(InvalidSecret);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// One signature, as the header holds it.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        format!("v1,{}", BASE64.encode(hmac::sign(&self.0, &content(id, &timestamp.to_string(), body))))
    }
}

fn content(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(id.len() + timestamp.len() + body.len() + 2);
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        content.extend_from_slice(part);
    }
    content
}

/// The value of the header: a signature with each key.
#[must_use]
pub fn signatures(keys: &[SigningKey], id: &str, timestamp: i64, body: &[u8]) -> String {
    let each: Vec<String> = keys.iter().map(|key| key.sign(id, timestamp, body)).collect();
    each.join(" ")
}

/// The headers of a message that is sent now, in seconds. A secret that is none signs nothing.
#[must_use]
pub fn headers<'a>(
    secrets: impl IntoIterator<Item = &'a str>,
    id: &str,
    now: i64,
    body: &[u8],
) -> Vec<(&'static str, String)> {
    let keys: Vec<SigningKey> =
        secrets.into_iter().filter_map(|secret| SigningKey::parse(secret).ok()).collect();
    vec![
        ("content-type", "application/json".to_owned()),
        (ID, id.to_owned()),
        (TIMESTAMP, now.to_string()),
        (SIGNATURE, signatures(&keys, id, now, body)),
    ]
}

/// Why a message is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotVerified {
    /// A header is missing, or there are several.
    #[error("expected one header `{0}`")]
    Header(&'static str),
    /// The time cannot be read.
    #[error("`{TIMESTAMP}` is no number of seconds")]
    Timestamp,
    /// It was sent too long ago, or is from the future.
    #[error("it was sent {0} s from now, more than {TOLERANCE_SECONDS} s")]
    OtherTime(i64),
    /// None of the signatures is by this secret over this body.
    #[error("no signature is by this secret over this body: was the body changed, or is it another secret?")]
    Signature,
}

/// Checks a message's headers and body at the time `now`, in seconds.
///
/// # Errors
/// [`NotVerified`].
pub fn verify(
    key: &SigningKey,
    (id, timestamp, given): (&str, &str, &str),
    body: &[u8],
    now: i64,
) -> Result<(), NotVerified> {
    let sent: i64 = timestamp.parse().map_err(|_| NotVerified::Timestamp)?;
    let away = sent.saturating_sub(now);
    if away.saturating_abs() > TOLERANCE_SECONDS {
        return Err(NotVerified::OtherTime(away));
    }
    let content = content(id, timestamp, body);
    let fits = |one: &str| {
        let encoded = one.strip_prefix("v1,")?;
        let signature = BASE64.decode(encoded).ok()?;
        // In constant time.
        hmac::verify(&key.0, &content, &signature).ok()
    };
    let mut each = given.split(' ').take(MOST_SIGNATURES);
    each.find_map(fits).ok_or(NotVerified::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example that libraries of the specification test themselves with.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const MESSAGE: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SENT: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const EXPECTED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_example_of_the_specification() {
        let key = SigningKey::parse(SECRET).unwrap();
        assert_eq!(key.sign(MESSAGE, SENT, BODY), EXPECTED);
        let sent = SENT.to_string();
        let verify = |signature: &str, body: &[u8], now| verify(&key, (MESSAGE, &sent, signature), body, now);
        assert_eq!(verify(EXPECTED, BODY, SENT), Ok(()));
        assert_eq!(verify(EXPECTED, BODY, SENT + 300), Ok(()));
        assert_eq!(verify(EXPECTED, BODY, SENT - 300), Ok(()));
        assert_eq!(verify(EXPECTED, BODY, SENT + 301), Err(NotVerified::OtherTime(-301)));
        assert_eq!(verify(EXPECTED, BODY, SENT - 301), Err(NotVerified::OtherTime(301)));
        assert_eq!(verify(EXPECTED, br#"{"test":2432232314}"#, SENT), Err(NotVerified::Signature));
        assert_eq!(verify(&format!("v1,AAAA v2,x {EXPECTED}"), BODY, SENT), Ok(()));
        for wrong in ["", "v1", "v1,", "v1,?", &EXPECTED[3..], &EXPECTED[..EXPECTED.len() - 2]] {
            assert_eq!(verify(wrong, BODY, SENT), Err(NotVerified::Signature), "{wrong}");
        }
    }

    #[test]
    fn one_signature_for_each_secret() {
        let keys = [SECRET, &new_secret().unwrap()].map(|secret| SigningKey::parse(secret).unwrap());
        let both = signatures(&keys, MESSAGE, SENT, BODY);
        assert_eq!(both.split(' ').count(), 2);
        for key in &keys {
            assert_eq!(verify(key, (MESSAGE, &SENT.to_string(), &both), BODY, SENT), Ok(()));
        }
        let other = SigningKey::parse(&new_secret().unwrap()).unwrap();
        let refused = verify(&other, (MESSAGE, &SENT.to_string(), &both), BODY, SENT);
        assert_eq!(refused, Err(NotVerified::Signature));
    }

    #[test]
    fn secrets() {
        let of = |bytes: usize| format!("{PREFIX}{}", BASE64.encode(vec![7; bytes]));
        for good in [24, 32, 64] {
            assert!(SigningKey::parse(&of(good)).is_ok());
        }
        for bad in [of(23), of(65), of(32).replace(PREFIX, ""), format!("{PREFIX}***"), String::new()] {
            assert!(SigningKey::parse(&bad).is_err(), "{bad}");
        }
        assert_ne!(new_secret().unwrap(), new_secret().unwrap());
        assert_eq!(new_id("wh_").unwrap().len(), 27);
    }
}
