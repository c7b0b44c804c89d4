//! Who is told of facts, with which secrets, and how often one that could not be told is tried again.

use std::{fmt, time::Duration};

use super::{event::EventKind, id::WebhookId, time::UnixMillis};

/// Endpoints of an installation.
pub const MOST_ENDPOINTS: usize = 50;
/// Secrets of an endpoint that are valid at the same time.
pub const MOST_SECRETS: usize = 5;
/// How long a message is tried.
pub const TRIED_FOR: Duration = Duration::from_secs(24 * 3600);
/// The longest that an endpoint may ask to be left alone.
const LONGEST_ASKED: Duration = Duration::from_secs(2 * 3600);

/// Pauses after the first failure, the second, and so on; after the last one that one again.
const PAUSES: [u64; 9] = [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800];

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: WebhookId,
    /// Where messages are sent.
    pub url: String,
    /// What it is for, in words for people.
    pub description: String,
    /// The kinds that it takes; none: all of them.
    pub events: Vec<EventKind>,
    /// What messages are signed with, the newest first.
    pub secrets: Vec<WebhookSecret>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// `None`: it is told.
    pub disabled: Option<Disabled>,
}

/// Why an endpoint is not told any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// Since when.
    pub at: UnixMillis,
    /// In words for people.
    pub why: String,
}

/// A secret that messages to an endpoint are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret {
    /// `whsec_` and the key in base64.
    pub text: String,
    /// When it was made.
    pub created_at: UnixMillis,
    /// `None`: until another takes its place.
    pub expires_at: Option<UnixMillis>,
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSecret").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// There are as many valid secrets as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MOST_SECRETS} secrets are valid at the moment, which is the most: wait until one of them expires")]
pub struct TooManySecrets;

impl Endpoint {
    /// Whether it is told of a kind.
    #[must_use]
    pub fn takes(&self, kind: EventKind) -> bool {
        self.disabled.is_none() && (self.events.is_empty() || self.events.contains(&kind))
    }

    /// Takes a new secret into use. The others stay valid until `old_until`, where they do not expire sooner.
    ///
    /// # Errors
    /// [`TooManySecrets`].
    pub fn rotate(
        &mut self,
        text: String,
        now: UnixMillis,
        old_until: UnixMillis,
    ) -> Result<(), TooManySecrets> {
        let mut secrets = vec![WebhookSecret { text, created_at: now, expires_at: None }];
        for old in live(&self.secrets, now) {
            let until = old.expires_at.map_or(old_until, |until| until.min(old_until));
            if until > now && old.text != secrets[0].text {
                secrets.push(WebhookSecret { expires_at: Some(until), ..old.clone() });
            }
        }
        if secrets.len() > MOST_SECRETS {
            return Err(TooManySecrets);
        }
        self.secrets = secrets;
        Ok(())
    }
}

/// Those that are valid.
pub fn live(secrets: &[WebhookSecret], now: UnixMillis) -> impl Iterator<Item = &WebhookSecret> {
    secrets.iter().filter(move |secret| secret.expires_at.is_none_or(|until| until > now))
}

/// What has become of a message to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// It is or will be tried.
    Pending,
    /// The endpoint has it.
    Delivered,
    /// It was tried for long enough.
    Failed,
    /// The endpoint was disabled before it had it.
    Discarded,
}

impl DeliveryState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Delivered, Self::Failed, Self::Discarded];

    /// The word used in answers and rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Discarded => "discarded",
        }
    }

    /// The state of a word; `None`: there is no such word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// How long to wait after a failed try; `None`: it was tried for long enough.
