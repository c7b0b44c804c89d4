//! The word's atomics under every interleaving: `src/ledger/word.rs` itself, with a model checker's atomics in the place
//! of the machine's.
//!
//! What a thread does is a handful of atomic steps, and every interleaving of them is tried. Where three threads make that
//! millions, threads are preempted at most four times in each: more than any known error of such code needs.

#![allow(dead_code, reason = "the word has more than is checked here")]

mod atomic {
    //! Loom's atomics, with loads that are seen. Loom remembers only the last access to each cell when it looks for steps
    //! that could have come in another order, so that a thread's own load hides another's before it, and interleavings
    //! with a thread that only reads would not be tried. A load that adds nothing reads the same: the word's accesses
    //! are all sequentially consistent.
    use loom::sync::atomic::AtomicU64 as Cell;
    pub use loom::sync::atomic::Ordering;

    #[derive(Debug)]
    pub struct AtomicU64(Cell);

    impl AtomicU64 {
        pub fn new(value: u64) -> Self {
            Self(Cell::new(value))
        }

        pub fn load(&self, order: Ordering) -> u64 {
            assert_eq!(order, Ordering::SeqCst);
            self.0.fetch_add(0, order)
        }

        pub fn store(&self, value: u64, order: Ordering) {
            assert_eq!(order, Ordering::SeqCst);
            self.0.store(value, order);
        }

        pub fn compare_exchange(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            assert_eq!((success, failure), (Ordering::SeqCst, Ordering::SeqCst));
            self.0.compare_exchange(current, new, success, failure)
        }
    }
}
#[path = "../src/ledger/word.rs"]
mod word;

use std::sync::{
    Arc as Counted,
    atomic::{AtomicUsize, Ordering},
};

use loom::{model::Builder, sync::Arc, thread};
use word::{Spend, Word};

/// Tries every interleaving.
fn every_interleaving(case: impl Fn() + Sync + Send + 'static) {
    interleavings(None, case);
}

/// Tries every interleaving in which threads are preempted at most four times.
fn interleavings_of_three(case: impl Fn() + Sync + Send + 'static) {
    interleavings(Some(4), case);
}

fn interleavings(preemptions: Option<usize>, case: impl Fn() + Sync + Send + 'static) {
    let tried = Counted::new(AtomicUsize::new(0));
    let count = Counted::clone(&tried);
    let mut builder = Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        case();
    });
    let tried = tried.load(Ordering::Relaxed);
    println!("{tried} interleavings");
    assert!(tried > 10, "there is nothing to interleave");
}

fn granted(units: u64) -> Arc<Word> {
    let word = Word::default();
    word.open(units);
    Arc::new(word)
}

/// Takes one unit. How many it took.
fn spend(word: &Word) -> u64 {
    match word.spend(1, true) {
        Spend::Taken { .. } => 1,
        Spend::Short { .. } | Spend::Sealed | Spend::Full => 0,
    }
}

fn spender(word: &Arc<Word>) -> thread::JoinHandle<u64> {
    let word = Arc::clone(word);
    thread::spawn(move || spend(&word))
}

#[test]
fn two_spends_share_what_was_granted() {
    every_interleaving(|| {
        let word = granted(1);
        let other = spender(&word);
        let taken = spend(&word) + other.join().unwrap();
        assert_eq!(taken, 1, "one unit was granted, and one of the two gets it");
        assert_eq!(word.totals().used, 1);
    });
}

#[test]
fn nothing_is_spent_after_the_seal() {
    interleavings_of_three(|| {
        let word = granted(2);
        let spenders = [spender(&word), spender(&word)];
        assert!(word.seal());
        // What is returned now is the difference to these totals.
        let returned = word.totals();
        assert!(returned.sealed);
        let taken: u64 = spenders.into_iter().map(|spender| spender.join().unwrap()).sum();
        assert_eq!(
            returned.used, taken,
            "a spend that won is in the totals, one that is not in them did not win"
        );
        assert_eq!(word.totals(), returned);
        assert_eq!(word.spend(1, true), Spend::Sealed);
    });
}

#[test]
fn only_one_of_two_seals_is_the_first() {
    interleavings_of_three(|| {
        let word = granted(1);
        let spender = spender(&word);
        let other = Arc::clone(&word);
        let other = thread::spawn(move || (other.seal(), other.totals()));
        let (first, totals) = (word.seal(), word.totals());
        let (second, others_totals) = other.join().unwrap();
        assert!(first != second);
        assert_eq!(totals, others_totals, "whoever returns the word returns the same");
        assert_eq!(totals.used, spender.join().unwrap());
    });
}

