//! The registry and the feed, in memory.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    Memory,
    once::Outcome,
    state::{File, Node, State},
};
use crate::{
    domain::time::UnixMillis,
    ports::{
        AuditRow, BucketKey, Heartbeat, Incarnation, Lost, LostError, NodeRow, NodeStore, Origin, PollAnswer,
        RegisterError, Registered, Registration, Remainder, StoreError, Wanted,
    },
    store::{feed, lost, nodes::LIVE_MILLIS, poll::MOST_WANTED},
};

fn millis(age: i64) -> Duration {
    Duration::from_millis(u64::try_from(age).unwrap_or(0))
}

impl State {
    /// Nodes that have not recorded their slots again since the last failover.
    pub(super) fn awaited(&self) -> Vec<String> {
        let awaited = self.nodes.iter().filter(|(_, node)| node.owed || (node.reasserted < self.epoch));
        awaited.map(|(name, _)| name.clone()).collect()
    }

    /// Whether this run is registered and has been heard of lately.
    pub(super) fn lives(&self, incarnation: Incarnation, now: UnixMillis) -> bool {
        self.nodes.values().any(|node| node.incarnation == incarnation && node.alive(now))
    }

    fn register(&mut self, node: &Registration, now: UnixMillis) -> Result<Registered, RegisterError> {
        let (mut reasserted, mut owed) = (self.epoch, false);
        if let Some(before) = self.nodes.get(&node.name) {
            let same = before.incarnation == node.incarnation || before.file == node.file;
            if !same && before.alive(now) {
                let age = millis(now.0.saturating_sub(before.beat.0));
                return Err(RegisterError::NameTaken { name: node.name.clone(), age });
            }
            owed = before.owed;
            if before.reasserted < self.epoch {
                if same {
                    reasserted = before.reasserted;
                } else {
                    owed = true;
                }
            }
        }
        let row = Node {
            incarnation: node.incarnation,
            applied: self.version,
            digest: node.digest.clone(),
            beat: now,
            file: node.file,
            reasserted,
            owed,
        };
        self.nodes.insert(node.name.clone(), row);
        self.incarnations.insert(node.incarnation, node.name.clone());
        Ok(Registered { version: self.version, epoch: self.epoch })
    }

    fn wanted(&self, now: UnixMillis) -> Vec<Wanted> {
        let mut wanted: Vec<_> = self
            .book
            .buckets
            .iter()
            .filter_map(|(key, bucket)| {
                Some((bucket.wanted_until.filter(|until| *until > now)?, key, bucket))
            })
            .collect();
        wanted.sort_by_key(|(until, ..)| std::cmp::Reverse(*until));
        let answer = wanted.into_iter().take(MOST_WANTED).map(|(_, key, bucket)| Wanted {
            bucket: key.clone(),
            remainder: Remainder { left: bucket.left(), held: self.held(key, now, |_| true) },
        });
        answer.collect()
    }

    fn poll(&mut self, beat: &Heartbeat, now: UnixMillis) -> PollAnswer {
        let registered = self.nodes.values_mut().find(|node| node.incarnation == beat.incarnation);
        let missing = registered.is_none();
        if let Some(node) = registered {
            node.applied = node.applied.max(beat.applied);
            node.digest = beat.digest.clone();
            node.reasserted = node.reasserted.max(beat.reasserted);
            node.beat = now;
        }
        let name = self.incarnations.get(&beat.incarnation);
        let succeeded = name.is_some_and(|name| self.nodes.contains_key(name));
        let first = self.changes.partition_point(|row| row.version <= beat.applied);
        let changes = self.changes.range(first..).take(feed::PAGE + 1).cloned().collect();
        let page = feed::page(beat.applied, self.version, changes);
        PollAnswer {
            changes: page.changes,
            upto: page.upto,
            gap: page.gap,
            live_nodes: self.live(now) + u32::from(missing),
            database_now: now,
            superseded: missing && succeeded,
            forgotten: missing && !succeeded,
            epoch: self.epoch,
            awaited: self.awaited(),
            wanted: self.wanted(now),
            charged: self.charged_lately(now),
        }
    }

