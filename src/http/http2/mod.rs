//! HTTP/2 with the client (with prior knowledge): hyper's, with every request judged as one of HTTP/1 is.

mod answer;
mod head;
mod service;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use ::http::Response;
use ::http_body::Body;
use bytes::{Bytes, BytesMut};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;
use tower::Service;

use self::service::Door;
use super::{
    BoxError, conversation::Conversation, gauge::Permit, preread::Preread, server_body::ServerBody,
    watch::Watch, worker::Worker,
};
use crate::pipeline::request::{Client, Inbound};

const MAX_STREAMS: u32 = 128;
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// A client that speaks HTTP/2.
pub(super) struct Client2 {
    pub stream: TcpStream,
    /// What was read of it already.
    pub inbox: BytesMut,
    pub client: Client,
    pub permit: Permit,
    pub conversation: Rc<Conversation>,
    pub worker: Rc<Worker>,
}

/// Serves all streams of a connection until either side ends it.
pub(super) async fn serve<S, RB>(client: Client2, stack: S)
where
    S: Service<Inbound<ServerBody>, Response = Response<RB>, Error = Infallible> + Clone + 'static,
    RB: Body<Data = Bytes> + 'static,
    RB::Error: Into<BoxError>,
{
    let Client2 { stream, inbox, client, permit, conversation, worker } = client;
    let (mut watch, watched, timeouts) =
        (Watch::default(), Rc::clone(&conversation), worker.settings.timeouts);
    let (cap, tasks) = (worker.settings.caps.request_head, worker.tasks.clone());
    let door = Door { stack, settings: worker.settings.clone(), conversation, client };
    let connection = hyper::server::conn::http2::Builder::new(OnTracker(tasks.clients.clone()))
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        // More than the cap, so that a head somewhat over it gets Plangate's answer, not a bare one.
        .max_header_list_size(u32::try_from(cap * 2 + 64 * 1024).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL)
        .serve_connection(TokioIo::new(Preread::new(stream, inbox, Some(permit))), door);
    let mut connection = pin!(connection);
    let mut serving = async |connection: &mut Pin<&mut _>| {
        drive(connection, &mut watch, || watched.deadline(&timeouts)).await
    };
    tokio::select! {
        biased;
        () = serving(&mut connection) => return,
        () = tasks.stopping.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        () = serving(&mut connection) => {}
        () = tasks.cut.cancelled() => {}
    }
}

/// Runs a connection until it ends or its time is up. Dropping it closes it.
async fn drive<C, E>(connection: &mut Pin<&mut C>, watch: &mut Watch, deadline: impl Fn() -> Option<u64>)
where
    C: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    poll_fn(|cx| match connection.as_mut().poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(()),
        Poll::Ready(Err(error)) => {
            tracing::debug!(%error, "a client connection broke off");
            Poll::Ready(())
        }
        Poll::Pending => match deadline() {
            Some(deadline) => watch.poll_elapsed(cx, deadline, true),
            None => Poll::Pending,
        },
    })
    .await;
}

/// Runs the streams of a connection on this thread.
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
