//! The rules of buckets and slots, case by case.

use super::*;
use crate::{domain::period::Windows, ports::Incarnation};

fn key() -> BucketKey {
    BucketKey {
        tenant: TenantId::parse("acme").unwrap(),
        meter: MeterId::parse("requests").unwrap(),
        window: Window::Month,
        start: UnixMillis(0),
        epoch: Version(1),
    }
}

fn totals(node: u128, used: u64, refunded: u64, sealed: bool) -> SlotTotals {
    let incarnation = Incarnation(uuid::Uuid::from_u128(node));
    SlotTotals {
        slot: SlotKey { bucket: key(), incarnation, seq: 0 },
        end: UnixMillis(1_000_000),
        granted: 0,
        used,
        refunded,
        at: UnixMillis(10),
        sealed,
        counted: Windows::default(),
    }
}

fn ask(node: u128, granted: u64, used: u64, need: u64, want: u64) -> GrantRequest {
    GrantRequest {
        totals: totals(node, used, 0, false),
        limit: Units::saturating(100),
        version: Version(7),
        granted,
        need,
        demand: need,
        want,
    }
}

const NOW: Setting = Setting { tenant: Some(Version(7)), live: 2, now: UnixMillis(50) };

#[test]
fn grants_shrink_toward_the_tail_and_meet_the_need() {
    let mut book = Book::default();
    assert_eq!(book.grant(&ask(1, 0, 0, 1, 1000), NOW), GrantOutcome::Granted { granted: 25, used: 0 });
    assert_eq!(book.grant(&ask(2, 0, 0, 1, 1000), NOW), GrantOutcome::Granted { granted: 18, used: 0 });
    assert_eq!(book.grant(&ask(2, 18, 0, 57, 0), NOW), GrantOutcome::Granted { granted: 75, used: 0 });
    assert_eq!(
        book.grant(&ask(1, 25, 25, 1, 9), NOW),
        GrantOutcome::Exhausted { left: 0, used: 25, held: 0 }
    );
    assert_eq!(book.buckets[&key()].wanted_until, Some(UnixMillis(5_050)));
    assert_eq!(book.buckets[&key()].allocated, 100);
}

#[test]
fn a_small_want_is_not_exceeded() {
    let mut book = Book::default();
    assert_eq!(book.grant(&ask(1, 0, 0, 1, 3), NOW), GrantOutcome::Granted { granted: 3, used: 0 });
    assert_eq!(book.grant(&ask(1, 3, 0, 0, 0), NOW), GrantOutcome::Granted { granted: 4, used: 0 });
}

#[test]
fn a_repeated_request_grants_nothing_twice() {
    let mut book = Book::default();
    let request = ask(1, 0, 0, 10, 0);
    assert_eq!(book.grant(&request, NOW), GrantOutcome::Granted { granted: 10, used: 0 });
    assert_eq!(book.grant(&request, NOW), GrantOutcome::Refused { granted: 10 });
    assert_eq!(book.buckets[&key()].allocated, 10);
}

#[test]
fn facts_that_are_not_current_grant_nothing() {
    let mut book = Book::default();
    let other = Setting { tenant: Some(Version(8)), ..NOW };
    assert_eq!(book.grant(&ask(1, 0, 0, 1, 0), other), GrantOutcome::Stale);
    assert_eq!(book.grant(&ask(1, 0, 0, 1, 0), Setting { tenant: None, ..NOW }), GrantOutcome::Stale);
    assert_eq!(book.buckets[&key()].limit, None);
}

#[test]
fn sealing_returns_what_was_not_used_once() {
    let mut book = Book::default();
    let _ = book.grant(&ask(1, 0, 0, 50, 0), NOW);
    for _ in 0..2 {
        book.record(&totals(1, 20, 0, true));
        assert_eq!(book.buckets[&key()].allocated, 20);
    }
    // A refund after the seal frees more; an older report changes nothing.
    book.record(&totals(1, 20, 5, true));
    book.record(&totals(1, 10, 0, false));
    assert_eq!((book.buckets[&key()].allocated, book.buckets[&key()].used), (15, 15));
    assert_eq!(book.grant(&ask(1, 50, 20, 1, 0), NOW), GrantOutcome::Refused { granted: 50 });
}

#[test]
fn a_limit_set_later_counts_what_was_used_without_one() {
    let mut book = Book::default();
    book.record(&totals(1, 70, 0, false));
    assert_eq!(
        book.grant(&ask(2, 0, 0, 31, 0), NOW),
        GrantOutcome::Exhausted { left: 30, used: 70, held: 0 }
    );
    assert_eq!(book.grant(&ask(2, 0, 0, 30, 0), NOW), GrantOutcome::Granted { granted: 30, used: 70 });
}

#[test]
fn a_lowered_limit_takes_effect_at_once() {
    let mut book = Book::default();
    let _ = book.grant(&ask(1, 0, 0, 50, 0), NOW);
    let lower = GrantRequest { limit: Units::saturating(40), ..ask(2, 0, 0, 1, 0) };
    assert_eq!(book.grant(&lower, NOW), GrantOutcome::Exhausted { left: 0, used: 0, held: 0 });
}

#[test]
fn absurd_totals_do_not_wrap() {
    let mut book = Book::default();
    for node in 0..3 {
        book.record(&totals(node, u64::MAX, u64::MAX, false));
        book.record(&totals(node, u64::MAX, 0, true));
    }
    assert_eq!(book.buckets[&key()].used, 0);
    let request = GrantRequest { limit: Units::MAX, ..ask(9, 0, u64::MAX, u64::MAX, u64::MAX) };
    assert_eq!(
        book.grant(&request, NOW),
        GrantOutcome::Exhausted { left: 0, used: Units::MAX.get(), held: 0 }
    );
}

#[test]
fn huge_reserves_leave_what_they_cost() {
    // Each reserved the most that can be counted, and cost 5.
    let most = Units::MAX.get();
    let mut book = Book::default();
    for n in [1, 3, 2, 1000] {
        book.record(&totals(1, n * most, n * (most - 5), false));
    }
    assert_eq!(book.buckets[&key()].used, 5000);
    // What is left stays within what a bucket counts, whatever the order of the reports.
    for n in [2, 3, 2] {
        book.record(&totals(2, n * most, most, n == 3));
    }
    assert_eq!(book.buckets[&key()].used, 5000 + most);
}
