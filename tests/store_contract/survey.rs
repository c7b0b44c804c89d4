//! What many tenants used, read at once.

use plangate::{
    domain::{
        impact::{DayUse, Lookback, Part, Spent},
        period::Zone,
        rights::Source,
    },
    ports::Span,
    store::Retention,
};

use super::*;
use crate::Fixture;

on_every_store!(
    hours_are_days_of_each_tenants_zone,
    days_that_were_rolled_up_count_as_well,
    sources_that_can_be_used_are_told_and_no_others,
    nobody_is_nothing,
);

fn at(text: &str) -> UnixMillis {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

/// 1 November 2025, as days are numbered.
const FIRST: i64 = 20_393;

fn lookback(id: &str, zone: &str, [from, last, month]: [&str; 3]) -> Lookback {
    let zone = Zone::named(zone).unwrap();
    Lookback { tenant: tenant(id), zone, from: at(from), last: at(last), month: at(month) }
}

async fn report(on: &Fixture, id: &str, epoch: u64, hours: &[(&str, u64)]) {
    let mut used = 0;
    for (hour, units) in hours {
        used += units;
        let report = SlotTotals { at: at(hour), ..totals(&bucket(id, epoch), 1, used, 0) };
        on.store.flush(&[report]).await.unwrap();
    }
}

fn told(rows: &[DayUse]) -> Vec<(Part, i64, Option<u64>, i64)> {
    rows.iter().map(|row| (row.part, row.day - FIRST, row.epoch.map(|epoch| epoch.0), row.units)).collect()
}

async fn hours_are_days_of_each_tenants_zone(on: &Fixture) {
    // In New York clocks go back on 2 November 2025, at 06:00 UTC.
    let hours = [
        ("2025-10-19T00:00:00Z", 1),
        ("2025-10-31T23:00:00Z", 2),
        ("2025-11-01T04:00:00Z", 4),
        ("2025-11-02T03:30:00Z", 8),
        ("2025-11-02T04:00:00Z", 16),
        ("2025-11-03T04:00:00Z", 32),
        ("2025-11-03T05:00:00Z", 64),
        ("2025-11-20T12:00:00Z", 128),
        ("2025-11-20T13:00:00Z", 256),
    ];
    report(on, "acme", 5, &hours).await;
    report(on, "nova", 5, &hours).await;
    report(on, "nova", 6, &[("2025-11-20T12:00:00Z", 3)]).await;
    report(on, "other", 5, &hours).await;
    let acme = lookback(
        "acme",
        "America/New_York",
        ["2025-10-20T04:00:00Z", "2025-11-01T04:00:00Z", "2025-11-03T05:00:00Z"],
    );
    let nova = lookback(
        "nova",
        "Asia/Kolkata",
        ["2025-10-18T18:30:00Z", "2025-10-31T18:30:00Z", "2025-11-20T12:00:00Z"],
    );
    let all = on.store.used_of(&[acme, nova], at("2025-11-20T13:00:00Z")).await.unwrap();
    assert_eq!(all.len(), 2);
    use Part::{Before, Last, Running};
    assert_eq!(
        told(&all[&tenant("acme")]),
        [
            (Before, -1, Some(5), 2),
            (Last, 0, Some(5), 4 + 8),
            (Last, 1, Some(5), 16 + 32),
            (Running, 2, Some(5), 64),
            (Running, 19, Some(5), 128),
        ]
    );
    assert_eq!(
        told(&all[&tenant("nova")]),
        [
            (Before, -13, Some(5), 1),
            (Last, 0, Some(5), 2 + 4),
            (Last, 1, Some(5), 8 + 16),
            (Last, 2, Some(5), 32 + 64),
            (Running, 19, Some(5), 128),
            (Running, 19, Some(6), 3),
        ]
    );
}

async fn days_that_were_rolled_up_count_as_well(on: &Fixture) {
    let zone = Zone::named("Asia/Tokyo").unwrap();
    done(&*on.store, &change("acme", Change::PutTenant { name: None, zone: Some(zone) })).await;
    // In Tokyo the day begins at 15:00 UTC.
    let hours = [("2025-03-01T14:00:00Z", 1), ("2025-03-01T15:00:00Z", 2), ("2025-03-02T14:00:00Z", 4)];
    report(on, "acme", 5, &hours).await;
    let keep = std::time::Duration::from_secs(100 * 86_400);
    let retention = Retention { usage_hours: keep, usage_days: keep * 40, audit: keep };
    // By the store's own clock, which is a real one where there is a database.
    on.store.tidy(&retention).await.unwrap();
    report(on, "acme", 6, &[("2025-03-02T13:00:00Z", 8)]).await;
    let asked = lookback(
        "acme",
        "Asia/Tokyo",
        ["2025-02-28T15:00:00Z", "2025-03-01T15:00:00Z", "2025-03-31T15:00:00Z"],
    );
    let all = on.store.used_of(&[asked], at("2025-04-01T00:00:00Z")).await.unwrap();
    let day = FIRST - 245;
    let mut rows = told(&all[&tenant("acme")]);
    rows.iter_mut().for_each(|row| row.1 += FIRST - day);
    assert_eq!(rows, [(Part::Before, 0, None, 1), (Part::Last, 1, None, 6), (Part::Last, 1, Some(6), 8)]);
}

async fn sources_that_can_be_used_are_told_and_no_others(on: &Fixture) {
    let of = |id: &str, span: Span, epoch, used| {
        let key = BucketKey { span, ..bucket(id, epoch) };
        SlotTotals { counted: Windows::default(), ..totals(&key, 1, used, 1) }
    };
    let reports = [
        of("acme", Span::MONTH, 5, 10),
        of("acme", Span::Overage, 5, 20),
        of("acme", Span::Grant, 9, 30),
        of("acme", Window::Day.into(), 5, 40),
        of("other", Span::MONTH, 5, 50),
    ];
    on.store.flush(&reports).await.unwrap();
    let asked = [lookback("acme", "UTC", ["2025-01-01T00:00:00Z"; 3])];
    let spent = async |now: i64| {
        let all = on.store.spent_of(&asked, UnixMillis(now)).await.unwrap();
        assert!(all.keys().all(|id| *id == tenant("acme")));
        let mut all = all.get(&tenant("acme")).cloned().unwrap_or_default();
        all.sort_by_key(|spent: &Spent| spent.used);
        all.iter().map(|one| (one.source, one.start, one.counting.0, one.used)).collect::<Vec<_>>()
    };
    let all = [
        (Source::Plan, START, 5, 9),
        (Source::Overage, START, 5, 19),
        (Source::Grant(Version(9)), START, 9, 29),
    ];
    assert_eq!(spent(START.0).await, all);
    assert_eq!(spent(START.0 + 999_999).await, all);
    assert_eq!(spent(START.0 + 1_000_000).await, [], "they have ended");
    assert_eq!(spent(START.0 - 1).await, [], "they have not begun");
}

async fn nobody_is_nothing(on: &Fixture) {
    assert!(on.store.used_of(&[], START).await.unwrap().is_empty());
    assert!(on.store.spent_of(&[], START).await.unwrap().is_empty());
    let nobody = [lookback("nobody", "UTC", ["2025-01-01T00:00:00Z"; 3])];
    assert!(on.store.used_of(&nobody, at("2026-01-01T00:00:00Z")).await.unwrap().is_empty());
}
