//! What the stages and surfaces ask of the world. Adapters implement these; nothing above knows which adapter it has.

mod admin_tokens;
mod administration;
mod audit;
mod bills;
mod directory;
mod hold;
mod identity;
mod ledger;
mod lifecycle;
mod meter_exports;
mod nodes;
mod outbox;
mod outgoing;
mod policies;
mod revisions;
mod shadow;
mod span;
mod statements;
mod stripe;
mod survey;
mod tenants;
mod usage_events;
mod webhooks;

use std::{future::Future, pin::Pin};

pub use admin_tokens::*;
pub use administration::*;
pub use audit::*;
pub use bills::*;
pub use directory::*;
pub use hold::*;
pub use identity::*;
pub use ledger::*;
pub use lifecycle::*;
pub use meter_exports::*;
pub use nodes::*;
pub use outbox::*;
pub use outgoing::*;
pub use policies::*;
pub use revisions::*;
pub use shadow::*;
pub use span::*;
pub use statements::*;
pub use stripe::*;
pub use survey::*;
pub use tenants::*;
pub use usage_events::*;
pub use webhooks::*;

/// A future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An answer that is mostly there at once: the hot path takes `Ready` without allocating or yielding.
pub enum Answer<T, E> {
    /// Known from memory.
    Ready(Result<T, E>),
    /// Must be asked for; the future owns what it needs.
    Pending(BoxFuture<Result<T, E>>),
}

impl<T, E> Answer<T, E> {
    /// The answer, waited for where it is not there at once.
    ///
    /// # Errors
    /// The answer's own.
    pub async fn wait(self) -> Result<T, E> {
        match self {
            Self::Ready(answer) => answer,
            Self::Pending(pending) => pending.await,
        }
    }
}
