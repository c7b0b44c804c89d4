//! What this node has heard of changes: shared by the feed that writes it and the caches that obey it.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::{Notify, watch};

use crate::domain::{
    id::TenantId,
    time::{Monotonic, Version},
};

/// How long a node may decide on what it knows after its last good poll was sent.
pub const FRESH_FOR: Duration = Duration::from_secs(1);

const WORDS: usize = 65_536;

/// How current this node's knowledge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knowledge {
    /// A poll sent less than [`FRESH_FOR`] ago succeeded.
    Fresh,
    /// None did; the last good one was sent so long ago.
    Stale(Duration),
}

/// Where a tenant's word is: found once by hashing, then read directly. Valid in the [`Freshness`] that gave it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WordPlace(u16);

impl WordPlace {
    /// As a number under 65,536, which spreads the tenants evenly.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// For entries that are kept as bytes: what [`WordPlace::from_bytes`] makes it of again.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 2] {
        self.0.to_le_bytes()
    }

    /// What [`WordPlace::to_bytes`] was called on.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 2]) -> Self {
        Self(u16::from_le_bytes(bytes))
    }
}

/// Versions below which cached entries must not be used, and the time of the last good poll.
///
/// A collision of two tenants in one word costs a reload, never a wrong answer.
pub struct Freshness {
    min_version: Box<[AtomicU64]>,
    hasher: RandomState,
    applied: AtomicU64,
    /// The version of the policies in force here.
    policies: AtomicU64,
    last_poll: AtomicU64,
    live_nodes: AtomicU32,
    retired: AtomicBool,
    in_vain: AtomicBool,
    /// When the latest good poll was sent, whether it made the node fresh or not.
    heard: AtomicU64,
    ticked: AtomicU64,
    wanted: Notify,
    polls: watch::Sender<u64>,
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            min_version: (0..WORDS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            applied: AtomicU64::new(0),
            policies: AtomicU64::new(0),
            last_poll: AtomicU64::new(0),
            live_nodes: AtomicU32::new(1),
            retired: AtomicBool::new(false),
            in_vain: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            ticked: AtomicU64::new(0),
            wanted: Notify::new(),
            polls: watch::Sender::new(0),
        }
    }
}

impl Freshness {
    /// Where the tenant's word is.
    #[must_use]
    pub fn place(&self, tenant: &TenantId) -> WordPlace {
        let place = self.hasher.hash_one(tenant) % (WORDS as u64);
        WordPlace(u16::try_from(place).unwrap_or(0))
    }

    fn word(&self, tenant: &TenantId) -> &AtomicU64 {
        &self.min_version[usize::from(self.place(tenant).0)]
    }

    /// [`Freshness::min_version`] of the tenants whose word is there.
    #[must_use]
    pub fn min_version_at(&self, place: WordPlace) -> Version {
        Version(self.min_version[usize::from(place.0)].load(Ordering::Acquire))
    }

    /// The version below which nothing cached of this tenant may be used.
    #[must_use]
    pub fn min_version(&self, tenant: &TenantId) -> Version {
        Version(self.word(tenant).load(Ordering::Acquire))
    }

    /// Outdates what is cached of a tenant from before `version`. To be called before `set_applied`.
    pub fn outdate(&self, tenant: &TenantId, version: Version) {
        self.word(tenant).fetch_max(version.0, Ordering::AcqRel);
    }

    /// Outdates everything that is cached from before `version`.
    pub fn outdate_all(&self, version: Version) {
        for word in &self.min_version {
            word.fetch_max(version.0, Ordering::AcqRel);
        }
    }

    /// Everything up to this version is in force here.
    #[must_use]
    pub fn applied(&self) -> Version {
        Version(self.applied.load(Ordering::Acquire))
    }

    /// Says that everything up to `version` is in force here.
    pub fn set_applied(&self, version: Version) {
        self.applied.fetch_max(version.0, Ordering::AcqRel);
    }

    /// The version of the change that put the policies in force; 0: they are a folder's.
    #[must_use]
    pub fn policies(&self) -> Version {
        Version(self.policies.load(Ordering::Acquire))
    }

    /// Says that the policies of this version are in force here.
    pub fn set_policies(&self, version: Version) {
        self.policies.fetch_max(version.0, Ordering::AcqRel);
    }

    /// Records a good poll by the instant at which it was sent.
    pub fn polled(&self, sent: Monotonic, live_nodes: u32) {
        self.live_nodes.store(live_nodes.max(1), Ordering::Release);
        self.last_poll.fetch_max(sent.0, Ordering::AcqRel);
        self.in_vain.store(false, Ordering::Release);
        self.polls.send_modify(|polls| *polls += 1);
    }

