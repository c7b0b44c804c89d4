//! A request's body on its way to the upstream, which tells the forwarder when its last byte has gone.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use ::http_body::{Body, Frame, SizeHint};
use bytes::Bytes;
use pin_project_lite::pin_project;

use super::{BoxError, forwarded, headers};

/// How far the sending of a request's body has come.
#[derive(Debug, Default)]
pub(super) struct Sent {
    whole: Cell<bool>,
    failed: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Sent {
    /// The body's last byte has gone.
    pub(super) fn is_whole(&self) -> bool {
        self.whole.get()
    }

    /// The client's body ended in an error.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// Until the last byte has gone.
    pub(super) async fn whole(&self) {
        poll_fn(|cx| {
            if self.whole.get() {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn ends(&self) {
        self.whole.set(true);
        if let Some(waker) = self.waiting.borrow_mut().take() {
            waker.wake();
        }
    }
}

pin_project! {
    /// The body that is sent.
    pub(super) struct Sending<B> {
        #[pin]
        body: B,
        trusted: bool,
        sent: Rc<Sent>,
    }
}

impl<B: Body> Sending<B> {
    pub(super) fn new(body: B, trusted: bool) -> (Self, Rc<Sent>) {
        let sent = Rc::new(Sent::default());
        if body.is_end_stream() {
            sent.ends();
        }
        (Self { body, trusted, sent: Rc::clone(&sent) }, sent)
    }
}

impl<B> Body for Sending<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        match &frame {
            Some(Ok(_)) if this.body.is_end_stream() => this.sent.ends(),
            Some(Ok(frame)) if frame.is_trailers() => this.sent.ends(),
            Some(Ok(_)) => {}
            Some(Err(_)) => this.sent.failed.set(true),
            None => this.sent.ends(),
        }
        let trusted = *this.trusted;
        Poll::Ready(frame.map(|frame| match frame {
            Ok(mut frame) => {
                if let Some(trailers) = frame.trailers_mut() {
                    // Some servers merge trailers into the headers.
                    headers::remove_hop_by_hop(trailers);
                    forwarded::remove_forged(trailers, trusted);
                }
                Ok(frame)
            }
            Err(error) => Err(error.into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
