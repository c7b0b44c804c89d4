//! The IO between the socket and hyper: hands over one judged request head at a time and exactly its body.
//!
//! hyper answers what it cannot parse by itself, with an empty 400. Here every head is judged first; in place of a bad
//! one hyper gets a small well-formed request, and the service learns from the [`Conversation`] why to refuse it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    buffer::Buffer,
    chunked::Chunks,
    conversation::Conversation,
    gauge::Permit,
    head::{self, Framing, Verdict},
};
use crate::pipeline::request::HeadRefusal;

/// Read ahead of a body in pieces of at most this.
const BODY_PIECE: usize = 64 * 1024;
/// A body of at most this is read by hyper in one go where it is at hand.
const SMALL_BODY: u64 = 4 * 1024;
/// Empty lines that are forgiven before a request line.
const EMPTY_LINES: u8 = 4;
/// Bytes taken in after the answer, for the client's sake.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const IN_PLACE: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
const IN_PLACE_OF_HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// What the bytes from the client are at present.
#[derive(Debug)]
enum Phase {
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

const NEXT_HEAD: Phase = Phase::Head { examined: 0, empty_lines: 0 };

/// A client's socket under guard.
pub(super) struct Guard {
    stream: TcpStream,
    buffer: Buffer,
    phase: Phase,
    conversation: Arc<Conversation>,
    cap: usize,
    ended: bool,
    shut: bool,
    linger: usize,
    _permit: Permit,
}

impl Guard {
    /// Guards an HTTP/1 connection.
    pub(super) fn http1(
        stream: TcpStream,
        buffer: Buffer,
        conversation: Arc<Conversation>,
        cap: usize,
        permit: Permit,
    ) -> Self {
        if !buffer.is_empty() {
            conversation.head_begins();
        }
        Self {
            stream,
            buffer,
            phase: NEXT_HEAD,
            conversation,
            cap,
            ended: false,
            shut: false,
            linger: LINGER_BYTES,
            _permit: permit,
        }
    }

    /// Passes everything on, beginning with the buffer.
    pub(super) fn raw(
        stream: TcpStream,
        buffer: Buffer,
        conversation: Arc<Conversation>,
        permit: Permit,
    ) -> Self {
        Self { phase: Phase::Raw, ..Self::http1(stream, buffer, conversation, 0, permit) }
    }

    /// Reads more; 0 is the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let mut room = ReadBuf::new(self.buffer.room(limit));
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        self.buffer.add(count);
        if count == 0 {
            self.ended = true;
            self.conversation.half_closes();
        } else {
            self.conversation.touch();
        }
        Poll::Ready(Ok(count))
    }

    /// Hands over at most `most` bytes of the buffer; how many.
    fn hand(&mut self, out: &mut ReadBuf<'_>, most: u64) -> usize {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let count = self.buffer.len().min(out.remaining()).min(most);
        out.put_slice(&self.buffer.filled()[..count]);
        self.buffer.consume(count);
        count
    }

    /// One step at a head; `Ready(true)` where there is nothing more to come.
    fn poll_head(
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

    /// The place after a head that is handed over.
    const fn body_of(framing: Framing, chunks: Chunks) -> Phase {
        match framing {
            Framing::Length(0) => Phase::Between,
            Framing::Length(length) => Phase::Length(length),
            Framing::Chunked => Phase::Chunked(chunks),
        }
    }

    /// Takes bytes in without handing them on; `Ready(true)` where the answer has ended.
    fn poll_between(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
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

    fn poll_chunked(
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

    fn poll_raw(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            return Pin::new(&mut self.stream).poll_read(cx, out);
        }
        self.hand(out, u64::MAX);
        Poll::Ready(Ok(()))
    }

    /// Whether the client may still be sending what nobody reads.
    fn has_unread_input(&self) -> bool {
        match self.phase {
            Phase::Head { .. } | Phase::Between => !self.buffer.is_empty(),
            Phase::Raw => false,
            _ => true,
        }
    }
}

impl AsyncRead for Guard {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        loop {
            match std::mem::replace(&mut guard.phase, Phase::Spent) {
                Phase::Head { examined, empty_lines } => {
                    guard.phase = Phase::Head { examined, empty_lines };
                    if ready!(guard.poll_head(cx, examined, empty_lines))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Phase::Handing(left, framing) => {
                    let left = left - guard.hand(out, left as u64);
                    guard.phase = match left {
                        0 => Self::body_of(framing, Chunks::default()),
                        _ => Phase::Handing(left, framing),
                    };
                    return Poll::Ready(Ok(()));
                }
                Phase::Length(left) => {
                    guard.phase = Phase::Length(left);
                    if guard.buffer.is_empty() && ready!(guard.poll_fill(cx, BODY_PIECE))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    let left = left - guard.hand(out, left) as u64;
                    guard.phase = if left == 0 { Phase::Between } else { Phase::Length(left) };
                    return Poll::Ready(Ok(()));
                }
                Phase::Chunked(chunks) => return guard.poll_chunked(cx, chunks, out),
                Phase::Between => {
                    guard.phase = Phase::Between;
                    ready!(guard.poll_between(cx))?;
                }
                Phase::Refused(request) => {
                    let count = request.len().min(out.remaining());
                    out.put_slice(&request[..count]);
                    if count < request.len() {
                        guard.phase = Phase::Refused(&request[count..]);
                    }
                    return Poll::Ready(Ok(()));
                }
                Phase::Spent => return Poll::Pending,
                Phase::Raw => {
                    guard.phase = Phase::Raw;
                    return guard.poll_raw(cx, out);
                }
            }
        }
    }
}

impl AsyncWrite for Guard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.wrote(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, parts))?;
        self.wrote(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        // hyper reads on only when woken, but what comes next may be in the buffer, where no socket wakes anybody.
        let more = !self.buffer.is_empty() || self.ended;
        if more && matches!(self.phase, Phase::Between) && !self.conversation.in_flight() {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    /// Closes the sending half and, where the client may still be sending, takes that in for a while: a socket that is
    /// closed with unread bytes in it resets the connection, and the client would lose the answer.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        if !guard.shut {
            ready!(Pin::new(&mut guard.stream).poll_shutdown(cx))?;
            guard.shut = true;
            if guard.has_unread_input() {
                guard.conversation.linger_begins();
            } else {
                guard.linger = 0;
            }
        }
        while guard.linger > 0 && !guard.ended {
            let unread = guard.buffer.len();
            guard.buffer.consume(unread);
            match ready!(guard.poll_fill(cx, BODY_PIECE)) {
                Ok(count) => guard.linger = guard.linger.saturating_sub(count),
                Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Guard {
    fn wrote(&self, count: usize) {
        if count > 0 && !matches!(self.phase, Phase::Raw) {
            self.conversation.touch();
        }
    }
}
