//! Calls that have one effect, in memory: what each idempotency key led to.

use super::state::State;
use crate::ports::{Committed, Deployed, Idempotency, Linked, Lost, Origin, WebhookDone};

/// What a call led to.
#[derive(Clone)]
pub(super) enum Outcome {
    Change(Committed),
    Lost(Lost),
    Deploy(Deployed),
    Token(String),
    /// A piece of usage is told again.
    Retried,
    Linked(Linked),
    Webhook(WebhookDone),
    /// A call whose parts are known by themselves.
    Call,
}

impl State {
    /// What this very call, as its origin names it, led to before, as `read` finds it in what was kept. `None`: it is to be
    /// made now, and kept by [`Self::keep_outcome`].
    pub(super) fn before<T, E>(
        &self,
        origin: &Origin,
        conflict: E,
        read: impl FnOnce(&Outcome) -> Option<T>,
    ) -> Result<Option<T>, E> {
        let Some(Idempotency { key, fingerprint }) = &origin.idempotency else { return Ok(None) };
        let Some((of, outcome)) = self.idempotency.get(key) else { return Ok(None) };
        (of == fingerprint).then(|| read(outcome)).flatten().map(Some).ok_or(conflict)
    }

    /// Keeps what a call led to beside its key, where it has one.
    pub(super) fn keep_outcome(&mut self, origin: &Origin, outcome: Outcome) {
        if let Some(Idempotency { key, fingerprint }) = &origin.idempotency {
            self.idempotency.insert(key.clone(), (fingerprint.clone(), outcome));
        }
    }
}
