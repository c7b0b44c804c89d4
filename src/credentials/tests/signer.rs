//! An issuer's side: keys, and tokens signed with them, also ones that no library would make.

use std::sync::OnceLock;

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair, RsaPublicKeyComponents},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A signing key.
pub(super) enum Signer {
    Ed(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
    Rsa(&'static RsaKeyPair),
    Hs(Vec<u8>),
}

pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    pub(super) fn ed() -> Self {
        Self::Ed(Ed25519KeyPair::generate().unwrap())
    }

    pub(super) fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// One key for all tests: making one takes long.
    pub(super) fn rsa() -> Self {
        static KEY: OnceLock<RsaKeyPair> = OnceLock::new();
        Self::Rsa(KEY.get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    pub(super) fn alg(&self) -> &'static str {
        match self {
            Self::Ed(_) => "EdDSA",
            Self::Ec(_) => "ES256",
            Self::Rsa(_) => "RS256",
            Self::Hs(_) => "HS256",
        }
    }

    pub(super) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Ed(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(key.public_key()) })
            }
            Self::Ec(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": b64(x), "y": b64(y) })
            }
            Self::Rsa(key) => {
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
                json!({ "kty": "RSA", "kid": kid, "n": b64(parts.n), "e": b64(parts.e) })
            }
            Self::Hs(secret) => json!({ "kty": "oct", "kid": kid, "k": b64(secret) }),
        }
    }

    /// The public key as an attacker would take it for a shared secret.
    pub(super) fn public_bytes(&self) -> Vec<u8> {
        match self {
            Self::Ed(key) => key.public_key().as_ref().to_vec(),
            Self::Ec(key) => key.public_key().as_ref().to_vec(),
            Self::Rsa(key) => key.public_key().as_ref().to_vec(),
            Self::Hs(secret) => secret.clone(),
        }
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        let (text, random) = (text.as_bytes(), SystemRandom::new());
        match self {
            Self::Ed(key) => key.sign(text).as_ref().to_vec(),
            Self::Ec(key) => key.sign(&random, text).unwrap().as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &random, text, &mut signature).unwrap();
                signature
            }
            Self::Hs(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text).as_ref().to_vec()
            }
        }
    }

    /// A token of exactly these texts.
    pub(super) fn raw(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(claims));
        let signature = b64(self.sign(&signed));
        format!("{signed}.{signature}")
    }

    /// A token with a usual header.
    pub(super) fn token(&self, kid: &str, claims: &Value) -> String {
        self.raw(&json!({ "alg": self.alg(), "kid": kid, "typ": "JWT" }).to_string(), &claims.to_string())
    }
}

/// A document of keys.
pub(super) fn key_set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}
