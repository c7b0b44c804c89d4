//! The ledger file at the start: opened, believed or not, and emptied of what earlier runs left in it.

use std::sync::Arc;

use super::start::{Ground, StartError};
use crate::{
    clock::Clock,
    ledger::{
        self, RecoverError, Recovered,
        file::{Found, Identity, LedgerFile, LockedFile, SetAsideReason, boot_id},
    },
    ports::{Incarnation, StoreError},
    store::Store,
};

impl Ground {
    /// Opens the file for this run. What earlier runs had spent is recorded, and the rest returned, before this one holds
    /// anything.
    pub(super) async fn ledger_file(
        &self,
        store: &Arc<dyn Store>,
        lock: LockedFile,
        run: Incarnation,
    ) -> Result<LedgerFile, StartError> {
        let id = lock.id();
        let known = self.patiently(|| async { store.open_file(id, 0).await.map(Ok) }).await?;
        let identity =
            Identity { node: self.config.node_name(), database: store.identity(), boot: boot_id() };
        let (file, found) = lock.open(&identity, known)?;
        self.count_opening(store, &file).await?;
        match found {
            Found::New | Found::Clean => {}
            Found::SetAside { reason, slots } => set_aside(&reason, slots),
            Found::Leftovers(leftovers) => {
                let recovered = self
                    .patiently(|| async {
                        match ledger::recover(&**store, &file, &leftovers, self.clock.now()).await {
                            Ok(recovered) => Ok(Ok(recovered)),
                            Err(RecoverError::Store(error @ StoreError::Unavailable(_))) => Err(error),
                            Err(RecoverError::Store(error)) => Ok(Err(StartError::Leftovers(error))),
                            Err(RecoverError::File(error)) => Ok(Err(error.into())),
                        }
                    })
                    .await?;
                match recovered {
                    Recovered::Returned { slots } => {
                        tracing::info!(slots, "the run before did not stop cleanly: its leases are returned");
                    }
                    Recovered::SetAside(reason) => {
                        set_aside(&reason, leftovers.len());
                        self.count_opening(store, &file).await?;
                    }
                }
            }
        }
        self.tell_of_losses(store, run).await?;
        Ok(file)
    }

    /// What earlier runs held and will not be returned, whatever became of their files.
    async fn tell_of_losses(&self, store: &Arc<dyn Store>, run: Incarnation) -> Result<(), StartError> {
        let name = self.config.node_name();
        let behind = self.patiently(|| async { store.left_behind(&name, run).await.map(Ok) }).await?;
        if behind.slots > 0 {
            tracing::warn!(
                leases = behind.slots,
                units = behind.units,
                "the ledger has leases of earlier runs of this node that are lost or were never returned: their units \
                 count as used (`uncertain`)"
            );
        }
        Ok(())
    }

    async fn count_opening(&self, store: &Arc<dyn Store>, file: &LedgerFile) -> Result<(), StartError> {
        self.patiently(|| async { store.open_file(file.id(), file.open_count()).await.map(|_| Ok(())) }).await
    }
}

fn set_aside(reason: &SetAsideReason, slots: usize) {
    tracing::warn!(
        %reason,
        leases = slots,
        "the ledger file is set aside: what the run before held and did not record counts as used (`uncertain`)"
    );
}
