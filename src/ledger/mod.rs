//! The ledger: exact quotas at memory speed.
//!
//! A node may spend only units that it was granted before: the database grants, memory spends. Of each bucket (a tenant's
//! meter in one period) a node holds one open *slot*, an atomic word that counts what was used, beside what was granted
//! and given back. A charge that fits takes one compare-and-swap per window and no lock. One that does not fit waits for
//! a grant; when the database has none left, it is refused, and for a while those after it from memory.
//!
//! What a charge touches is looked up once and remembered as a *tab* at the *desk* of the tenant's compiled rights: the
//! rates and the open words. Threads that have rights of their own have desks of their own, so that they write to nothing
//! that another thread writes, save the words and the rates of the tenant they both charge. A hold is its tab once more.
//! Sealing a word makes an end of the tabs on it: the charge after it finds that out by the word itself, and the sweep
//! clears the desks, so that a sealed word is let go of however long rights are remembered.
//!
//! A month's units may come from several *sources*: what the plan includes, grants, and what the plan lets through beyond.
//! Each is a bucket of its own with slots of its own. A charge takes from the first in burn order that is not known to be
//! exhausted; only where one has too few is a charge split. What it takes of a billed overage also costs money of the
//! tenant's *spend* bucket, bounded by the spend cap, all or nothing with the units.
//!
//! Totals are recorded every second, never differences, so that a repetition is harmless. When a tenant's rights change,
//! when a period ends and when the node stops, the word is *sealed*: nothing more can be charged to it, and the database
//! computes what comes back. The next charge opens a new word under a new number. Refunds always go to the word that was
//! charged, sealed or not.

mod account;
mod atomic {
    pub use std::sync::atomic::{AtomicU64, Ordering};
}
mod bucket;
mod cell;
mod charge;
mod desk;
mod few;
pub mod file;
mod flush;
mod follow;
mod grant;
mod heed;
mod hold;
mod metrics;
mod pledge;
mod purse;
mod rate_cell;
mod recall;
mod recover;
mod refill;
mod shared;
mod slot;
mod tab;
mod take;
#[cfg(test)]
mod tests;
mod usage;
mod wish;
mod word;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        catalog::Catalog,
        id::TenantId,
        rights::Rights,
        route::Charge,
        time::{Monotonic, UnixMillis, Version},
        units::Units,
    },
    ports::{
        Answer, BoxFuture, BucketKey, ChargeError, Hold, Ledger, MeterUsage, SpendUsage, StoreError, Wanted,
    },
};

pub use metrics::{LedgerMetrics, UnitCounts};
pub use recover::{RecoverError, Recovered, recover};
pub use shared::LedgerParts;

use shared::Shared;

/// The ledger of one node, by the escrow method (O'Neil, 1986).
#[derive(Clone)]
pub struct EscrowLedger(Arc<Shared>);

impl EscrowLedger {
    /// A ledger that holds nothing yet.
    #[must_use]
    pub fn new(parts: LedgerParts) -> Self {
        Self(Shared::new(parts))
    }

    /// Puts the change of this version of a tenant in force: seals what is held under older limits and returns it. The
    /// sealing is done
    /// when this returns, the recording when the future ends; where that fails it is repeated with the next flush, and
    /// nothing is lost.
    pub fn apply(&self, tenant: &TenantId, version: Version) -> BoxFuture<Result<(), StoreError>> {
        let shared = Arc::clone(&self.0);
        let Some(account) = shared.accounts.get(tenant) else { return Box::pin(async { Ok(()) }) };
        let sealed = account.seal(&shared, version);
        account.changed.notify_waiters();
        Box::pin(async move { flush::ship(&shared, sealed).await })
    }

    /// Puts changed policies in force: to be called with each catalog before rights that were compiled from it are
    /// charged. Words whose limit is another one now are sealed and returned at their next charge; those whose limit
    /// stays are kept.
    pub fn apply_all(&self, catalog: Arc<Catalog>) {
        self.0.catalog.store(Some(catalog));
    }

