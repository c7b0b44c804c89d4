//! One request and its answer: sent over one connection, once.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use ::http::{Response, StatusCode};
use ::http_body::Body;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    answer_body::ProxyBody,
    answer_head::{self, Head, Read},
    connect::Connecting,
    link::Link,
    proxy::Upstream,
    stream::Stream,
    upload::{Unsent, Upload},
};
use crate::{
    http::{BoxError, http1::Switch, preread::Preread, tunnel},
    pipeline::{admission::Ongoing, request::ForwardError},
};

/// The answer to one request, to come.
pub struct Exchange<B> {
    upstream: Rc<Upstream>,
    upload: Upload<B>,
    /// Why no more of the request can be sent.
    broken: Option<io::Error>,
    state: State,
    of_head: bool,
    upgrade: Option<Switch>,
    /// Asked again whether it may go on, as long as the request is being sent.
    ongoing: Option<Ongoing>,
}

enum State {
    Begin,
    Connecting(Connecting),
    Talking(Box<Link>),
    Over,
}

impl<B> Exchange<B> {
    pub(super) fn new(
        upstream: Rc<Upstream>,
        upload: Upload<B>,
        of_head: bool,
        (upgrade, ongoing): (Option<Switch>, Option<Ongoing>),
    ) -> Self {
        Self { upstream, upload, broken: None, state: State::Begin, of_head, upgrade, ongoing }
    }
}

impl<B> Future for Exchange<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<ProxyBody>, ForwardError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let exchange = self.get_mut();
        loop {
            exchange.state = match std::mem::replace(&mut exchange.state, State::Over) {
                State::Begin => match exchange.upstream.pool.take() {
                    Some(link) => State::Talking(link),
                    None => State::Connecting(exchange.upstream.connector.connect()),
                },
                State::Connecting(mut connecting) => match connecting.as_mut().poll(cx) {
                    Poll::Ready(stream) => State::Talking(Link::new(stream?)),
                    Poll::Pending => {
                        exchange.state = State::Connecting(connecting);
                        return Poll::Pending;
                    }
                },
                State::Talking(mut link) => match exchange.poll_talk(cx, &mut link) {
                    Poll::Pending => {
                        exchange.state = State::Talking(link);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(head)) => return Poll::Ready(exchange.answer(link, head)),
                    Poll::Ready(Err(Failed::Anew)) => State::Begin,
                    Poll::Ready(Err(Failed::For(error))) => return Poll::Ready(Err(error)),
                },
                State::Over => return Poll::Pending,
            };
        }
    }
}

/// How an attempt failed.
enum Failed {
    /// Not a byte was sent: another connection may do.
    Anew,
    For(ForwardError),
}

impl Failed {
    fn unreachable(seen: bool, error: &io::Error) -> Self {
        Self::For(ForwardError::Unreachable { seen, reason: error.to_string() })
    }
}