///
/// `tries` were made since `since`, `spread` in thousandths keeps many messages from coming back at one instant, and
/// `asked` is what the endpoint asked for itself. The last try is made when the time is over.
#[must_use]
pub fn next_try(
    tries: u32,
    since: UnixMillis,
    now: UnixMillis,
    spread: u32,
    asked: Option<Duration>,
) -> Option<Duration> {
    let over = since + TRIED_FOR;
    let left = u64::try_from(over.0.saturating_sub(now.0)).ok().filter(|left| *left > 0)?;
    let place = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX).min(PAUSES.len() - 1);
    let pause = Duration::from_secs(PAUSES[place]);
    let pause = pause + pause / 5 * spread.min(1_000) / 1_000;
    let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
    Some(pause.max(asked).min(Duration::from_millis(left)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            id: WebhookId::parse("wh_1").unwrap(),
            url: "https://a.example/".to_owned(),
            description: String::new(),
            events: Vec::new(),
            secrets: Vec::new(),
            created_at: UnixMillis(0),
            disabled: None,
        }
    }

    #[test]
    fn kinds() {
        let mut endpoint = endpoint();
        assert!(endpoint.takes(EventKind::PlanChanged));
        endpoint.events = vec![EventKind::QuotaThreshold];
        assert!(!endpoint.takes(EventKind::PlanChanged));
        endpoint.events.clear();
        endpoint.disabled = Some(Disabled { at: UnixMillis(0), why: String::new() });
        assert!(!endpoint.takes(EventKind::PlanChanged));
    }

    #[test]
    fn secrets_overlap_while_they_rotate() {
        let mut endpoint = endpoint();
        let shown = |endpoint: &Endpoint, now| -> Vec<String> {
            live(&endpoint.secrets, UnixMillis(now)).map(|secret| secret.text.clone()).collect()
        };
        endpoint.rotate("a".into(), UnixMillis(0), UnixMillis(10)).unwrap();
        endpoint.rotate("b".into(), UnixMillis(1), UnixMillis(11)).unwrap();
        endpoint.rotate("c".into(), UnixMillis(2), UnixMillis(20)).unwrap();
        assert_eq!(shown(&endpoint, 2), ["c", "b", "a"]);
        assert_eq!(shown(&endpoint, 10), ["c", "b", "a"], "no rotation makes an old one last longer");
        assert_eq!(shown(&endpoint, 11), ["c", "b"]);
        assert_eq!(shown(&endpoint, 20), ["c"]);
        // Where the old ones are to end at once, they do.
        endpoint.rotate("d".into(), UnixMillis(3), UnixMillis(3)).unwrap();
        assert_eq!(shown(&endpoint, 3), ["d"]);
        for number in 4..8 {
            endpoint.rotate(number.to_string(), UnixMillis(number), UnixMillis(100)).unwrap();
        }
        assert_eq!(endpoint.rotate("x".into(), UnixMillis(8), UnixMillis(100)), Err(TooManySecrets));
        assert_eq!(endpoint.secrets.len(), MOST_SECRETS);
        endpoint.rotate("x".into(), UnixMillis(100), UnixMillis(200)).unwrap();
        assert_eq!(shown(&endpoint, 100), ["x", "7"]);
    }

    #[test]
    fn tries_are_spread_over_a_day() {
        let since = UnixMillis(1_000);
        let (mut now, mut tries, mut pauses) = (since, 1, Vec::new());
        while let Some(pause) = next_try(tries, since, now, 0, None) {
            pauses.push(pause.as_secs());
            now = now + pause;
            tries += 1;
        }
        assert_eq!(pauses[..9], PAUSES);
        assert_eq!(now, since + TRIED_FOR, "the last try is made when the day is over");
        assert_eq!(pauses.len(), 11, "{pauses:?}");
        assert_eq!(next_try(u32::MAX, since, since, 500, None), Some(Duration::from_secs(28_800 + 2_880)));
    }

    #[test]
    fn what_an_endpoint_asks_for_is_respected_within_bounds() {
        let at = UnixMillis(0);
        let asked = |seconds| next_try(1, at, at, 0, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(0), Some(Duration::from_secs(5)));
        assert_eq!(asked(90), Some(Duration::from_secs(90)));
        assert_eq!(asked(u64::MAX), Some(LONGEST_ASKED));
        let late = UnixMillis(i64::try_from(TRIED_FOR.as_millis()).unwrap() - 1);
        assert_eq!(next_try(1, at, late, 0, Some(LONGEST_ASKED)), Some(Duration::from_millis(1)));
        assert_eq!(next_try(1, at, at + TRIED_FOR, 0, None), None);
    }

    #[test]
    fn every_word_is_read_back() {
        for state in DeliveryState::ALL {
            assert_eq!(DeliveryState::named(state.as_str()), Some(state));
        }
        assert_eq!(DeliveryState::named("lost"), None);
    }
}