    /// Records a good poll of a node that reports itself with its polls. Returns whether it makes the node fresh; where it
    /// does not, the next one will.
    ///
    /// One that ends a silence does not: whoever saw the node's heartbeat stand still for [`FRESH_FOR`] need not wait for
    /// the node, which must then not become fresh by a poll that was sent before the change. The one after it was sent
    /// when the heartbeat had moved on for all to see.
    pub fn heard(&self, sent: Monotonic, answered: Monotonic, live_nodes: u32) -> bool {
        let before = Monotonic(self.heard.swap(sent.0, Ordering::AcqRel));
        let unbroken = answered.since(before) < FRESH_FOR;
        if unbroken {
            self.polled(sent, live_nodes);
        }
        unbroken
    }

    /// Says that the node goes on: to be called several times a second. After a pause of the whole process, what was
    /// waited for in vain before it may be worth another wait.
    pub fn tick(&self, now: Monotonic) {
        let before = self.ticked.swap(now.0, Ordering::AcqRel);
        if now.since(Monotonic(before)) > FRESH_FOR {
            self.in_vain.store(false, Ordering::Release);
        }
    }

    /// Asks the feed to poll now instead of at its next turn.
    pub fn poll_soon(&self) {
        self.wanted.notify_one();
    }

    /// Waits until somebody asks for a poll: for the feed.
    pub async fn poll_wanted(&self) {
        self.wanted.notified().await;
    }

    /// Waits for the next good poll: the database answers.
    pub async fn next_poll(&self) {
        // The sender lives as long as this value: no error can come.
        let _ = self.polls.subscribe().changed().await;
    }

    /// Waits until `done` holds, looking after each good poll, at most `most`. Asks for the first poll itself.
    /// Returns whether it holds.
    pub async fn wait_until(&self, most: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let mut polls = self.polls.subscribe();
        if done(self) {
            return true;
        }
        self.poll_soon();
        let waiting = async {
            while polls.changed().await.is_ok() {
                if done(self) {
                    return true;
                }
            }
            false
        };
        tokio::time::timeout(most, waiting).await.unwrap_or(false)
    }

    /// Whether a request already waited for a poll that did not come; none waits again until one does, or the process
    /// stood still meanwhile.
    #[must_use]
    pub fn waited_in_vain(&self, now: Monotonic) -> bool {
        let ticked = self.ticked.load(Ordering::Acquire);
        // Nobody ticks where no feed runs.
        let goes_on = ticked == 0 || now.since(Monotonic(ticked)) <= FRESH_FOR;
        self.in_vain.load(Ordering::Acquire) && goes_on
    }

    /// Records that a request waited for a poll that did not come.
    pub fn wait_was_in_vain(&self) {
        self.in_vain.store(true, Ordering::Release);
    }

    /// Another incarnation took this node's place: it must not serve any more.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Whether another incarnation took this node's place.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Nodes alive at the last poll, this one included.
    #[must_use]
    pub fn live_nodes(&self) -> u32 {
        self.live_nodes.load(Ordering::Acquire)
    }

    /// Since the last good poll was sent; `None`: there was none yet.
    #[must_use]
    pub fn poll_age(&self, now: Monotonic) -> Option<Duration> {
        match self.last_poll.load(Ordering::Acquire) {
            0 => None,
            sent => Some(now.since(Monotonic(sent))),
        }
    }

    /// How current this node's knowledge is. `now` must be read after the request's head arrived.
    #[must_use]
    pub fn knowledge(&self, now: Monotonic) -> Knowledge {
        if self.is_retired() {
            return Knowledge::Stale(Duration::MAX);
        }
        let age = now.since(Monotonic(self.last_poll.load(Ordering::Acquire)));
        if age < FRESH_FOR { Knowledge::Fresh } else { Knowledge::Stale(age) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_word_is_found_again_by_its_place() {
        let freshness = Freshness::default();
        let tenants = (0..100).map(|number| TenantId::parse(&format!("tenant-{number}")).unwrap());
        for (tenant, version) in tenants.zip(1..) {
            let place = freshness.place(&tenant);
            assert_eq!(WordPlace::from_bytes(place.to_bytes()), place);
            freshness.outdate(&tenant, Version(version));
            assert_eq!(freshness.place(&tenant), place);
            assert_eq!(freshness.min_version_at(place), freshness.min_version(&tenant));
            assert!(freshness.min_version_at(place) >= Version(version));
        }
        freshness.outdate_all(Version(1000));
        assert_eq!(freshness.min_version_at(WordPlace(u16::MAX)), Version(1000));
    }
}
