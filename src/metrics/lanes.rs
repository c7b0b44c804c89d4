//! Counts in lanes: each thread writes a line of its own, so that counting costs no core another one's cache. What was
//! counted is summed when it is read.

use std::{
    fmt,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

/// So many lanes there are, whatever the number of threads.
pub(super) const LANES: usize = 32;
/// The first lanes are for threads that find no lane of their own; they share these.
const SHARED: usize = 8;

/// A bit for each lane that a thread has for itself.
static TAKEN: AtomicU32 = AtomicU32::new((1 << SHARED) - 1);
static NEXT_SHARED: AtomicU32 = AtomicU32::new(0);

/// The lane of a thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane(usize);

/// A thread's hold on its lane; the next thread may have it afterwards.
struct Seat(Lane);

thread_local! {
    static SEAT: Seat = Seat::take();
}

impl Seat {
    fn take() -> Self {
        let mut taken = TAKEN.load(Ordering::Relaxed);
        loop {
            let free = taken.trailing_ones();
            if free as usize >= LANES {
                let shared = NEXT_SHARED.fetch_add(1, Ordering::Relaxed) as usize % SHARED;
                return Self(Lane(shared));
            }
            // Acquire: what the thread before wrote to this lane is seen.
            let claim = taken | 1 << free;
            match TAKEN.compare_exchange_weak(taken, claim, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Self(Lane(free as usize)),
                Err(now) => taken = now,
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.0.is_own() {
            TAKEN.fetch_and(!(1 << self.0.0), Ordering::Release);
        }
    }
}

impl Lane {
    /// The calling thread's.
    #[inline]
    pub(super) fn here() -> Self {
        // A thread that ends has given its lane away already.
        SEAT.try_with(|seat| seat.0).unwrap_or(Self(0))
    }

    const fn is_own(self) -> bool {
        self.0 >= SHARED
    }

    /// The lane's place, below [`LANES`].
    #[inline]
    pub(super) const fn place(self) -> usize {
        self.0 % LANES
    }

    /// Adds to a number that is written in this lane only.
    #[inline]
    pub(super) fn add(self, number: &AtomicU64, more: u64) {
        if self.is_own() {
            // Nobody else writes it: no need to lock the line.
            number.store(number.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        } else {
            number.fetch_add(more, Ordering::Relaxed);
        }
    }
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Tally([Line; LANES]);

impl Tally {
    /// Counts one.
    #[inline]
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// Counts so many.
    #[inline]
    pub fn inc_by(&self, more: u64) {
        let lane = Lane::here();
        lane.add(&self.0[lane.place()].0, more);
    }

    /// What was counted so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.iter().fold(0, |sum, line| line.0.load(Ordering::Relaxed).wrapping_add(sum))
    }
}

impl TypedMetric for Tally {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for Tally {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        encode_count(self.get(), encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// Writes a number as a counter.
pub(super) fn encode_count(count: u64, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
    prometheus_client::metrics::counter::ConstCounter::new(count).encode(encoder)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Barrier},
        thread,
    };

    use super::*;

    #[test]
    fn more_threads_than_lanes_lose_nothing() {
        let (tally, threads) = (Arc::new(Tally::default()), LANES + 20);
        let together = Arc::new(Barrier::new(threads));
        let counting: Vec<_> = (0..threads)
            .map(|_| {
                let (tally, together) = (Arc::clone(&tally), Arc::clone(&together));
                thread::spawn(move || {
                    together.wait();
                    (0..5000).for_each(|_| tally.inc());
                    together.wait();
                })
            })
            .collect();
        counting.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(tally.get(), 5000 * threads as u64);
    }

    #[test]
    fn lanes_go_from_thread_to_thread() {
        let tally = Arc::new(Tally::default());
        for _ in 0..3 * LANES {
            let tally = Arc::clone(&tally);
            thread::spawn(move || tally.inc_by(2)).join().unwrap();
        }
        assert_eq!(tally.get(), 6 * LANES as u64);
    }

    #[test]
    fn two_threads_have_two_lanes() {
        let (here, there) = (Lane::here(), thread::spawn(Lane::here).join().unwrap());
        assert!(here.place() != there.place() || !here.is_own());
    }
}
