//! Closes a connection on which nothing happens for too long.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep};

use super::{conversation::Conversation, settings::Timeouts};

/// The timer of one connection.
pub(super) struct Watch {
    pub conversation: Rc<Conversation>,
    timeouts: Timeouts,
    sleep: Pin<Box<Sleep>>,
    /// The sleep knows whom to wake.
    armed: bool,
}

impl Watch {
    /// Watches over a conversation.
    pub fn new(conversation: Rc<Conversation>, timeouts: Timeouts) -> Self {
        let sleep = Box::pin(tokio::time::sleep(timeouts.request_head));
        Self { conversation, timeouts, sleep, armed: false }
    }

    /// The timer is only ever moved to an earlier instant, or on when it fires: most requests do not touch it. To be
    /// asked by one task alone.
    pub fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.conversation.deadline(&self.timeouts) else { return Poll::Pending };
        if deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(deadline);
            self.armed = false;
        }
        if self.armed && self.conversation.last_tick() < self.sleep.deadline() {
            return Poll::Pending;
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(deadline);
        }
        self.armed = true;
        Poll::Pending
    }
}
