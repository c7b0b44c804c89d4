//! One connection to the upstream, with the bytes that came over it and were not taken yet.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::stream::Stream;
use crate::{
    clock::coarse_millis,
    http::watch::Watch,
    pipeline::{admission::Ongoing, request::Rejection},
};

/// What is read at a time, at least and at most: the room grows as long as it is filled.
const LEAST_ROOM: usize = 4 * 1024;
const MOST_ROOM: usize = 64 * 1024;
const KEPT_ROOM: usize = 2 * LEAST_ROOM;

/// A connection to the upstream.
pub(super) struct Link {
    pub stream: Stream,
    /// Read, but not taken.
    pub inbox: BytesMut,
    room: usize,
    /// It has served a request before this one: it may have died while it was idle.
    pub kept: bool,
    /// Kept from request to request, as making one for each is dear.
    watch: Watch,
    deadline: Option<u64>,
    /// When the present request was sent.
    pub sent: u64,
    /// The task of the present request has asked the watch.
    watched: bool,
}

impl Link {
    pub fn new(stream: Stream) -> Box<Self> {
        Box::new(Self {
            stream,
            inbox: BytesMut::new(),
            room: LEAST_ROOM,
            kept: false,
            watch: Watch::default(),
            deadline: None,
            sent: 0,
            watched: false,
        })
    }

    /// Reads more into the inbox; 0 is the end.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // What is held by the present answer cannot be used again: a little room will do until it has gone.
        if self.inbox.capacity() - self.inbox.len() < self.room / 4 {
            self.inbox.reserve(self.room);
        }
        let count = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.inbox))?;
        if count >= self.room {
            self.room = (self.room * 2).min(MOST_ROOM);
        }
        Poll::Ready(Ok(count))
    }

    /// Whether it can take another request: nothing has come while it was idle, not even its end.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut room = ReadBuf::new(&mut byte);
        let mut nobody = Context::from_waker(Waker::noop());
        self.inbox.is_empty() && Pin::new(&mut self.stream).poll_read(&mut nobody, &mut room).is_pending()
    }

    /// Waits for the answer for so long from now on.
    pub fn wait_for(&mut self, limit: Duration) {
        self.sent = coarse_millis();
        self.deadline = self.sent.checked_add(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    }

    /// The wait is over.
    pub fn rest(&mut self) {
        self.kept = true;
        // An idle connection holds little memory, however much its last answer took.
        self.room = LEAST_ROOM;
        if self.inbox.capacity() > KEPT_ROOM {
            self.inbox = BytesMut::new();
        }
        self.deadline = None;
        self.sent = 0;
        self.watched = false;
    }

    /// Whether the exchange over this connection is to end, as its tenant would not be let in any more. Wakes the task for
    /// each look.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>, ongoing: &mut Ongoing) -> Poll<Rejection> {
        loop {
            if let Poll::Ready(why) = ongoing.poll_ended(cx) {
                return Poll::Ready(why);
            }
            let Some(next) = ongoing.next_look() else { return Poll::Pending };
            let known = std::mem::replace(&mut self.watched, true);
            ready!(self.watch.poll_elapsed(cx, next, known));
        }
    }

    /// Whether that time is over.
    pub fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let known = std::mem::replace(&mut self.watched, true);
        self.watch.poll_elapsed(cx, deadline, known)
    }
}