    fn lose(&mut self, name: &str, origin: &Origin) -> Result<Lost, LostError> {
        let before = self.before(origin, LostError::IdempotencyConflict, |outcome| match outcome {
            Outcome::Lost(lost) => Some(*lost),
            _ => None,
        });
        if let Some(lost) = before? {
            return Ok(lost);
        }
        let mut lost = Lost { slots: 0, units: 0 };
        for (key, slot) in &mut self.book.slots {
            let own = self.incarnations.get(&key.incarnation).is_some_and(|whose| whose == name);
            if own && !slot.sealed && !slot.lost {
                slot.lost = true;
                lost.slots += 1;
                lost.units = lost.units.saturating_add(slot.unaccounted());
            }
        }
        if self.nodes.remove(name).is_none() && lost.slots == 0 {
            return Err(LostError::Unknown(name.to_owned()));
        }
        let cursor = self.next_cursor();
        self.audit.push(AuditRow {
            cursor,
            version: self.version,
            at: origin.at,
            actor: origin.actor.clone(),
            source: origin.source.clone(),
            tenant: None,
            kind: lost::KIND.to_owned(),
            detail: lost::detail(name, lost),
        });
        self.keep_outcome(origin, Outcome::Lost(lost));
        Ok(lost)
    }
}

impl Node {
    pub(super) const fn alive(&self, now: UnixMillis) -> bool {
        now.0.saturating_sub(self.beat.0) < LIVE_MILLIS
    }
}

#[async_trait]
impl NodeStore for Memory {
    async fn register(&self, node: &Registration) -> Result<Registered, RegisterError> {
        let now = self.clock.now();
        self.state()?.register(node, now)
    }

    async fn poll(&self, beat: &Heartbeat) -> Result<PollAnswer, StoreError> {
        let now = self.clock.now();
        Ok(self.state()?.poll(beat, now))
    }

    async fn deregister(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        self.state()?.nodes.retain(|_, node| node.incarnation != incarnation);
        Ok(())
    }

    async fn declare_lost(&self, name: &str, origin: &Origin) -> Result<Lost, LostError> {
        self.state()?.lose(name, origin)
    }

    async fn left_behind(&self, name: &str, but: Incarnation) -> Result<Lost, StoreError> {
        let now = self.clock.now();
        let state = self.state()?;
        let earlier =
            |run: &Incarnation| *run != but && state.incarnations.get(run).is_some_and(|of| of == name);
        let goes_on = |key: &BucketKey| state.book.buckets.get(key).is_some_and(|bucket| bucket.end > now);
        let mut behind = Lost { slots: 0, units: 0 };
        for (key, slot) in &state.book.slots {
            let units = slot.granted.saturating_sub(slot.net());
            if units > 0 && !slot.sealed && earlier(&key.incarnation) && goes_on(&key.bucket) {
                behind.slots += 1;
                behind.units = behind.units.saturating_add(units);
            }
        }
        Ok(behind)
    }

    async fn open_file(&self, file: Uuid, opens: u64) -> Result<u64, StoreError> {
        let used = self.clock.now();
        let mut state = self.state()?;
        let before = state.files.get(&file).map_or(0, |known| known.opens);
        state.files.insert(file, File { opens: before.max(opens), used });
        Ok(before)
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        let now = self.clock.now();
        let state = self.state()?;
        let row = |(name, node): (&String, &Node)| NodeRow {
            name: name.clone(),
            incarnation: node.incarnation,
            applied: node.applied,
            digest: node.digest.clone(),
            beat_age: millis(now.0.saturating_sub(node.beat.0)),
            beat: node.beat,
        };
        Ok(state.nodes.iter().map(row).collect())
    }

    async fn changed(&self) {
        self.woken.notified().await;
    }
}
