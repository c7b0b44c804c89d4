//! Background work: every task is tracked, and one that ends before its time stops the server.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The tasks of this process beside its requests.
#[derive(Clone)]
pub struct Background {
    tracker: TaskTracker,
    /// Told when the process is to stop.
    pub stop: CancellationToken,
    /// Told, after all requests are over, when background tasks are to end.
    pub end: CancellationToken,
    crashed: Arc<AtomicBool>,
}

impl Background {
    /// No tasks yet; `stop` stops the process.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self { tracker: TaskTracker::new(), stop, end: CancellationToken::new(), crashed: Arc::default() }
    }

    /// The tracker, for parts that spawn tasks of their own.
    #[must_use]
    pub const fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    /// Runs a task that is to go on until `end`. If it ends sooner, the process stops.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let watch = self.watch(name);
        self.tracker.spawn(async move {
            let _watch = watch;
            task.await;
        });
    }

    /// Something whose end, also by a panic, stops the process unless `end` was told before.
    #[must_use]
    pub fn watch(&self, name: &'static str) -> Watch {
        Watch { name, background: self.clone() }
    }

    /// Whether anything ended before its time.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.crashed.load(Ordering::Acquire)
    }

    /// Tells the tasks to end and waits for them.
    pub async fn finish(&self) {
        self.end.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// See [`Background::watch`].
pub struct Watch {
    name: &'static str,
    background: Background,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Background { stop, end, crashed, .. } = &self.background;
        if !end.is_cancelled() && !stop.is_cancelled() {
            tracing::error!(task = self.name, "ended before its time; this process stops");
            crashed.store(true, Ordering::Release);
            stop.cancel();
        }
    }
}
