//! Whose a token is: verified once, and then found by its hash for as long as it holds.

use std::{hash::BuildHasherDefault, sync::Arc, time::Duration};

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
        counts::Counts,
        fingerprint::{AsItIs, Fingerprint},
        known::{Known, Proof, Verdict},
        presented::{Channel, Presentation},
        settings::{Settings, SettingsError},
    },
    domain::{
        id::TenantId,
        identity::{Credential, Identity},
        time::{UnixMillis, Version},
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

/// By fingerprint, which also tells how the token came: an issuer takes cookies or it does not.
type ByFingerprint<V> = Cache<u128, V, BuildHasherDefault<AsItIs>>;

/// A token that verified.
#[derive(Debug, Clone)]
struct Verified {
    tenant: TenantId,
    validity: Validity,
    since: UnixMillis,
    generation: u64,
}

impl Verified {
    /// For whoever asks: with ids of its own, as those here are shared.
    fn known(&self) -> Known {
        let tenant = TenantId::parse(self.tenant.as_str()).unwrap_or_else(|_| self.tenant.clone());
        Known {
            identity: Identity::holding(tenant, Credential::Jwt, self.validity.until, Version(0)),
            from: self.validity.from.max(self.since),
            until: self.validity.until.min(self.since + KEPT_FOR),
            proof: Proof::Token { generation: self.generation },
        }
    }
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
    verified: ByFingerprint<Verified>,
    refused: ByFingerprint<Refused>,
    counts: Counts,
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
            verified: Cache::builder()
                .max_capacity(settings.cached)
                .time_to_live(KEPT_FOR)
                .build_with_hasher(BuildHasherDefault::default()),
            refused: Cache::builder()
                .max_capacity(REFUSED_KEPT)
                .build_with_hasher(BuildHasherDefault::default()),
            counts: Counts::default(),
        })
    }

    pub(crate) fn counts(&self) -> CacheCounts {
        self.counts.sum()
    }

    /// What was verified with the keys of `generation` may still be used.
    pub(crate) fn is_current(&self, generation: u64) -> bool {
        generation == self.generation.now()
    }

    /// Keeps all issuers' keys current, for ever.
    pub(crate) async fn keep_keys_current(&self) {
        join_all(self.issuers.iter().map(|issuer| issuer.keys.keep_current())).await;
        // Without issuers there is nothing to keep; a task that ends would look like a crash.
        std::future::pending().await
    }

    #[cfg(test)]
    pub(crate) fn reload_keys(&self) {
        self.issuers.iter().for_each(|issuer| issuer.keys.reload());
    }

    /// Whose token `token` is.
    pub(crate) fn identify(
        self: &Arc<Self>,
        token: &[u8],
        (channel, fingerprint): (Channel, Fingerprint),
        now: UnixMillis,
    ) -> Verdict {
        if token.len() > LONGEST {
            return Verdict::refused(CredentialError::Invalid { reason: "the token has more than 8 KiB" });
        }
        if let Some(verdict) = self.remembered(fingerprint, now) {
            self.counts.hit();
            return verdict;
        }
        self.counts.miss();
        let failure = match self.verify(token, (channel, fingerprint), now) {
            Ok(known) => return Verdict::Known(known),
            Err(failure) => failure,
        };
        let Some(issuer) = failure.issuer.filter(|_| failure.refusal == Refusal::UnknownKey) else {
            return Verdict::refused(told(failure.refusal, Asked::Current));
        };
        match self.issuers[issuer].keys.ask(now) {
            Some(asked) => Verdict::refused(told(failure.refusal, asked)),
            None => {
                let (tokens, token) = (Arc::clone(self), token.to_vec());
                Verdict::Other(Answer::Pending(Box::pin(async move {
                    let asked = tokens.issuers[issuer].keys.asked().await;
                    let known = tokens.verify(&token, (channel, fingerprint), now);
                    known.map(|known| known.identity).map_err(|failure| told(failure.refusal, asked))
                })))
            }
        }
    }

    fn remembered(&self, fingerprint: Fingerprint, now: UnixMillis) -> Option<Verdict> {
        let generation = self.generation.now();
        if let Some(verified) = self.verified.get(&fingerprint.0)
            && verified.generation == generation
            && now >= verified.validity.from
        {
            return Some(if now < verified.validity.until {
                Verdict::Known(verified.known())
            } else {
                Verdict::refused(CredentialError::Expired)
            });
        }
        let refused = self.refused.get(&fingerprint.0).filter(|refused| refused.generation == generation)?;
        let recent = (0..REFUSED_FOR).contains(&now.0.saturating_sub(refused.since.0));
        recent.then(|| Verdict::refused(refused.error))
    }

    fn verify(
        &self,
        token: &[u8],
        (channel, Fingerprint(fingerprint)): (Channel, Fingerprint),
        now: UnixMillis,
    ) -> Result<Known, Failure> {
        // Before the keys are read: what a later change of keys makes wrong then has an earlier generation.
        let generation = self.generation.now();
        match self.verify_with(token, channel, now) {
            Ok((tenant, validity)) => {
                let verified = Verified { tenant, validity, since: now, generation };
                let known = verified.known();
                self.verified.insert(fingerprint, verified);
                Ok(known)
            }
            Err(failure) => {
                // The others change by themselves: with time, or with the issuer's keys.
                if !matches!(failure.refusal, Refusal::NotYet | Refusal::UnknownKey) {
                    let error = told(failure.refusal.clone(), Asked::Current);
                    self.refused.insert(fingerprint, Refused { error, since: now, generation });
                }
                Err(failure)
            }
        }
    }

    fn verify_with(
        &self,
        token: &[u8],
        channel: Channel,
        now: UnixMillis,
    ) -> Result<(TenantId, Validity), Failure> {
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
        Ok((tenant, validity))
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
