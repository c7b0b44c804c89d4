//! The rules of buckets and slots, case by case.

use super::*;
use crate::{domain::period::Windows, ports::Incarnation};

fn key() -> BucketKey {
    BucketKey {
        tenant: TenantId::parse("acme").unwrap(),
        meter: MeterId::parse("requests").unwrap(),
        span: Window::Month.into(),
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
        counting: Version(1),
        marks: None,
    }
}

fn ask(node: u128, granted: u64, used: u64, need: u64, want: u64) -> GrantRequest {
    GrantRequest {
        policies: Version(0),
        totals: totals(node, used, 0, false),
        limit: Units::saturating(100),
        ceiling: None,
        version: Version(7),
        granted,
        need,
        demand: need,
        want,
    }
}

const NOW: Setting = Setting {
    tenant: Some(Version(7)),
    live: 2,
    applied: None,
    policies: Version(0),
    withheld: false,
    now: UnixMillis(50),
};

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
        GrantOutcome::Exhausted { left: Units::MAX.get(), used: Units::MAX.get(), held: 0 }
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

#[test]
fn an_overrun_is_debited_once() {
    let mut book = Book::default();
    let _ = book.grant(&ask(1, 0, 0, 10, 0), NOW);
    // 25 more than granted were used; 100 - 10 are left to this slot, the 25 that it owes among them.
    assert_eq!(
        book.grant(&ask(1, 10, 35, 91, 0), NOW),
        GrantOutcome::Exhausted { left: 90, used: 35, held: 0 }
    );
    assert_eq!(
        book.grant(&ask(2, 0, 0, 66, 0), NOW),
        GrantOutcome::Exhausted { left: 65, used: 35, held: 0 }
    );
    assert_eq!(book.grant(&ask(1, 10, 35, 26, 0), NOW), GrantOutcome::Granted { granted: 36, used: 35 });
    assert_eq!(book.grant(&ask(2, 0, 0, 64, 0), NOW), GrantOutcome::Granted { granted: 64, used: 35 });
    assert_eq!(book.buckets[&key()].allocated, 100);
}

#[test]
fn while_somebody_wants_units_nobody_gets_more_than_is_waited_for() {
    let mut book = Book::default();
    let _ = book.grant(&ask(1, 0, 0, 1, 0), NOW);
    book.want(&key(), NOW.now);
    assert_eq!(book.buckets[&key()].wanted_until, Some(UnixMillis(5_050)));
    let greedy = |granted, demand| GrantRequest { demand, ..ask(1, granted, 0, 2, 1000) };
    assert_eq!(book.grant(&greedy(1, 3), NOW), GrantOutcome::Granted { granted: 4, used: 0 });
    assert_eq!(book.grant(&greedy(4, 0), NOW), GrantOutcome::Granted { granted: 6, used: 0 });
    assert_eq!(book.grant(&greedy(6, 1000), NOW), GrantOutcome::Granted { granted: 100, used: 0 });
    let over = Setting { now: UnixMillis(5_050), ..NOW };
    book.record(&totals(1, 0, 0, true));
    assert_eq!(book.grant(&ask(2, 0, 0, 1, 1000), over), GrantOutcome::Granted { granted: 25, used: 0 });
}

#[test]
fn what_comes_back_of_a_wanted_bucket_is_told() {
    let mut book = Book::default();
    let _ = book.grant(&ask(1, 0, 0, 50, 0), NOW);
    book.record(&totals(1, 5, 0, false));
    assert_eq!(book.take_freed(), None, "nobody wants any");
    book.want(&key(), NOW.now);
    let until = Some(UnixMillis(5_050));
    book.record(&totals(1, 5, 0, false));
    assert_eq!(book.take_freed(), None);
    book.record(&totals(1, 6, 0, false));
    assert_eq!(book.take_freed(), until, "less is held");
    book.record(&totals(1, 6, 0, true));
    assert_eq!(book.take_freed(), until, "44 came back");
    book.record(&totals(1, 6, 2, true));
    assert_eq!(book.take_freed(), until, "and 2 more");
    book.forget_wishes(UnixMillis(5_050));
    book.record(&totals(1, 6, 3, true));
    assert_eq!(book.take_freed(), None);
}

#[test]
fn the_owner_may_know_of_more_grants_but_not_of_fewer() {
    let mut book = Book::default();
    let claim = |granted, sealed| SlotTotals { granted, ..totals(1, 5, 0, sealed) };
    book.record(&claim(30, false));
    book.record(&claim(20, false));
    assert_eq!(book.buckets[&key()].allocated, 30);
    assert_eq!(book.grant(&ask(1, 30, 5, 70, 0), NOW), GrantOutcome::Granted { granted: 100, used: 5 });
    book.record(&claim(0, true));
    book.record(&claim(u64::MAX, false));
    assert_eq!(book.buckets[&key()].allocated, 5);
    assert_eq!(book.grant(&ask(1, 100, 5, 1, 0), NOW), GrantOutcome::Refused { granted: 100 });
}

