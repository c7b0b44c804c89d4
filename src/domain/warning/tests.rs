//! Percentages of numbers, and which of a meter's sources says what.

use proptest::prelude::*;

use super::*;
use crate::domain::{
    period::{AnchorDay, BillingCalendar, Zone},
    plan::{MeterTerms, Overage, Plan, PlanVersion, Quota},
    rights::GrantTerms,
    transitions::State,
    units::Allowance,
};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const REQUESTS: MeterIx = MeterIx(0);

fn units(number: u64) -> Units {
    Units::saturating(number)
}

fn grant(number: u64, of: u64, priority: u16, recurring: bool) -> GrantTerms {
    GrantTerms {
        id: format!("g{number}").parse().unwrap(),
        number: Version(number),
        meter: REQUESTS,
        units: units(of),
        priority,
        since: UnixMillis(NOW.0 - 1_000),
        expires_at: None,
        recurring,
    }
}

fn entitlement(month: Allowance, overage: Overage, grants: Vec<GrantTerms>) -> Entitlement {
    let plan: PlanId = "pro".parse().unwrap();
    let quota = Quota { overage, ..Quota::monthly(month) };
    let meters = vec![MeterTerms { quota: Some(quota), rate: None }].into_boxed_slice();
    Entitlement {
        plan: plan.clone(),
        plan_version: PlanVersion::FIRST,
        state: State::Active,
        calendar: BillingCalendar::new(Zone::UTC, AnchorDay::of(NOW, &Zone::UTC)),
        epoch: Version(1),
        offer: Arc::new(Plan { meters, ..Plan::empty(plan) }),
        grants: grants.into(),
    }
}

fn said(of: &Entitlement, source: Source) -> Vec<(u64, MarkKind)> {
    let marks = of.marks(REQUESTS, source, NOW);
    marks.iter().flat_map(Marks::each).map(|mark| (mark.units, mark.kind)).collect()
}

use MarkKind::{Exhausted, Threshold};

#[test]
fn a_hard_quota_has_thresholds_and_an_end() {
    let hard = entitlement(Allowance::Limited(units(1000)), Overage::Block, Vec::new());
    let expected = [(500, Threshold(50)), (800, Threshold(80)), (1000, Threshold(100)), (1000, Exhausted)];
    assert_eq!(said(&hard, Source::Plan), expected);
    let marks = hard.marks(REQUESTS, Source::Plan, NOW).unwrap();
    assert_eq!((marks.period, marks.plan.as_str()), (hard.calendar.month(NOW), "pro"));
    assert_eq!(said(&hard, Source::Overage), []);
    assert_eq!(hard.marks(MeterIx(9), Source::Plan, NOW), None);
}

#[test]
fn the_last_source_ends_the_month() {
    let month = Allowance::Limited(units(10));
    let bill = |cap: Option<u64>| Overage::Bill {
        cap: cap.map(units),
        price: "0.01".parse().unwrap(),
        per: Units::ONE,
    };
    let thresholds = [(5, Threshold(50)), (8, Threshold(80)), (10, Threshold(100))];
    let capped = entitlement(month, bill(Some(7)), Vec::new());
    assert_eq!(said(&capped, Source::Plan), thresholds);
    assert_eq!(said(&capped, Source::Overage), [(7, Exhausted)]);
    assert_eq!(capped.marks(REQUESTS, Source::Overage, NOW).unwrap().in_all(), 17);
    let open = entitlement(month, bill(None), Vec::new());
    assert_eq!(said(&open, Source::Plan), thresholds);
    assert_eq!(open.marks(REQUESTS, Source::Overage, NOW), None, "it has no end");
    // A cap of nothing ends with what the plan includes; whoever asks for it is refused.
    let none = entitlement(month, bill(Some(0)), Vec::new());
    assert_eq!(said(&none, Source::Plan)[3], (10, Exhausted));
    let asked = none.marks(REQUESTS, Source::Overage, NOW).unwrap();
    assert!(asked.last && asked.each().next().is_none() && asked.in_all() == 10);

    let later = entitlement(month, Overage::Block, vec![grant(7, 20, 900, false), grant(8, 5, 950, true)]);
    assert_eq!(said(&later, Source::Plan), thresholds);
    assert_eq!(said(&later, Source::Grant(Version(7))), []);
    assert_eq!(said(&later, Source::Grant(Version(8))), [(5, Exhausted)]);
    assert_eq!(later.marks(REQUESTS, Source::Grant(Version(8)), NOW).unwrap().in_all(), 35);
    let sooner = entitlement(month, Overage::Block, vec![grant(7, 20, 1, false)]);
    assert_eq!(said(&sooner, Source::Plan)[3], (10, Exhausted));
    assert_eq!(sooner.marks(REQUESTS, Source::Plan, NOW).unwrap().in_all(), 30);
    assert_eq!(said(&sooner, Source::Grant(Version(7))), []);
}

