//! What the admin API asks beside the stores.

use async_trait::async_trait;

use crate::domain::{id::KeyId, identity::KeyHash, time::Version};

/// Makes API keys, and takes those that customers bring.
pub trait KeyIssuer: Send + Sync + 'static {
    /// A new key.
    ///
    /// # Errors
    /// Why the system has none to give (it lacks randomness).
    fn generate(&self) -> Result<NewKey, String>;

    /// A key that exists already, with an id of its own.
    ///
    /// # Errors
    /// What is wrong with it, in words that do not repeat it.
    fn import(&self, text: &str) -> Result<NewKey, String>;
}

/// A key before it is stored.
#[derive(Clone)]
pub struct NewKey {
    /// Its public id.
    pub id: KeyId,
    /// The key itself: shown once, never stored.
    pub secret: String,
    /// What is stored instead.
    pub hash: KeyHash,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Waits until a change is in force.
#[async_trait]
pub trait Barrier: Send + Sync + 'static {
    /// Returns when `version` is in force on every node that can be waited for; on this one it then is.
    async fn applied(&self, version: Version) -> Applied;
}

/// How far a change has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// Nodes on which it is in force.
    pub nodes: u32,
    /// Names of nodes on which it may not be.
    pub pending: Vec<String>,
}

/// Whether this node can take requests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readiness {
    /// It can.
    pub ready: bool,
    /// Why it cannot, in words for an operator.
    pub reasons: Vec<String>,
}

impl Readiness {
    /// It can.
    #[must_use]
    pub const fn yes() -> Self {
        Self { ready: true, reasons: Vec::new() }
    }

    /// It cannot, for one reason.
    #[must_use]
    pub fn no(reason: impl Into<String>) -> Self {
        Self { ready: false, reasons: vec![reason.into()] }
    }
}
