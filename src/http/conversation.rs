//! What the parts of one client connection (its IO, its service, its bodies, its time-outs) tell each other.

use std::{
    cell::{Cell, RefCell},
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::settings::Timeouts;
use crate::clock::coarse_millis;

/// How long a request goes on after its client has closed its sending half: long enough for those that close it
/// right after the request, short enough to free the upstream soon after a client has left.
const HALF_CLOSED: Duration = Duration::from_secs(1);
/// How long bytes that nobody wants are still taken, so that the client can read its answer before a reset.
const LINGER: Duration = Duration::from_secs(5);

/// The version that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// The shared state of one client connection. Instants are those of [`coarse_millis`]; 0 is never.
#[derive(Debug)]
pub(super) struct Conversation {
    accepted: u64,
    pub protocol: Protocol,
    last_byte: Cell<u64>,
    head_began: Cell<u64>,
    half_closed: Cell<u64>,
    lingering: Cell<u64>,
    started: Cell<u64>,
    answered: Cell<u64>,
    finished: Cell<u64>,
    uploads: Cell<u64>,
    uploaded: RefCell<Option<Waker>>,
    abandoned: Cell<bool>,
}

impl Conversation {
    pub(super) fn new(accepted: u64, protocol: Protocol) -> Self {
        Self {
            accepted,
            protocol,
            last_byte: Cell::new(accepted),
            head_began: Cell::default(),
            half_closed: Cell::default(),
            lingering: Cell::default(),
            started: Cell::default(),
            answered: Cell::default(),
            finished: Cell::default(),
            uploads: Cell::default(),
            uploaded: RefCell::default(),
            abandoned: Cell::default(),
        }
    }

    /// A byte went one way or the other.
    pub(super) fn touch(&self) {
        self.last_byte.set(coarse_millis());
    }

    /// The first byte of a head is here.
    pub(super) fn head_begins(&self) {
        if self.head_began.get() == 0 {
            self.head_began.set(coarse_millis());
        }
    }

    /// A request goes to the service.
    pub(super) fn request_starts(&self) {
        self.head_began.set(0);
        self.abandoned.set(false);
        self.started.set(self.started.get() + 1);
    }

    pub(super) fn answer_begins(&self) {
        self.answered.set(self.answered.get() + 1);
        self.touch();
    }

    pub(super) fn answer_ends(&self) {
        self.finished.set(self.finished.get() + 1);
        self.touch();
    }

    pub(super) fn in_flight(&self) -> bool {
        self.started.get() != self.finished.get()
    }

    pub(super) fn upload_begins(&self) {
        self.uploads.set(self.uploads.get() + 1);
    }

    /// `whole` is whether the body was read to its end.
    pub(super) fn upload_ends(&self, whole: bool) {
        self.uploads.set(self.uploads.get() - 1);
        if !whole {
            self.abandoned.set(true);
        }
        if let Some(waker) = self.uploaded.take() {
            waker.wake();
        }
    }

    /// Until nobody reads a request's body any more.
    pub(super) fn poll_uploaded(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.uploads.get() == 0 {
            return Poll::Ready(());
        }
        self.uploaded.replace(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Whether the present request's body was let go of before its end.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.get()
    }

    /// The other side has closed its sending half.
    pub(super) fn half_closes(&self) {
        self.half_closed.set(coarse_millis());
    }

    pub(super) fn linger_begins(&self) {
        self.lingering.set(coarse_millis());
    }

    /// When the connection is to be closed if nothing further happens.
    pub(super) fn deadline(&self, timeouts: &Timeouts) -> Option<u64> {
        let started = self.started.get();
        let waiting = started - self.answered.get();
        let uploads = self.uploads.get();
        let at = |stamp: u64, limit: Duration| {
            stamp.checked_add(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
        };
        let (lingering, half_closed) = (self.lingering.get(), self.half_closed.get());
        let last_byte = self.last_byte.get();
        if lingering > 0 {
            return at(lingering, LINGER);
        }
        if self.in_flight() || uploads > 0 {
            return match half_closed {
                0 if waiting > uploads => None,
                0 => at(last_byte, timeouts.stream_idle),
                since => at(since, HALF_CLOSED),
            };
        }
        let head_began = self.head_began.get();
        if head_began > 0 {
            at(head_began, timeouts.request_head)
        } else if started == 0 && self.protocol == Protocol::Http1 {
            at(self.accepted, timeouts.request_head)
        } else {
            at(last_byte, timeouts.idle)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Timeouts {
        Timeouts {
            request_head: Duration::from_secs(10),
            idle: Duration::from_secs(20),
            stream_idle: Duration::from_secs(30),
            ..Timeouts::default()
        }
    }

    /// A connection that was accepted so many seconds ago.
    fn aged(seconds: u64, protocol: Protocol) -> Conversation {
        Conversation::new(coarse_millis() - 1000 * seconds, protocol)
    }

    /// Seconds until the deadline.
    fn left(conversation: &Conversation) -> Option<f64> {
        conversation
            .deadline(&limits())
            .map(|end| (end.saturating_sub(coarse_millis()) as f64 / 1000.0).round())
    }

    #[tokio::test]
    async fn each_phase_has_its_own_deadline() {
        let conversation = aged(4, Protocol::Http1);
        assert_eq!(left(&conversation), Some(6.0));
        conversation.request_starts();
        assert_eq!(left(&conversation), None, "the forwarder watches over an answer that is waited for");
        conversation.upload_begins();
        conversation.touch();
        assert_eq!(left(&conversation), Some(30.0));
        conversation.upload_ends(true);
        assert_eq!(left(&conversation), None);
        conversation.half_closes();
        assert_eq!(left(&conversation), Some(1.0));
        conversation.half_closed.set(0);
        conversation.answer_begins();
        assert_eq!(left(&conversation), Some(30.0));
        conversation.answer_ends();
        assert_eq!(left(&conversation), Some(20.0));
        conversation.head_begins();
        conversation.touch();
        assert_eq!(left(&conversation), Some(10.0));
        conversation.linger_begins();
        assert_eq!(left(&conversation), Some(5.0));
    }

    #[tokio::test]
    async fn a_head_is_timed_from_its_first_byte() {
        let conversation = aged(30, Protocol::Http1);
        conversation.request_starts();
        conversation.answer_begins();
        conversation.answer_ends();
        conversation.head_began.set(coarse_millis() - 3000);
        conversation.head_begins();
        assert_eq!(left(&conversation), Some(7.0));
    }

    #[tokio::test]
    async fn http2_is_idle_from_the_start() {
        assert_eq!(left(&aged(4, Protocol::Http2)), Some(16.0));
    }
}
