//! The steps of reading: from a head over its body to the next head.

use std::{
    io,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

use super::{BODY_PIECE, Guard};
use crate::{
    http::{
        chunked::Chunks,
        head::{self, Framing, Verdict},
    },
    pipeline::request::HeadRefusal,
};

/// A body of at most this is read by hyper in one go where it is at hand.
const SMALL_BODY: u64 = 4 * 1024;
/// Empty lines that are forgiven before a request line.
const EMPTY_LINES: u8 = 4;
const IN_PLACE: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
const IN_PLACE_OF_HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// What the bytes from the client are at present.
#[derive(Debug)]
pub(super) enum Phase {
    /// A head; so many bytes of it were looked at in vain, after so many empty lines.
    Head {
        examined: usize,
        empty_lines: u8,
    },
    /// An accepted head, so many bytes of it left to hand over.
    Handing(usize, Framing),
    Length(u64),
    Chunked(Chunks),
    /// The request is whole; what comes now waits for its answer to end.
    Between,
    /// In place of a bad head.
    Refused(&'static [u8]),
    /// After a bad head nothing is read any more.
    Spent,
    /// Not HTTP/1: whatever comes is passed on.
    Raw,
}

pub(super) const NEXT_HEAD: Phase = Phase::Head { examined: 0, empty_lines: 0 };

impl Phase {
    /// What follows a head that is handed over.
    pub(super) fn body_of(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::Between,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunks::default()),
        }
    }
}

impl Guard {
    /// One step at a head; `Ready(true)` where there is nothing more to come.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        mut examined: usize,
        mut empty_lines: u8,
    ) -> Poll<io::Result<bool>> {
        while examined == 0 && self.buffer.filled().starts_with(b"\r\n") {
            self.buffer.consume(2);
            empty_lines += 1;
        }
        if empty_lines > EMPTY_LINES {
            self.refuse(HeadRefusal::Malformed("too many empty lines before the request line"));
            return Poll::Ready(Ok(false));
        }
        if self.worth_examining(examined) {
            examined = self.buffer.len();
            match head::examine(self.buffer.filled(), self.cap) {
                Verdict::Partial => {}
                Verdict::Accepted(head) => {
                    self.accept(head);
                    return Poll::Ready(Ok(false));
                }
                Verdict::Refused(refusal) => {
                    self.refuse(refusal);
                    return Poll::Ready(Ok(false));
                }
            }
        }
        self.phase = Phase::Head { examined, empty_lines };
        // One more byte than the cap is enough to know that a head is over it.
        let count = ready!(self.poll_fill(cx, self.cap + 1))?;
        if count > 0 {
            self.conversation.head_begins();
        }
        Poll::Ready(Ok(count == 0))
    }

    /// A head that was incomplete is looked at again only when its end may have come: a slow sender costs no more.
    fn worth_examining(&self, examined: usize) -> bool {
        let bytes = self.buffer.filled();
        match examined {
            0 => bytes.len() > 1,
            _ if bytes.len() <= examined => false,
            _ if bytes.len() >= self.cap => true,
            _ => {
                let fresh = &bytes[examined.saturating_sub(3)..];
                fresh.windows(2).any(|pair| pair == b"\n\n")
                    || fresh.windows(3).any(|triple| triple == b"\n\r\n")
            }
        }
    }

    fn accept(&mut self, head: head::Head) {
        let at_hand = match head.framing {
            Framing::Chunked => false,
            Framing::Length(length) => {
                length <= SMALL_BODY && length <= (self.buffer.len() - head.length) as u64
            }
        };
        self.conversation.request_starts(at_hand);
        self.phase = Phase::Handing(head.length, head.framing);
    }

    fn refuse(&mut self, refusal: HeadRefusal) {
        let head = self.buffer.filled().starts_with(b"HEAD ");
        self.conversation.refuse_next(refusal);
        self.conversation.request_starts(true);
        self.phase = Phase::Refused(if head { IN_PLACE_OF_HEAD } else { IN_PLACE });
    }

    /// Takes bytes in without handing them on; `Ready(true)` where the answer has ended.
    pub(super) fn poll_between(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if self.conversation.has_switched() {
                self.phase = Phase::Raw;
                return Poll::Ready(Ok(true));
            }
            if !self.conversation.in_flight() {
                self.phase = NEXT_HEAD;
                if !self.buffer.is_empty() {
                    self.conversation.head_begins();
                }
                return Poll::Ready(Ok(true));
            }
            if self.ended || self.buffer.len() >= self.cap {
                return Poll::Pending;
            }
            ready!(self.poll_fill(cx, self.cap))?;
        }
    }

    pub(super) fn poll_chunked(
        &mut self,
        cx: &mut Context<'_>,
        mut chunks: Chunks,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            let filled = self.poll_fill(cx, BODY_PIECE);
            if !matches!(filled, Poll::Ready(Ok(1..))) {
                self.phase = Phase::Chunked(chunks);
                return filled.map_ok(|_| ());
            }
        }
        let offered = self.buffer.len().min(out.remaining());
        let advanced = chunks.advance(&self.buffer.filled()[..offered]);
        let done = chunks.is_done();
        self.phase = if done { Phase::Between } else { Phase::Chunked(chunks) };
        match advanced {
            Ok(count) => {
                self.hand(out, count as u64);
                Poll::Ready(Ok(()))
            }
            Err(bad) => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, bad))),
        }
    }

    pub(super) fn poll_raw(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            return std::pin::Pin::new(&mut self.stream).poll_read(cx, out);
        }
        self.hand(out, u64::MAX);
        Poll::Ready(Ok(()))
    }
}