#[test]
fn a_refund_can_be_spent_once() {
    every_interleaving(|| {
        let word = granted(1);
        assert_eq!(spend(&word), 1);
        let spenders = [spender(&word), spender(&word)];
        word.refund(1);
        let taken: u64 = spenders.into_iter().map(|spender| spender.join().unwrap()).sum();
        assert!(taken <= 1, "one unit came back");
        let totals = word.totals();
        assert_eq!((totals.used, totals.refunded), (1 + taken, 1));
    });
}

#[test]
fn a_refund_races_with_the_seal() {
    every_interleaving(|| {
        let word = granted(1);
        assert_eq!(spend(&word), 1);
        let spender = spender(&word);
        let refunder = {
            let word = Arc::clone(&word);
            thread::spawn(move || word.refund(1))
        };
        word.seal();
        let returned = word.totals();
        assert!(returned.refunded <= returned.used);
        let taken = spender.join().unwrap();
        assert_eq!(returned.used, 1 + taken, "no charge is missing, whatever is of the refund");
        refunder.join().unwrap();
        let last = word.totals();
        assert_eq!((last.used, last.refunded), (1 + taken, 1), "the refund is kept, for the next report");
    });
}

#[test]
fn totals_never_show_more_refunded_than_used() {
    interleavings_of_three(|| {
        let word = granted(2);
        let charging = {
            let word = Arc::clone(&word);
            thread::spawn(move || {
                for _ in 0..2 {
                    assert_eq!(spend(&word), 1);
                    word.refund(1);
                }
            })
        };
        let mut before = word.totals();
        for _ in 0..2 {
            let totals = word.totals();
            assert!(word.check().is_some(), "each cell's check is that of its value at every instant");
            assert!(totals.refunded <= totals.used, "{totals:?}");
            assert!(totals.used >= before.used && totals.refunded >= before.refunded, "totals only grow");
            before = totals;
        }
        charging.join().unwrap();
        assert_eq!(word.totals().net(), 0);
    });
}

#[test]
fn a_grant_arrives_while_it_is_waited_for() {
    interleavings_of_three(|| {
        let word = Arc::new(Word::default());
        let spenders = [spender(&word), spender(&word)];
        word.open(1);
        // A late answer to an earlier request takes nothing away.
        word.open(0);
        let taken: u64 = spenders.into_iter().map(|spender| spender.join().unwrap()).sum();
        assert!(taken <= 1);
        assert_eq!(word.granted(), 1);
        assert_eq!(word.totals().used, taken);
        assert_eq!(spend(&word), 1 - taken, "what nobody took is still there");
    });
}

#[test]
fn answers_out_of_order_open_the_greater() {
    every_interleaving(|| {
        let word = Arc::new(Word::default());
        let spender = spender(&word);
        let other = Arc::clone(&word);
        let other = thread::spawn(move || other.open(2));
        word.open(1);
        other.join().unwrap();
        let taken = spender.join().unwrap();
        assert_eq!(word.granted(), 2);
        assert_eq!(word.totals().used, taken);
    });
}

#[test]
fn an_overrun_is_counted_sealed_or_not() {
    interleavings_of_three(|| {
        let word = granted(3);
        let overrunner = {
            let word = Arc::clone(&word);
            thread::spawn(move || word.overrun(2))
        };
        let spender = spender(&word);
        word.seal();
        let returned = word.totals();
        overrunner.join().unwrap();
        let taken = spender.join().unwrap();
        let last = word.totals();
        assert!(last.sealed, "an overrun does not lift the seal");
        assert_eq!(last.used, 2 + taken);
        assert!(returned.used == last.used || returned.used + 2 == last.used);
    });
}

#[test]
fn an_overrun_is_owed_by_the_next_spend() {
    every_interleaving(|| {
        let word = granted(2);
        let other = Arc::clone(&word);
        let other = thread::spawn(move || other.overrun(2));
        let taken = spend(&word);
        other.join().unwrap();
        assert_eq!(word.totals().used, 2 + taken);
        assert_eq!(spend(&word), 0, "the overrun has used up what was granted");
    });
}

#[test]
fn a_look_promises_nothing_that_was_not_there() {
    every_interleaving(|| {
        let word = granted(1);
        let spender = spender(&word);
        if let Spend::Taken { left } = word.peek(1, true) {
            assert_eq!(left, 0);
        }
        assert_eq!(spender.join().unwrap(), 1, "a look takes nothing");
    });
}
