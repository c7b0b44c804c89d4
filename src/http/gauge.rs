//! Counts open client connections over all workers and keeps them under the cap.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The right to hold one client connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<AtomicUsize>);

impl Permit {
    /// One more connection, unless there are `cap` already.
    pub(super) fn take(open: &Arc<AtomicUsize>, cap: usize) -> Option<Self> {
        open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < cap).then_some(count + 1))
            .ok()
            .map(|_| Self(Arc::clone(open)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_holds_and_places_come_back() {
        let open = Arc::new(AtomicUsize::new(0));
        let first = Permit::take(&open, 2).unwrap();
        let _second = Permit::take(&open, 2).unwrap();
        assert!(Permit::take(&open, 2).is_none());
        drop(first);
        assert!(Permit::take(&open, 2).is_some());
        assert_eq!(open.load(Ordering::Relaxed), 1);
    }
}
