//! What is asked of Stripe, and what its answers mean. See <https://docs.stripe.com/api/billing/meter-event>.

use bytes::Bytes;

use crate::{
    ports::{ExportState, MeterExport, OutgoingAnswer, OutgoingRequest},
    wire::{percent, stripe::API_VERSION},
};

/// Stripe's API, as far as it is asked.
pub(super) struct Stripe {
    base: String,
    authorization: String,
}

/// How the reason begins where Stripe has answered an attempt, and not as was hoped.
const ANSWERED: &str = "status ";

/// What an answer means for a piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It has it.
    Taken,
    /// Not now.
    Later(String),
    /// Never.
    Refused(String),
}

/// `application/x-www-form-urlencoded`.
fn form(fields: &[(&str, &str)]) -> Bytes {
    Bytes::from(percent::pairs(fields.iter().copied()))
}

/// The idempotency key of an attempt. Stripe keeps what it answered under a key for a day, errors too, and answers the same
/// again: after an error the next attempt has another. That nothing is counted twice is the identifier's matter.
fn attempt(piece: &MeterExport, name: String) -> String {
    if !piece.error.as_deref().is_some_and(|error| error.starts_with(ANSWERED)) {
        return name;
    }
    format!("{name}-{}-{}", piece.first_sent.map_or(0, |first| first.0), piece.attempts)
}

