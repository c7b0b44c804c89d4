//! The IO between the socket and hyper: hands over one judged request head at a time and exactly its body.
//!
//! hyper answers what it cannot parse by itself, with an empty 400. Here every head is judged first; in place of a bad
//! one hyper gets a small well-formed request, and the service learns from the [`Conversation`] why to refuse it.

mod phases;

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

use super::{buffer::Buffer, conversation::Conversation, gauge::Permit};
use phases::{NEXT_HEAD, Phase};

/// Read ahead of a body in pieces of at most this.
const BODY_PIECE: usize = 64 * 1024;
/// Bytes taken in after the answer, for the client's sake.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
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

    fn wrote(&self, count: usize) {
        if count > 0 && !matches!(self.phase, Phase::Raw) {
            self.conversation.touch();
        }
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
                        0 => Phase::body_of(framing),
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
