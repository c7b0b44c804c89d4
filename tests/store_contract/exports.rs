//! Usage that is told to a billing system, in pieces.

use plangate::{
    domain::billing::Told,
    ports::{Cut, ExportOutcome, ExportState, MeterExport, RetryError, Span, TellMeter},
};

use super::*;
use crate::Fixture;

on_every_store!(
    what_was_used_is_told_once_whoever_looks,
    what_was_given_back_is_taken_back,
    what_is_not_taken_back_is_shown,
    a_piece_belongs_to_one_at_a_time,
    what_was_refused_is_sent_again_when_asked,
);

const HOUR: i64 = 3_600_000;

fn cut(hours: i64) -> Cut {
    let now = START.0 + hours * HOUR;
    Cut { now: UnixMillis(now), rested: UnixMillis(now - HOUR), oldest: UnixMillis(now - 35 * 24 * HOUR) }
}

fn meters(count: Told) -> Vec<TellMeter> {
    let meter = MeterId::parse("requests").unwrap();
    vec![TellMeter { meter, event_name: "api_requests".into(), count }]
}

/// Uses so many units in all of acme's month, or of what is beyond it, by so many runs.
async fn used(on: &Fixture, span: Span, of: u128, used: u64, refunded: u64) {
    let month = BucketKey { span, ..bucket("acme", 1) };
    let one = SlotTotals { end: UnixMillis(START.0 + 100 * HOUR), ..totals(&month, of, used, refunded) };
    on.store.flush(&[one]).await.unwrap();
}

async fn linked(on: &Fixture) {
    done(&*on.store, &put("acme")).await;
    on.store.link_customer(&tenant("acme"), "cus_1", &origin()).await.unwrap();
}

async fn all(on: &Fixture) -> Vec<MeterExport> {
    on.store.exports(None, 0, 100).await.unwrap().into_iter().map(|(_, piece)| piece).collect()
}

fn sums(pieces: &[MeterExport]) -> Vec<(u64, ExportState)> {
    pieces.iter().map(|piece| (piece.units, piece.state)).collect()
}

async fn claim(on: &Fixture, hours: i64) -> Vec<MeterExport> {
    let now = UnixMillis(START.0 + hours * HOUR);
    on.store.claim_exports(now, UnixMillis(now.0 + 60_000), 10).await.unwrap()
}

async fn what_was_used_is_told_once_whoever_looks(on: &Fixture) {
    linked(on).await;
    let both = async |hours| {
        let (asked, cut) = (meters(Told::All), cut(hours));
        let (one, other) = tokio::join!(on.store.cut_exports(&asked, cut), on.store.cut_exports(&asked, cut));
        assert!(!one.unwrap() && !other.unwrap());
    };
    used(on, Span::MONTH, 1, 30, 0).await;
    both(0).await;
    assert_eq!(all(on).await, [], "it is not settled");
    used(on, Span::MONTH, 2, 12, 2).await;
    both(1).await;
    assert_eq!(sums(&all(on).await), [(30, ExportState::Waiting)]);
    both(1).await;
    both(2).await;
    used(on, Span::Overage, 1, 5, 0).await;
    both(3).await;
    both(4).await;
    assert_eq!(sums(&all(on).await), [30, 10, 5].map(|units| (units, ExportState::Waiting)));
    used(on, Span::MONTH, 2, 13, 2).await;
    both(101).await;
    let pieces = all(on).await;
    assert_eq!(pieces.iter().map(|piece| piece.units).sum::<u64>(), 46, "it has ended: all of it");
    let end = START.0 + 100 * HOUR;
    assert!(pieces.iter().all(|piece| piece.at >= START && piece.at.0 < end), "{pieces:?}");
    let mut names: Vec<&str> = pieces.iter().map(|piece| piece.id.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), pieces.len());
    assert!(pieces.iter().all(|piece| piece.customer == "cus_1" && piece.event_name == "api_requests"));
    // Of overage alone nothing new is known, whoever asks from then on.
    on.store.cut_exports(&meters(Told::Overage), cut(102)).await.unwrap();
    assert_eq!(all(on).await.len(), pieces.len());
}

async fn what_was_given_back_is_taken_back(on: &Fixture) {
    linked(on).await;
    let look = async |hours| assert!(!on.store.cut_exports(&meters(Told::All), cut(hours)).await.unwrap());
    used(on, Span::MONTH, 1, 10, 0).await;
    look(0).await;
    look(1).await;
    let first = claim(on, 1).await.remove(0);
    on.store.end_export(&first, &ExportOutcome::Done).await.unwrap();
    used(on, Span::MONTH, 1, 17, 0).await;
    look(2).await;
    look(3).await;
    assert_eq!(sums(&all(on).await), [(10, ExportState::Sent), (7, ExportState::Waiting)]);
    // A stream that had reserved much cost little in the end.
    used(on, Span::MONTH, 1, 17, 9).await;
    look(4).await;
    look(5).await;
    let expected = [(10, ExportState::Withdrawing), (7, ExportState::Withdrawn), (8, ExportState::Waiting)];
    assert_eq!(sums(&all(on).await), expected, "what was never sent is never had");
    let tried = claim(on, 5).await;
    assert_eq!(tried.len(), 2);
    for piece in &tried {
        on.store.end_export(piece, &ExportOutcome::Done).await.unwrap();
    }
    let ended = [(10, ExportState::Withdrawn), (7, ExportState::Withdrawn), (8, ExportState::Sent)];
    assert_eq!(sums(&all(on).await), ended);
    // An attempt from before it was withdrawn says nothing of that.
    on.store.end_export(&first, &ExportOutcome::Done).await.unwrap();
    assert_eq!(sums(&all(on).await), ended);
}

