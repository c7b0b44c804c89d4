//! What one worker remembers of the credentials that it sees again and again.
//!
//! Where [`Credentials`] answers for all workers, a [`CredentialsFront`] belongs to one: a credential that it knows is
//! answered without an allocation and without a write to anything that another core writes. What it does not know it asks
//! [`Credentials`], and never concludes anything itself: it remembers only what was verified there, with the proof by
//! which each request finds out anew whether that still stands.

mod memory;

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use http::HeaderMap;

use self::memory::Memory;
use super::{authenticator::Credentials, counts::FrontHits, known::Verdict};
use crate::{
    domain::{
        identity::Identity,
        time::{UnixMillis, Version},
    },
    ports::{Answer, Authenticator, CredentialError},
};

/// One worker's way to [`Credentials`].
///
/// Several threads may share a front: who finds its memory taken asks the shared one.
pub struct CredentialsFront {
    shared: Arc<Credentials>,
    memory: Mutex<Memory>,
    hits: Arc<FrontHits>,
}

impl Credentials {
    /// A front for one worker, which remembers nothing yet.
    #[must_use]
    pub fn front(self: &Arc<Self>) -> CredentialsFront {
        CredentialsFront { shared: Arc::clone(self), memory: Mutex::default(), hits: self.fronts.join() }
    }
}

impl Authenticator for CredentialsFront {
    fn identify(&self, headers: &HeaderMap, now: UnixMillis) -> Answer<Arc<Identity>, CredentialError> {
        let presented = match self.shared.presentation.find(headers) {
            Ok(presented) => presented,
            Err(error) => return Answer::Ready(Err(error)),
        };
        let fingerprint = self.shared.fingerprinter.of(&presented);
        if let Ok(mut memory) = self.memory.try_lock()
            && let Some(identity) = memory.get(fingerprint, now, |proof| self.shared.stands(proof))
        {
            // With the memory still held: nobody else counts here now.
            self.hits.count();
            return Answer::Ready(Ok(identity));
        }
        match self.shared.judge(&presented, fingerprint, now) {
            Verdict::Known(known) => {
                let identity = Arc::clone(&known.identity);
                if let Ok(mut memory) = self.memory.try_lock() {
                    memory.put(fingerprint, known, now, |proof| self.shared.stands(proof));
                }
                Answer::Ready(Ok(identity))
            }
            Verdict::Other(answer) => answer,
        }
    }

    fn stands(
        &self,
        identity: &Arc<Identity>,
        verified: Version,
        now: UnixMillis,
    ) -> Answer<Version, CredentialError> {
        Authenticator::stands(&*self.shared, identity, verified, now)
    }

    fn strip(&self, headers: &mut HeaderMap) {
        self.shared.strip(headers);
    }

    fn strip_own(&self, headers: &mut HeaderMap) {
        self.shared.strip_own(headers);
    }
}

impl Drop for CredentialsFront {
    fn drop(&mut self) {
        self.shared.fronts.leave(&self.hits);
    }
}

impl fmt::Debug for CredentialsFront {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialsFront").field("shared", &self.shared).finish_non_exhaustive()
    }
}
