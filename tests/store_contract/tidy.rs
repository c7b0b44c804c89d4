//! What is old becomes coarser, and then goes.

use std::time::Duration;

use plangate::{
    domain::period::{Period, Zone},
    ports::GrantOutcome,
    store::{Retention, Tidied},
};

use super::{
    nodes::{beat, registration},
    *,
};
use crate::{Fixture, Kind, open};

on_every_store!(
    hours_become_days_of_the_tenant,
    what_is_given_back_later_is_taken_off,
    buckets_that_are_over_go_with_their_slots,
    old_lines_of_the_audit_log_go,
    several_nodes_tidy_at_once,
    ledger_files_that_nobody_opens_are_forgotten,
);

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

fn keep() -> Retention {
    Retention { usage_hours: days(100), usage_days: days(3_000), audit: days(1_000) }
}

/// Midnight in UTC, long ago.
fn old() -> i64 {
    START.0.div_euclid(DAY) * DAY - 200 * DAY
}

async fn usage(on: &Fixture) -> Vec<(i64, Window, i64)> {
    let span = Period { start: UnixMillis(0), end: UnixMillis(i64::MAX) };
    let rows = on.store.usage(&tenant("acme"), span).await.unwrap();
    rows.iter().map(|row| (row.hour.0, row.window, row.units)).collect()
}

async fn hours_become_days_of_the_tenant(on: &Fixture) {
    let zone = Zone::named("Asia/Tokyo").unwrap();
    done(&*on.store, &change("acme", Change::PutTenant { name: None, zone: Some(zone), attributes: None }))
        .await;
    let now = on.store.poll(&beat(1, 0)).await.unwrap().database_now.0.div_euclid(HOUR) * HOUR;
    let report =
        |epoch, used, at| SlotTotals { at: UnixMillis(at), ..totals(&bucket("acme", epoch), 1, used, 0) };
    // In Tokyo the day begins at 15:00 UTC.
    on.store.flush(&[report(1, 1, old() + 14 * HOUR), report(1, 3, old() + 15 * HOUR)]).await.unwrap();
    on.store.flush(&[report(2, 4, old() + 15 * HOUR), report(2, 12, old() + 38 * HOUR)]).await.unwrap();
    on.store.flush(&[report(2, 28, now)]).await.unwrap();
    let tidied = on.store.tidy(&keep()).await.unwrap();
    assert_eq!(tidied, Tidied { hours: 4, ..Tidied::default() });
    let recent = (now, Window::Hour, 16);
    let (first, second) = (old() - 9 * HOUR, old() + 15 * HOUR);
    assert_eq!(usage(on).await, [(first, Window::Day, 1), (second, Window::Day, 14), recent]);
    assert_eq!(on.store.tidy(&keep()).await.unwrap(), Tidied::default());
    // Whoever comes late is added.
    on.store.flush(&[report(1, 8, old() + 15 * HOUR)]).await.unwrap();
    assert_eq!(usage(on).await[1], (second, Window::Hour, 5));
    on.store.tidy(&keep()).await.unwrap();
    assert_eq!(usage(on).await, [(first, Window::Day, 1), (second, Window::Day, 19), recent]);
    let shorter = Retention { usage_days: days(199), ..keep() };
    let tidied = on.store.tidy(&Retention { usage_hours: Duration::ZERO, ..shorter }).await.unwrap();
    assert_eq!(usage(on).await, [recent], "hours that a week may ask for stay, whatever is wished");
    assert_eq!(tidied.days, 2);
}

async fn what_is_given_back_later_is_taken_off(on: &Fixture) {
    done(&*on.store, &put("acme")).await;
    let report = |used, refunded, at| SlotTotals {
        at: UnixMillis(at),
        ..totals(&bucket("acme", 1), 1, used, refunded)
    };
    for totals in [report(10, 0, old()), report(10, 4, old() + HOUR), report(11, 4, old() + DAY)] {
        on.store.flush(&[totals]).await.unwrap();
    }
    let next = old() + DAY;
    let hours = [(old(), Window::Hour, 10), (old() + HOUR, Window::Hour, -4), (next, Window::Hour, 1)];
    assert_eq!(usage(on).await, hours);
    on.store.tidy(&keep()).await.unwrap();
    assert_eq!(usage(on).await, [(old(), Window::Day, 6), (next, Window::Day, 1)]);
}