async fn what_is_not_taken_back_is_shown(on: &Fixture) {
    linked(on).await;
    used(on, Span::MONTH, 1, 10, 0).await;
    for hours in [0, 1] {
        on.store.cut_exports(&meters(Told::All), cut(hours)).await.unwrap();
    }
    on.store.end_export(&claim(on, 1).await.remove(0), &ExportOutcome::Done).await.unwrap();
    used(on, Span::MONTH, 1, 10, 10).await;
    for hours in [2, 3] {
        on.store.cut_exports(&meters(Told::All), cut(hours)).await.unwrap();
    }
    let tried = claim(on, 3).await.remove(0);
    on.store.end_export(&tried, &ExportOutcome::Refused("it is too old".into())).await.unwrap();
    assert_eq!(sums(&all(on).await), [(10, ExportState::Stuck)]);
    let stuck = on.store.exports(Some(ExportState::Stuck), 0, 100).await.unwrap();
    assert_eq!(stuck[0].1.error.as_deref(), Some("it is too old"));
    assert_eq!(claim(on, 99).await, []);
    assert_eq!(
        on.store.retry_export(&tried.id, &origin()).await,
        Err(RetryError::NotRefused(tried.id.clone(), ExportState::Stuck))
    );
    for state in ExportState::ALL {
        assert_eq!(ExportState::named(state.as_str()), Some(state));
    }
}

async fn a_piece_belongs_to_one_at_a_time(on: &Fixture) {
    linked(on).await;
    used(on, Span::Overage, 1, 10, 0).await;
    for hours in [0, 1] {
        on.store.cut_exports(&meters(Told::Overage), cut(hours)).await.unwrap();
    }
    let (one, other) = tokio::join!(claim(on, 1), claim(on, 1));
    assert_eq!(one.len() + other.len(), 1);
    let piece = one.into_iter().chain(other).next().unwrap();
    assert_eq!((piece.attempts, piece.first_sent), (1, Some(UnixMillis(START.0 + HOUR))));
    assert_eq!(claim(on, 1).await, []);
    let later = UnixMillis(START.0 + 3 * HOUR);
    on.store.end_export(&piece, &ExportOutcome::Again(later, "status 503: ".into())).await.unwrap();
    assert_eq!(claim(on, 2).await, []);
    let again = claim(on, 3).await.remove(0);
    assert_eq!((again.id.as_str(), again.attempts), (piece.id.as_str(), 2));
    assert_eq!(again.error.as_deref(), Some("status 503: "));
    // Who claimed it is killed: it comes back with its lease's end.
    assert_eq!(claim(on, 4).await.len(), 1);
}

async fn what_was_refused_is_sent_again_when_asked(on: &Fixture) {
    linked(on).await;
    used(on, Span::Overage, 1, 10, 0).await;
    for hours in [0, 1] {
        on.store.cut_exports(&meters(Told::Overage), cut(hours)).await.unwrap();
    }
    let piece = claim(on, 1).await.remove(0);
    let retry = async |id: &str, origin| on.store.retry_export(id, &origin).await;
    assert_eq!(
        retry(&piece.id, origin()).await,
        Err(RetryError::NotRefused(piece.id.clone(), ExportState::Waiting))
    );
    on.store.end_export(&piece, &ExportOutcome::Refused("no such customer".into())).await.unwrap();
    assert_eq!(claim(on, 9).await, []);
    assert_eq!(retry("nothing", origin()).await, Err(RetryError::Unknown("nothing".into())));
    retry(&piece.id, once("again", "a")).await.unwrap();
    retry(&piece.id, once("again", "a")).await.unwrap();
    assert_eq!(retry(&piece.id, once("again", "b")).await, Err(RetryError::IdempotencyConflict));
    let sent = claim(on, 9).await.remove(0);
    assert_eq!((sent.id.as_str(), sent.attempts), (piece.id.as_str(), 1));
    // Whoever sends it knows that the attempt before failed, until it is taken.
    assert_eq!(sent.error.as_deref(), Some("no such customer"));
    on.store.end_export(&sent, &ExportOutcome::Done).await.unwrap();
    assert_eq!(all(on).await.remove(0).error, None);
    let audited = on.store.audit(0, 100).await.unwrap();
    assert_eq!(audited.iter().filter(|row| row.kind == "export.retried").count(), 1);
}
