//! Bounds on Stripe's events of customers that are nobody's, in memory.

use std::collections::BTreeSet;

use super::stripe::{Event, Told};
use crate::ports::{DroppedEvents, StripeEventState, Unclaimed};

impl Told {
    /// See [`crate::ports::StripeStore::drop_unclaimed`].
    pub(super) fn drop_unclaimed(&mut self, bounds: &Unclaimed) -> u64 {
        let at_once = usize::try_from(bounds.at_once).unwrap_or(usize::MAX);
        let unclaimed = |event: &&Event| !event.due && !self.links.contains_key(&event.row.customer);
        let old = |event: &&Event| event.decides && event.row.received < bounds.before;
        let mut gone: Vec<&Event> = self.events.iter().filter(unclaimed).filter(old).collect();
        gone.sort_by_key(|event| event.row.received);
        gone.truncate(at_once);
        let mut gone: BTreeSet<u64> = gone.iter().map(|event| event.row.place).collect();
        let waits = |event: &&Event| {
            matches!(event.row.state, StripeEventState::Waiting | StripeEventState::Unmapped)
                && !gone.contains(&event.row.place)
        };
        let mut left: Vec<&Event> = self.events.iter().filter(unclaimed).filter(waits).collect();
        left.sort_by_key(|event| (event.decides, event.row.received, event.row.place));
        let over = left.len().saturating_sub(usize::try_from(bounds.most).unwrap_or(usize::MAX));
        left.truncate(over.min(at_once - gone.len()));
        let more: Vec<u64> = left.iter().map(|event| event.row.place).collect();
        gone.extend(more);
        self.events.retain(|event| !gone.contains(&event.row.place));
        let dropped = gone.len() as u64;
        if dropped > 0 {
            self.dropped = DroppedEvents { events: self.dropped.events + dropped, last: Some(bounds.now) };
        }
        dropped
    }
}
