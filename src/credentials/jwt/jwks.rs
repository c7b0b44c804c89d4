//! A set of public keys (RFC 7517): what can be used of it is, the rest is skipped and said so.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::{Algorithm, algorithm::KeyKind};

/// Keys of one set that are looked at.
const KEYS: usize = 256;

/// Keys of one set that a single token is tried with.
const TRIES: usize = 4;

/// A key, and what it may be used for.
pub(super) struct VerificationKey {
    kid: Option<String>,
    kind: KeyKind,
    /// Its owner restricts it to this algorithm.
    only: Option<Algorithm>,
    key: DecodingKey,
}

/// The keys of an issuer.
#[derive(Default)]
pub(super) struct KeySet {
    keys: Vec<VerificationKey>,
}

/// A key that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Skipped {
    /// Its place in the set, from 0.
    pub(super) place: usize,
    /// Why.
    pub(super) reason: &'static str,
}

/// The document is no set of keys at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON object with an array `keys`")]
pub(super) struct NotAKeySet;

impl VerificationKey {
    /// A secret shared with the issuer.
    pub(super) fn secret(bytes: &[u8]) -> Self {
        Self { kid: None, kind: KeyKind::Secret, only: None, key: DecodingKey::from_secret(bytes) }
    }

    /// Whether the key may be used with `algorithm` at all.
    fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind == algorithm.kind() && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether `signature` is that of `signed`, by `algorithm` and this key.
    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &str, signature: &str) -> bool {
        self.fits(algorithm)
            && jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.key, algorithm.backend())
                .unwrap_or(false)
    }
}

impl KeySet {
    /// Whether any key, or the one named, verifies. `None`: there is no such key here.
    pub(super) fn verify(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        signed: &str,
        signature: &str,
    ) -> Option<bool> {
        let mut named = self.keys.iter().filter(|key| kid.is_none() || key.kid.as_deref() == kid).peekable();
        named.peek()?;
        let fitting: Vec<_> = named.filter(|key| key.fits(algorithm)).take(TRIES + 1).collect();
        // A token that names no key and could be meant for many is not worth the work.
        let tried = fitting.len() <= TRIES;
        Some(tried && fitting.iter().any(|key| key.verifies(algorithm, signed, signature)))
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn parse(document: &[u8]) -> Result<(Self, Vec<Skipped>), NotAKeySet> {
        let document: Value = serde_json::from_slice(document).map_err(|_| NotAKeySet)?;
        let entries = document.get("keys").and_then(Value::as_array).ok_or(NotAKeySet)?;
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for (place, entry) in entries.iter().enumerate() {
            if place == KEYS {
                skipped.push(Skipped { place, reason: "the set has more keys than are looked at" });
                break;
            }
            match entry.as_object().ok_or("it is not an object").and_then(key) {
                Ok(key) => keys.push(key),
                Err(reason) => skipped.push(Skipped { place, reason }),
            }
        }
        Ok((Self { keys }, skipped))
    }
}

fn key(members: &Map<String, Value>) -> Result<VerificationKey, &'static str> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    if members.get("use").is_some_and(|used| used != "sig") {
        return Err("it is not for signatures");
    }
    if let Some(operations) = members.get("key_ops") {
        let verifies = operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"));
        if !verifies {
            return Err("it is not for verifying");
        }
    }
    let (kind, key) = match text("kty") {
        Some("RSA") => (KeyKind::Rsa, rsa(members)?),
        Some("EC") => elliptic(members, text("crv"))?,
        Some("OKP") if text("crv") == Some("Ed25519") => {
            (KeyKind::Ed25519, DecodingKey::from_ed_der(&bytes(members, "x", Some(32))?))
        }
        Some("oct") => return Err("it is a shared secret"),
        _ => return Err("its type is not supported"),
    };
    let only = match members.get("alg") {
        None => None,
        Some(Value::String(name)) => {
            Some(name.parse::<Algorithm>().map_err(|_| "its algorithm is not supported")?)
        }
        Some(_) => return Err("its algorithm is not a string"),
    };
    if only.is_some_and(|only| only.kind() != kind) {
        return Err("its algorithm does not go with its type");
    }
    let kid = match members.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return Err("its `kid` is not a string"),
    };
    Ok(VerificationKey { kid, kind, only, key })
}

fn bytes(members: &Map<String, Value>, name: &str, length: Option<usize>) -> Result<Vec<u8>, &'static str> {
    let text = members.get(name).and_then(Value::as_str).ok_or("a number of the key is missing")?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| "a number of the key is not base64url")?;
    if length.is_some_and(|length| length != bytes.len()) {
        return Err("a number of the key has the wrong length");
    }
    Ok(bytes)
}

fn elliptic(
    members: &Map<String, Value>,
    curve: Option<&str>,
) -> Result<(KeyKind, DecodingKey), &'static str> {
    let (kind, length) = match curve {
        Some("P-256") => (KeyKind::P256, 32),
        Some("P-384") => (KeyKind::P384, 48),
        _ => return Err("its curve is not supported"),
    };
    // The uncompressed form of SEC 1; that the point lies on the curve is checked when it is used.
    let mut point = vec![4];
    point.extend(bytes(members, "x", Some(length))?);
    point.extend(bytes(members, "y", Some(length))?);
    Ok((kind, DecodingKey::from_ec_der(&point)))
}

