//! A timer that is set anew with every message, and hardly ever touched.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use crate::clock::coarse_millis;

/// The coarse clock and a real timer may be apart by so much.
const SLACK: u64 = 20;
/// A year: no timer needs more, and no sum with it overflows.
const FARTHEST: u64 = 365 * 24 * 3600 * 1000;

/// The timer of one connection. Its times are those of [`coarse_millis`].
///
/// The real one behind it is only ever moved to an earlier instant, or on when it fires: with time-outs that are long
/// against the time of a request, most requests leave it alone.
#[derive(Default)]
pub(super) struct Watch {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When the sleep ends.
    until: u64,
}

impl Watch {
    /// Whether the deadline has come; wakes the task when it does. `known`: this task has asked before, and no other since.
    pub fn poll_elapsed(&mut self, cx: &mut Context<'_>, deadline: u64, known: bool) -> Poll<()> {
        loop {
            let now = coarse_millis();
            if now >= deadline {
                return Poll::Ready(());
            }
            let armed = self.sleep.is_some() && self.until <= deadline;
            if armed && known && now + SLACK < self.until {
                return Poll::Pending;
            }
            if !armed {
                self.set(now, deadline);
            }
            let Some(sleep) = &mut self.sleep else { return Poll::Pending };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // It has fired, though perhaps for an earlier deadline.
            self.until = u64::MAX;
        }
    }

    fn set(&mut self, now: u64, deadline: u64) {
        self.until = deadline;
        let end = Instant::now() + Duration::from_millis((deadline - now).min(FARTHEST));
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(end),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(end))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn it_elapses_at_the_deadline_that_is_asked_for_last() {
        let mut watch = Watch::default();
        let began = coarse_millis();
        let far = began + 60_000;
        assert!(poll_fn(|cx| Poll::Ready(watch.poll_elapsed(cx, far, true))).await.is_pending());
        // Earlier, then later by a little each time it is asked.
        poll_fn(|cx| watch.poll_elapsed(cx, began + 40, true)).await;
        let earlier = coarse_millis();
        assert!((began + 40..began + 10_000).contains(&earlier));
        poll_fn(|cx| watch.poll_elapsed(cx, (coarse_millis() + 30).min(earlier + 90), true)).await;
        assert!((earlier + 90..earlier + 10_000).contains(&coarse_millis()));
        assert!(poll_fn(|cx| Poll::Ready(watch.poll_elapsed(cx, earlier, false))).await.is_ready());
    }
}