impl Stripe {
    pub(super) fn new(base: &str, key: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), authorization: format!("Bearer {key}") }
    }

    /// A meter event, or where it is withdrawn its cancellation.
    pub(super) fn request(&self, piece: &MeterExport) -> OutgoingRequest {
        let (path, body, name) = if piece.state == ExportState::Withdrawing {
            let fields = [
                ("event_name", piece.event_name.as_str()),
                ("type", "cancel"),
                ("cancel[identifier]", &piece.id),
            ];
            ("meter_event_adjustments", form(&fields), format!("{}-cancel", piece.id))
        } else {
            let (units, seconds) = (piece.units.to_string(), piece.at.0.div_euclid(1_000).to_string());
            let fields = [
                ("event_name", piece.event_name.as_str()),
                ("payload[stripe_customer_id]", &piece.customer),
                ("payload[value]", &units),
                ("identifier", &piece.id),
                ("timestamp", &seconds),
            ];
            ("meter_events", form(&fields), piece.id.clone())
        };
        OutgoingRequest {
            url: format!("{}/v1/billing/{path}", self.base),
            headers: vec![
                ("authorization", self.authorization.clone()),
                ("content-type", "application/x-www-form-urlencoded".to_owned()),
                ("idempotency-key", attempt(piece, name)),
                // Whatever version the account is set to, answers are those that are understood here.
                ("stripe-version", API_VERSION.to_owned()),
            ],
            body,
        }
    }

    /// What an answer means.
    pub(super) fn read(answer: &OutgoingAnswer) -> Said {
        let error = serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap_or_default();
        let field = |name: &str| error["error"][name].as_str().unwrap_or_default().to_owned();
        let message: String = field("message").chars().filter(|c| !c.is_control()).take(500).collect();
        let why = format!("{ANSWERED}{}: {message}", answer.status);
        match answer.status {
            200..=299 => Said::Taken,
            // An attempt before this one got there, though its answer did not come back.
            400 | 409
                if field("code") == "duplicate_meter_event"
                    || message.contains("already exists with identifier") =>
            {
                Said::Taken
            }
            // Some busy servers say so as they once did.
            400 if field("code") == "rate_limit" => Said::Later(why),
            // The key may be mended, and a busy or broken server may recover.
            401 | 403 | 408 | 409 | 425 | 429 | 500.. => Said::Later(why),
            _ => Said::Refused(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        id::{MeterId, TenantId},
        time::UnixMillis,
    };

    fn piece(state: ExportState) -> MeterExport {
        MeterExport {
            id: "0af-7-0".into(),
            tenant: TenantId::parse("acme").unwrap(),
            customer: "cus_1&x=y".into(),
            meter: MeterId::parse("requests").unwrap(),
            event_name: "api requests".into(),
            units: 12,
            at: UnixMillis(1_760_000_000_999),
            state,
            attempts: 1,
            first_sent: None,
            error: None,
        }
    }

    #[test]
    fn a_piece_is_a_form() {
        let stripe = Stripe::new("http://127.0.0.1:1/", "sk_test_1");
        let asked = stripe.request(&piece(ExportState::Waiting));
        assert_eq!(asked.url, "http://127.0.0.1:1/v1/billing/meter_events");
        assert_eq!(
            asked.body,
            "event_name=api%20requests&payload%5Bstripe_customer_id%5D=cus_1%26x%3Dy&payload%5Bvalue%5D=12\
             &identifier=0af-7-0&timestamp=1760000000"
        );
        assert!(asked.headers.contains(&("stripe-version", API_VERSION.to_owned())));
        let cancelled = stripe.request(&piece(ExportState::Withdrawing));
        assert_eq!(cancelled.url, "http://127.0.0.1:1/v1/billing/meter_event_adjustments");
        assert_eq!(cancelled.body, "event_name=api%20requests&type=cancel&cancel%5Bidentifier%5D=0af-7-0");
    }

    #[test]
    fn an_error_that_stripe_keeps_is_not_asked_for_again() {
        let key = |error: Option<&str>, attempts, first_sent: Option<i64>, state| {
            let error = error.map(str::to_owned);
            let piece =
                MeterExport { attempts, error, first_sent: first_sent.map(UnixMillis), ..piece(state) };
            let asked = Stripe::new("http://127.0.0.1:1", "sk_test_1").request(&piece);
            asked.headers.into_iter().find(|(name, _)| *name == "idempotency-key").unwrap().1
        };
        use ExportState::{Waiting, Withdrawing};
        assert_eq!(key(None, 1, Some(5), Waiting), "0af-7-0");
        assert_eq!(key(Some("no answer in 10 s"), 2, Some(5), Waiting), "0af-7-0", "it may have been taken");
        let failed =
            [key(Some("status 500: "), 2, Some(5), Waiting), key(Some("status 429: "), 3, Some(5), Waiting)];
        assert_eq!(failed, ["0af-7-0-5-2", "0af-7-0-5-3"]);
        assert_eq!(key(Some("status 400: "), 1, Some(9), Waiting), "0af-7-0-9-1", "sent again when asked");
        assert_eq!(key(None, 1, Some(5), Withdrawing), "0af-7-0-cancel");
        assert_eq!(key(Some("status 500: "), 2, Some(5), Withdrawing), "0af-7-0-cancel-5-2");
    }

    #[test]
    fn answers_are_understood() {
        let answer = |status, body: &str| OutgoingAnswer {
            status,
            body: Bytes::copy_from_slice(body.as_bytes()),
            retry_after: None,
        };
        assert_eq!(Stripe::read(&answer(200, "{}")), Said::Taken);
        let twice = r#"{"error":{"message":"An event already exists with identifier 0af-7-0."}}"#;
        assert_eq!(Stripe::read(&answer(400, twice)), Said::Taken);
        let unknown = r#"{"error":{"message":"No such customer: 'cus_1'"}}"#;
        let refused = "status 400: No such customer: 'cus_1'";
        assert_eq!(Stripe::read(&answer(400, unknown)), Said::Refused(refused.into()));
        for status in [401, 429, 500, 503] {
            assert!(matches!(Stripe::read(&answer(status, "<html>")), Said::Later(_)), "{status}");
        }
        let busy = r#"{"error":{"code":"rate_limit","message":"too many"}}"#;
        assert!(matches!(Stripe::read(&answer(400, busy)), Said::Later(_)));
        assert!(matches!(Stripe::read(&answer(302, "")), Said::Refused(_)), "redirects are not followed");
    }
}
