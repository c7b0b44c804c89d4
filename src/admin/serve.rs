//! The admin API's listener: bounded in connections and time, and it ends cleanly.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// Bounds of the listener.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Connections at once; more wait unaccepted.
    pub(super) connections: usize,
    /// How long a request's head may take, from the first moment of waiting for it.
    pub(super) head: Duration,
    /// How long requests in flight may take once the listener ends.
    pub(super) drain: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { connections: 256, head: Duration::from_secs(10), drain: Duration::from_secs(10) }
    }
}

/// Why the listener ended.
#[derive(Debug, thiserror::Error)]
#[error("the admin listener does not accept connections any more")]
pub struct ServeError(#[from] std::io::Error);

/// Serves until `stop` is cancelled, then lets requests in flight end.
///
/// # Errors
/// [`ServeError`] where the socket itself fails; a single connection's failure is nobody else's.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> Result<(), ServeError> {
    serve_within(listener, router, stop, Bounds::default()).await
}

pub(super) async fn serve_within(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    bounds: Bounds,
) -> Result<(), ServeError> {
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    // Whatever ends this future also ends its connections.
    let _cut_on_drop = cut.clone().drop_guard();
    let places = Arc::new(Semaphore::new(bounds.connections));
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted?,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let connection = connection(stream, peer, router.clone(), stop.clone(), bounds);
        let cut = cut.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = connection => {}
                () = cut.cancelled() => {}
            }
            drop(place);
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(bounds.drain, tasks.wait()).await.is_err() {
        tracing::warn!("admin requests were cut off: they took longer than the drain allows");
    }
    Ok(())
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

/// `None` where one connection failed or the process is short of something: the next one may do.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> std::io::Result<Option<Accepted>> {
    let Ok(place) = Arc::clone(places).acquire_owned().await else {
        return Err(std::io::Error::other("the listener is closed"));
    };
    match listener.accept().await {
        Ok((stream, peer)) => Ok(Some((stream, peer, place))),
        Err(error) => {
            use std::io::ErrorKind as Kind;
            if matches!(error.kind(), Kind::InvalidInput | Kind::NotConnected | Kind::Unsupported) {
                return Err(error);
            }
            if !matches!(error.kind(), Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted) {
                tracing::warn!(%error, "the admin listener could not accept a connection");
                // Out of file descriptors, most likely: spinning would not free any.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(None)
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    stop: CancellationToken,
    bounds: Bounds,
) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.clone().oneshot(request);
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "an admin connection ended early");
    }
}