impl<B> Exchange<B>
where
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    /// Sends what is to be sent, and listens for the answer at the same time: it may come early.
    fn poll_talk(&mut self, cx: &mut Context<'_>, link: &mut Link) -> Poll<Result<Head, Failed>> {
        if !self.upload.is_whole() && self.broken.is_none() {
            match self.upload.poll_send(cx, &mut link.stream) {
                Poll::Ready(Ok(())) => {
                    self.upstream.memory.put(self.upload.take_memory());
                    link.wait_for(self.upstream.timeouts.response_head);
                }
                Poll::Ready(Err(Unsent::ByClient)) => {
                    return Poll::Ready(Err(Failed::For(ForwardError::ClientBody)));
                }
                Poll::Ready(Err(Unsent::ByUpstream(error))) if self.upload.has_begun() => {
                    // It may have said why before it stopped listening.
                    self.broken = Some(error);
                    link.wait_for(self.upstream.timeouts.response_head);
                }
                Poll::Ready(Err(Unsent::ByUpstream(_))) if link.kept => {
                    return Poll::Ready(Err(Failed::Anew));
                }
                Poll::Ready(Err(Unsent::ByUpstream(error))) => {
                    return Poll::Ready(Err(Failed::unreachable(false, &error)));
                }
                Poll::Pending => {}
            }
        }
        match poll_head(cx, link, self.of_head) {
            Poll::Ready(Ok(head)) => return Poll::Ready(Ok(head)),
            Poll::Ready(Err(error)) => {
                let error = self.broken.as_ref().unwrap_or(&error);
                return Poll::Ready(Err(Failed::unreachable(self.upload.has_begun(), error)));
            }
            Poll::Pending => {}
        }
        // Whoever only waits for an answer was decided; whoever still sends is decided again.
        if !self.upload.is_whole()
            && let Some(ongoing) = &mut self.ongoing
            && let Poll::Ready(why) = link.poll_ended(cx, ongoing)
        {
            return Poll::Ready(Err(Failed::For(ForwardError::Withdrawn(Box::new(why)))));
        }
        ready!(link.poll_late(cx));
        Poll::Ready(Err(Failed::For(ForwardError::Timeout { seen: true })))
    }

    fn answer(&mut self, mut link: Box<Link>, head: Head) -> Result<Response<ProxyBody>, ForwardError> {
        let websocket = answer_head::is_websocket(&head);
        if head.parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return match self.upgrade.take().filter(|_| websocket) {
                Some(client) => {
                    let upstream = &self.upstream;
                    let upgraded = Preread::new(link.stream, link.inbox, None);
                    let (limit, tasks) = (upstream.timeouts.stream_idle, upstream.tasks.clone());
                    let ended = ended(self.ongoing.take());
                    upstream.tasks.clients.spawn_local(tunnel::run(client, upgraded, limit, tasks, ended));
                    Ok(Response::from_parts(head.parts, ProxyBody::none()))
                }
                None => Err(ForwardError::Unreachable {
                    seen: true,
                    reason: "the upstream switched to a protocol that nobody asked for".to_owned(),
                }),
            };
        }
        let home = match self.upload.is_whole() {
            true => head.keep.then(|| Rc::clone(&self.upstream.pool)),
            // The rest goes on while the answer is read; then the connection is closed.
            false => {
                let shared = Rc::new(RefCell::new(link.stream));
                link.stream = Stream::Shared(Rc::clone(&shared));
                let (upload, cut) = (self.upload.take(), self.upstream.tasks.cut.clone());
                let rest = send_rest(upload, Stream::Shared(shared), cut);
                let ended = ended(self.ongoing.as_ref().map(Ongoing::again));
                self.upstream.tasks.upstreams.spawn_local(async move {
                    tokio::select! {
                        () = rest => {}
                        () = ended => {}
                    }
                });
                None
            }
        };
        Ok(Response::from_parts(head.parts, ProxyBody::new(link, head.framing, home, self.ongoing.take())))
    }
}

/// Waits until an exchange is to end; for ever where it never is.
async fn ended(ongoing: Option<Ongoing>) {
    match ongoing {
        // Why is logged where it is found out.
        Some(ongoing) => drop(ongoing.ended().await),
        None => std::future::pending().await,
    }
}

/// Goes on sending a request whose answer came before its end.
async fn send_rest<B>(mut upload: Upload<B>, mut stream: Stream, cut: CancellationToken)
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let sent = poll_fn(|cx| upload.poll_send(cx, &mut stream));
    // Whether it came to its end makes no difference any more.
    let _ = cut.run_until_cancelled(sent).await;
}

fn poll_head(cx: &mut Context<'_>, link: &mut Link, of_head: bool) -> Poll<io::Result<Head>> {
    loop {
        while !link.inbox.is_empty() {
            match answer_head::read(&mut link.inbox, of_head).map_err(io::Error::other)? {
                Read::Head(head) => return Poll::Ready(Ok(head)),
                Read::Interim => {}
                Read::Partial => break,
            }
        }
        if ready!(link.poll_fill(cx))? == 0 {
            return Poll::Ready(Err(io::Error::other(
                "the upstream closed the connection without an answer",
            )));
        }
    }
}
