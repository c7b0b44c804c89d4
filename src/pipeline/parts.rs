//! What all stages of one stack share, made once for each stack: a request takes one reference along.

use std::sync::Arc;

use http::HeaderName;

use super::{cors::Cors, observe::Mode, refusals::RefusalRing, review::Review, shadow::Shadow, view::View};
use crate::{clock::Clock, metrics::Metrics};

/// The shared parts. Each worker's stack has its own, so that no other core writes their count.
pub(crate) struct Parts {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) cors: Arc<Cors>,
    pub(crate) mode: Mode,
    /// The header that holds the installation's keys, where it has a name of its own.
    pub(crate) secret_header: Option<HeaderName>,
    /// Remembers what was refused.
    pub(crate) refusals: Arc<RefusalRing>,
    /// Decides exchanges that go on again.
    pub(crate) review: Arc<dyn Review>,
    /// Decides requests once more, where other policies are tried.
    pub(crate) shadow: Arc<dyn Shadow>,
    /// Shows customers how they stand.
    pub(crate) view: Arc<dyn View>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("mode", &self.mode).finish_non_exhaustive()
    }
}