#[test]
fn what_a_lost_slot_was_granted_is_spent() {
    let mut book = Book::default();
    let _ = book.grant(&ask(1, 0, 0, 50, 0), NOW);
    book.slots.values_mut().for_each(|slot| slot.lost = true);
    book.record(&totals(1, 20, 0, true));
    assert_eq!((book.buckets[&key()].allocated, book.buckets[&key()].used), (50, 20));
    assert_eq!(book.slots.values().next().map(|slot| (slot.unaccounted(), slot.spare())), Some((30, 0)));
    assert_eq!(book.grant(&ask(1, 50, 20, 1, 0), NOW), GrantOutcome::Refused { granted: 50 });
    book.record(&totals(1, 60, 0, true));
    assert_eq!(book.buckets[&key()].allocated, 60, "what it used beyond its grant, too");
}

#[test]
fn after_a_failover_nothing_is_granted_and_totals_are_recorded() {
    let mut book = Book::default();
    let over = Setting { withheld: true, ..NOW };
    assert_eq!(book.grant(&ask(1, 0, 5, 1, 0), over), GrantOutcome::Withheld);
    assert_eq!((book.buckets[&key()].used, book.buckets[&key()].limit), (5, None));
}

#[test]
fn a_shorter_window_waits_for_nodes_that_may_not_know_of_it() {
    let mut book = Book::default();
    let day = |request: GrantRequest| {
        let mut request = request;
        request.totals.slot.bucket.span = Window::Day.into();
        request
    };
    let old = Setting { applied: Some(Version(6)), ..NOW };
    assert_eq!(book.grant(&day(ask(1, 0, 0, 1, 0)), old), GrantOutcome::Withheld);
    let granted = GrantOutcome::Granted { granted: 1, used: 0 };
    assert_eq!(book.grant(&ask(1, 0, 0, 1, 0), old), granted, "months are always counted");
    let mut fresh = day(ask(2, 0, 0, 1, 0));
    fresh.totals.slot.bucket.epoch = Version(7);
    assert_eq!(book.grant(&fresh, old), granted, "counting began with this version");
    let all = Setting { applied: Some(Version(7)), ..NOW };
    assert_eq!(book.grant(&day(ask(1, 0, 0, 1, 0)), all), granted);
    assert_eq!(
        book.grant(&day(ask(3, 0, 0, 1, 0)), old),
        granted,
        "what was waited for once is not waited for again"
    );
}

#[test]
fn what_was_not_counted_is_seeded_and_given_back_where_it_was_charged() {
    const H: i64 = 3_600_000;
    let mut book = Book::default();
    let at = |hour: i64, used, refunded| SlotTotals {
        at: UnixMillis(hour * H + 7),
        ..totals(1, used, refunded, false)
    };
    let day = |from: i64| BucketKey { span: Window::Day.into(), start: UnixMillis(from * H), ..key() };
    book.record(&at(20, 10, 0));
    book.record(&at(30, 16, 0));
    // The slot began on the first day: what it gives back on the second may have been charged on the first.
    book.record(&at(31, 16, 3));
    let of = |from: i64, to: i64| book.uncounted(&day(from), UnixMillis(to * H));
    assert_eq!((of(0, 24), of(24, 48), of(24, 30), of(48, 72), of(48, 24)), (7, 6, 0, 0, 0));
    assert_eq!(book.uncounted(&key(), UnixMillis(100 * H)), 0, "a month counts everything");
    let other = BucketKey { epoch: Version(2), ..day(0) };
    assert_eq!(book.uncounted(&other, UnixMillis(48 * H)), 0, "another epoch of counting");

    book.record(&SlotTotals { counted: Windows::of(|window| window == Window::Day), ..at(32, 20, 3) });
    assert_eq!(book.uncounted(&day(24), UnixMillis(48 * H)), 6);
    let week = BucketKey { span: Window::Week.into(), ..day(0) };
    assert_eq!(book.uncounted(&week, UnixMillis(168 * H)), 17);
    for seeded in [6, 9, 2] {
        book.seed(&day(24), UnixMillis(48 * H), seeded);
        assert_eq!((book.buckets[&day(24)].allocated, book.buckets[&day(24)].used), (seeded, seeded));
    }
}

