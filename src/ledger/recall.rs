//! Gives back what others want, and hears what they have given back.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    flush,
    shared::{Shared, lock},
    slot::Slot,
};
use crate::ports::{BucketKey, StoreError, Wanted};

/// How long after the last refusal of another node what comes free is returned at once.
const WANTED: Duration = Duration::from_secs(5);
/// Buckets looked at in one statement.
const MOST: usize = 5_000;

/// Some node was refused units of these buckets: returns every unspent one of them, records what was spent, and wakes the
/// requests of this node that wait for them. The sealing is done when this returns, the recording goes on by itself.
pub(super) fn recall(shared: &Arc<Shared>, wanted: &[Wanted]) {
    let until = shared.monotonic().after(WANTED);
    let mut returned = Vec::new();
    for Wanted { bucket: key, remainder } in wanted {
        let Some(account) = shared.accounts.get(&key.tenant) else { continue };
        let Some(meter) = account.known(key) else { continue };
        let recalled = meter.ask_known(key, |cell| cell.recall(shared, key)).flatten();
        let Some((bucket, slots)) = recalled else { continue };
        bucket.want(until);
        bucket.hear(*remainder);
        returned.extend(slots);
    }
    if returned.is_empty() {
        return;
    }
    let sealed = returned.iter().filter(|slot| slot.word.is_sealed()).count() as u64;
    shared.metrics.recalls.fetch_add(sealed, Ordering::Relaxed);
    let giving_back = give_back(Arc::clone(shared), returned);
    shared.world.tracker.spawn_on(giving_back, &shared.world.runtime);
}

async fn give_back(shared: Arc<Shared>, slots: Vec<Arc<Slot>>) {
    if let Err(error) = flush::ship(&shared, slots).await {
        tracing::warn!(%error, "recalled units are returned with the next flush");
    }
}

/// Looks whether units came back of those exhausted buckets of which requests were refused since the last look: what
/// nodes are told may get lost on the way.
pub(super) async fn look_again(shared: &Shared) -> Result<(), StoreError> {
    let watched = {
        let mut watched = lock(&shared.watched);
        let most = watched.len().min(MOST);
        watched.drain(..most).collect::<Vec<_>>()
    };
    if watched.is_empty() {
        return Ok(());
    }
    // Before the answer, so that a refusal after it is not missed.
    watched.iter().for_each(|bucket| bucket.unwatch());
    let keys: Vec<BucketKey> = watched.iter().map(|bucket| bucket.key.clone()).collect();
    let asked = shared.world.store.remainders(shared.world.incarnation, &keys);
    let answer = tokio::time::timeout(flush::PATIENCE, asked).await;
    let remainders =
        answer.map_err(|_| StoreError::Unavailable(format!("no answer within {:?}", flush::PATIENCE)))??;
    for (bucket, remainder) in watched.iter().zip(remainders) {
        if remainder.held > 0 {
            // To be asked for, which raises the recall.
            bucket.forget_exhaustion();
        } else {
            bucket.hear(remainder);
        }
    }
    Ok(())
}
