//! The change feed: polls for what was changed, puts it in force here, and tells everybody so with the next heartbeat.
//!
//! A notification only wakes it sooner. What it promises rests on the poll alone: each good poll makes the node *fresh*
//! for [`FRESH_FOR`](crate::freshness::FRESH_FOR) from the instant at which the poll was sent.

mod barrier;
mod feed;
mod roster;

pub use barrier::WaitForNodes;
pub use feed::{Feed, FeedParts, Subscriber};

#[cfg(test)]
mod tests;
