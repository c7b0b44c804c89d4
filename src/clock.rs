//! Time comes from here and nowhere else, so that tests can hold it still.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::domain::time::{Monotonic, UnixMillis};

/// A source of time.
pub trait Clock: Send + Sync + 'static {
    /// The civil time.
    fn now(&self) -> UnixMillis;
    /// Time since some fixed instant; never goes back, and also runs while the machine sleeps.
    fn monotonic(&self) -> Monotonic;
}

/// The machine's clocks, corrected by the measured difference to the database's.
#[derive(Debug, Default)]
pub struct SystemClock {
    offset_millis: AtomicI64,
}

impl SystemClock {
    /// Sets how far the database's clock is ahead of this machine's.
    pub fn correct(&self, offset_millis: i64) {
        self.offset_millis.store(offset_millis, Ordering::Relaxed);
    }

    /// How far the database's clock is ahead of this machine's, in milliseconds.
    pub fn offset_millis(&self) -> i64 {
        self.offset_millis.load(Ordering::Relaxed)
    }

    /// The machine's own civil time, without the correction.
    #[must_use]
    pub fn uncorrected() -> UnixMillis {
        #[allow(clippy::disallowed_methods, reason = "the one place that reads the civil clock")]
        let now = SystemTime::now();
        let millis = match now.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_secs())
                .unwrap_or(i64::MAX)
                .saturating_mul(1000)
                .saturating_add(after.subsec_millis().into()),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        UnixMillis(millis)
    }
}

/// Milliseconds since some fixed instant, as of the kernel's last timer interrupt: up to 10 ms old, at a quarter of the
/// price of an exact clock. For time-outs that are long against that.
#[must_use]
pub fn coarse_millis() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    let (seconds, nanos) =
        (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds * 1000 + nanos / 1_000_000
}

/// Seconds since 1970, as coarse.
#[must_use]
pub fn coarse_seconds() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse).tv_sec
}

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(Self::uncorrected().0.saturating_add(self.offset_millis.load(Ordering::Relaxed)))
    }

    fn monotonic(&self) -> Monotonic {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Monotonic(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0))
    }
}

/// A clock that stands still until it is moved: for tests, examples and `policy test`.
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicI64,
    monotonic: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: UnixMillis) -> Arc<Self> {
        Arc::new(Self { now: AtomicI64::new(now.0), monotonic: AtomicU64::new(1_000_000_000_000) })
    }

    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        self.monotonic.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.now.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(self.monotonic.load(Ordering::SeqCst))
    }
}
