//! Waiting until a change is in force on every node.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::Feed;
use crate::{
    clock::Clock,
    domain::time::Version,
    freshness::{FRESH_FOR, Freshness},
    ports::{Applied, Barrier, Incarnation, NodeRow, NodeStore},
};

/// Between two looks at the registry.
const LOOK: Duration = Duration::from_millis(10);
/// A poll that missed the change was sent before its commit; after this the node that sent it is fresh no more.
const LONGEST: Duration = FRESH_FOR.saturating_add(Duration::from_millis(50));

/// Waits until the nodes of the registry have applied a version.
pub struct WaitForNodes {
    /// This node's own feed.
    pub feed: Arc<Feed>,
    /// What this node has heard of.
    pub freshness: Arc<Freshness>,
    /// The registry.
    pub store: Arc<dyn NodeStore>,
    /// Measures the wait, also through a suspend.
    pub clock: Arc<dyn Clock>,
    /// This run.
    pub incarnation: Incarnation,
    /// A node unseen for longer refuses by itself and is not waited for.
    pub serve_stale: Duration,
}

#[async_trait]
impl Barrier for WaitForNodes {
    async fn applied(&self, version: Version) -> Applied {
        let began = self.clock.monotonic();
        self.feed.catch_up().await;
        let mut beats: BTreeMap<Incarnation, Duration> = BTreeMap::new();
        loop {
            let waited = self.clock.monotonic().since(began);
            let Ok(nodes) = self.store.nodes().await else {
                let pending = self.own_pending(version);
                return Applied { nodes: u32::from(pending.is_empty()), pending };
            };
            let serving: Vec<&NodeRow> = nodes.iter().filter(|node| self.may_serve(node)).collect();
            let behind: Vec<&NodeRow> =
                serving.iter().copied().filter(|node| !self.has_applied(node, version)).collect();
            // A node whose heartbeat was already standing still when the wait began is not waited for.
            let stands_still = |node: &NodeRow| {
                let first = *beats.entry(node.incarnation).or_insert(node.beat_age);
                first >= FRESH_FOR && node.beat_age >= first
            };
            let hopeless = behind.iter().copied().map(stands_still).filter(|still| *still).count();
            if behind.len() == hopeless || waited >= LONGEST {
                let pending = behind.iter().map(|node| node.name.clone()).collect();
                let nodes = u32::try_from(serving.len() - behind.len()).unwrap_or(u32::MAX);
                return Applied { nodes, pending };
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl WaitForNodes {
    fn may_serve(&self, node: &NodeRow) -> bool {
        node.incarnation == self.incarnation || node.beat_age <= self.serve_stale.max(LONGEST)
    }

    fn has_applied(&self, node: &NodeRow, version: Version) -> bool {
        let applied =
            if node.incarnation == self.incarnation { self.freshness.applied() } else { node.applied };
        applied >= version
    }

    fn own_pending(&self, version: Version) -> Vec<String> {
        let done = self.freshness.applied() >= version;
        if done { Vec::new() } else { vec!["this node".to_owned()] }
    }
}
