//! One word alone: what it takes, where it ends, and that flipped bits are found.

use proptest::prelude::*;

use crate::ledger::word::{Spend, Totals, Word};

const MOST: u64 = (1 << 53) - 1;

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
    assert_eq!(word.check(), Some(word.totals()));
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
    assert_eq!(word.check(), Some(word.totals()));
}

#[test]
fn counts_without_a_grant_but_never_wraps() {
    let word = Word::default();
    assert!(matches!(word.spend(1 << 52, false), Spend::Taken { .. }));
    assert_eq!(word.spend(1 << 52, false), Spend::Full);
    assert_eq!(word.spend(u64::MAX, false), Spend::Full);
    assert_eq!(word.spend(1 << 54, false), Spend::Full, "nothing is cut off that does not fit a cell");
    assert_eq!(word.spend((1 << 52) - 1, false), Spend::Taken { left: 0 });
    assert_eq!(word.spend(1, false), Spend::Full);
    for seal in [false, true] {
        if seal {
            word.seal();
        }
        word.overrun(u64::MAX);
        word.refund(u64::MAX);
        word.refund(1);
        word.open(u64::MAX);
        assert_eq!(word.totals(), Totals { used: MOST, refunded: MOST, sealed: seal });
        assert_eq!(word.granted(), MOST);
        assert_eq!(word.check(), Some(word.totals()));
    }
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

fn word(used: u64, refunded: u64, sealed: bool) -> Word {
    let word = Word::default();
    word.open(used);
    word.overrun(used);
    word.refund(refunded);
    if sealed {
        word.seal();
    }
    word
}

/// Values at the edges, each with one bit, and some without a pattern.
fn values() -> impl Iterator<Item = u64> {
    let odd = [0, 3, 1020, 1021, 1022, 123_456_789, 0x0012_3456_789a_bcde & MOST, MOST - 1, MOST];
    (0..53).map(|bit| 1 << bit).chain(odd)
}

#[test]
fn every_single_and_double_flip_in_a_cell_is_found() {
    for (value, sealed) in values().flat_map(|value| [(value, false), (value, true)]) {
        let word = word(value, value, sealed);
        assert_eq!(word.check(), Some(Totals { used: value, refunded: value, sealed }));
        let cells = word.cells();
        for (cell, one, two) in
            (0..3).flat_map(|cell| (0..64).flat_map(move |one| (one..64).map(move |two| (cell, one, two))))
        {
            let mut flipped = cells;
            flipped[cell] ^= (1_u64 << one) | (1 << two);
            assert_eq!(Word::from_cells(flipped).check(), None, "{value} {cell} {one} {two}");
        }
    }
}

#[test]
fn every_changed_byte_is_found() {
    for (value, sealed) in values().flat_map(|value| [(value, false), (value, true)]) {
        let cells = word(value, value, sealed).cells();
        for (byte, change) in (0..24).flat_map(|byte| (1..256_u64).map(move |change| (byte, change))) {
            let mut changed = cells;
            changed[byte / 8] ^= change << (byte % 8 * 8);
            assert_eq!(Word::from_cells(changed).check(), None, "{value} {byte} {change}");
        }
    }
}

#[test]
fn more_given_back_than_used_or_a_seal_in_the_wrong_place_is_found() {
    let [one, _, _] = word(1, 0, false).cells();
    let [sealed, _, _] = word(1, 0, true).cells();
    assert!(Word::from_cells([one, 0, one]).check().is_some());
    assert_eq!(Word::from_cells([0, 0, one]).check(), None);
    assert_eq!(Word::from_cells([one, sealed, 0]).check(), None);
    assert_eq!(Word::from_cells([one, 0, sealed]).check(), None);
}

#[test]
fn a_cell_that_has_gone_bad_stays_bad() {
    for (cell, bit) in (0..3).flat_map(|cell| (0..64).map(move |bit| (cell, bit))) {
        let mut cells = word(1000, 10, false).cells();
        cells[cell] ^= 1 << bit;
        let word = Word::from_cells(cells);
        word.open(5000);
        word.spend(700, true);
        word.overrun(5);
        word.refund(300);
        word.seal();
        assert_eq!(word.check(), None, "{cell} {bit}");
    }
}

proptest! {
    #[test]
    fn any_bits_are_a_word(cells: [u64; 3], units: u64, bounded: bool) {
        let word = Word::from_cells(cells);
        word.peek(units, bounded);
        word.spend(units, bounded);
        word.overrun(units);
        word.refund(units);
        word.open(units);
        word.seal();
        prop_assert!(word.is_sealed());
        prop_assert!(word.totals().used <= MOST && word.totals().refunded <= MOST && word.granted() <= MOST);
        word.clear();
        prop_assert_eq!(word.cells(), [0; 3]);
    }

    #[test]
    fn a_word_counts_as_plain_numbers_do(steps in prop::collection::vec((0..5_u8, 0..1_u64 << 20), 0..60)) {
        let word = Word::default();
        let (mut used, mut granted, mut refunded, mut sealed) = (0, 0, 0, false);
        for (kind, units) in steps {
            match kind {
                0 => {
                    let fits = used + units <= granted + refunded || units == 0;
                    let taken = matches!(word.spend(units, true), Spend::Taken { .. });
                    prop_assert_eq!(taken, fits && !sealed);
                    used += if taken { units } else { 0 };
                }
                1 => {
                    word.overrun(units);
                    used += units;
                }
                2 => {
                    let units = units.min(used - refunded);
                    word.refund(units);
                    refunded += units;
                }
                3 => {
                    word.open(units);
                    granted = granted.max(units);
                }
                _ => {
                    prop_assert_eq!(word.seal(), !sealed);
                    sealed = true;
                }
            }
            prop_assert_eq!(word.check(), Some(Totals { used, refunded, sealed }));
            prop_assert_eq!(word.granted(), granted);
        }
    }
}
