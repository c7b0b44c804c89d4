//! Follows what other nodes use of the buckets that are charged here, too: answers say how much is left, and may not be
//! further behind than two seconds.
//!
//! Whoever records usage is told by the way what is used of the same bucket in all ([`Told`]). Of what was not charged of
//! late nothing is recorded, so that is looked up twice in a second, all of it in one statement, as long as this node has
//! an open word of it and is not alone.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    bucket::{Bucket, Mark},
    cell::Cell,
    flush::PATIENCE,
    shared::{Shared, lock},
    slot::Slot,
};
use crate::{
    domain::time::Monotonic,
    ports::{BucketKey, StoreError},
};

/// How often it is looked. What others record every second is so known within two.
const EVERY: Duration = Duration::from_millis(500);
/// While that fails, the pause grows up to so many times.
const SLOWEST: u32 = 16;
/// Buckets looked up in one statement. Of more, which not many nodes hold and nobody charges, each has its turn.
const MOST: usize = 2_000;
/// After so long alone nothing is followed any more: what others have recorded last has been heard.
const ALONE: Duration = Duration::from_secs(5);

/// The buckets that are followed.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// The one that was looked at longest ago first; each at most once, see [`Bucket::follow`].
    buckets: Mutex<VecDeque<Arc<Bucket>>>,
    /// There are, or lately were, other nodes.
    company: AtomicBool,
}

impl Followed {
    /// A word of the bucket was charged that had nothing to be recorded.
    pub fn charged(&self, slot: &Slot) {
        if slot.is_bounded() && self.company.load(Ordering::Relaxed) && slot.bucket.follow() {
            lock(&self.buckets).push_back(Arc::clone(&slot.bucket));
        }
    }

    /// Whether there are other nodes.
    pub fn accompany(&self, company: bool) {
        self.company.store(company, Ordering::Relaxed);
    }

    fn take(&self) -> Vec<Arc<Bucket>> {
        let mut buckets = lock(&self.buckets);
        let most = buckets.len().min(MOST);
        buckets.drain(..most).collect()
    }

    fn give_back(&self, buckets: impl IntoIterator<Item = Arc<Bucket>>) {
        lock(&self.buckets).extend(buckets);
    }

    fn forget(&self) {
        let forgotten = std::mem::take(&mut *lock(&self.buckets));
        forgotten.iter().for_each(|bucket| bucket.unfollow());
    }
}

/// Asks the place of a bucket, where there ever was one.
pub(super) fn ask<R>(shared: &Shared, key: &BucketKey, ask: impl FnOnce(&Cell) -> R) -> Option<R> {
    shared.accounts.get(&key.tenant)?.known(key)?.ask_known(key, ask)
}

/// What the database tells of a bucket with the record of some of its words, and the mark of the bucket when it had recorded
/// them and nothing else.
pub(super) struct Told {
    bucket: Arc<Bucket>,
    at: Mark,
}

impl Told {
    /// Reports of the bucket begin from here on.
    pub fn begin(bucket: &Arc<Bucket>) -> Self {
        Self { bucket: Arc::clone(bucket), at: bucket.mark() }
    }

    pub fn is_of(&self, bucket: &Arc<Bucket>) -> bool {
        Arc::ptr_eq(&self.bucket, bucket)
    }

    /// One more was reported.
    pub const fn report(&mut self) {
        self.at = self.at.after(1);
    }

    /// All of them have ended, and `used` was used of it in all. Nothing is learnt where anything else was under way at any
    /// time since they began: that may have come before or after.
    pub fn learn(&self, shared: &Shared, used: u64, now: Monotonic) {
        ask(shared, &self.bucket.key, |cell| cell.learn(&self.bucket, used, self.at, now));
    }
}

/// Looks up what was used of the buckets whose turn it is. How many were looked up.
pub(super) async fn look(shared: &Shared) -> Result<usize, StoreError> {
    let now = shared.monotonic();
    let (mut rest, mut due) = (Vec::new(), Vec::new());
    for bucket in shared.followed.take() {
        if ask(shared, &bucket.key, |cell| cell.is_watched(&bucket, now)) != Some(true) {
            // Followed again with its next charge; one that was forgotten is another one then.
            bucket.unfollow();
        } else if now.since(bucket.learnt()) < EVERY {
            rest.push(bucket);
        } else {
            due.push(bucket);
        }
    }
    let looked = look_up(shared, &due).await;
    shared.followed.give_back(due.into_iter().chain(rest));
    looked
}

async fn look_up(shared: &Shared, buckets: &[Arc<Bucket>]) -> Result<usize, StoreError> {
    if buckets.is_empty() {
        return Ok(0);
    }
    let keys: Vec<BucketKey> = buckets.iter().map(|bucket| bucket.key.clone()).collect();
    let before: Vec<Mark> = buckets.iter().map(|bucket| bucket.mark()).collect();
    let answer = tokio::time::timeout(PATIENCE, shared.world.store.recorded(&keys)).await;
    let late = || StoreError::Unavailable(format!("no answer within {PATIENCE:?}"));
    let now = shared.monotonic();
    for ((bucket, before), used) in buckets.iter().zip(before).zip(answer.map_err(|_| late())??) {
        ask(shared, &bucket.key, |cell| cell.learn(bucket, used, before, now));
    }
    Ok(keys.len())
}

/// Looks every half second, less often while that fails, until `stop`.
pub(super) async fn run(shared: &Shared, stop: CancellationToken) {
    let (mut pause, mut company) = (EVERY, None::<Monotonic>);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let now = shared.monotonic();
        if shared.world.freshness.live_nodes() > 1 {
            company = Some(now);
        }
        if company.is_none_or(|at| now.since(at) > ALONE) {
            if shared.followed.company.swap(false, Ordering::Relaxed) {
                shared.followed.forget();
            }
            continue;
        }
        shared.followed.accompany(true);
        match look(shared).await {
            Ok(_) => pause = EVERY,
            Err(error) => {
                pause = (EVERY * SLOWEST).min(pause * 2);
                tracing::debug!(%error, "what other nodes use is looked up later");
            }
        }
    }
}