fn rsa(members: &Map<String, Value>) -> Result<DecodingKey, &'static str> {
    let unsigned = |name| {
        let bytes = bytes(members, name, None)?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Ok::<_, &'static str>(bytes[zeros..].to_vec())
    };
    let (modulus, exponent) = (unsigned("n")?, unsigned("e")?);
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err("an RSA key has 2048 to 8192 bits");
    }
    // With an exponent of 1 everything would be its own signature.
    let odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
    if !odd || exponent == [1] || exponent.len() > 4 {
        return Err("its exponent is not usable");
    }
    Ok(DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(keys: Value) -> (usize, Vec<&'static str>) {
        let document = json!({ "keys": keys }).to_string();
        let (set, skipped) = KeySet::parse(document.as_bytes()).unwrap();
        (set.len(), skipped.into_iter().map(|skipped| skipped.reason).collect())
    }

    fn b64(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn rsa(bits: usize, exponent: &[u8]) -> Value {
        let mut modulus = vec![0xff; bits / 8];
        modulus.insert(0, 0);
        json!({ "kty": "RSA", "n": b64(&modulus), "e": b64(exponent) })
    }

    #[test]
    fn what_is_usable_is_used_and_the_rest_skipped() {
        let ed = json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(&[1; 32]), "kid": "a", "use": "sig", "alg": "EdDSA" });
        let p256 = json!({ "kty": "EC", "crv": "P-256", "x": b64(&[1; 32]), "y": b64(&[1; 32]), "key_ops": ["verify"] });
        let p384 = json!({ "kty": "EC", "crv": "P-384", "x": b64(&[1; 48]), "y": b64(&[1; 48]) });
        let (usable, skipped) = parse(json!([ed, 7, { "kty": "future" }, p256, p384, rsa(2048, &[1, 0, 1])]));
        assert_eq!(usable, 4);
        assert_eq!(skipped, ["it is not an object", "its type is not supported"]);
    }

    #[test]
    fn unusable_keys_name_their_fault() {
        let with = |name: &str, value: Value| {
            let mut key = json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(&[1; 32]) });
            key[name] = value;
            key
        };
        for (key, reason) in [
            (json!({ "kty": "oct", "k": b64(&[1; 32]) }), "it is a shared secret"),
            (json!({ "kty": "oct", "k": b64(&[1; 32]), "alg": "HS256" }), "it is a shared secret"),
            (json!({}), "its type is not supported"),
            (with("crv", json!("Ed448")), "its type is not supported"),
            (with("use", json!("enc")), "it is not for signatures"),
            (with("key_ops", json!(["encrypt"])), "it is not for verifying"),
            (with("x", json!("!")), "a number of the key is not base64url"),
            (with("x", json!(b64(&[1; 31]))), "a number of the key has the wrong length"),
            (with("x", Value::Null), "a number of the key is missing"),
            (with("alg", json!("ES256")), "its algorithm does not go with its type"),
            (with("alg", json!("HS256")), "its algorithm does not go with its type"),
            (with("alg", json!("none")), "its algorithm is not supported"),
            (with("alg", json!(1)), "its algorithm is not a string"),
            (with("kid", json!(1)), "its `kid` is not a string"),
            (json!({ "kty": "EC", "crv": "secp256k1" }), "its curve is not supported"),
            (rsa(1024, &[1, 0, 1]), "an RSA key has 2048 to 8192 bits"),
            (rsa(2040, &[1, 0, 1]), "an RSA key has 2048 to 8192 bits"),
            (rsa(16384, &[1, 0, 1]), "an RSA key has 2048 to 8192 bits"),
            (rsa(2048, &[1]), "its exponent is not usable"),
            (rsa(2048, &[0, 1]), "its exponent is not usable"),
            (rsa(2048, &[]), "its exponent is not usable"),
            (rsa(2048, &[4]), "its exponent is not usable"),
            (rsa(2048, &[1, 1, 1, 1, 1]), "its exponent is not usable"),
        ] {
            assert_eq!(parse(json!([key])), (0, vec![reason]), "{key}");
        }
    }

    #[test]
    fn a_set_is_an_object_with_keys() {
        for document in ["", "[]", "{}", "{\"keys\":{}}", "<html>", "null"] {
            assert!(KeySet::parse(document.as_bytes()).is_err(), "{document}");
        }
        assert_eq!(parse(json!([])), (0, vec![]));
    }

    #[test]
    fn a_set_is_bounded() {
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(&[1; 32]) });
        let (usable, skipped) = parse(Value::Array(vec![key; 1000]));
        assert_eq!((usable, skipped.len()), (256, 1));
    }

    #[test]
    fn a_key_on_no_curve_verifies_nothing_and_does_not_panic() {
        let p256 =
            json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": b64(&[9; 32]), "y": b64(&[9; 32]) }] });
        let (set, _) = KeySet::parse(p256.to_string().as_bytes()).unwrap();
        assert_eq!(set.verify(None, Algorithm::Es256, "a.b", &b64(&[1; 64])), Some(false));
        assert_eq!(set.verify(None, Algorithm::Es256, "a.b", "not base64!"), Some(false));
    }
}
