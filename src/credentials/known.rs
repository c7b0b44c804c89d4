//! A credential that was verified: whom it speaks for, and what keeps that true.

use std::sync::Arc;

use crate::{
    domain::{
        identity::Identity,
        time::{UnixMillis, Version},
    },
    freshness::WordPlace,
    ports::{Answer, CredentialError},
};

/// What a verified credential's standing rests on: what was learned before it changed is not used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// A key: its tenant's word must not have moved past the version that it was read at.
    Key {
        /// The tenant's word.
        word: WordPlace,
        /// The version.
        version: Version,
    },
    /// A token: the issuers' keys must be those that it was verified with.
    Token {
        /// Their generation.
        generation: u64,
    },
}

/// A verified credential. Its identity is nobody else's yet: whoever takes it may keep it without sharing a reference count.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) identity: Arc<Identity>,
    /// It holds from then on.
    pub(super) from: UnixMillis,
    /// It need not be remembered beyond that: it ends, or must be verified anew.
    pub(super) until: UnixMillis,
    pub(super) proof: Proof,
}

impl Known {
    pub(super) fn holds_at(&self, now: UnixMillis) -> bool {
        self.from <= now && now < self.until
    }
}

/// What the caches that all workers share say to a credential.
pub(super) enum Verdict {
    /// It is valid, and was verified before or just now.
    Known(Known),
    /// It is refused, or must be asked for.
    Other(Answer<Arc<Identity>, CredentialError>),
}

impl Verdict {
    /// A refusal.
    pub(super) fn refused(error: CredentialError) -> Self {
        Self::Other(Answer::Ready(Err(error)))
    }

    /// As the stages are told.
    pub(super) fn answer(self) -> Answer<Arc<Identity>, CredentialError> {
        match self {
            Self::Known(known) => Answer::Ready(Ok(known.identity)),
            Self::Other(answer) => answer,
        }
    }
}
