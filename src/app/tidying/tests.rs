//! When the housekeeping is called, over a store in memory, with time that only the test lets pass.

use std::{
    cell::RefCell,
    io::Write,
    sync::{Arc, Mutex},
};

use tokio::time::Instant;

use super::*;
use crate::{
    clock::ManualClock,
    domain::{
        period::{Window, Windows},
        time::{UnixMillis, Version},
    },
    ports::{BucketKey, LedgerStore, SlotKey, SlotTotals},
    store::{Retention, Store, memory::Memory},
};

const START: UnixMillis = UnixMillis(1_760_000_000_000);
const HOUR: i64 = 3_600_000;
const PAUSES: Pauses = Pauses {
    first: Duration::from_secs(90),
    soon: Duration::from_secs(60),
    later: Duration::from_secs(3_700),
};

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

/// One unit in each of `count` hours, the last of them `age` hours ago.
async fn use_hours(store: &Memory, age: i64, count: u64) {
    let bucket = BucketKey {
        tenant: "acme".parse().unwrap(),
        meter: "requests".parse().unwrap(),
        span: Window::Month.into(),
        start: START,
        epoch: Version(u64::try_from(age).unwrap()),
    };
    let totals = (1..=count).map(|used| SlotTotals {
        slot: SlotKey { bucket: bucket.clone(), incarnation: Incarnation(uuid::Uuid::nil()), seq: 0 },
        end: UnixMillis(START.0 + HOUR),
        granted: 0,
        used,
        refunded: 0,
        at: UnixMillis(START.0 - (age + i64::try_from(used).unwrap()) * HOUR),
        sealed: false,
        counted: Windows::default(),
        counting: bucket.epoch,
        marks: None,
    });
    store.flush(&totals.collect::<Vec<_>>()).await.unwrap();
}

/// Runs with `tidy` for `calls` calls; when they were made, in seconds, and what they did.
async fn calls<F>(calls: usize, mut tidy: impl FnMut(usize) -> F) -> Vec<(u64, Result<Tidied, StoreError>)>
where
    F: Future<Output = Result<Tidied, StoreError>>,
{
    let (begin, end) = (Instant::now(), CancellationToken::new());
    let seen = RefCell::new(Vec::new());
    let (seen_here, end_here) = (&seen, &end);
    let call = || {
        let made = (begin.elapsed().as_secs(), tidy(seen.borrow().len()));
        async move {
            let answer = made.1.await;
            seen_here.borrow_mut().push((made.0, answer.clone()));
            if seen_here.borrow().len() == calls {
                end_here.cancel();
            }
            answer
        }
    };
    run(PAUSES, call, &end).await;
    seen.into_inner()
}

#[tokio::test(start_paused = true)]
async fn each_minute_while_there_is_more_and_then_each_hour() {
    let clock = ManualClock::at(START);
    let store = Memory::with_clock(clock.clone()).unwrap();
    let keep = Retention { usage_hours: days(92), usage_days: days(800), audit: days(400) };
    use_hours(&store, 100 * 24, 12_000).await;
    use_hours(&store, 80 * 24, 10).await;
    let (store, clock) = (&store, &clock);
    let seen = calls(5, |call| {
        // The last of them finds what was too young for the others.
        if call == 4 {
            clock.advance(days(14));
        }
        store.tidy(&keep)
    })
    .await;
    let hours = |hours, more| Ok(Tidied { hours, more, ..Tidied::default() });
    assert_eq!(
        seen,
        [
            (90, hours(5_000, true)),
            (150, hours(5_000, true)),
            (210, hours(2_000, false)),
            (3_910, hours(0, false)),
            (7_610, hours(10, false)),
        ]
    );
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_told_once_and_tried_again() {
    let lines = Lines::default();
    let (writer, done) = (lines.clone(), Tidied { audit: 7, ..Tidied::default() });
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let away = || Err(StoreError::Unavailable("away".to_owned()));
    let script = [away(), away(), away(), Ok(done), Ok(Tidied::default()), away()];
    let seen = calls(script.len(), |call| std::future::ready(script[call].clone())).await;
    let at: Vec<u64> = seen.into_iter().map(|(at, _)| at).collect();
    assert_eq!(at, [90, 150, 210, 270, 3_970, 7_670]);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let said: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(said, ["WARN", "INFO", "WARN"], "{text}");
    assert!(text.contains("away") && text.contains("audit: 7"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_end_is_heard_in_a_pause_and_in_a_call() {
    for calls in [0, 1] {
        let (end, made) = (CancellationToken::new(), RefCell::new(0));
        let hanging = run(
            PAUSES,
            || {
                *made.borrow_mut() += 1;
                std::future::pending()
            },
            &end,
        );
        let stop = async {
            tokio::time::sleep(PAUSES.first * 2 * calls + MINUTE).await;
            end.cancel();
        };
        tokio::join!(hanging, stop);
        assert_eq!(*made.borrow(), calls);
    }
}

#[test]
fn nodes_come_at_different_times() {
    let runs = [0, 1, 500, 999, 1_000, u64::MAX].map(|low| Incarnation(uuid::Uuid::from_u64_pair(7, low)));
    let pauses = runs.map(Pauses::of);
    for pauses in pauses {
        assert!((MINUTE * 5..MINUTE * 6).contains(&pauses.first), "{pauses:?}");
        assert!((MINUTE * 60..MINUTE * 66).contains(&pauses.later), "{pauses:?}");
        assert_eq!(pauses.soon, MINUTE);
    }
    assert_eq!(pauses[0], pauses[4]);
    assert!(pauses[0] != pauses[1] && pauses[1] != pauses[2] && pauses[2] != pauses[3]);
    assert_eq!(pauses[2].first, Duration::from_secs(330));
}
