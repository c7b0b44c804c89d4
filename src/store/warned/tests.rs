//! What is kept of marks is read back, and whatever is reported in whatever order is told once.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    domain::{
        id::{MeterId, TenantId},
        period::{Window, Windows},
        time::Version,
        units::Units,
    },
    ports::{BucketKey, Incarnation, SlotKey},
    store::book::Book,
};

fn period() -> Period {
    Period { start: UnixMillis(-5), end: UnixMillis(2_592_000_000) }
}

fn any_marks() -> impl Strategy<Value = Marks> {
    let at = proptest::collection::btree_set(1..=100u64, 0..=10);
    let money = proptest::option::of(Just("EUR".parse().unwrap()));
    ("[a-z][a-z0-9_.-]{0,8}", 0..=Units::MAX.get(), any::<u32>(), at, any::<bool>(), money).prop_map(
        |(plan, limit, before, at, last, money)| Marks {
            plan: plan.parse().unwrap(),
            period: period(),
            limit,
            before: before.into(),
            warn_at: WarnAt::new(&at.into_iter().collect::<Vec<_>>()).unwrap(),
            last,
            money,
        },
    )
}

fn totals(of: u128, used: u64, sealed: bool, marks: Option<Arc<Marks>>) -> SlotTotals {
    let bucket = BucketKey {
        tenant: TenantId::parse("acme").unwrap(),
        meter: MeterId::parse("requests").unwrap(),
        span: Window::Month.into(),
        start: UnixMillis(-5),
        epoch: Version(3),
    };
    SlotTotals {
        slot: SlotKey { bucket, incarnation: Incarnation(uuid::Uuid::from_u128(of)), seq: 0 },
        end: period().end,
        granted: 0,
        used,
        refunded: 0,
        at: UnixMillis(7),
        sealed,
        counted: Windows::default(),
        counting: Version(3),
        marks,
    }
}

#[test]
fn what_is_no_marks_is_nothing() {
    for text in ["", "pro", "pro 1 2 3", "pro 1 2 3 4 1 101", "Pro 1 2 3 4 1 50", "pro 1 2 3 4 1 50 usd"] {
        assert_eq!(decode(text), None, "{text}");
    }
}

#[test]
fn money_is_written_as_money() {
    let shown = [0, 1, 999_999_999, 1_000_000_000, 200_000_000_000, 12_340_000_000].map(amount);
    assert_eq!(shown, ["0.00", "0.000000001", "0.999999999", "1.00", "200.00", "12.34"]);
}

proptest! {
    #[test]
    fn what_is_kept_is_read_back(marks in any_marks()) {
        prop_assert_eq!(decode(&encode(&marks)), Some(marks));
    }

    #[test]
    fn nonsense_is_not_read_as_marks(text in "[ -~]{0,60}") {
        if let Some(marks) = decode(&text) {
            prop_assert_eq!(decode(&encode(&marks)), Some(marks));
        }
    }

    /// Reports of three slots under two limits, those of a recovered one without marks: each fact is told by one name, all
    /// that the sum has reached under a limit while that held is told, and nothing that it has not.
    #[test]
    fn each_fact_has_one_name(reports in proptest::collection::vec((0..3u128, 1..40u64, 0..8u8), 1..60)) {
        let mut book = Book::default();
        let mut used = [0; 3];
        let (mut reached, mut told) = (BTreeSet::new(), BTreeSet::new());
        let mut limit = None;
        for (of, more, what) in reports {
            used[usize::try_from(of).unwrap()] += more;
            let reported = match what {
                0 => None,
                1 | 2 => Some(300),
                _ => Some(200),
            };
            limit = reported.or(limit);
            let marks = reported.map(|limit| Arc::new(Marks {
                plan: "pro".parse().unwrap(),
                period: period(),
                limit,
                before: 0,
                warn_at: WarnAt::default(),
                last: true,
                money: None,
            }));
            book.record(&totals(of, used[usize::try_from(of).unwrap()], false, marks));
            let sum: u64 = used.iter().sum();
            if let Some(limit) = limit {
                let percent = [50, 80, 100].into_iter().filter(|percent| sum * 100 >= limit * percent);
                reached.extend(percent.map(|percent| (limit, percent)));
                if sum >= limit {
                    reached.insert((limit, 1000));
                }
            }
            for event in book.take_facts() {
                let limit = event.data["limit"].as_u64().unwrap();
                let fact = (limit, event.data["threshold"].as_u64().unwrap_or(1000));
                told.insert(fact);
                prop_assert!(reached.contains(&fact));
                prop_assert!(event.data["used"].as_u64().unwrap() <= sum);
                let name = match fact.1 {
                    1000 => format!("quota.exhausted/acme/requests/month/-5/3/{limit}"),
                    percent => format!("quota.threshold/acme/requests/month/-5/3/{percent}/{limit}"),
                };
                prop_assert_eq!(&event.name, &name);
            }
        }
        prop_assert_eq!(told, reached);
    }
}
