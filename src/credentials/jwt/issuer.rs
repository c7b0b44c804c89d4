//! An issuer of tokens as it is used: its settings, checked, and its keys.

use std::{sync::Arc, time::Duration};

use super::{
    Algorithm, Refusal,
    claims::{Claims, Validity},
    fetch::{self, Fetcher},
    header::Header,
    jwks::VerificationKey,
    published::{Generation, Published, Timing},
    source::KeySource,
};
use crate::{
    credentials::{
        presented::{Channel, Presentation},
        settings::{IssuerSettings, SettingsError, TokenKeys},
    },
    domain::id::TenantId,
    tls,
};

/// An issuer of tokens.
pub(super) struct Issuer {
    name: String,
    audience: String,
    algorithms: Vec<Algorithm>,
    tenant_claim: String,
    leeway: Duration,
    cookie: Option<usize>,
    pub(super) keys: KeySource,
}

/// Makes issuers of settings.
pub(super) struct IssuerBuilder<'a> {
    pub(super) generation: &'a Arc<Generation>,
    pub(super) timing: Timing,
    fetcher: Option<Arc<Fetcher>>,
}

impl<'a> IssuerBuilder<'a> {
    pub(super) fn new(generation: &'a Arc<Generation>, timing: Timing) -> Self {
        Self { generation, timing, fetcher: None }
    }

    pub(super) fn build(
        &mut self,
        settings: &IssuerSettings,
        presentation: &mut Presentation,
    ) -> Result<Issuer, SettingsError> {
        Ok(Issuer {
            name: settings.issuer.clone(),
            audience: settings.audience.clone(),
            algorithms: settings.algorithms.clone(),
            tenant_claim: settings.tenant_claim.clone(),
            leeway: settings.leeway,
            cookie: settings.cookie.as_deref().map(|name| presentation.cookie(name)),
            keys: self.keys(settings)?,
        })
    }

    fn keys(&mut self, settings: &IssuerSettings) -> Result<KeySource, SettingsError> {
        let issuer = &settings.issuer;
        let published = match &settings.keys {
            TokenKeys::Hs256Secret(secret) => {
                return Ok(KeySource::Secret(VerificationKey::secret(secret)));
            }
            TokenKeys::JwksFile(path) => {
                let error = |reason: String| SettingsError::File {
                    issuer: issuer.clone(),
                    path: path.clone(),
                    reason,
                };
                let keys = Published::file(issuer, path, self.generation, self.timing)
                    .map_err(|reason| error(reason.to_string()))?;
                if keys.usable() == 0 {
                    return Err(error("it has no usable key".to_owned()));
                }
                keys
            }
            TokenKeys::JwksUrl(text) => {
                let url = fetch::parse_url(text).map_err(|reason| SettingsError::Url {
                    issuer: issuer.clone(),
                    url: text.clone(),
                    reason,
                })?;
                Published::url(issuer, url, &self.fetcher()?, self.generation, self.timing)
            }
        };
        Ok(KeySource::Published(Box::new(published)))
    }

    fn fetcher(&mut self) -> Result<Arc<Fetcher>, SettingsError> {
        if let Some(fetcher) = &self.fetcher {
            return Ok(Arc::clone(fetcher));
        }
        let fetcher =
            Arc::new(Fetcher::new(tls::usual().map_err(|error| SettingsError::Tls(error.to_string()))?));
        self.fetcher = Some(Arc::clone(&fetcher));
        Ok(fetcher)
    }
}

/// The parts of a token, split but not believed.
pub(super) struct Parts<'t> {
    pub(super) header: Header,
    pub(super) claims: Claims,
    signed: &'t str,
    signature: &'t str,
}

impl<'t> Parts<'t> {
    pub(super) fn split(token: &'t [u8]) -> Result<Self, Refusal> {
        let malformed = Refusal::Invalid("not three parts of base64url");
        let Ok(token) = std::str::from_utf8(token) else { return Err(malformed) };
        let Some((signed, signature)) = token.rsplit_once('.') else { return Err(malformed) };
        let Some((header, claims)) = signed.split_once('.') else { return Err(malformed) };
        if signature.is_empty() || claims.contains('.') {
            return Err(malformed);
        }
        Ok(Self { header: Header::parse(header)?, claims: Claims::parse(claims)?, signed, signature })
    }
}

impl Issuer {
    /// Whether tokens that say `iss` are this issuer's.
    pub(super) fn is(&self, iss: &str) -> bool {
        self.name == iss
    }

    /// Whether its tokens may come this way.
    pub(super) fn takes(&self, channel: Channel) -> bool {
        match channel {
            Channel::Bearer => true,
            Channel::Cookie(place) => self.cookie == Some(place),
        }
    }

    /// Verifies a token of this issuer, all but the time: whose it is, and when it holds.
    pub(super) fn verify(&self, parts: &Parts<'_>) -> Result<(TenantId, Validity), Refusal> {
        if !self.algorithms.contains(&parts.header.algorithm) {
            return Err(Refusal::Invalid("`alg` is not one of the issuer's"));
        }
        let kid = parts.header.kid.as_deref();
        self.keys.verify(kid, parts.header.algorithm, parts.signed, parts.signature)?;
        parts.claims.check_audience(&self.audience)?;
        let validity = parts.claims.validity(self.leeway)?;
        Ok((parts.claims.tenant(&self.tenant_claim)?, validity))
    }
}