#[test]
fn what_grants_and_overage_are_charged_counts_in_the_hours_and_in_shorter_windows() {
    const H: i64 = 3_600_000;
    let mut book = Book::default();
    let of = |span, epoch, used, counting| {
        let mut totals = SlotTotals { at: UnixMillis(5 * H), counting, ..totals(1, used, 0, false) };
        totals.slot.bucket.span = span;
        totals.slot.bucket.epoch = epoch;
        totals
    };
    let (one, two) = (Version(1), Version(2));
    book.record(&of(Span::MONTH, one, 3, one));
    book.record(&of(Span::Overage, one, 4, one));
    book.record(&of(Span::Grant, Version(9), 5, one));
    let hour = |counting| book.usage.get(&(key().tenant, key().meter, UnixMillis(5 * H), counting)).copied();
    assert_eq!(hour(one).map(|used| (used.units, used.uncounted)), Some((12, [12; 3])));
    assert_eq!(hour(two), None);
    let day = BucketKey { span: Window::Day.into(), ..key() };
    assert_eq!(book.uncounted(&day, UnixMillis(24 * H)), 12);
    // A grant goes on where counting begins anew; its own number says nothing of that.
    let mut later = of(Span::Grant, Version(9), 2, two);
    later.slot.seq = 1;
    book.record(&later);
    let hour = |counting| book.usage.get(&(key().tenant, key().meter, UnixMillis(5 * H), counting)).copied();
    assert_eq!((hour(one).map(|used| used.units), hour(two).map(|used| used.units)), (Some(12), Some(2)));
    assert_eq!(book.uncounted(&day, UnixMillis(24 * H)), 12);
}

#[test]
fn money_is_no_units_and_no_window() {
    const H: i64 = 3_600_000;
    let mut book = Book::default();
    let money = BucketKey { meter: "usd".parse().unwrap(), span: Span::Spend, epoch: Version(0), ..key() };
    let mut spent = SlotTotals { at: UnixMillis(5 * H), ..totals(1, 700, 200, false) };
    spent.slot.bucket = money.clone();
    book.record(&spent);
    assert!(book.usage.is_empty(), "nobody has used any dollars");
    assert_eq!((book.buckets[&money].used, book.buckets[&money].allocated), (500, 500));
    assert_eq!(book.uncounted(&money, UnixMillis(24 * H)), 0);
    book.seed(&money, UnixMillis(24 * H), 9);
    assert_eq!(book.buckets[&money].used, 500, "it is not seeded");
}

#[test]
fn a_month_and_its_overage_never_come_to_more_than_both_may() {
    let beyond = || BucketKey { span: Span::Overage, ..key() };
    let ask_of = |bucket: BucketKey, granted, used, (limit, ceiling): (u64, u64), need| {
        let mut request = ask(1, granted, used, need, 0);
        request.totals.slot.bucket = bucket;
        request.limit = Units::saturating(limit);
        request.ceiling = Some(Units::saturating(ceiling));
        request
    };
    let mut book = Book::default();
    let granted = |granted, used| GrantOutcome::Granted { granted, used };
    let left = |left, used| GrantOutcome::Exhausted { left, used, held: 0 };
    // 100 and 50 more.
    assert_eq!(book.grant(&ask_of(key(), 0, 0, (100, 150), 100), NOW), granted(100, 0));
    assert_eq!(book.grant(&ask_of(beyond(), 0, 0, (50, 150), 30), NOW), granted(30, 0));
    let mut used = totals(1, 30, 0, false);
    used.slot.bucket = beyond();
    book.record(&used);
    // What comes back to the month can be used again, whatever is used beyond it.
    book.record(&totals(1, 100, 10, true));
    let second = |bucket, terms, need| {
        let mut request = ask_of(bucket, 0, 0, terms, need);
        request.totals.slot.seq = 1;
        request
    };
    assert_eq!(book.grant(&second(key(), (100, 150), 11), NOW), left(10, 90));
    // A larger plan that lets nothing through beyond: what was used beyond the former counts.
    assert_eq!(book.grant(&second(key(), (500, 500), 381), NOW), left(380, 90));
    // A smaller one: what is used already is more than it includes, and leaves less beyond it.
    assert_eq!(book.grant(&second(beyond(), (40, 60), 1), NOW), left(0, 30));
    assert_eq!(book.grant(&second(beyond(), (40, 125), 6), NOW), left(5, 30));
    assert_eq!(book.grant(&second(beyond(), (40, 125), 5), NOW), granted(5, 30));
    // What of it is returned, the month hears of.
    let mut returned = used.clone();
    (returned.used, returned.refunded, returned.sealed) = (30, 20, true);
    book.record(&returned);
    assert_eq!(book.buckets[&key()].seeded, 15);
    assert_eq!(book.grant(&second(key(), (500, 500), 396), NOW), left(395, 90));
}
