//! A request on its way to the upstream: its head, then its body as the client sends it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::http::HeaderMap;
use ::http_body::Body;
use bytes::Bytes;
use tokio::io::AsyncWrite;

use super::{request_head::Framing, stream::Stream};
use crate::http::{BoxError, forwarded, headers, outbox::Outbox};

/// Why a request was not sent whole.
#[derive(Debug)]
pub(super) enum Unsent {
    /// The client's body broke off, or is not as long as it was said to be.
    ByClient,
    /// The upstream's connection failed.
    ByUpstream(io::Error),
}

/// What is left to be sent of a request.
pub(super) struct Upload<B> {
    out: Outbox,
    /// `None`: its end was taken over into `out`.
    body: Option<B>,
    framing: Framing,
    /// The client's trailers are believed.
    trusted: bool,
    /// Nothing of the body was asked for yet.
    fresh: bool,
    /// The upstream may have seen something of it.
    begun: bool,
    whole: bool,
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// A request with this head.
    pub fn new(head: Vec<u8>, body: B, framing: Framing, trusted: bool) -> Self {
        Self {
            out: Outbox::new(head),
            body: (framing != Framing::Empty).then_some(body),
            framing,
            trusted,
            fresh: true,
            begun: false,
            whole: false,
        }
    }

    /// Whether all of it was sent.
    pub const fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether the upstream may have seen something of it. As long as not, it can be sent over another connection: what
    /// was taken from the body is still here.
    pub const fn has_begun(&self) -> bool {
        self.begun
    }

    /// What is left, to be sent from elsewhere.
    pub fn take(&mut self) -> Self {
        Self { out: std::mem::take(&mut self.out), body: self.body.take(), ..*self }
    }

    /// The memory of what was sent, to be used again.
    pub fn take_memory(&mut self) -> Vec<u8> {
        self.out.take_memory()
    }

    /// Sends as much as goes. Ready when all of it has gone.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Result<(), Unsent>> {
        loop {
            // The first of the body goes together with the head where it is at hand.
            let wanted = self.body.is_some() && (self.fresh || self.out.is_empty());
            let waiting = wanted && self.poll_body(cx)?.is_pending();
            ready!(self.out.poll_write(cx, stream, || self.begun = true)).map_err(Unsent::ByUpstream)?;
            if self.body.is_none() || waiting {
                ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(Unsent::ByUpstream)?;
                if waiting {
                    return Poll::Pending;
                }
                self.whole = true;
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Takes over what comes next of the body. Pending where the client must send first.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Unsent> {
        let Some(body) = &mut self.body else { return Ok(Poll::Ready(())) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            self.fresh = false;
            return Ok(Poll::Pending);
        };
        self.fresh = false;
        match frame {
            None => self.ends(None)?,
            Some(Err(_)) => return Err(Unsent::ByClient),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.add(data)?,
                Err(frame) => self.ends(frame.into_trailers().ok())?,
            },
        }
        Ok(Poll::Ready(()))
    }

    fn add(&mut self, data: Bytes) -> Result<(), Unsent> {
        let chunked = self.framing == Framing::Chunked;
        if let Framing::Length(left) = &mut self.framing {
            *left = left.checked_sub(data.len() as u64).ok_or(Unsent::ByClient)?;
        }
        // An empty chunk would be the last.
        if chunked && !data.is_empty() {
            self.out.text().extend_from_slice(format!("{:X}\r\n", data.len()).as_bytes());
            self.out.push(data);
            self.out.text().extend_from_slice(b"\r\n");
        } else {
            self.out.push(data);
        }
        if self.body.as_ref().is_some_and(Body::is_end_stream) {
            self.ends(None)?;
        }
        Ok(())
    }

    fn ends(&mut self, trailers: Option<HeaderMap>) -> Result<(), Unsent> {
        self.body = None;
        match self.framing {
            Framing::Empty | Framing::Length(0) => Ok(()),
            Framing::Length(_) => Err(Unsent::ByClient),
            Framing::Chunked => {
                let out = self.out.text();
                out.extend_from_slice(b"0\r\n");
                if let Some(mut trailers) = trailers {
                    // Some servers merge trailers into the headers.
                    headers::remove_hop_by_hop(&mut trailers);
                    forwarded::remove_forged(&mut trailers, self.trusted);
                    for (name, value) in &trailers {
                        headers::write_field(out, name.as_str(), value.as_bytes());
                    }
                }
                out.extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }
}
