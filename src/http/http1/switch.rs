//! A connection on its way to another protocol: the client's side of a WebSocket.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::oneshot,
};

use crate::http::gauge::Permit;

/// Goes along with a request that asks for another protocol; whoever answers it with a switch gets the connection.
#[derive(Clone)]
pub(in crate::http) struct Switch(Arc<Mutex<Option<oneshot::Receiver<Switched>>>>);

impl Switch {
    /// A switch, and where the connection is to be handed in.
    pub(super) fn new() -> (oneshot::Sender<Switched>, Self) {
        let (give, take) = oneshot::channel();
        (give, Self(Arc::new(Mutex::new(Some(take)))))
    }

    /// Waits for the connection; an error where the answer was no switch after all.
    pub(in crate::http) async fn connection(self) -> io::Result<Switched> {
        let take = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let gone = || io::Error::other("the client's connection did not switch");
        take.ok_or_else(gone)?.await.map_err(|_| gone())
    }
}

/// A client's connection that speaks another protocol now.
pub(in crate::http) struct Switched {
    pub(super) stream: TcpStream,
    /// What the client has sent of it already.
    pub(super) inbox: BytesMut,
    /// It still counts as a connection.
    pub(super) _permit: Permit,
}

impl AsyncRead for Switched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.inbox.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, out);
        }
        let count = self.inbox.len().min(out.remaining());
        out.put_slice(&self.inbox.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Switched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
