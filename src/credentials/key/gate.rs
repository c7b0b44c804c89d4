//! Bounds how many look-ups are under way, so that a flood of invented keys cannot take the database from everybody.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Look-ups at once.
const AT_ONCE: usize = 16;

/// Look-ups that may wait for their turn.
const WAITING: usize = 256;

/// Lets a bounded number in; a bounded number more may wait, for a bounded time.
pub(super) struct Gate {
    turns: Semaphore,
    queue: Semaphore,
    patience: Duration,
}

impl Gate {
    pub(super) fn new(patience: Duration) -> Self {
        Self { turns: Semaphore::new(AT_ONCE), queue: Semaphore::new(WAITING), patience }
    }

    /// A turn; `None` where too many wait already, or none came up in time.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(turn) = self.turns.try_acquire() {
            return Some(turn);
        }
        let _place = self.queue.try_acquire().ok()?;
        tokio::time::timeout(self.patience, self.turns.acquire()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{future::join_all, poll};

    use super::*;

    #[tokio::test]
    async fn those_that_find_no_place_are_sent_away_at_once() {
        // So long that this test would not end if anybody beyond the queue waited, too.
        let gate = Gate::new(Duration::from_secs(3600));
        let mut turns: Vec<_> = join_all((0..AT_ONCE).map(|_| gate.turn())).await;
        assert!(turns.iter().all(Option::is_some));
        let mut queue: Vec<_> = (0..WAITING).map(|_| Box::pin(gate.turn())).collect();
        for waiting in &mut queue {
            assert!(poll!(waiting.as_mut()).is_pending());
        }
        assert!(gate.turn().await.is_none());
        turns.pop();
        assert!(queue.remove(0).await.is_some());
    }

    #[tokio::test]
    async fn nobody_waits_for_long() {
        let gate = Gate::new(Duration::from_millis(5));
        let _turns = join_all((0..AT_ONCE).map(|_| gate.turn())).await;
        assert!(gate.turn().await.is_none());
    }
}
