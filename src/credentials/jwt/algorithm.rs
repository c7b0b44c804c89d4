//! The signature algorithms that an issuer can be pinned to, and which keys each goes with.

use std::{fmt, str::FromStr};

/// A signature algorithm. There is no `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256 and a shared secret.
    Hs256,
    /// ECDSA on P-256.
    Es256,
    /// ECDSA on P-384.
    Es384,
    /// RSA PKCS#1 with SHA-256.
    Rs256,
    /// RSA PKCS#1 with SHA-384.
    Rs384,
    /// RSA PKCS#1 with SHA-512.
    Rs512,
    /// RSA-PSS with SHA-256.
    Ps256,
    /// RSA-PSS with SHA-384.
    Ps384,
    /// RSA-PSS with SHA-512.
    Ps512,
    /// Ed25519.
    EdDsa,
}

/// Not an algorithm that Plangate verifies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a known algorithm: expected one of {list}", list = Algorithm::names())]
pub struct UnknownAlgorithm(pub String);

/// What kind of key an algorithm needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    Secret,
    P256,
    P384,
    Rsa,
    Ed25519,
}

const ALL: [(Algorithm, &str, KeyKind, jsonwebtoken::Algorithm); 10] = {
    use Algorithm as A;
    use jsonwebtoken::Algorithm as J;
    [
        (A::EdDsa, "EdDSA", KeyKind::Ed25519, J::EdDSA),
        (A::Es256, "ES256", KeyKind::P256, J::ES256),
        (A::Es384, "ES384", KeyKind::P384, J::ES384),
        (A::Rs256, "RS256", KeyKind::Rsa, J::RS256),
        (A::Rs384, "RS384", KeyKind::Rsa, J::RS384),
        (A::Rs512, "RS512", KeyKind::Rsa, J::RS512),
        (A::Ps256, "PS256", KeyKind::Rsa, J::PS256),
        (A::Ps384, "PS384", KeyKind::Rsa, J::PS384),
        (A::Ps512, "PS512", KeyKind::Rsa, J::PS512),
        (A::Hs256, "HS256", KeyKind::Secret, J::HS256),
    ]
};

impl Algorithm {
    /// All names, for people.
    #[must_use]
    pub fn names() -> String {
        ALL.map(|row| row.1).join(", ")
    }

    fn row(self) -> (&'static str, KeyKind, jsonwebtoken::Algorithm) {
        let found = ALL.iter().find(|row| row.0 == self);
        found.map_or(("HS256", KeyKind::Secret, jsonwebtoken::Algorithm::HS256), |row| (row.1, row.2, row.3))
    }

    /// The name that tokens use.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    pub(super) fn kind(self) -> KeyKind {
        self.row().1
    }

    pub(super) fn backend(self) -> jsonwebtoken::Algorithm {
        self.row().2
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        let found = ALL.iter().find(|row| row.1 == text);
        found.map(|row| row.0).ok_or_else(|| UnknownAlgorithm(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for (algorithm, name, kind, backend) in ALL {
            assert_eq!(name.parse(), Ok(algorithm));
            assert_eq!(algorithm.to_string(), name);
            assert_eq!(algorithm.kind(), kind);
            assert_eq!(algorithm.backend(), backend);
            assert_eq!(format!("{backend:?}"), name);
        }
    }

    #[test]
    fn none_and_other_spellings_are_unknown() {
        for name in ["none", "None", "", "eddsa", "hs256", "HS512", "RS1"] {
            assert!(name.parse::<Algorithm>().is_err(), "{name}");
        }
        let error = "none".parse::<Algorithm>().unwrap_err().to_string();
        assert!(
            error.starts_with("`none` is not a known algorithm: expected one of EdDSA, ES256"),
            "{error}"
        );
    }
}
