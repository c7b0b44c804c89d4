//! Bounds how many look-ups are under way, so that a flood of invented keys cannot take the database from everybody.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Look-ups at once.
const AT_ONCE: usize = 16;

/// Look-ups that may wait for their turn.
const WAITING: usize = 256;

/// How long one waits at most.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lets a bounded number in.
pub(super) struct Gate {
    turns: Semaphore,
    queue: Semaphore,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self { turns: Semaphore::new(AT_ONCE), queue: Semaphore::new(WAITING) }
    }

    /// A turn; `None` where too many wait already, or none came up in time.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(turn) = self.turns.try_acquire() {
            return Some(turn);
        }
        let _place = self.queue.try_acquire().ok()?;
        tokio::time::timeout(PATIENCE, self.turns.acquire()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_that_find_no_place_are_sent_away_at_once() {
        let gate = Gate::new();
        let turns: Vec<_> =
            futures_util::future::join_all((0..AT_ONCE).map(|_| gate.turn())).await.into_iter().collect();
        assert!(turns.iter().all(Option::is_some));
        let answers = futures_util::future::join_all((0..WAITING + 10).map(|_| gate.turn()));
        let answers = answers.await;
        assert!(answers.iter().all(Option::is_none), "no turn came up");
        drop(turns);
        assert!(gate.turn().await.is_some());
    }
}
