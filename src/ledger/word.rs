//! One word of the ledger: units used, with a seal, beside what was granted and given back. All three only grow.
//!
//! A word may lie in a file that outlives the process, so each of its three cells carries a check:
//!
//! ```text
//! bit 63     62 ......................... 10   9 ....... 0
//!     seal   value, 0 to 2^53 - 1              check
//! ```
//!
//! The check is the remainder of the 54 bits above it (as they stand, ten bits up) by the prime 1021. A flipped bit
//! changes the upper part by a power of two from 2^10 to 2^63, or the check by one from 2^0 to 2^9; no two of these
//! powers, nor any and its negative, leave the same remainder, so every single and every double flip is found. (Were
//! the remainder that of the value itself, a bit of the value and the same bit of the check could flip together.)
//! Nothing is all zero bits. A step adds the remainder of what it adds, never reckons the check anew: a cell that has
//! gone bad stays bad, whatever is counted on it.
//!
//! The file takes its atomics from its parent module alone, so that a model checker can put its own in their place.

use super::atomic::{AtomicU64, Ordering};

const SEALED: u64 = 1 << 63;
const CHECK_BITS: u32 = 10;
const CHECK: u64 = (1 << CHECK_BITS) - 1;
const MODULUS: u64 = 1021;

/// The most that a word can count, as `Units::MAX`.
const MOST: u64 = (1 << 53) - 1;

/// The number that a cell holds.
const fn value(cell: u64) -> u64 {
    (cell & !SEALED) >> CHECK_BITS
}

/// What is added to a cell at once, with its remainder.
#[derive(Clone, Copy)]
struct Step {
    body: u64,
    remainder: u64,
}

impl Step {
    const SEAL: Self = Self::of(SEALED);

    const fn of(body: u64) -> Self {
        Self { body, remainder: body % MODULUS }
    }

    /// Of at most [`MOST`] units. (Of more it means nothing, and is never taken.)
    const fn units(units: u64) -> Self {
        Self::of(units << CHECK_BITS)
    }

    /// The cell after this step, which must fit: the value must not pass [`MOST`], nor a seal be set twice.
    const fn after(self, cell: u64) -> u64 {
        let check = (cell & CHECK) + self.remainder;
        let check = if check >= MODULUS { check - MODULUS } else { check };
        (cell & !CHECK).wrapping_add(self.body) | check
    }
}

const fn is_whole(cell: u64) -> bool {
    (cell & !CHECK) % MODULUS == cell & CHECK
}

/// Adds as many units to a cell as `more` says of its value. They must fit.
fn raise(cell: &AtomicU64, more: impl Fn(u64) -> u64) {
    let mut seen = cell.load(Ordering::SeqCst);
    loop {
        let units = more(value(seen));
        if units == 0 {
            return;
        }
        let next = Step::units(units).after(seen);
        match cell.compare_exchange(seen, next, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}

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
    /// The word cannot count so far (2^53 units).
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
///
/// Any bits are a word (though perhaps one that fails [`Word::check`]); all zero bits are a new one.
#[derive(Debug)]
#[repr(C)]
pub struct Word {
    used: AtomicU64,
    granted: AtomicU64,
    refunded: AtomicU64,
}

impl Default for Word {
    fn default() -> Self {
        Self::from_cells([0; 3])
    }
}

impl Word {
    /// A word from its cells as they lay in a file.
    pub fn from_cells([used, granted, refunded]: [u64; 3]) -> Self {
        Self {
            used: AtomicU64::new(used),
            granted: AtomicU64::new(granted),
            refunded: AtomicU64::new(refunded),
        }
    }

    /// Its cells as they lie in a file.
    pub fn cells(&self) -> [u64; 3] {
        [&self.used, &self.granted, &self.refunded].map(|cell| cell.load(Ordering::SeqCst))
    }

    /// Makes the word new again. Nobody may hold it as what it was before.
    pub fn clear(&self) {
        for cell in [&self.used, &self.granted, &self.refunded] {
            cell.store(0, Ordering::SeqCst);
        }
    }

    /// What was counted, if nothing shows that bits have changed by themselves: `None` where one of the cells fails its
    /// check, or more was given back than used.
    pub fn check(&self) -> Option<Totals> {
        // In this order for the same reason as in `totals`.
        let refunded = self.refunded.load(Ordering::SeqCst);
        let granted = self.granted.load(Ordering::SeqCst);
        let used = self.used.load(Ordering::SeqCst);
        let whole = [used, granted, refunded].into_iter().all(is_whole);
        let unsealed = (granted | refunded) & SEALED == 0;
        let totals = Totals { used: value(used), refunded: value(refunded), sealed: used & SEALED != 0 };
        (whole && unsealed && totals.refunded <= totals.used).then_some(totals)
    }

    /// Units that may have been used in all, where the word is `bounded` by its grants.
    fn capacity(&self, bounded: bool) -> u64 {
        if bounded {
            let granted = value(self.granted.load(Ordering::SeqCst));
            // Two values below 2^53: the sum fits.
            (granted + value(self.refunded.load(Ordering::SeqCst))).min(MOST)
        } else {
            MOST
        }
    }

    fn judge(used: u64, units: u64, capacity: u64, bounded: bool) -> Spend {
        if used & SEALED != 0 {
            return Spend::Sealed;
        }
        let Some(next) = value(used).checked_add(units).filter(|next| *next <= MOST) else {
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
        let step = Step::units(units);
        let mut used = self.used.load(Ordering::SeqCst);
        loop {
            // Grants and refunds only grow: a capacity read before the swap is never too large.
            let verdict = Self::judge(used, units, self.capacity(bounded), bounded);
            let Spend::Taken { .. } = verdict else { return verdict };
            match self.used.compare_exchange(used, step.after(used), Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return verdict,
                Err(now) => used = now,
            }
        }
    }

    /// Records units that were used above what was taken, sealed or not; up to what the word can count.
    pub fn overrun(&self, units: u64) {
        raise(&self.used, |used| units.min(MOST - used));
    }

    /// Gives back units that were taken from this word before, sealed or not; up to what the word can count.
    pub fn refund(&self, units: u64) {
        raise(&self.refunded, |refunded| units.min(MOST - refunded));
    }

    /// Takes over what the database has granted so far; an older answer changes nothing.
    pub fn open(&self, granted: u64) {
        raise(&self.granted, |before| granted.min(MOST).saturating_sub(before));
    }

    /// Ends all charging to this word. Whether this call did it.
    pub fn seal(&self) -> bool {
        let mut used = self.used.load(Ordering::SeqCst);
        while used & SEALED == 0 {
            let next = Step::SEAL.after(used);
            match self.used.compare_exchange(used, next, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(now) => used = now,
            }
        }
        false
    }

    /// Whether charging has ended.
    pub fn is_sealed(&self) -> bool {
        self.used.load(Ordering::SeqCst) & SEALED != 0
    }

    /// Units granted, as far as opened here.
    pub fn granted(&self) -> u64 {
        value(self.granted.load(Ordering::SeqCst))
    }

    /// What was counted so far. A refund that goes on meanwhile may be missing, never a charge before it.
    pub fn totals(&self) -> Totals {
        // In this order, as each refund was charged before: `refunded` cannot come out above `used`.
        let refunded = self.refunded.load(Ordering::SeqCst);
        let used = self.used.load(Ordering::SeqCst);
        Totals { used: value(used), refunded: value(refunded), sealed: used & SEALED != 0 }
    }
}