    /// Everything of all tenants may have changed (the node missed some of the change feed): seals and returns all
    /// leases. Otherwise as [`EscrowLedger::apply`].
    pub fn apply_everything(&self) -> BoxFuture<Result<(), StoreError>> {
        let shared = Arc::clone(&self.0);
        for account in shared.accounts.all() {
            // They are queued, oldest first; the flush takes them in batches.
            account.seal(&shared, Version(u64::MAX));
            account.changed.notify_waiters();
        }
        Box::pin(async move { flush::flush(&shared).await })
    }

    /// The database may have forgotten what it acknowledged: seals every lease and records all totals once more, also
    /// those that were recorded before. Once this has succeeded nothing is held any more that was granted before.
    ///
    /// # Errors
    /// [`StoreError`]: to be called again.
    pub async fn reassert(&self) -> Result<(), StoreError> {
        flush::reassert(&self.0).await
    }

    /// Other nodes were refused units of these buckets: gives back what is held of them and not spent, and wakes the
    /// requests of this node that wait for any. Done when this returns but for the recording, which goes on by itself.
    pub fn recall(&self, wanted: &[Wanted]) {
        recall::recall(&self.0, wanted);
    }

    /// Usage events were charged to these tenants: what others have used of their buckets is looked up again with the next
    /// flush.
    pub fn heed(&self, tenants: &[TenantId]) {
        heed::heed(&self.0, tenants);
    }

    /// Records totals every second, returns what has ended, and looks up what other nodes use, until `stop`. One task for the life of the node.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::join!(flush::run(&self.0, stop.clone(), flush::EVERY), follow::run(&self.0, stop));
    }

    /// Records now what is not recorded yet.
    ///
    /// # Errors
    /// [`StoreError`]: what could not be recorded is kept for the next time.
    pub async fn flush(&self) -> Result<(), StoreError> {
        flush::flush(&self.0).await
    }

    /// What [`EscrowLedger::run`] does until it has looked at everything once, without its pauses: for tests over a real
    /// database, whose answers take real time while the clock stands.
    #[cfg(test)]
    pub(crate) async fn look_at_all(&self) -> Result<(), StoreError> {
        flush::look_at_all(&self.0).await
    }

    /// Ends all charging (which is answered `Unavailable` from here on), seals all words and records everything, so that
    /// a clean stop returns every lease. Repeats until the database has taken it all: bound it by a time-out.
    pub async fn drain(&self) {
        flush::drain(&self.0).await;
    }

    /// Its counters.
    #[must_use]
    pub fn metrics(&self) -> Arc<LedgerMetrics> {
        Arc::clone(&self.0.metrics)
    }

    /// Tenants with an open account.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.0.accounts.len()
    }
}

impl Ledger for EscrowLedger {
    fn charge(&self, rights: &Arc<Rights>, charges: &[Charge], now: UnixMillis) -> Answer<Hold, ChargeError> {
        charge::charge(&self.0, rights, charges, now, None)
    }

    fn charge_at(
        &self,
        rights: &Arc<Rights>,
        charges: &[Charge],
        now: UnixMillis,
        at: Monotonic,
    ) -> Answer<Hold, ChargeError> {
        charge::charge(&self.0, rights, charges, now, Some(at))
    }

    fn charge_once(
        &self,
        rights: &Arc<Rights>,
        charges: &[Charge],
        now: UnixMillis,
    ) -> Answer<Hold, ChargeError> {
        charge::charge_once(&self.0, rights, charges, now)
    }

    fn usage(&self, rights: &Arc<Rights>, now: UnixMillis) -> BoxFuture<Result<Vec<MeterUsage>, StoreError>> {
        Box::pin(usage::usage(Arc::clone(&self.0), Arc::clone(rights), now))
    }

    fn spend(
        &self,
        rights: &Arc<Rights>,
        now: UnixMillis,
    ) -> BoxFuture<Result<Option<SpendUsage>, StoreError>> {
        Box::pin(usage::spend(Arc::clone(&self.0), Arc::clone(rights), now))
    }

    fn known_used(&self, bucket: &BucketKey) -> Option<Units> {
        usage::known(&self.0, bucket)
    }
}
