//! One word of the ledger: units used, with a seal, beside what was granted and given back. All three only grow.
//!
//! The file takes its atomics from its parent module alone, so that a model checker can put its own in their place.

use super::atomic::{AtomicU64, Ordering};

const SEALED: u64 = 1 << 63;

/// What became of an attempt to take units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spend {
    /// They fit (or are taken); so many granted units are left after them.
    Taken {
        /// Units left.
        left: u64,
    },
    /// More would have to be granted.
    Short {
        /// How many more.
        need: u64,
    },
    /// Nothing is charged to this word any more.
    Sealed,
    /// The word cannot count so far (2^63 units).
    Full,
}

/// What a word has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Units charged.
    pub used: u64,
    /// Units given back, never more than `used`.
    pub refunded: u64,
    /// Nothing more is charged.
    pub sealed: bool,
}

impl Totals {
    /// Units charged and not given back.
    pub const fn net(self) -> u64 {
        self.used.saturating_sub(self.refunded)
    }
}

/// The word. `granted` is the database's and mirrored here; `used` and `refunded` are this node's own.
#[derive(Debug)]
pub struct Word {
    used: AtomicU64,
    granted: AtomicU64,
    refunded: AtomicU64,
}

impl Default for Word {
    fn default() -> Self {
        Self { used: AtomicU64::new(0), granted: AtomicU64::new(0), refunded: AtomicU64::new(0) }
    }
}

impl Word {
    /// Units that may have been used in all, where the word is `bounded` by its grants.
    fn capacity(&self, bounded: bool) -> u64 {
        if bounded {
            let granted = self.granted.load(Ordering::SeqCst);
            granted.saturating_add(self.refunded.load(Ordering::SeqCst)).min(SEALED - 1)
        } else {
            SEALED - 1
        }
    }

    fn judge(used: u64, units: u64, capacity: u64, bounded: bool) -> Spend {
        if used & SEALED != 0 {
            return Spend::Sealed;
        }
        let Some(next) = used.checked_add(units).filter(|next| *next < SEALED) else {
            return Spend::Full;
        };
        match capacity.checked_sub(next) {
            Some(left) => Spend::Taken { left },
            // Nothing is always there to take, even where an overrun went over the grant.
            None if units == 0 || !bounded => Spend::Taken { left: 0 },
            None => Spend::Short { need: next - capacity },
        }
    }

    /// What [`Word::spend`] would say now.
    pub fn peek(&self, units: u64, bounded: bool) -> Spend {
        Self::judge(self.used.load(Ordering::SeqCst), units, self.capacity(bounded), bounded)
    }

    /// Takes units: all or none. A word that is not `bounded` needs no grant.
    pub fn spend(&self, units: u64, bounded: bool) -> Spend {
        let mut used = self.used.load(Ordering::SeqCst);
        loop {
            // Grants and refunds only grow: a capacity read before the swap is never too large.
            let verdict = Self::judge(used, units, self.capacity(bounded), bounded);
            let Spend::Taken { .. } = verdict else { return verdict };
            match self.used.compare_exchange(used, used + units, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return verdict,
                Err(now) => used = now,
            }
        }
    }

    /// Records units that were used above what was taken, sealed or not; up to what the word can count.
    pub fn overrun(&self, units: u64) {
        let mut used = self.used.load(Ordering::SeqCst);
        loop {
            let next = (used & !SEALED).saturating_add(units).min(SEALED - 1) | (used & SEALED);
            match self.used.compare_exchange(used, next, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return,
                Err(now) => used = now,
            }
        }
    }

    /// Gives back units that were taken from this word before, sealed or not.
    pub fn refund(&self, units: u64) {
        self.refunded.fetch_add(units, Ordering::SeqCst);
    }

    /// Takes over what the database has granted so far; an older answer changes nothing.
    pub fn open(&self, granted: u64) {
        self.granted.fetch_max(granted, Ordering::SeqCst);
    }

    /// Ends all charging to this word. Whether this call did it.
    pub fn seal(&self) -> bool {
        self.used.fetch_or(SEALED, Ordering::SeqCst) & SEALED == 0
    }

    /// Whether charging has ended.
    pub fn is_sealed(&self) -> bool {
        self.used.load(Ordering::SeqCst) & SEALED != 0
    }

    /// Units granted, as far as opened here.
    pub fn granted(&self) -> u64 {
        self.granted.load(Ordering::SeqCst)
    }

    /// What was counted so far. A refund that goes on meanwhile may be missing, never a charge before it.
    pub fn totals(&self) -> Totals {
        // In this order, as each refund was charged before: `refunded` cannot come out above `used`.
        let refunded = self.refunded.load(Ordering::SeqCst);
        let used = self.used.load(Ordering::SeqCst);
        Totals { used: used & !SEALED, refunded, sealed: used & SEALED != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spends_what_was_granted_and_not_one_more() {
        let word = Word::default();
        assert_eq!(word.spend(1, true), Spend::Short { need: 1 });
        word.open(10);
        assert_eq!(word.spend(7, true), Spend::Taken { left: 3 });
        assert_eq!(word.peek(3, true), Spend::Taken { left: 0 });
        assert_eq!(word.spend(4, true), Spend::Short { need: 1 });
        assert_eq!(word.spend(3, true), Spend::Taken { left: 0 });
        word.open(5);
        assert_eq!(word.granted(), 10, "an old answer takes nothing away");
        word.refund(2);
        assert_eq!(word.spend(3, true), Spend::Short { need: 1 });
        assert_eq!(word.spend(2, true), Spend::Taken { left: 0 });
        assert_eq!(word.totals(), Totals { used: 12, refunded: 2, sealed: false });
    }

    #[test]
    fn a_sealed_word_still_takes_refunds_and_overruns() {
        let word = Word::default();
        word.open(10);
        assert_eq!(word.spend(4, true), Spend::Taken { left: 6 });
        assert!(word.seal());
        assert!(!word.seal());
        assert_eq!(word.spend(1, true), Spend::Sealed);
        assert_eq!(word.spend(0, true), Spend::Sealed);
        word.refund(3);
        word.overrun(5);
        assert_eq!(word.totals(), Totals { used: 9, refunded: 3, sealed: true });
        assert_eq!(word.totals().net(), 6);
    }

    #[test]
    fn counts_without_a_grant_but_never_wraps() {
        let word = Word::default();
        assert!(matches!(word.spend(1 << 62, false), Spend::Taken { .. }));
        assert_eq!(word.spend(1 << 62, false), Spend::Full);
        assert_eq!(word.spend(u64::MAX, false), Spend::Full);
        word.overrun(u64::MAX);
        assert_eq!(word.totals(), Totals { used: (1 << 63) - 1, refunded: 0, sealed: false });
        word.seal();
        word.overrun(u64::MAX);
        assert_eq!(word.totals(), Totals { used: (1 << 63) - 1, refunded: 0, sealed: true });
    }

    #[test]
    fn an_overrun_is_owed_by_what_is_granted_next() {
        let word = Word::default();
        word.open(2);
        assert_eq!(word.spend(2, true), Spend::Taken { left: 0 });
        word.overrun(3);
        assert_eq!(word.spend(0, true), Spend::Taken { left: 0 });
        assert_eq!(word.spend(1, true), Spend::Short { need: 4 });
        word.open(6);
        assert_eq!(word.spend(1, true), Spend::Taken { left: 0 });
    }
}
