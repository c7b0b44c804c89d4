//! The data plane: one thread with a runtime of its own for each worker, so that no request waits for another core's.

use std::{net::SocketAddr, sync::Arc, thread};

use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use tower::Layer;

use super::{background::Background, config::Config, engine::Gateways, start::StartError};
use crate::http::{self, Proxy, ServerBody, Settings, Tasks};

/// The threads that serve requests.
pub struct Workers {
    /// Where they listen.
    pub address: SocketAddr,
    stop: CancellationToken,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Workers {
    pub(super) fn start(
        config: &Config,
        settings: Settings,
        gateways: &Gateways,
        background: &Background,
    ) -> Result<Self, StartError> {
        let listen = |source| StartError::Listen { key: "listen", address: config.listen, source };
        let listeners = http::bind(config.listen, config.worker_count()).map_err(listen)?;
        let address = listeners.first().map_or(Ok(config.listen), std::net::TcpListener::local_addr);
        let (address, settings, stop) =
            (address.map_err(listen)?, Arc::new(settings), CancellationToken::new());
        // Each thread makes its own proxy; whether that can work at all is known here.
        let upstream =
            |error: http::InvalidUpstream| StartError::Value { key: "upstream", detail: error.to_string() };
        Proxy::<ServerBody>::new(&settings, &Tasks::new(&stop)).map_err(upstream)?;
        let mut threads = Vec::new();
        for (number, listener) in listeners.into_iter().enumerate() {
            let (settings, gateways, stop) = (Arc::clone(&settings), Arc::clone(gateways), stop.clone());
            let watch = background.watch("data-plane worker");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let work = move || {
                let _watch = watch;
                let tasks = Tasks::new(&stop);
                let serving = async move {
                    let proxy = match Proxy::new(&settings, &tasks) {
                        Ok(proxy) => proxy,
                        Err(error) => return tracing::error!("no proxy: {error}"),
                    };
                    // Made here, by the thread that uses it.
                    let stack = gateways().layer(proxy);
                    if let Err(error) = http::serve(listener, stack, settings, tasks).await {
                        tracing::error!("a worker cannot serve: {error}");
                    }
                };
                LocalSet::new().block_on(&runtime, serving);
            };
            threads.push(thread::Builder::new().name(format!("worker-{number}")).spawn(work)?);
        }
        Ok(Self { address, stop, threads })
    }

    /// Stops accepting, lets the requests under way end within the drain time-out, and waits for the threads.
    pub(super) async fn finish(self) {
        self.stop.cancel();
        let joined = tokio::task::spawn_blocking(move || {
            self.threads.into_iter().filter_map(|thread| thread.join().err()).count()
        });
        if joined.await.is_ok_and(|panicked| panicked > 0) {
            tracing::error!("a worker ended in a panic");
        }
    }
}
