//! Counts answers from memory in lanes, so that threads which count at the same time do not share a cache line.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

const LANES: usize = 8;

static NEXT_LANE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static LANE: usize = NEXT_LANE.fetch_add(1, Ordering::Relaxed) % LANES;
}

/// How often memory knew a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheCounts {
    /// Answered from memory.
    pub hits: u64,
    /// Looked up or verified anew.
    pub misses: u64,
}

impl std::ops::Add for CacheCounts {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { hits: self.hits + other.hits, misses: self.misses + other.misses }
    }
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane {
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What was counted, by thread and by front.
#[derive(Debug, Default)]
pub(super) struct Counts {
    lanes: [Lane; LANES],
    fronts: Mutex<Vec<Arc<FrontHits>>>,
}

/// The hits of one front. Only who holds the front's memory counts here.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct FrontHits(AtomicU64);

impl FrontHits {
    /// One more. Not atomic as a whole: the caller is the only one that counts.
    pub(super) fn count(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

impl Counts {
    fn lane(&self) -> &Lane {
        &self.lanes[LANE.try_with(|lane| *lane).unwrap_or(0)]
    }

    pub(super) fn hit(&self) {
        self.lane().hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn miss(&self) {
        self.lane().misses.fetch_add(1, Ordering::Relaxed);
    }

    /// A counter for a front, summed with the others until it leaves.
    pub(super) fn join(&self) -> Arc<FrontHits> {
        let hits = Arc::<FrontHits>::default();
        self.fronts.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&hits));
        hits
    }

    /// A front goes; what it counted stays.
    pub(super) fn leave(&self, hits: &Arc<FrontHits>) {
        let mut fronts = self.fronts.lock().unwrap_or_else(PoisonError::into_inner);
        fronts.retain(|front| !Arc::ptr_eq(front, hits));
        self.lane().hits.fetch_add(hits.0.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(super) fn sum(&self) -> CacheCounts {
        let fronts = self.fronts.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |each: &dyn Fn(&Lane) -> u64| self.lanes.iter().map(each).fold(0, u64::wrapping_add);
        let in_fronts = fronts.iter().map(|front| front.0.load(Ordering::Relaxed)).fold(0, u64::wrapping_add);
        CacheCounts {
            hits: sum(&|lane| lane.hits.load(Ordering::Relaxed)).wrapping_add(in_fronts),
            misses: sum(&|lane| lane.misses.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn no_thread_and_no_front_is_forgotten() {
        let counts = Counts::default();
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    (0..100).for_each(|_| counts.hit());
                    counts.miss();
                    let front = counts.join();
                    (0..10).for_each(|_| front.count());
                    counts.leave(&front);
                });
            }
        });
        let staying = counts.join();
        staying.count();
        assert_eq!(counts.sum(), CacheCounts { hits: 20 * 110 + 1, misses: 20 });
        counts.leave(&staying);
        assert_eq!(counts.sum().hits, 20 * 110 + 1);
        assert!(counts.fronts.lock().unwrap().is_empty());
    }
}
