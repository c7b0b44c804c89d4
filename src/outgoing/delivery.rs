//! One try of one delivery: signed, sent, and judged by what came back.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    clock::Clock,
    domain::{
        time::UnixMillis,
        webhook::{live, next_try},
    },
    ports::{ANSWER_KEPT, AttemptRow, Due, Outgoing, OutgoingAnswer, OutgoingRequest, Then, Tried},
    wire::signed_message::headers,
};

/// The status by which an endpoint says that it wants no more messages.
const GONE: u16 = 410;
const LONGEST_ERROR: usize = 300;

/// Makes a message's request.
pub(super) fn request(due: &Due, now: UnixMillis) -> OutgoingRequest {
    let secrets = live(&due.secrets, now).map(|secret| secret.text.as_str());
    let body = due.body.as_bytes();
    OutgoingRequest {
        url: due.url.clone(),
        headers: headers(secrets, &due.event, now.0.div_euclid(1_000), body),
        body: Bytes::copy_from_slice(body),
    }
}

/// Sends a message once. `spread` is in thousandths.
pub(super) async fn deliver(due: Due, outgoing: &dyn Outgoing, clock: &dyn Clock, spread: u32) -> Tried {
    let (at, began) = (clock.now(), clock.monotonic());
    let answer = outgoing.post(request(&due, at)).await;
    let (duration, now) = (clock.monotonic().since(began), clock.now());
    let again = |asked: Option<Duration>| {
        next_try(due.tries, due.since, now, spread, asked).map_or(Then::Failed, Then::Again)
    };
    let (then, error) = match &answer {
        Ok(answer) if (200..300).contains(&answer.status) => (Then::Delivered, None),
        Ok(answer) if answer.status == GONE => {
            (Then::Disable("it answered 410 Gone".to_owned()), Some("it wants no more messages".to_owned()))
        }
        Ok(answer) if (300..400).contains(&answer.status) => {
            (again(answer.retry_after), Some("redirects are not followed".to_owned()))
        }
        Ok(answer) => (again(answer.retry_after), None),
        Err(error) => (again(None), Some(plain(&error.to_string(), LONGEST_ERROR))),
    };
    let row = AttemptRow {
        attempt: due.attempt,
        at,
        status: answer.as_ref().ok().map(|answer| answer.status),
        error,
        duration,
        answer: answer.as_ref().map(beginning).unwrap_or_default(),
    };
    Tried { event: due.event, webhook: due.webhook, url: due.url, row, then }
}

/// The beginning of an answer, as text that every database takes.
fn beginning(answer: &OutgoingAnswer) -> String {
    let bytes = &answer.body[..answer.body.len().min(ANSWER_KEPT)];
    plain(&String::from_utf8_lossy(bytes), ANSWER_KEPT)
}

fn plain(text: &str, most: usize) -> String {
    let allowed = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c };
    text.chars().take(most).map(allowed).collect()
}
