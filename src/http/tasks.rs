//! The tasks of one worker thread, and the order in which they end.

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// After the order to break off, tasks get this long to be gone.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// The tasks of one worker: client connections are waited for, upstream connections are not.
#[derive(Debug, Clone)]
pub struct Tasks {
    /// Client connections, tunnels and refusals.
    pub(super) clients: TaskTracker,
    /// Upstream connections.
    pub(super) upstreams: TaskTracker,
    /// No new work.
    pub(super) stopping: CancellationToken,
    /// Break off.
    pub(super) cut: CancellationToken,
}

impl Tasks {
    /// Tasks that begin to end when `shutdown` is cancelled.
    #[must_use]
    pub fn new(shutdown: &CancellationToken) -> Self {
        Self {
            clients: TaskTracker::new(),
            upstreams: TaskTracker::new(),
            stopping: shutdown.child_token(),
            cut: CancellationToken::new(),
        }
    }

    /// Waits until all clients are served, `limit` at most, then breaks off what is left.
    pub(super) async fn drain(&self, limit: Duration) {
        self.clients.close();
        self.upstreams.close();
        if tokio::time::timeout(limit, self.clients.wait()).await.is_err() {
            tracing::warn!(left = self.clients.len(), "requests still under way are cut off");
        }
        self.cut.cancel();
        let _ = tokio::time::timeout(LAST_MOMENT, async {
            self.clients.wait().await;
            self.upstreams.wait().await;
        })
        .await;
    }
}
