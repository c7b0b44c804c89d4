//! Lets requests with an unknown key ask for one fetch of the keys, seldom enough that nobody is flooded by it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, Semaphore, watch};

use crate::domain::time::UnixMillis;

/// Requests that wait for a fetch at once.
const WAITING: usize = 256;

/// How it stands between those who ask and the one who fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    /// Somebody asked, and no fetch that began later has ended.
    asked: bool,
    /// The last fetch succeeded; `None` before the first.
    succeeded: Option<bool>,
}

/// The meeting point.
pub(super) struct Refresh {
    state: watch::Sender<State>,
    wake: Notify,
    last_asked: Mutex<Option<UnixMillis>>,
    waiting: Semaphore,
    /// The least time between two fetches that were asked for.
    every: Duration,
    /// How long a request waits for one.
    patience: Duration,
}

/// What is known after asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The keys are the newest that there are.
    Current,
    /// The last fetch failed, or is not done in time: a newer key may be there.
    Failed,
}

impl Refresh {
    pub(super) fn new(every: Duration, patience: Duration) -> Self {
        Self {
            state: watch::Sender::new(State { asked: false, succeeded: None }),
            wake: Notify::new(),
            last_asked: Mutex::new(None),
            waiting: Semaphore::new(WAITING),
            every,
            patience,
        }
    }

    /// Asks for a fetch, if none was asked for lately. `None`: one is under way, [`Refresh::done`] waits for it.
    pub(super) fn ask(&self, now: UnixMillis) -> Option<Asked> {
        let mut last = self.last_asked.lock().unwrap_or_else(PoisonError::into_inner);
        let state = *self.state.borrow();
        // Clocks may be set back; a distance in either direction will do.
        let lately = last.is_some_and(|last| Duration::from_millis(now.0.abs_diff(last.0)) < self.every);
        if lately {
            return (!state.asked).then(|| outcome(state));
        }
        *last = Some(now);
        self.state.send_modify(|state| state.asked = true);
        self.wake.notify_one();
        None
    }

    /// Waits for the fetch that was asked for, but not for long.
    pub(super) async fn done(&self) -> Asked {
        let Ok(_place) = self.waiting.try_acquire() else { return Asked::Failed };
        let mut states = self.state.subscribe();
        let done = tokio::time::timeout(self.patience, states.wait_for(|state| !state.asked)).await;
        match done {
            Ok(Ok(state)) => outcome(*state),
            _ => Asked::Failed,
        }
    }

    /// Until somebody asks. For the one who fetches.
    pub(super) async fn wanted(&self) {
        while !self.state.borrow().asked {
            self.wake.notified().await;
        }
    }

    /// Carries a fetch out that answers all who asked before it began.
    pub(super) async fn serve(&self, fetch: impl Future<Output = bool>) -> bool {
        let asked_before = self.state.borrow().asked;
        let succeeded = fetch.await;
        self.state.send_modify(|state| {
            state.asked &= !asked_before;
            state.succeeded = Some(succeeded);
        });
        succeeded
    }
}

fn outcome(state: State) -> Asked {
    if state.succeeded == Some(true) { Asked::Current } else { Asked::Failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refresh() -> Refresh {
        Refresh::new(Duration::from_secs(30), Duration::from_secs(3600))
    }

    #[tokio::test]
    async fn one_fetch_serves_all_who_asked_and_the_next_comes_later() {
        let refresh = refresh();
        assert_eq!(refresh.ask(UnixMillis(0)), None);
        assert_eq!(refresh.ask(UnixMillis(10)), None, "joins");
        let fetcher = async {
            refresh.wanted().await;
            refresh.serve(async { true }).await
        };
        let (one, two, _) = tokio::join!(refresh.done(), refresh.done(), fetcher);
        assert_eq!((one, two), (Asked::Current, Asked::Current));
        assert_eq!(refresh.ask(UnixMillis(29_999)), Some(Asked::Current));
        assert_eq!(refresh.ask(UnixMillis(30_000)), None);
    }

    #[tokio::test]
    async fn a_fetch_that_began_earlier_does_not_serve() {
        let refresh = refresh();
        let earlier = async {
            refresh
                .serve(async {
                    assert_eq!(refresh.ask(UnixMillis(0)), None);
                    true
                })
                .await
        };
        assert!(earlier.await);
        assert!(refresh.state.borrow().asked);
        refresh.wanted().await;
        refresh.serve(async { false }).await;
        assert_eq!(refresh.ask(UnixMillis(1)), Some(Asked::Failed));
    }

    #[tokio::test]
    async fn nobody_waits_for_long() {
        let refresh = Refresh::new(Duration::from_secs(30), Duration::from_millis(5));
        assert_eq!(refresh.ask(UnixMillis(0)), None);
        assert_eq!(refresh.done().await, Asked::Failed);
    }
}
