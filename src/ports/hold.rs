//! What one request has taken from the ledger, and how its quotas and rates stand.

use std::{
    any::Any,
    fmt::Write,
    sync::{Arc, OnceLock},
};

use crate::domain::{
    period::Window,
    route::Charge,
    time::{Monotonic, UnixMillis},
    units::Units,
};

/// What one request has taken from the ledger. It ends in exactly one of three ways; dropped unfinished it is kept, as
/// whatever a request may have cost must count.
#[must_use]
pub struct Hold(Option<Arc<dyn HoldEntry>>);

/// The ledger's side of holds. Many holds may share one entry; that each of them ends once is their own business.
pub trait HoldEntry: Send + Sync {
    /// The request is over and cost what was taken.
    fn keep(&self) {}
    /// The upstream provably never saw the request: all units, and the rate's, go back to the words they came from.
    fn refund(&self);
    /// The request is over and cost `actual` of a reserved meter; the rest goes back. More than reserved is recorded as
    /// `overrun`.
    fn settle(&self, actual: &[Charge]);
    /// Shows each quota and rate that the charge was held against, as it stands now. `at`: the monotonic clock, where it was
    /// read already.
    fn standings(&self, now: UnixMillis, at: Option<Monotonic>, show: &mut dyn FnMut(Standing<'_>));
    /// A place for what is made once of the policy that all holds of the entry share; see [`Hold::policy`].
    fn ready(&self) -> Option<&Ready> {
        None
    }
}

/// A place for something that is made at first use.
#[derive(Debug, Default)]
pub struct Ready(OnceLock<Box<dyn Any + Send + Sync>>);

impl Hold {
    /// Wraps a ledger's entry.
    pub fn new(entry: Arc<dyn HoldEntry>) -> Self {
        Self(Some(entry))
    }

    /// A hold of nothing, for operations without a charge.
    pub const fn empty() -> Self {
        Self(None)
    }

    /// See [`HoldEntry::keep`].
    pub fn keep(mut self) {
        if let Some(entry) = self.0.take() {
            entry.keep();
        }
    }

    /// See [`HoldEntry::refund`].
    pub fn refund(mut self) {
        if let Some(entry) = self.0.take() {
            entry.refund();
        }
    }

    /// See [`HoldEntry::settle`].
    pub fn settle(mut self, actual: &[Charge]) {
        if let Some(entry) = self.0.take() {
            entry.settle(actual);
        }
    }

    /// See [`HoldEntry::standings`].
    pub fn standings(&self, now: UnixMillis, mut show: impl FnMut(Standing<'_>)) {
        if let Some(entry) = &self.0 {
            entry.standings(now, None, &mut show);
        }
    }

    /// The same, where the monotonic clock was read already.
    pub fn standings_at(&self, now: UnixMillis, at: Monotonic, mut show: impl FnMut(Standing<'_>)) {
        if let Some(entry) = &self.0 {
            entry.standings(now, Some(at), &mut show);
        }
    }

    /// What `make` makes of the policy that the charge was held against: `"requests";q=100000;w=2678400, ...`, the whole
    /// value of a `RateLimit-Policy` header; empty where no window bounds the charge. It is made once for all holds of the
    /// same charge of a tenant, and kept with the charge. `None`: the ledger has no place for it, or somebody else's is
    /// there; it is then to be made of the standings.
    pub fn policy<T: Any + Send + Sync>(&self, make: impl FnOnce(&str) -> T) -> Option<&T> {
        let entry = self.0.as_deref()?;
        let made = entry.ready()?.0.get_or_init(|| {
            let mut policy = String::new();
            // What the policy says does not depend on the time.
            let instant = (UnixMillis(0), Some(Monotonic(0)));
            entry.standings(instant.0, instant.1, &mut |standing| standing.append_policy(&mut policy));
            Box::new(make(&policy))
        });
        made.downcast_ref()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(entry) = self.0.take() {
            entry.keep();
        }
    }
}

/// How one quota or rate stands, for the `RateLimit` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing<'a> {
    /// The meter.
    pub meter: &'a str,
    /// Which quota window; `None`: the rate.
    pub window: Option<Window>,
    /// Units in the whole window (a rate's `limit`).
    pub quota: Units,
    /// The window's length in seconds, rounded up, at least 1.
    pub seconds: u64,
    /// Units left.
    pub remaining: Units,
    /// Seconds until the window (or the rate's burst) is whole again, rounded up.
    pub resets_in: u64,
}

impl Standing<'_> {
    /// What distinguishes the window's name from the meter's in the headers.
    #[must_use]
    pub const fn suffix(&self) -> &'static str {
        match self.window {
            Some(Window::Month) => "",
            Some(Window::Week) => "-week",
            Some(Window::Day) => "-day",
            Some(Window::Hour) => "-hour",
            None => "-rate",
        }
    }

    /// Adds the item of a `RateLimit-Policy` header, after a comma where there is one before it.
    pub fn append_policy(&self, policy: &mut String) {
        let comma = if policy.is_empty() { "" } else { ", " };
        let Self { meter, quota, seconds, .. } = self;
        // Writing to a string cannot fail.
        let _ = write!(policy, "{comma}\"{meter}{}\";q={quota};w={seconds}", self.suffix());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Counts how often it was kept, refunded and settled, in one number.
    #[derive(Default)]
    struct Entry(AtomicU32, Ready);

    impl HoldEntry for Entry {
        fn keep(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }

        fn refund(&self) {
            self.0.fetch_add(100, Ordering::SeqCst);
        }

        fn settle(&self, _: &[Charge]) {
            self.0.fetch_add(10_000, Ordering::SeqCst);
        }

        fn standings(&self, now: UnixMillis, at: Option<Monotonic>, show: &mut dyn FnMut(Standing<'_>)) {
            for (window, quota) in [(Some(Window::Month), 100), (Some(Window::Day), 7), (None, 5)] {
                show(Standing {
                    meter: "requests",
                    window,
                    quota: Units::saturating(quota),
                    seconds: 60,
                    remaining: Units::saturating(now.0.unsigned_abs()),
                    resets_in: at.map_or(u64::MAX, |at| at.0),
                });
            }
        }

        fn ready(&self) -> Option<&Ready> {
            Some(&self.1)
        }
    }

    #[test]
    fn each_hold_of_a_shared_entry_ends_once() {
        let entry = Arc::new(Entry::default());
        let hold = || Hold::new(Arc::clone(&entry) as _);
        let ended = || entry.0.swap(0, Ordering::SeqCst);
        drop(hold());
        assert_eq!(ended(), 1, "what was not ended is kept");
        hold().keep();
        assert_eq!(ended(), 1);
        hold().refund();
        assert_eq!(ended(), 100);
        hold().settle(&[]);
        assert_eq!(ended(), 10_000);
        assert_eq!(Arc::strong_count(&entry), 1);
        Hold::empty().keep();
    }

    #[test]
    fn the_policy_is_made_once_for_all_holds() {
        let entry = Arc::new(Entry::default());
        let hold = Hold::new(Arc::clone(&entry) as _);
        let made = hold.policy(str::to_owned).unwrap();
        assert_eq!(made, "\"requests\";q=100;w=60, \"requests-day\";q=7;w=60, \"requests-rate\";q=5;w=60");
        let again = Hold::new(entry);
        assert_eq!(again.policy(|_| String::from("another")).unwrap(), made);
        assert_eq!(again.policy(|_| 7_u64), None, "what somebody else has made is not taken for this");
        assert_eq!(Hold::empty().policy(str::to_owned), None);
    }

    #[test]
    fn an_instant_that_is_known_is_passed_on() {
        let hold = Hold::new(Arc::new(Entry::default()));
        hold.standings_at(UnixMillis(3), Monotonic(9), |standing| {
            assert_eq!((standing.remaining.get(), standing.resets_in), (3, 9));
        });
        hold.standings(UnixMillis(3), |standing| assert_eq!(standing.resets_in, u64::MAX));
    }
}
