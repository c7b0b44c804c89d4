//! Looks up again what was used of tenants that were charged without this node, by usage events: nothing else would tell it
//! before it asks for more units, and answers say how much is left.

use std::{collections::HashSet, sync::Arc};

use super::{
    bucket::{Bucket, Mark},
    flush,
    follow::ask,
    shared::{Shared, lock},
    usage::NOBODY,
};
use crate::{
    domain::id::TenantId,
    ports::{BucketKey, StoreError},
};

/// Buckets looked up in one statement.
const MOST: usize = 5_000;

/// Remembers tenants that were charged, as far as this node charges them, too.
pub(super) fn heed(shared: &Shared, tenants: &[TenantId]) {
    let known = tenants.iter().filter(|tenant| shared.accounts.get(tenant).is_some());
    lock(&shared.charged).extend(known.cloned());
}

/// Looks up the buckets of the tenants that are remembered. Those of which something is on its way to the database are
/// looked up again with the next call.
pub(super) async fn look(shared: &Shared) -> Result<(), StoreError> {
    let tenants = std::mem::take(&mut *lock(&shared.charged));
    let looked = look_at(shared, &tenants).await;
    if looked.is_err() {
        lock(&shared.charged).extend(tenants);
    }
    looked
}

async fn look_at(shared: &Shared, tenants: &HashSet<TenantId>) -> Result<(), StoreError> {
    let keys: Vec<BucketKey> = tenants
        .iter()
        .filter_map(|tenant| shared.accounts.get(tenant))
        .flat_map(|account| account.charged())
        .collect();
    for some in keys.chunks(MOST) {
        let before: Vec<Option<(Arc<Bucket>, Mark)>> = some
            .iter()
            .map(|key| ask(shared, key, |cell| cell.bucket(key)).flatten())
            .map(|bucket| bucket.map(|bucket| (Arc::clone(&bucket), bucket.mark())))
            .collect();
        let asked = shared.world.store.others(NOBODY, some);
        let answer = tokio::time::timeout(flush::PATIENCE, asked).await;
        let late = || StoreError::Unavailable(format!("no answer within {:?}", flush::PATIENCE));
        let now = shared.monotonic();
        for ((key, before), all) in some.iter().zip(before).zip(answer.map_err(|_| late())??) {
            let Some((bucket, before)) = before else { continue };
            let learnt = ask(shared, key, |cell| cell.learn(&bucket, all.used.get(), before, now));
            if learnt == Some(false) {
                lock(&shared.charged).insert(key.tenant.clone());
            }
        }
    }
    Ok(())
}
