//! Lets requests that miss the same key share one look-up.

use std::{
    collections::{HashMap, hash_map::Entry},
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OnceCell;

use crate::domain::{identity::KeyHash, time::Version};

/// Look-ups under way.
pub(super) struct Flights<T>(Mutex<Table<T>>);

type Table<T> = HashMap<KeyHash, Boarding<T>>;

struct Boarding<T> {
    flight: Arc<Flight<T>>,
    seats: usize,
}

struct Flight<T> {
    /// What this node had applied when it began: its answer knows at least that much.
    began: Version,
    answer: OnceCell<T>,
}

impl<T: Clone> Flights<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn with<R>(&self, act: impl FnOnce(&mut Table<T>) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A seat in the look-up of `hash`, in one that began no earlier than `applied` was applied: an older one may have
    /// missed a key that was made since.
    pub(super) fn join(&self, hash: KeyHash, applied: Version) -> Seat<'_, T> {
        let flight = self.with(|flights| match flights.entry(hash) {
            Entry::Occupied(mut there) if there.get().flight.began >= applied => {
                there.get_mut().seats += 1;
                Arc::clone(&there.get().flight)
            }
            place => {
                let flight = Arc::new(Flight { began: applied, answer: OnceCell::new() });
                place.insert_entry(Boarding { flight: Arc::clone(&flight), seats: 1 });
                flight
            }
        });
        Seat { flights: self, hash, flight }
    }

    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.with(|flights| flights.len())
    }
}

/// A request's seat in a look-up. Leaving it, also by being dropped, is all the cleaning up there is.
pub(super) struct Seat<'f, T: Clone> {
    flights: &'f Flights<T>,
    hash: KeyHash,
    flight: Arc<Flight<T>>,
}

impl<T: Clone> Seat<'_, T> {
    /// What was applied when the look-up began.
    pub(super) fn began(&self) -> Version {
        self.flight.began
    }

    /// The shared answer. The first to ask carries `look_up` out; if it is dropped on the way, the next one does.
    pub(super) async fn answer<F: Future<Output = T>>(&self, look_up: impl FnOnce() -> F) -> T {
        self.flight.answer.get_or_init(look_up).await.clone()
    }
}

impl<T: Clone> Drop for Seat<'_, T> {
    fn drop(&mut self) {
        self.flights.with(|flights| {
            let Entry::Occupied(mut there) = flights.entry(self.hash) else { return };
            if !Arc::ptr_eq(&there.get().flight, &self.flight) {
                return;
            }
            there.get_mut().seats -= 1;
            if there.get().seats == 0 || self.flight.answer.initialized() {
                there.remove();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    const HASH: KeyHash = KeyHash([1; 32]);

    #[tokio::test]
    async fn many_share_one_look_up() {
        let flights = Flights::new();
        let calls = AtomicU32::new(0);
        let answers = join_all((0..50).map(|_| async {
            let seat = flights.join(HASH, Version(1));
            seat.answer(|| async {
                tokio::task::yield_now().await;
                calls.fetch_add(1, Ordering::SeqCst)
            })
            .await
        }))
        .await;
        assert!(answers.iter().all(|answer| *answer == 0));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert_eq!(flights.under_way(), 0);
    }

    #[tokio::test]
    async fn a_dropped_leader_is_replaced_and_nothing_stays_behind() {
        let flights = Flights::<u32>::new();
        let leader = flights.join(HASH, Version(1));
        let mut leading = Box::pin(leader.answer(std::future::pending));
        assert!(futures_util::poll!(leading.as_mut()).is_pending());
        let follower = flights.join(HASH, Version(1));
        let mut following = Box::pin(follower.answer(|| async { 7 }));
        assert!(futures_util::poll!(following.as_mut()).is_pending());
        drop(leading);
        drop(leader);
        assert_eq!(following.await, 7);
        assert_eq!(flights.under_way(), 1);
        drop(follower);
        assert_eq!(flights.under_way(), 0);

        drop(flights.join(HASH, Version(1)));
        assert_eq!(flights.under_way(), 0, "a seat never used");
    }

    #[tokio::test]
    async fn nobody_joins_a_look_up_that_began_before_a_change() {
        let flights = Flights::new();
        let old = flights.join(HASH, Version(1));
        let new = flights.join(HASH, Version(2));
        assert_eq!(new.began(), Version(2));
        assert_eq!(new.answer(|| async { "new" }).await, "new");
        assert_eq!(old.answer(|| async { "old" }).await, "old");
        drop(old);
        drop(new);
        assert_eq!(flights.under_way(), 0);
    }
}
