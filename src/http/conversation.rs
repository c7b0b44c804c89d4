//! What the parts of one client connection (its IO, its service, its bodies, its time-outs) tell each other.
//!
//! All of them run on one thread; the atomics are there because hyper wants an upgradable IO to be `Send`.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::settings::Timeouts;
use crate::pipeline::request::HeadRefusal;

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

/// The shared state of one client connection. Instants are milliseconds since its accept, plus one; 0 is never.
#[derive(Debug)]
pub(super) struct Conversation {
    accepted: Instant,
    pub protocol: Protocol,
    last_byte: AtomicU64,
    head_began: AtomicU64,
    half_closed: AtomicU64,
    lingering: AtomicU64,
    started: AtomicU64,
    answered: AtomicU64,
    finished: AtomicU64,
    uploads: AtomicU64,
    abandoned: AtomicBool,
    body_at_hand: AtomicBool,
    switched: AtomicBool,
    refusal: OnceLock<(u64, HeadRefusal)>,
}

impl Conversation {
    pub(super) fn new(accepted: Instant, protocol: Protocol) -> Self {
        Self {
            accepted,
            protocol,
            last_byte: AtomicU64::new(0),
            head_began: AtomicU64::new(0),
            half_closed: AtomicU64::new(0),
            lingering: AtomicU64::new(0),
            started: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            uploads: AtomicU64::new(0),
            abandoned: AtomicBool::new(false),
            body_at_hand: AtomicBool::new(false),
            switched: AtomicBool::new(false),
            refusal: OnceLock::new(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// A byte went one way or the other.
    pub(super) fn touch(&self) {
        self.last_byte.store(self.now(), Relaxed);
    }

    /// The first byte of a head is here.
    pub(super) fn head_begins(&self) {
        if self.head_began.load(Relaxed) == 0 {
            self.head_began.store(self.now(), Relaxed);
        }
    }

    /// A request goes to the service; `body_at_hand` says that its whole body is here already.
    pub(super) fn request_starts(&self, body_at_hand: bool) {
        self.head_began.store(0, Relaxed);
        self.abandoned.store(false, Relaxed);
        self.body_at_hand.store(body_at_hand, Relaxed);
        self.started.fetch_add(1, Relaxed);
    }

    /// The next request to start is refused, and is the last.
    pub(super) fn refuse_next(&self, refusal: HeadRefusal) {
        let _ = self.refusal.set((self.started.load(Relaxed) + 1, refusal));
    }

    /// Why the `count`th request is refused.
    pub(super) fn refusal_of(&self, count: u64) -> Option<HeadRefusal> {
        self.refusal.get().filter(|(refused, _)| *refused == count).map(|(_, why)| *why)
    }

    pub(super) fn answer_begins(&self) {
        self.answered.fetch_add(1, Relaxed);
        self.touch();
    }

    pub(super) fn answer_ends(&self) {
        self.finished.fetch_add(1, Relaxed);
        self.touch();
    }

    pub(super) fn in_flight(&self) -> bool {
        self.started.load(Relaxed) != self.finished.load(Relaxed)
    }

    pub(super) fn upload_begins(&self) {
        self.uploads.fetch_add(1, Relaxed);
    }

    /// `whole` is whether the body was read to its end.
    pub(super) fn upload_ends(&self, whole: bool) {
        self.uploads.fetch_sub(1, Relaxed);
        if !whole {
            self.abandoned.store(true, Relaxed);
        }
    }

    /// Whether so much of the request's body remains unread that the connection cannot be kept.
    pub(super) fn must_close(&self) -> bool {
        self.abandoned.load(Relaxed) && !self.body_at_hand.load(Relaxed)
    }

    /// The other side has closed its sending half.
    pub(super) fn half_closes(&self) {
        self.half_closed.store(self.now(), Relaxed);
    }

    pub(super) fn linger_begins(&self) {
        self.lingering.store(self.now(), Relaxed);
    }

    /// Another protocol follows on the connection.
    pub(super) fn switches(&self) {
        self.switched.store(true, Relaxed);
    }

    pub(super) fn has_switched(&self) -> bool {
        self.switched.load(Relaxed)
    }

    /// When the connection is to be closed if nothing further happens.
    pub(super) fn deadline(&self, timeouts: &Timeouts) -> Option<Instant> {
        let started = self.started.load(Relaxed);
        let waiting = started - self.answered.load(Relaxed);
        let uploads = self.uploads.load(Relaxed);
        let at = |stamp: u64, limit: Duration| {
            self.accepted.checked_add(Duration::from_millis(stamp)).and_then(|from| from.checked_add(limit))
        };
        let (lingering, half_closed) = (self.lingering.load(Relaxed), self.half_closed.load(Relaxed));
        let last_byte = self.last_byte.load(Relaxed);
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
        let head_began = self.head_began.load(Relaxed);
        if head_began > 0 {
            at(head_began, timeouts.request_head)
        } else if started == 0 && self.protocol == Protocol::Http1 {
            at(0, timeouts.request_head)
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
        Conversation::new(Instant::now() - Duration::from_secs(seconds), protocol)
    }

    /// Seconds until the deadline.
    fn left(conversation: &Conversation) -> Option<f64> {
        conversation.deadline(&limits()).map(|deadline| (deadline - Instant::now()).as_secs_f64().round())
    }

    #[tokio::test]
    async fn each_phase_has_its_own_deadline() {
        let conversation = aged(4, Protocol::Http1);
        assert_eq!(left(&conversation), Some(6.0));
        conversation.request_starts(true);
        assert_eq!(left(&conversation), None, "the forwarder watches over an answer that is waited for");
        conversation.upload_begins();
        conversation.touch();
        assert_eq!(left(&conversation), Some(30.0));
        conversation.upload_ends(true);
        assert_eq!(left(&conversation), None);
        conversation.half_closes();
        assert_eq!(left(&conversation), Some(1.0));
        conversation.half_closed.store(0, Relaxed);
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
        conversation.request_starts(true);
        conversation.answer_begins();
        conversation.answer_ends();
        conversation.head_began.store(27_000, Relaxed);
        conversation.head_begins();
        assert_eq!(left(&conversation), Some(7.0));
    }

    #[tokio::test]
    async fn http2_is_idle_from_the_start() {
        assert_eq!(left(&aged(4, Protocol::Http2)), Some(16.0));
    }

    #[tokio::test]
    async fn only_the_named_request_is_refused() {
        let conversation = aged(0, Protocol::Http1);
        conversation.request_starts(true);
        conversation.refuse_next(HeadRefusal::TooLarge);
        assert_eq!(conversation.refusal_of(1), None);
        assert_eq!(conversation.refusal_of(2), Some(HeadRefusal::TooLarge));
    }
}
