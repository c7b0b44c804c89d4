//! One client connection from its first byte to its last, whichever version of HTTP it speaks.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use ::http::Response;
use ::http_body::Body;
use bytes::Bytes;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, Sleep},
};
use tokio_util::task::TaskTracker;
use tower::Service;

use super::{
    BoxError,
    buffer::Buffer,
    conversation::{Conversation, Protocol},
    gauge::Permit,
    guard::Guard,
    server_body::ServerBody,
    service::Door,
    settings::{Settings, Timeouts},
    tasks::Tasks,
};
use crate::pipeline::request::{Client, Inbound};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const MAX_STREAMS: u32 = 128;
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// A connection that has sent nothing when the worker stops may still send its request for so long.
const LAST_CALL: Duration = Duration::from_millis(100);
/// hyper must be able to hold a head that was found acceptable.
const HYPER_BUFFER: usize = 400 * 1024;

/// What a connection is served with.
pub(super) struct Accepted<S> {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub permit: Permit,
    pub stack: S,
    pub settings: Arc<Settings>,
    pub tasks: Tasks,
}

/// Serves the connection until either side ends it.
pub(super) async fn serve<S, RB>(mut accepted: Accepted<S>)
where
    S: Service<Inbound<ServerBody>, Response = Response<RB>, Error = Infallible> + Clone + 'static,
    RB: Body<Data = Bytes> + 'static,
    RB::Error: Into<BoxError>,
{
    let opened = Instant::now();
    let tasks = accepted.tasks.clone();
    let mut buffer = Buffer::default();
    let limit = accepted.settings.timeouts.request_head;
    let sniffed = tokio::select! {
        biased;
        sniffed = tokio::time::timeout(limit, sniff(&mut accepted.stream, &mut buffer)) => sniffed,
        () = stopped_for(&tasks, LAST_CALL) => return,
    };
    let Ok(Ok(Some(protocol))) = sniffed else { return };
    let conversation = Arc::new(Conversation::new(opened, protocol));
    let address = accepted.peer.ip().to_canonical();
    let door = Door {
        client: Client { address: Some(address), trusted: accepted.settings.trusts(address) },
        stack: RefCell::new(accepted.stack),
        settings: Arc::clone(&accepted.settings),
        conversation: Arc::clone(&conversation),
        count: Cell::new(0),
    };
    let (stream, cap) = (accepted.stream, accepted.settings.caps.request_head);
    let mut watch = Watch::new(conversation, accepted.settings.timeouts);
    match protocol {
        Protocol::Http1 => {
            let guard = Guard::http1(stream, buffer, Arc::clone(&watch.conversation), cap, accepted.permit);
            let connection = hyper::server::conn::http1::Builder::new()
                .max_buf_size(HYPER_BUFFER.max(cap + 8 * 1024))
                .serve_connection(TokioIo::new(guard), door)
                .with_upgrades();
            let connection = pin!(connection);
            drive(connection, |c| c.graceful_shutdown(), &mut watch, &tasks).await;
        }
        Protocol::Http2 => {
            let guard = Guard::raw(stream, buffer, Arc::clone(&watch.conversation), accepted.permit);
            let connection = hyper::server::conn::http2::Builder::new(OnTracker(tasks.clients.clone()))
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                // More than the cap, so that a head somewhat over it gets Plangate's answer, not a bare one.
                .max_header_list_size(u32::try_from(cap * 2 + 64 * 1024).unwrap_or(u32::MAX))
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_INTERVAL)
                .serve_connection(TokioIo::new(guard), door);
            let connection = pin!(connection);
            drive(connection, |c| c.graceful_shutdown(), &mut watch, &tasks).await;
        }
    }
}

/// Runs a connection until it ends, its time is up or the worker's is. Dropping it closes it.
async fn drive<C, E>(
    mut connection: Pin<&mut C>,
    wind_down: impl FnOnce(Pin<&mut C>),
    watch: &mut Watch,
    tasks: &Tasks,
) where
    C: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let mut serving = async |connection: &mut Pin<&mut C>| {
        poll_fn(|cx| match connection.as_mut().poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "a client connection broke off");
                Poll::Ready(())
            }
            Poll::Pending => watch.poll_elapsed(cx),
        })
        .await;
    };
    tokio::select! {
        biased;
        () = serving(&mut connection) => return,
        () = tasks.stopping.cancelled() => {}
    }
    wind_down(connection.as_mut());
    tokio::select! {
        biased;
        () = serving(&mut connection) => {}
        () = tasks.cut.cancelled() => {}
    }
}

async fn stopped_for(tasks: &Tasks, time: Duration) {
    tasks.stopping.cancelled().await;
    tokio::time::sleep(time).await;
}

/// Closes a connection on which nothing happens for too long.
struct Watch {
    conversation: Arc<Conversation>,
    timeouts: Timeouts,
    sleep: Pin<Box<Sleep>>,
}

impl Watch {
    fn new(conversation: Arc<Conversation>, timeouts: Timeouts) -> Self {
        let sleep = Box::pin(tokio::time::sleep(timeouts.request_head));
        Self { conversation, timeouts, sleep }
    }

    /// The timer is only ever moved to an earlier instant, or on when it fires: most requests do not touch it.
    fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.conversation.deadline(&self.timeouts) else { return Poll::Pending };
        if deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(deadline);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// Tells HTTP/2 by its preface; `None` if the client leaves before it is clear.
async fn sniff(stream: &mut TcpStream, buffer: &mut Buffer) -> std::io::Result<Option<Protocol>> {
    loop {
        let count = stream.read(buffer.room(PREFACE.len())).await?;
        buffer.add(count);
        let common = buffer.len().min(PREFACE.len());
        if buffer.filled()[..common] != PREFACE[..common] {
            return Ok(Some(Protocol::Http1));
        }
        if common == PREFACE.len() {
            return Ok(Some(Protocol::Http2));
        }
        if count == 0 {
            return Ok(None);
        }
    }
}

/// Runs the streams of an HTTP/2 connection on this thread.
#[derive(Clone)]
struct OnTracker(TaskTracker);

impl<F> hyper::rt::Executor<F> for OnTracker
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn_local(future);
    }
}