#[test]
fn nothing_is_told_of_what_has_no_units_or_no_end() {
    assert_eq!(said(&entitlement(Allowance::Unlimited, Overage::Block, Vec::new()), Source::Plan), []);
    let nothing = entitlement(Allowance::Limited(Units::ZERO), Overage::Block, Vec::new());
    assert_eq!(nothing.marks(REQUESTS, Source::Plan, NOW), None);
    // All of it is overage: its end is one, and of nothing there is no half.
    let overage = Overage::Allow { cap: Some(units(4)) };
    let beyond = entitlement(Allowance::Limited(Units::ZERO), overage, Vec::new());
    assert_eq!(beyond.marks(REQUESTS, Source::Plan, NOW), None);
    assert_eq!(said(&beyond, Source::Overage), [(4, Exhausted)]);
    let mut silent = entitlement(Allowance::Limited(units(3)), Overage::Block, Vec::new());
    Arc::make_mut(&mut silent.offer).warn_at = Some(WarnAt::new(&[]).unwrap());
    assert_eq!(said(&silent, Source::Plan), [(3, Exhausted)]);
}

#[test]
fn only_percentages_are_ones_to_warn_at() {
    assert_eq!(WarnAt::new(&[100, 1, 50]).unwrap().percentages(), [1, 50, 100]);
    assert_eq!(WarnAt::new(&[5, 90, 5]), Err(InvalidWarnAt::Twice(5)));
    for bad in [0, 101, 256 + 50] {
        assert_eq!(WarnAt::new(&[50, bad]), Err(InvalidWarnAt::OutOfRange(bad)));
    }
    let many: Vec<u64> = (1..=11).collect();
    assert_eq!(WarnAt::new(&many), Err(InvalidWarnAt::TooMany(11)));
    assert!(WarnAt::new(&many[..10]).is_ok());
    assert_eq!(WarnAt::default().to_string(), "50, 80, 100");
    assert_eq!(WarnAt::new(&[]).unwrap().to_string(), "none");
}

proptest! {
    #[test]
    fn a_threshold_is_the_least_number_that_is_so_many_percent(limit in 0..=Units::MAX.get(), percent in 1..=100u8) {
        let found = u128::from(threshold(limit, percent));
        let wanted = u128::from(limit) * u128::from(percent);
        prop_assert!(found * 100 >= wanted);
        prop_assert!(found == 0 || (found - 1) * 100 < wanted);
        prop_assert!(found <= u128::from(limit));
    }

    #[test]
    fn marks_are_in_the_order_in_which_they_are_reached(
        limit in prop_oneof![0..20u64, 0..=Units::MAX.get()],
        at in proptest::collection::btree_set(1..=100u64, 0..=10),
        last: bool,
    ) {
        let at: Vec<u64> = at.into_iter().collect();
        let warn_at = WarnAt::new(&at).unwrap();
        let period = Period { start: NOW, end: UnixMillis::NEVER };
        let currency = "USD".parse().unwrap();
        let marks = Marks { last, ..Marks::of_money("pro".parse().unwrap(), period, units(limit), currency, warn_at) };
        let all: Vec<Mark> = marks.each().collect();
        prop_assert!(all.is_sorted_by_key(|mark| (mark.units, mark.kind)));
        prop_assert_eq!(all.len(), if limit == 0 { 0 } else { at.len() + usize::from(last) });
    }
}
