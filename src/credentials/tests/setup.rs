//! An authenticator to be tested, and requests for it.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Value, json};

use super::store::MemoryKeys;
use crate::{
    credentials::{Algorithm, Credentials, IssuerSettings, Settings, SettingsError, TokenKeys, jwt::Timing},
    domain::{
        identity::{Credential, Identity, KeyHash},
        time::{UnixMillis, Version},
    },
    freshness::Freshness,
    ports::{Answer, Authenticator, CredentialError},
};

/// The time of all requests that say no other.
pub(super) const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

pub(super) const ISSUER: &str = "https://id.example";

pub(super) type Outcome = Result<Arc<Identity>, CredentialError>;

/// An authenticator and what is around it.
pub(super) struct Setup {
    pub(super) credentials: Arc<Credentials>,
    pub(super) store: Arc<MemoryKeys>,
    pub(super) freshness: Arc<Freshness>,
}

pub(super) fn try_setup(settings: Settings, timing: Timing) -> Result<Setup, SettingsError> {
    let (store, freshness) = (Arc::new(MemoryKeys::default()), Arc::new(Freshness::default()));
    let (keys, fresh) = (Arc::clone(&store), Arc::clone(&freshness));
    let credentials = Arc::new(Credentials::with_timing(settings, keys, fresh, [7; 32], timing)?);
    Ok(Setup { credentials, store, freshness })
}

pub(super) fn setup(issuers: Vec<IssuerSettings>) -> Setup {
    try_setup(Settings { issuers, ..Settings::default() }, Timing::default()).unwrap()
}

pub(super) fn issuer(keys: TokenKeys) -> IssuerSettings {
    let algorithms = match keys {
        TokenKeys::Hs256Secret(_) => vec![Algorithm::Hs256],
        _ => vec![Algorithm::EdDsa, Algorithm::Es256, Algorithm::Rs256],
    };
    IssuerSettings {
        issuer: ISSUER.into(),
        audience: "plangate".into(),
        algorithms,
        keys,
        tenant_claim: "tenant".into(),
        leeway: Duration::from_secs(30),
        cookie: Some("session".into()),
    }
}

/// Claims that hold for another hour.
pub(super) fn claims(tenant: &str) -> Value {
    json!({ "iss": ISSUER, "aud": "plangate", "exp": NOW.0 / 1000 + 3600, "tenant": tenant })
}

pub(super) fn headers(values: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in values {
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

pub(super) fn key_header(key: &str) -> HeaderMap {
    headers(&[(HeaderName::from_static("x-api-key"), key)])
}

pub(super) fn bearer(token: &str) -> HeaderMap {
    headers(&[(header::AUTHORIZATION, &format!("Bearer {token}"))])
}

impl Setup {
    pub(super) async fn identify_at(&self, headers: &HeaderMap, now: UnixMillis) -> Outcome {
        self.credentials.identify(headers, now).wait().await
    }

    pub(super) async fn identify(&self, headers: &HeaderMap) -> Outcome {
        self.identify_at(headers, NOW).await
    }

    /// The outcome, if it is known at once.
    pub(super) fn at_once(&self, headers: &HeaderMap, now: UnixMillis) -> Option<Outcome> {
        match self.credentials.identify(headers, now) {
            Answer::Ready(outcome) => Some(outcome),
            Answer::Pending(_) => None,
        }
    }

    pub(super) fn hash(&self, key: &str) -> KeyHash {
        self.credentials.hasher().hash(key.as_bytes())
    }

    /// What the change feed does when a change of this tenant arrives.
    pub(super) fn apply(&self, tenant: &str, version: Version) {
        self.freshness.outdate(&tenant.parse().unwrap(), version);
        self.freshness.set_applied(version);
    }
}

pub(super) fn tenant(outcome: &Outcome) -> &str {
    outcome.as_ref().unwrap().tenant.as_str()
}

pub(super) fn is_jwt(outcome: &Outcome) -> bool {
    matches!(outcome, Ok(identity) if identity.credential == Credential::Jwt)
}

pub(super) fn is_invalid(outcome: &Outcome) -> bool {
    matches!(outcome, Err(CredentialError::Invalid { .. }))
}
