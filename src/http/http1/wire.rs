//! A client's socket, and where in the bytes that come from it the reader stands.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use ::http_body::Frame;
use bytes::{Buf, Bytes, BytesMut};
use tokio::{io::AsyncWrite, net::TcpStream};
use tokio_util::io::poll_read_buf;

use crate::{
    http::{
        chunked::Chunks,
        conversation::Conversation,
        dechunk::{Dechunk, Piece},
        head::{self, Framing, Head, Verdict},
        worker::Worker,
    },
    pipeline::{faults::Malformed, language::Language, request::HeadRefusal},
};

/// What is read at a time, at least and at most.
const LEAST_ROOM: usize = 4 * 1024;
const MOST_ROOM: usize = 64 * 1024;
/// Bytes taken in after the answer, for the client's sake.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
/// Empty lines that are forgiven before a request line.
const EMPTY_LINES: u8 = 4;

/// A client's connection.
pub(super) struct Wire {
    pub stream: TcpStream,
    /// Read, but not taken.
    pub inbox: BytesMut,
    pub conversation: Rc<Conversation>,
    worker: Rc<Worker>,
    cap: usize,
    /// What is read at a time: it grows as long as it is filled.
    room: usize,
    /// The client has closed its sending half.
    ended: bool,
    /// So many bytes of a head were looked at in vain, after so many empty lines.
    examined: usize,
    empty_lines: u8,
    /// What is left of the present request.
    rest: Rest,
    /// The number of the present request: a body that was left over from an earlier one reads nothing.
    pub request: u64,
    /// What is left to be written of the word to go on.
    go_on: &'static [u8],
}

/// What is left of a request's body.
enum Rest {
    Nothing,
    Length(u64),
    /// Judged strictly first, then taken apart.
    Chunked {
        judge: Chunks,
        judged: BytesMut,
        taker: Dechunk,
    },
    /// Nobody knows where it ends.
    Lost,
}

/// What comes at the beginning of a request.
pub(super) enum Next {
    Head(Box<Head>),
    Refused {
        refusal: HeadRefusal,
        of_head: bool,
        language: Language,
    },
    /// The client has nothing more to ask.
    End,
}