async fn buckets_that_are_over_go_with_their_slots(on: &Fixture) {
    let version = done(&*on.store, &put("acme")).await.version;
    let of = |start: i64| BucketKey { start: UnixMillis(start), ..bucket("acme", version.0) };
    let report = |start, of_node, used| SlotTotals {
        end: UnixMillis(start + 5),
        ..totals(&of(start), of_node, used, 0)
    };
    let (held, over, young) = (old(), old() + 1, START.0 + 900 * DAY);
    on.store.flush(&[report(held, 1, 3), sealed(report(held, 2, 4))]).await.unwrap();
    on.store.flush(&[sealed(report(over, 1, 5)), sealed(report(over, 2, 6))]).await.unwrap();
    on.store.flush(&[sealed(report(young, 1, 7))]).await.unwrap();
    let seen = || async {
        let all = on.store.others(node(9), &[of(held), of(over), of(young)]).await.unwrap();
        all.iter().map(|one| one.used.get()).collect::<Vec<_>>()
    };
    assert_eq!(seen().await, [7, 11, 7]);
    assert_eq!(on.store.tidy(&keep()).await.unwrap().buckets, 1);
    assert_eq!(seen().await, [7, 0, 7]);
    on.store.flush(&[sealed(report(held, 1, 3))]).await.unwrap();
    assert_eq!(on.store.tidy(&keep()).await.unwrap().buckets, 1);
    assert_eq!(seen().await, [0, 0, 7]);
    // A late report makes its bucket anew, sealed.
    on.store.flush(&[sealed(report(over, 1, 5))]).await.unwrap();
    let late = ask(report(over, 1, 5), version, 0, 1);
    assert_eq!(on.store.grant(&[late]).await.unwrap(), [GrantOutcome::Refused { granted: 0 }]);
}

async fn old_lines_of_the_audit_log_go(on: &Fixture) {
    let before = Origin { at: UnixMillis(START.0 - 2_000 * DAY), ..origin() };
    on.store.execute(&put("acme"), &before).await.unwrap();
    on.store.execute(&put("acme"), &before).await.unwrap();
    done(&*on.store, &put("acme")).await;
    let last = on.store.audit(0, 10).await.unwrap().remove(2);
    assert_eq!(on.store.tidy(&keep()).await.unwrap().audit, 2);
    assert_eq!(on.store.audit(0, 10).await.unwrap(), std::slice::from_ref(&last));
    done(&*on.store, &put("acme")).await;
    assert!(on.store.audit(last.cursor, 10).await.unwrap()[0].cursor > last.cursor);
}

async fn several_nodes_tidy_at_once(on: &Fixture) {
    const ROWS: u64 = 12_000;
    done(&*on.store, &put("acme")).await;
    let mut word = totals(&bucket("acme", 1), 1, 0, 0);
    let mut all = Vec::new();
    for number in 1..=ROWS {
        word.used = number;
        word.at = UnixMillis(old() - i64::try_from(number).unwrap() * HOUR);
        all.push(word.clone());
    }
    on.store.flush(&all).await.unwrap();
    let mut stores = vec![on.store.clone(); 3];
    if let Some(url) = on.url() {
        stores[1] = open(url).await;
    }
    let mut nodes = tokio::task::JoinSet::new();
    for store in stores {
        nodes.spawn(async move {
            let mut hours = 0;
            loop {
                let tidied = store.tidy(&keep()).await.unwrap();
                hours += tidied.hours;
                if !tidied.more {
                    return hours;
                }
            }
        });
    }
    assert_eq!(nodes.join_all().await.iter().sum::<u64>(), ROWS);
    let rows = usage(on).await;
    assert_eq!(u64::try_from(rows.iter().map(|(.., units)| units).sum::<i64>()), Ok(ROWS));
    assert!(rows.len() <= 501 && rows.iter().all(|(_, window, _)| *window == Window::Day));
}

async fn ledger_files_that_nobody_opens_are_forgotten(on: &Fixture) {
    let store = &*on.store;
    let two_months_pass = || async {
        if let Kind::Memory(clock, _) = &on.kind {
            clock.advance(days(63));
        }
        on.raw("UPDATE ledger_files SET opened_ms = opened_ms - 5443200000").await;
    };
    let opens = |of| async move { store.open_file(node(of).0, 0).await.unwrap() };
    for (of, count) in [(1, 3), (2, 4), (3, 5)] {
        store.open_file(node(of).0, count).await.unwrap();
    }
    store.register(&registration("a", 1)).await.unwrap();
    assert_eq!(store.tidy(&keep()).await.unwrap(), Tidied::default(), "all of them are young");
    two_months_pass().await;
    assert_eq!(opens(2).await, 4, "opened again");
    assert_eq!(store.tidy(&keep()).await.unwrap(), Tidied { files: 1, ..Tidied::default() });
    // A run may be longer than that. From its end on its file is kept like any other.
    store.deregister(node(1)).await.unwrap();
    assert_eq!(store.tidy(&keep()).await.unwrap(), Tidied::default());
    assert_eq!((opens(1).await, opens(2).await, opens(3).await), (3, 4, 0));
    two_months_pass().await;
    assert_eq!(store.tidy(&keep()).await.unwrap(), Tidied { files: 3, ..Tidied::default() });
    assert_eq!(opens(1).await, 0);
}
