//! Whose a token is: verified once, and then found by its hash for as long as it holds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::digest;
use futures_util::future::join_all;
use moka::sync::Cache;

use super::{
    Refusal,
    claims::Validity,
    issuer::{Issuer, IssuerBuilder, Parts},
    published::{Generation, Timing},
    refresh::Asked,
};
use crate::{
    credentials::{
        CacheCounts,
        presented::{Channel, Presentation},
        settings::{Settings, SettingsError},
    },
    domain::{
        identity::{Credential, Identity},
        time::UnixMillis,
    },
    ports::{Answer, CredentialError},
};

/// The longest token that is looked at.
const LONGEST: usize = 8 * 1024;

/// How long a refusal is remembered, in milliseconds.
const REFUSED_FOR: i64 = 2_000;

/// How many refusals are remembered.
const REFUSED_KEPT: u64 = 10_000;

/// When an entry leaves memory at the latest, however long its token holds: most tokens are replaced long before.
const KEPT_FOR: Duration = Duration::from_secs(3600);

/// SHA-256 of a token, and how it came: an issuer takes cookies or it does not.
type TokenKey = ([u8; 32], Channel);

/// A token that verified.
#[derive(Debug, Clone)]
struct Verified {
    identity: Arc<Identity>,
    validity: Validity,
    generation: u64,
}

/// A token that did not.
#[derive(Debug, Clone)]
struct Refused {
    error: CredentialError,
    since: UnixMillis,
    generation: u64,
}

/// Knows whose tokens are.
pub(crate) struct Tokens {
    issuers: Vec<Issuer>,
    generation: Arc<Generation>,
    verified: Cache<TokenKey, Verified>,
    refused: Cache<TokenKey, Refused>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// A token that did not verify, and by whose keys, if it came that far.
struct Failure {
    refusal: Refusal,
    issuer: Option<usize>,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, issuer: None }
    }
}

impl Tokens {
    pub(crate) fn new(
        settings: &Settings,
        presentation: &mut Presentation,
        timing: Timing,
    ) -> Result<Self, SettingsError> {
        let generation = Arc::new(Generation::default());
        let mut builder = IssuerBuilder::new(&generation, timing);
        let issuers = settings
            .issuers
            .iter()
            .map(|issuer| builder.build(issuer, presentation))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            issuers,
            generation,
            verified: Cache::builder().max_capacity(settings.cached).time_to_live(KEPT_FOR).build(),
            refused: Cache::new(REFUSED_KEPT),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        })
    }

    pub(crate) fn counts(&self) -> CacheCounts {
        CacheCounts { hits: self.hits.load(Ordering::Relaxed), misses: self.misses.load(Ordering::Relaxed) }
    }

    /// Keeps all issuers' keys current, for ever.
    pub(crate) async fn keep_keys_current(&self) {
        join_all(self.issuers.iter().map(|issuer| issuer.keys.keep_current())).await;
        // Without issuers there is nothing to keep; a task that ends would look like a crash.
        std::future::pending().await
    }

    /// Whose token `token` is.
    pub(crate) fn identify(
        self: &Arc<Self>,
        token: &[u8],
        channel: Channel,
        now: UnixMillis,
    ) -> Answer<Arc<Identity>, CredentialError> {
        if token.len() > LONGEST {
            return Answer::Ready(Err(CredentialError::Invalid { reason: "the token has more than 8 KiB" }));
        }
        let key = (sha256(token), channel);
        if let Some(known) = self.remembered(&key, now) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Answer::Ready(known);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let failure = match self.verify(token, key, now) {
            Ok(identity) => return Answer::Ready(Ok(identity)),
            Err(failure) => failure,
        };
        let Some(issuer) = failure.issuer.filter(|_| failure.refusal == Refusal::UnknownKey) else {
            return Answer::Ready(Err(told(failure.refusal, Asked::Current)));
        };
        match self.issuers[issuer].keys.ask(now) {
            Some(asked) => Answer::Ready(Err(told(failure.refusal, asked))),
            None => {
                let (tokens, token) = (Arc::clone(self), token.to_vec());
                Answer::Pending(Box::pin(async move {
                    let asked = tokens.issuers[issuer].keys.asked().await;
                    tokens.verify(&token, key, now).map_err(|failure| told(failure.refusal, asked))
                }))
            }
        }
    }

    fn remembered(&self, key: &TokenKey, now: UnixMillis) -> Option<Result<Arc<Identity>, CredentialError>> {
        let generation = self.generation.now();
        if let Some(Verified { identity, validity, generation: then }) = self.verified.get(key)
            && then == generation
            && now >= validity.from
        {
            return Some(if now < validity.until { Ok(identity) } else { Err(CredentialError::Expired) });
        }
        let refused = self.refused.get(key).filter(|refused| refused.generation == generation)?;
        let recent = (0..REFUSED_FOR).contains(&now.0.saturating_sub(refused.since.0));
        recent.then_some(Err(refused.error))
    }

    fn verify(&self, token: &[u8], key: TokenKey, now: UnixMillis) -> Result<Arc<Identity>, Failure> {
        // Before the keys are read: what a later change of keys makes wrong then has an earlier generation.
        let generation = self.generation.now();
        let outcome = self.verify_with(token, key.1, now);
        match &outcome {
            Ok((identity, validity)) => self
                .verified
                .insert(key, Verified { identity: identity.clone(), validity: *validity, generation }),
            // The others change by themselves: with time, or with the issuer's keys.
            Err(Failure { refusal: Refusal::NotYet | Refusal::UnknownKey, .. }) => {}
            Err(Failure { refusal, .. }) => {
                let error = told(refusal.clone(), Asked::Current);
                self.refused.insert(key, Refused { error, since: now, generation });
            }
        }
        outcome.map(|(identity, _)| identity)
    }

    fn verify_with(
        &self,
        token: &[u8],
        channel: Channel,
        now: UnixMillis,
    ) -> Result<(Arc<Identity>, Validity), Failure> {
        let parts = Parts::split(token)?;
        let iss = parts.claims.issuer()?;
        let place = self.issuers.iter().position(|issuer| issuer.is(iss));
        let place = place.ok_or(Refusal::Invalid("the issuer is not known"))?;
        let issuer = &self.issuers[place];
        if !issuer.takes(channel) {
            return Err(Refusal::Invalid("this cookie is not for tokens of this issuer").into());
        }
        let verified = issuer.verify(&parts);
        let (tenant, validity) = verified.map_err(|refusal| Failure { refusal, issuer: Some(place) })?;
        if now < validity.from {
            return Err(Refusal::NotYet.into());
        }
        if now >= validity.until {
            return Err(Refusal::Expired.into());
        }
        Ok((Identity::new(tenant, Credential::Jwt), validity))
    }
}

/// What the request is told.
fn told(refusal: Refusal, asked: Asked) -> CredentialError {
    match (refusal, asked) {
        (Refusal::Invalid(reason), _) => CredentialError::Invalid { reason },
        (Refusal::Expired, _) => CredentialError::Expired,
        (Refusal::NotYet, _) => CredentialError::Invalid { reason: "the token does not hold yet" },
        (Refusal::UnknownKey, Asked::Current) => {
            CredentialError::Invalid { reason: "no key of the issuer verifies the token" }
        }
        (Refusal::UnknownKey, Asked::Failed) => CredentialError::Unavailable,
    }
}

fn sha256(token: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    let digest = digest::digest(&digest::SHA256, token);
    for (to, from) in sum.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    sum
}
