//! Credentials in numbers: API keys made from a tenant's number, and tokens of an issuer of the bench's own.

use std::io::Write as _;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

/// An imported key, as long as one of ours, that nobody needs to keep: it is made from the number.
pub fn api_key(number: u32) -> String {
    format!("bench-{number:08}-Zq3vXc7RtY1mWk9LpD5sHj2B")
}

/// Signs tokens with Ed25519.
pub struct Issuer {
    signer: Ed25519KeyPair,
    /// Its public key, as a JWK set.
    pub key_set: tempfile::NamedTempFile,
}

impl Issuer {
    pub const NAME: &str = "https://id.example.com";
    pub const AUDIENCE: &str = "plangate";

    pub fn new() -> Self {
        let signer = Ed25519KeyPair::generate().unwrap();
        let x = URL_SAFE_NO_PAD.encode(signer.public_key());
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": x }] });
        let mut key_set = tempfile::NamedTempFile::new().unwrap();
        write!(key_set, "{keys}").unwrap();
        Self { signer, key_set }
    }

    /// A token of usual size (about 380 bytes).
    pub fn token(&self, tenant: &str) -> String {
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": "k1" });
        let claims = json!({
            "iss": Self::NAME, "aud": Self::AUDIENCE, "exp": 4_102_444_800_u64, "iat": 1_700_000_000,
            "sub": "0192f0c1-7f1e-7d3a-9b1e-2f3c4d5e6f70", "tenant": tenant, "scope": "read write",
        });
        let parts = [header.to_string(), claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
        let signed = parts.join(".");
        let signature = URL_SAFE_NO_PAD.encode(self.signer.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}
