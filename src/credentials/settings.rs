//! What the authenticator must be told, and what makes such settings unusable.

use std::{fmt, path::PathBuf, time::Duration};

use http::{HeaderName, header};

use super::{NoRandomness, jwt::Algorithm};

/// What the authenticator must be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The header that carries an API key.
    pub api_key_header: HeaderName,
    /// Whose tokens are accepted. Without any, a Bearer token that is not a key is no credential.
    pub issuers: Vec<IssuerSettings>,
    /// How many verified keys, and how many verified tokens, are kept in memory.
    pub cached: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { api_key_header: HeaderName::from_static("x-api-key"), issuers: Vec::new(), cached: 1_000_000 }
    }
}

/// An issuer of tokens.
#[derive(Debug, Clone)]
pub struct IssuerSettings {
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be or hold.
    pub audience: String,
    /// The algorithms that its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys are.
    pub keys: TokenKeys,
    /// The claim that names the tenant: a member's name or, where there is no such member, a path of names with dots.
    pub tenant_claim: String,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// The cookie that its tokens are taken from, besides `Authorization: Bearer`.
    pub cookie: Option<String>,
}

/// Where an issuer's keys are.
#[derive(Clone)]
pub enum TokenKeys {
    /// A JWK set in a file, read again when it changes.
    JwksFile(PathBuf),
    /// A JWK set behind an `https` or `http` URL, fetched again every few minutes.
    JwksUrl(String),
    /// A secret shared with the issuer, at least 32 bytes, for [`Algorithm::Hs256`] alone.
    Hs256Secret(Vec<u8>),
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JwksFile(path) => f.debug_tuple("JwksFile").field(path).finish(),
            Self::JwksUrl(url) => f.debug_tuple("JwksUrl").field(url).finish(),
            Self::Hs256Secret(_) => f.write_str("Hs256Secret(..)"),
        }
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The header means something else.
    #[error("`{0}` cannot carry API keys: expected a header of its own, such as `x-api-key`")]
    HeaderTaken(HeaderName),
    /// A text that must not be empty is.
    #[error("issuer `{issuer}`: `{field}` is empty: expected a text")]
    Empty {
        /// The issuer.
        issuer: String,
        /// Which text.
        field: &'static str,
    },
    /// Two entries for one issuer.
    #[error("issuer `{0}` is given twice: expected one entry")]
    IssuerTwice(String),
    /// An algorithm that the issuer's keys cannot be used with.
    #[error("issuer `{issuer}`: algorithm `{algorithm}` does not go with {keys}")]
    AlgorithmUnfit {
        /// The issuer.
        issuer: String,
        /// The algorithm.
        algorithm: Algorithm,
        /// What kind of keys the issuer has.
        keys: &'static str,
    },
    /// The secret can be guessed.
    #[error("issuer `{issuer}`: the secret has {bytes} bytes, expected at least 32")]
    SecretShort {
        /// The issuer.
        issuer: String,
        /// Its length.
        bytes: usize,
    },
    /// Not a cookie's name.
    #[error(
        "issuer `{issuer}`: `{name}` is not a cookie's name: expected letters, digits and signs such as `_` and `-`"
    )]
    CookieName {
        /// The issuer.
        issuer: String,
        /// The name.
        name: String,
    },
    /// Not a URL that keys can be fetched from.
    #[error("issuer `{issuer}`: `{url}` is not usable as a URL of keys: {reason}")]
    Url {
        /// The issuer.
        issuer: String,
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file of keys cannot be used.
    #[error("issuer `{issuer}`: `{path}`: expected a file with a JWK set: {reason}")]
    File {
        /// The issuer.
        issuer: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Credentials cannot be remembered safely.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// Encrypted connections cannot be made.
    #[error("encrypted connections cannot be made: {0}")]
    Tls(String),
}

/// Headers whose meaning would be lost if they carried keys.
const TAKEN: [HeaderName; 10] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::EXPECT,
];

impl Settings {
    /// Checks everything that needs neither a file nor the network.
    ///
    /// # Errors
    /// [`SettingsError`] names the setting and what was expected.
    pub fn check(&self) -> Result<(), SettingsError> {
        if TAKEN.contains(&self.api_key_header) {
            return Err(SettingsError::HeaderTaken(self.api_key_header.clone()));
        }
        for (place, settings) in self.issuers.iter().enumerate() {
            settings.check()?;
            if self.issuers[..place].iter().any(|other| other.issuer == settings.issuer) {
                return Err(SettingsError::IssuerTwice(settings.issuer.clone()));
            }
        }
        Ok(())
    }
}

impl IssuerSettings {
    fn check(&self) -> Result<(), SettingsError> {
        let issuer = || self.issuer.clone();
        let texts = [
            ("issuer", self.issuer.is_empty()),
            ("audience", self.audience.is_empty()),
            ("tenant_claim", self.tenant_claim.is_empty()),
            ("algorithms", self.algorithms.is_empty()),
        ];
        if let Some((field, _)) = texts.into_iter().find(|(_, empty)| *empty) {
            return Err(SettingsError::Empty { issuer: issuer(), field });
        }
        let (symmetric, keys) = match &self.keys {
            TokenKeys::Hs256Secret(secret) if secret.len() < 32 => {
                return Err(SettingsError::SecretShort { issuer: issuer(), bytes: secret.len() });
            }
            TokenKeys::Hs256Secret(_) => (true, "a shared secret"),
            TokenKeys::JwksFile(_) | TokenKeys::JwksUrl(_) => (false, "public keys"),
        };
        if let Some(&algorithm) =
            self.algorithms.iter().find(|algorithm| (**algorithm == Algorithm::Hs256) != symmetric)
        {
            return Err(SettingsError::AlgorithmUnfit { issuer: issuer(), algorithm, keys });
        }
        match &self.cookie {
            Some(name) if !is_token(name) => {
                Err(SettingsError::CookieName { issuer: issuer(), name: name.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// RFC 9110's `token`, of which cookie names are made.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
