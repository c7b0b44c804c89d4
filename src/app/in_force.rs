//! The catalog that requests are decided by: the watched folder's, once the ledger knows of it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{domain::catalog::Catalog, ledger::EscrowLedger, ports::Policies};

/// The catalog in force on this node.
pub struct InForce {
    catalog: ArcSwap<Catalog>,
}

impl InForce {
    /// Starts with a catalog.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog: ArcSwap::from(catalog) }
    }

    /// Follows the policies: the ledger learns of each catalog before a request is decided by it.
    pub async fn follow(
        self: Arc<Self>,
        mut catalogs: watch::Receiver<Arc<Catalog>>,
        ledger: EscrowLedger,
        stop: CancellationToken,
    ) {
        loop {
            let catalog = Arc::clone(&catalogs.borrow_and_update());
            ledger.apply_all(Arc::clone(&catalog));
            self.catalog.store(catalog);
            tokio::select! {
                () = stop.cancelled() => return,
                changed = catalogs.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }
}

impl Policies for InForce {
    fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }
}
