//! The life of a serving process: start, serve, and a stop that loses nothing.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{
    config::Config,
    descriptors,
    start::{Node, StartError, start},
};

/// What is left for the ledger when the requests took all of the drain time-out.
const LEAST_FOR_LEDGER: Duration = Duration::from_secs(3);

/// How a serving process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was told to.
    Stopped,
    /// A part of it ended before its time.
    Crashed,
}

/// The runtime of everything but the data plane.
///
/// # Errors
/// Whatever the system says.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("background")
        .enable_all()
        .build()
}

/// Serves until SIGINT or SIGTERM; a second one ends the process at once.
///
/// # Errors
/// [`StartError`] where the node did not start.
pub fn serve(config: Config) -> Result<Ending, StartError> {
    descriptors::make_room(config.caps.connections);
    let runtime = runtime()?;
    let ending = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let stop = CancellationToken::new();
        let node = tokio::select! {
            node = start(config, stop.clone()) => node?,
            () = signals.next() => return Ok(Ending::Stopped),
        };
        tracing::info!(data = %node.data_address, admin = %node.admin_address, "serving");
        tokio::select! {
            () = signals.next() => {}
            () = stop.cancelled() => {}
        }
        tracing::info!("stopping: draining requests");
        tokio::select! {
            ending = node.finish() => Ok(ending),
            () = signals.next() => {
                tracing::warn!("stopped at once; what was not recorded is counted as used");
                Ok(Ending::Crashed)
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    ending
}

/// The signals that ask a process to stop. One listener for the process's whole life: none is lost between two waits.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

impl Node {
    /// Waits until something makes the node stop by itself.
    pub async fn stopped(&self) {
        self.background.stop.cancelled().await;
    }

    /// Readiness off, requests drained and settled, totals flushed and leases returned, then deregistered.
    pub async fn finish(self) -> Ending {
        let crashed = self.background.has_crashed();
        self.background.stop.cancel();
        self.board.stopping();
        let began = tokio::time::Instant::now();
        self.workers.finish().await;
        let left = self.drain.saturating_sub(began.elapsed()).max(LEAST_FOR_LEDGER);
        if tokio::time::timeout(left, self.ledger.drain()).await.is_err() {
            tracing::warn!("the database did not take back all leases; what is left counts as used");
        }
        let leaving = self.store.deregister(self.incarnation);
        match tokio::time::timeout(LEAST_FOR_LEDGER, leaving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("this node is still registered: {error}"),
            Err(_) => tracing::warn!("this node is still registered: the database does not answer"),
        }
        self.admin_stop.cancel();
        if tokio::time::timeout(LEAST_FOR_LEDGER, self.background.finish()).await.is_err() {
            tracing::warn!("background work did not end in time");
        }
        let _ = tokio::time::timeout(LEAST_FOR_LEDGER, self.store.close()).await;
        tracing::info!("stopped");
        if crashed { Ending::Crashed } else { Ending::Stopped }
    }
}
