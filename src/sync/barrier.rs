//! Waiting until a change is in force on every node.
//!
//! A node that has not reported a change may decide without it only on the strength of a poll that was sent before the
//! change was committed. Such a poll keeps it fresh for [`FRESH_FOR`], so that the wait has an end; beyond it the node
//! asks again before it decides, or goes by `serve_stale` where it cannot, and then it is named as pending.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    Feed,
    roster::{Reading, Watched},
};
use crate::{
    clock::Clock,
    domain::time::{Monotonic, Version},
    freshness::{FRESH_FOR, Freshness},
    ports::{Applied, Barrier},
};

/// A poll that missed the change was sent before its commit; after this the node that sent it is fresh no more.
const LONGEST: Duration = FRESH_FOR.saturating_add(Duration::from_millis(50));

/// Waits until the nodes of the registry have applied a version.
pub struct WaitForNodes {
    /// This node's own feed, which must be running.
    pub feed: Arc<Feed>,
    /// What this node has heard of.
    pub freshness: Arc<Freshness>,
    /// Measures the wait, also through a suspend.
    pub clock: Arc<dyn Clock>,
    /// A node that has heard nothing for longer refuses by itself.
    pub serve_stale: Duration,
}

#[async_trait]
impl Barrier for WaitForNodes {
    async fn applied(&self, version: Version) -> Applied {
        let began = self.clock.monotonic();
        // The feed polls once for all who ask while it does; a poll that is sent from now on brings the change.
        let own = self.freshness.wait_until(LONGEST, |heard| heard.applied() >= version);
        let (_, reading) = tokio::join!(own, self.others(version, began));
        let reading = reading.or_else(|| self.feed.roster().latest());
        self.verdict(version, reading.as_deref(), self.clock.monotonic().since(began))
    }
}

impl WaitForNodes {
    /// Reads the registry until no other node is waited for, or it is no use waiting any longer. The last good reading.
    async fn others(&self, version: Version, began: Monotonic) -> Option<Arc<Reading>> {
        let roster = self.feed.roster();
        // One that is under way was begun before the commit, and may lack a node that registered since.
        let (mut number, mut latest) = (roster.begun(), None);
        loop {
            let left = LONGEST.saturating_sub(self.clock.monotonic().since(began));
            if left.is_zero() {
                return latest;
            }
            let Ok((next, reading)) = tokio::time::timeout(left, roster.after(number)).await else {
                return latest;
            };
            number = next;
            // Where the registry cannot be read it is tried again: it may come back in time.
            if let Some(reading) = reading {
                let done = !reading.nodes.iter().any(|node| self.is_awaited(node, version));
                latest = Some(reading);
                if done {
                    return latest;
                }
            }
        }
    }

    fn is_own(&self, node: &Watched) -> bool {
        node.row.incarnation == self.feed.incarnation()
    }

    /// One whose heartbeat stood still for so long is fresh no more, and its next poll brings the change: see
    /// [`Freshness::heard`].
    fn is_awaited(&self, node: &Watched, version: Version) -> bool {
        !self.is_own(node) && node.row.applied < version && node.still < FRESH_FOR
    }

    fn verdict(&self, version: Version, reading: Option<&Reading>, waited: Duration) -> Applied {
        let mut applied = Applied::default();
        if self.freshness.applied() >= version {
            applied.nodes += 1;
        } else if !self.own_refuses() {
            applied.pending.push(self.feed.name().to_owned());
        }
        let Some(reading) = reading else {
            // Nobody has ever told who else there is. That the change is in force there cannot be said.
            if applied.pending.is_empty() && !self.refuses(waited) {
                applied.pending.push(self.feed.name().to_owned());
            }
            return applied;
        };
        for node in reading.nodes.iter().filter(|node| !self.is_own(node)) {
            if node.row.applied >= version {
                applied.nodes += 1;
            } else if !self.refuses(Self::unheard(node, waited)) {
                applied.pending.push(node.row.name.clone());
            }
        }
        applied
    }

    /// For so long, at least, a node that is behind has heard nothing.
    fn unheard(node: &Watched, waited: Duration) -> Duration {
        // The database's clock may jump: what it says counts only where the node cannot be fresh by this process's own.
        match () {
            () if waited >= LONGEST => waited.max(node.still).max(node.row.beat_age),
            () if node.still >= FRESH_FOR => node.still.max(node.row.beat_age),
            () => Duration::ZERO,
        }
    }

    /// Whether a node that has heard nothing for so long refuses every request by itself.
    fn refuses(&self, unheard: Duration) -> bool {
        unheard >= FRESH_FOR && unheard > self.serve_stale
    }

    fn own_refuses(&self) -> bool {
        let age = self.freshness.poll_age(self.clock.monotonic()).unwrap_or(Duration::MAX);
        self.freshness.is_retired() || self.refuses(age)
    }
}
