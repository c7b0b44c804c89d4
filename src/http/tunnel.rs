//! A WebSocket: once both sides have switched, bytes are only passed on.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{http1::Switch, tasks::Tasks};

/// Passes bytes both ways until a side ends, nothing moves for `limit`, `ended` does, or the worker breaks off.
pub(super) async fn run<U>(
    client: Switch,
    upstream: U,
    limit: Duration,
    tasks: Tasks,
    ended: impl Future<Output = ()>,
) where
    U: AsyncRead + AsyncWrite + Unpin,
{
    let last = Rc::new(Cell::new(Instant::now()));
    let passing = async {
        let client = client.connection().await?;
        let mut client = Watched { io: client, last: Rc::clone(&last) };
        let mut upstream = Watched { io: upstream, last: Rc::clone(&last) };
        tokio::io::copy_bidirectional(&mut client, &mut upstream).await
    };
    tokio::select! {
        biased;
        passed = passing => {
            if let Err(error) = passed {
                tracing::debug!(%error, "a WebSocket broke off");
            }
        }
        () = quiet(&last, limit) => tracing::debug!("a WebSocket was quiet for too long"),
        () = ended => {}
        () = tasks.cut.cancelled() => {}
    }
}

async fn quiet(last: &Cell<Instant>, limit: Duration) {
    loop {
        let Some(end) = last.get().checked_add(limit) else { return std::future::pending().await };
        if end <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(end).await;
    }
}

/// Notes when a byte was last moved.
struct Watched<T> {
    io: T,
    last: Rc<Cell<Instant>>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_read(cx, out))?;
        self.last.set(Instant::now());
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.last.set(Instant::now());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