const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Wire {
    /// A connection of which `inbox` was read already.
    pub fn new(
        stream: TcpStream,
        inbox: BytesMut,
        conversation: Rc<Conversation>,
        worker: Rc<Worker>,
    ) -> Self {
        Self {
            stream,
            inbox,
            conversation,
            cap: worker.settings.caps.request_head,
            worker,
            room: LEAST_ROOM,
            ended: false,
            examined: 0,
            empty_lines: 0,
            rest: Rest::Nothing,
            request: 0,
            go_on: b"",
        }
    }

    /// Reads more; 0 is the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        if self.inbox.capacity() == 0 {
            self.inbox = self.worker.memory.take_inbox();
        }
        // What is held by the present request cannot be used again: a little room will do until it has gone.
        if self.inbox.capacity() - self.inbox.len() < self.room / 4 {
            self.inbox.reserve(limit.saturating_sub(self.inbox.len()).clamp(1, self.room));
        }
        let count = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.inbox))?;
        if count == 0 {
            self.ended = true;
            self.conversation.half_closes();
        } else {
            self.conversation.touch();
        }
        if count >= self.room {
            self.room = (self.room * 2).min(MOST_ROOM);
        }
        Poll::Ready(Ok(count))
    }

    /// Waits for a request's head.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Next>> {
        loop {
            while self.examined == 0 && self.inbox.starts_with(b"\r\n") {
                self.inbox.advance(2);
                self.empty_lines += 1;
                if self.empty_lines > EMPTY_LINES {
                    let refusal = HeadRefusal::Malformed(Malformed::EmptyLines);
                    return Poll::Ready(Ok(self.refuse(refusal, false)));
                }
            }
            if self.is_worth_examining() {
                self.examined = self.inbox.len();
                let of_head = self.inbox.starts_with(b"HEAD ");
                match head::read(&mut self.inbox, self.cap) {
                    Verdict::Partial => {}
                    Verdict::Accepted(head) => {
                        self.begin(&head);
                        return Poll::Ready(Ok(Next::Head(head)));
                    }
                    Verdict::Refused(refusal) => return Poll::Ready(Ok(self.refuse(refusal, of_head))),
                }
            }
            // One more byte than the cap is enough to know that a head is over it.
            match self.poll_fill(cx, self.cap + 1)? {
                Poll::Ready(0) => return Poll::Ready(Ok(Next::End)),
                Poll::Ready(_) => {}
                Poll::Pending => {
                    self.let_go();
                    return Poll::Pending;
                }
            }
            self.conversation.head_begins();
        }
    }

    /// A head that was incomplete is looked at again only when its end may have come: a slow sender costs no more.
    fn is_worth_examining(&self) -> bool {
        let bytes = &*self.inbox;
        match self.examined {
            0 => bytes.len() > 1,
            examined if bytes.len() <= examined => false,
            _ if bytes.len() >= self.cap => true,
            examined => {
                let fresh = &bytes[examined.saturating_sub(3)..];
                fresh.windows(2).any(|pair| pair == b"\n\n")
                    || fresh.windows(3).any(|triple| triple == b"\n\r\n")
            }
        }
    }

    fn begin(&mut self, head: &Head) {
        (self.examined, self.empty_lines) = (0, 0);
        self.request += 1;
        self.rest = match head.framing {
            Framing::Length(0) => Rest::Nothing,
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunked => {
                Rest::Chunked { judge: Chunks::default(), judged: BytesMut::new(), taker: Dechunk::default() }
            }
        };
        self.go_on = if head.expects && self.inbox.is_empty() { GO_ON } else { b"" };
        self.conversation.request_starts();
    }

    /// What follows cannot be told from what is refused: it is the last.
    fn refuse(&mut self, refusal: HeadRefusal, of_head: bool) -> Next {
        self.request += 1;
        self.rest = Rest::Lost;
        self.conversation.request_starts();
        let language = Language::asked_in(&self.inbox);
        Next::Refused { refusal, of_head, language }
    }

    /// Whether the whole request was read.
    pub const fn is_read(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    /// The answer begins: whoever waited for the word to go on has it now.
    pub const fn answer_begins(&mut self) {
        if self.go_on.len() == GO_ON.len() {
            self.go_on = b"";
        }
    }

    /// Whether the connection ends in any case with this request: what is behind it cannot be told from its body.
    pub const fn is_lost(&self) -> bool {
        matches!(self.rest, Rest::Lost)
    }

    /// The length that is left of the body, where it is known.
    pub const fn length(&self) -> Option<u64> {
        match self.rest {
            Rest::Length(left) => Some(left),
            Rest::Nothing => Some(0),
            Rest::Chunked { .. } | Rest::Lost => None,
        }
    }

    /// Reads the body on.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Piece>> {
        if self.inbox.is_empty() && !self.go_on.is_empty() {
            ready!(self.poll_go_on(cx))?;
        }
        loop {
            let piece = self.piece().inspect_err(|_| self.rest = Rest::Lost)?;
            if piece != Piece::Wanted {
                return Poll::Ready(Ok(piece));
            }
            if ready!(self.poll_fill(cx, MOST_ROOM))? == 0 {
                self.rest = Rest::Lost;
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// What is at hand of the body.
    fn piece(&mut self) -> io::Result<Piece> {
        match &mut self.rest {
            Rest::Nothing => Ok(Piece::End),
            Rest::Lost => Err(io::ErrorKind::InvalidData.into()),
            Rest::Length(_) if self.inbox.is_empty() => Ok(Piece::Wanted),
            Rest::Length(left) => {
                let count =
                    usize::try_from(*left).map_or(self.inbox.len(), |left| left.min(self.inbox.len()));
                *left -= count as u64;
                if *left == 0 {
                    self.rest = Rest::Nothing;
                }
                Ok(Piece::Data(self.inbox.split_to(count).freeze()))
            }
            Rest::Chunked { judge, judged, taker } => {
                let count = judge.advance(&self.inbox).map_err(io::Error::other)?;
                judged.unsplit(self.inbox.split_to(count));
                let piece = taker.next(judged).map_err(io::Error::other)?;
                if *taker == Dechunk::Done {
                    self.rest = Rest::Nothing;
                }
                Ok(piece)
            }
        }
    }

    fn poll_go_on(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.go_on.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, self.go_on))?;
            self.go_on = &self.go_on[count..];
        }
        Poll::Ready(Ok(()))
    }

    /// Leaves out what is at hand of a body that nobody wants. Whether that was all of it.
    pub fn skip_body(&mut self) -> bool {
        while let Ok(piece) = self.piece() {
            match piece {
                Piece::End => return true,
                Piece::Wanted => break,
                Piece::Data(_) | Piece::Trailers(_) => {}
            }
        }
        self.rest = Rest::Lost;
        false
    }

    /// Takes in what comes behind the present request, so that the client's leaving is seen; it waits for its turn.
    pub fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        while self.is_read() && !self.ended && self.inbox.len() < self.cap {
            if let Err(error) = ready!(self.poll_fill(cx, self.cap)) {
                return Poll::Ready(error);
            }
        }
        Poll::Pending
    }

    /// Closes the sending half and, where the client may still be sending, takes that in for a while: a socket that is
    /// closed with unread bytes in it resets the connection, and the client would lose the answer.
    pub fn poll_close(&mut self, cx: &mut Context<'_>, left: &mut Option<usize>) -> Poll<()> {
        if left.is_none() {
            let shut = ready!(Pin::new(&mut self.stream).poll_shutdown(cx));
            let unread = !self.inbox.is_empty() || !self.is_read();
            *left = Some(if unread && shut.is_ok() { LINGER_BYTES } else { 0 });
            self.conversation.linger_begins();
        }
        while let Some(more) = left.filter(|more| *more > 0)
            && !self.ended
        {
            self.inbox.clear();
            match ready!(self.poll_fill(cx, MOST_ROOM)) {
                Ok(count) => *left = Some(more.saturating_sub(count)),
                Err(_) => break,
            }
        }
        Poll::Ready(())
    }

    /// Between two requests: the client may have begun another.
    pub fn ends_request(&mut self) {
        self.room = LEAST_ROOM;
        if self.inbox.is_empty() {
            self.let_go();
        } else {
            self.conversation.head_begins();
        }
    }

    /// An idle connection holds no memory for what may come.
    fn let_go(&mut self) {
        if self.inbox.is_empty() {
            self.worker.memory.put_inbox(std::mem::take(&mut self.inbox));
        }
    }
}

/// A piece as a body's frame.
pub(super) fn frame(piece: Piece) -> Option<Frame<Bytes>> {
    match piece {
        Piece::Data(data) => Some(Frame::data(data)),
        Piece::Trailers(trailers) => Some(Frame::trailers(trailers)),
        Piece::End | Piece::Wanted => None,
    }
}
