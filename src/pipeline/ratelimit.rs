//! The `RateLimit-Policy` and `RateLimit` headers (draft-ietf-httpapi-ratelimit-headers): structured fields, one item for
//! each quota and rate that a charge was held against.

use std::cell::RefCell;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::header_text::{self, push_number};
use crate::{
    domain::time::UnixMillis,
    ports::{Hold, Standing},
};

/// The policies: what the whole of each window is.
pub const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The state: what is left of each window.
pub const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Replaces the upstream's own headers by those of the charge.
pub fn replace(headers: &mut HeaderMap, hold: &Hold, now: UnixMillis) {
    match Fields::of(hold, now) {
        Some(fields) => fields.insert(headers),
        None => {
            headers.remove(POLICY);
            headers.remove(LIMIT);
        }
    }
}

/// Sets the headers of one window, for a refusal by it.
pub fn refuse(headers: &mut HeaderMap, standing: Standing<'_>) {
    if let Some(fields) = Fields::written(|texts| texts.append(standing)) {
        fields.insert(headers);
    }
}

/// Both headers' values.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    policy: HeaderValue,
    limit: HeaderValue,
}

impl Fields {
    /// Those of a charge; `None` where no window bounds it.
    pub(crate) fn of(hold: &Hold, now: UnixMillis) -> Option<Self> {
        let Some(Ready(policy)) = hold.policy(Ready::of) else {
            return Self::written(|texts| hold.standings(now, |standing| texts.append(standing)));
        };
        let policy = policy.clone()?;
        let limit = TEXTS.with(|texts| {
            let mut texts = texts.try_borrow_mut().ok()?;
            texts.limit.clear();
            hold.standings(now, |standing| texts.append_limit(standing));
            header_text::value(&texts.limit)
        })?;
        Some(Self { policy, limit })
    }

    fn written(write: impl FnOnce(&mut Texts)) -> Option<Self> {
        TEXTS.with(|texts| match texts.try_borrow_mut() {
            Ok(mut texts) => texts.fields(write),
            // Only where writing itself asks for fields, which nobody does.
            Err(_) => Texts::default().fields(write),
        })
    }

    /// Puts them in the place of all others of their names.
    pub(crate) fn insert(self, headers: &mut HeaderMap) {
        headers.insert(POLICY, self.policy);
        headers.insert(LIMIT, self.limit);
    }
}

/// A policy that the ledger keeps with the charge; `None` where no window bounds that.
struct Ready(Option<HeaderValue>);

impl Ready {
    fn of(text: &str) -> Self {
        Self(HeaderValue::from_str(text).ok().filter(|value| !value.is_empty()))
    }
}

thread_local! {
    // Written anew for each answer: the memory stays.
    static TEXTS: RefCell<Texts> = RefCell::default();
}

/// So many policies a thread keeps ready.
const READY: usize = 16;

#[derive(Default)]
struct Texts {
    policy: Vec<u8>,
    limit: Vec<u8>,
    /// Policies that were sent before: there are as many as plans (and months of other lengths), and many answers to each.
    ready: Vec<HeaderValue>,
    oldest: usize,
}

impl Texts {
    fn append(&mut self, standing: Standing<'_>) {
        self.append_limit(standing);
        let Standing { quota, seconds, .. } = standing;
        item(&mut self.policy, &standing, (b";q=", quota.get()), (b";w=", seconds));
    }

    fn append_limit(&mut self, standing: Standing<'_>) {
        let Standing { remaining, resets_in, .. } = standing;
        item(&mut self.limit, &standing, (b";r=", remaining.get()), (b";t=", resets_in));
    }

    fn fields(&mut self, write: impl FnOnce(&mut Self)) -> Option<Fields> {
        self.policy.clear();
        self.limit.clear();
        write(self);
        if self.policy.is_empty() {
            return None;
        }
        // Meter ids, window names and numbers: all visible ASCII.
        Some(Fields { policy: self.policy()?, limit: header_text::value(&self.limit)? })
    }

    fn policy(&mut self) -> Option<HeaderValue> {
        if let Some(ready) = self.ready.iter().find(|ready| ready.as_bytes() == self.policy) {
            return Some(ready.clone());
        }
        // The clone shares it from the start.
        let bytes = bytes::Bytes::from_owner(std::mem::take(&mut self.policy));
        let policy = HeaderValue::from_maybe_shared(bytes).ok()?;
        if self.ready.len() < READY {
            self.ready.push(policy.clone());
        } else {
            self.oldest = (self.oldest + 1) % READY;
            self.ready[self.oldest] = policy.clone();
        }
        Some(policy)
    }
}

/// Adds an item with its two parameters.
fn item(text: &mut Vec<u8>, standing: &Standing<'_>, one: (&[u8; 3], u64), other: (&[u8; 3], u64)) {
    text.extend_from_slice(if text.is_empty() { b"\"" } else { b", \"" });
    text.extend_from_slice(standing.meter.as_bytes());
    text.extend_from_slice(standing.suffix().as_bytes());
    text.push(b'"');
    for (name, number) in [one, other] {
        text.extend_from_slice(name);
        push_number(text, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::period::Window;
    use crate::domain::units::Units;

    fn standing(window: Option<Window>, quota: u64) -> Standing<'static> {
        Standing {
            meter: "requests",
            window,
            quota: Units::saturating(quota),
            seconds: 86_400,
            remaining: Units::saturating(812),
            resets_in: 90,
        }
    }

    #[test]
    fn items_are_structured_fields() {
        let mut headers = HeaderMap::new();
        refuse(&mut headers, standing(Some(Window::Day), 5000));
        assert_eq!(headers[POLICY], "\"requests-day\";q=5000;w=86400");
        assert_eq!(headers[LIMIT], "\"requests-day\";r=812;t=90");
        let fields = Fields::written(|texts| {
            for window in [Some(Window::Month), Some(Window::Week), Some(Window::Hour), None] {
                texts.append(standing(window, 0));
            }
        });
        let fields = fields.unwrap();
        assert_eq!(
            fields.policy,
            "\"requests\";q=0;w=86400, \"requests-week\";q=0;w=86400, \"requests-hour\";q=0;w=86400, \
             \"requests-rate\";q=0;w=86400"
        );
        assert_eq!(fields.limit.to_str().unwrap().split(", ").count(), 4);
    }

    #[test]
    fn a_policy_kept_ready_is_the_one_that_was_written() {
        for round in 0..3 {
            for quota in 0..2 * READY as u64 {
                let fields = Fields::written(|texts| texts.append(standing(None, quota))).unwrap();
                let expected = format!("\"requests-rate\";q={quota};w=86400");
                assert_eq!(fields.policy, expected, "{round}");
            }
        }
    }

    #[test]
    fn every_one_of_the_upstreams_own_is_replaced() {
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            headers.append(POLICY, HeaderValue::from_static("the upstream's"));
            headers.append(LIMIT, HeaderValue::from_static("the upstream's"));
        }
        let mut untouched = headers.clone();
        refuse(&mut headers, standing(None, 5));
        assert_eq!((headers.get_all(POLICY).iter().count(), headers.get_all(LIMIT).iter().count()), (1, 1));
        replace(&mut untouched, &Hold::empty(), UnixMillis(0));
        assert!(untouched.is_empty());
    }
}
