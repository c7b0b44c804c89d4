//! How much of a bucket is told at a look: the rule alone, for all stores.

use crate::{domain::time::UnixMillis, ports::Cut};

/// What is known of a bucket's pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// Units of all pieces that count.
    pub(super) told: u64,
    /// Pieces there ever were: the next one's number.
    pub(super) pieces: u64,
    /// Units that an earlier look has seen.
    pub(super) seen: u64,
    /// When that was.
    pub(super) seen_at: UnixMillis,
}

/// A bucket as a look finds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looked {
    pub(super) start: UnixMillis,
    pub(super) end: UnixMillis,
    pub(super) used: u64,
    pub(super) known: Option<Told>,
}

/// What follows of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// What all pieces are to come to: more than told, a piece is added; less, some are withdrawn. `None`: it is too early to
    /// say.
    pub(super) settled: Option<u64>,
    /// When the new units were used.
    pub(super) at: UnixMillis,
    /// What is to be remembered, but for the pieces.
    pub(super) seen: u64,
    pub(super) seen_at: UnixMillis,
}

impl Looked {
    /// What was used an hour ago and still is, is settled: whatever was under way then has ended, and what it did not cost was
    /// given back. Of a bucket that ended so long ago all is.
    pub(super) fn found(self, cut: Cut) -> Found {
        let within = |at: UnixMillis| at.max(self.start).min(UnixMillis(self.end.0.saturating_sub(1)));
        if self.end <= cut.rested {
            let at = within(self.end);
            return Found { settled: Some(self.used), at, seen: self.used, seen_at: cut.now };
        }
        match self.known {
            Some(Told { seen, seen_at, .. }) if seen_at <= cut.rested => Found {
                settled: Some(seen.min(self.used)),
                at: within(seen_at),
                seen: self.used,
                seen_at: cut.now,
            },
            Some(Told { seen, seen_at, .. }) => Found { settled: None, at: within(seen_at), seen, seen_at },
            None => Found { settled: None, at: within(cut.now), seen: self.used, seen_at: cut.now },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn cut(now: i64) -> Cut {
        Cut { now: UnixMillis(now), rested: UnixMillis(now - HOUR), oldest: UnixMillis(i64::MIN) }
    }

    fn looked(used: u64, known: Option<Told>) -> Looked {
        Looked { start: UnixMillis(0), end: UnixMillis(100 * HOUR), used, known }
    }

    #[test]
    fn what_was_given_back_within_the_hour_is_never_told() {
        let first = looked(50, None).found(cut(HOUR));
        assert_eq!((first.settled, first.seen, first.seen_at), (None, 50, UnixMillis(HOUR)));
        let known = Told { told: 0, pieces: 0, seen: first.seen, seen_at: first.seen_at };
        let early = looked(70, Some(known)).found(cut(HOUR + 5));
        assert_eq!((early.settled, early.seen, early.seen_at), (None, 50, UnixMillis(HOUR)));
        let later = looked(40, Some(known)).found(cut(2 * HOUR));
        assert_eq!((later.settled, later.at, later.seen), (Some(40), UnixMillis(HOUR), 40));
        let more = looked(90, Some(known)).found(cut(2 * HOUR));
        assert_eq!((more.settled, more.seen, more.seen_at), (Some(50), 90, UnixMillis(2 * HOUR)));
    }

    #[test]
    fn what_has_ended_is_told_whole_within_its_period() {
        let end = 100 * HOUR;
        let known = Told { told: 10, pieces: 1, seen: 10, seen_at: UnixMillis(end - 1) };
        let over = looked(12, Some(known)).found(cut(end + HOUR));
        assert_eq!((over.settled, over.at), (Some(12), UnixMillis(end - 1)));
        let not_yet = looked(12, Some(known)).found(cut(end + HOUR - 2));
        assert_eq!(not_yet.settled, None);
        let unseen = looked(12, None).found(cut(end + HOUR));
        assert_eq!(unseen.settled, Some(12), "also of a tenant that was linked late");
    }
}
