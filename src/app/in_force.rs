//! The catalog that requests are decided by: the watched folder's, once the ledger knows of it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{domain::catalog::Catalog, ledger::EscrowLedger, ports::Policies};

/// The catalog in force on this node.
pub struct InForce {
    catalog: ArcSwap<Catalog>,
    /// The catalog's stamp, for those that have a copy: to read it writes nothing.
    stamp: AtomicU64,
}

impl InForce {
    /// Starts with a catalog.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self { stamp: AtomicU64::new(catalog.stamp.get()), catalog: ArcSwap::from(catalog) }
    }

    fn put(&self, catalog: Arc<Catalog>) {
        let stamp = catalog.stamp.get();
        self.catalog.store(catalog);
        // After it: who sees the stamp finds the catalog.
        self.stamp.store(stamp, Ordering::Release);
    }

    /// The same for one worker, which counts its requests on a copy of its own.
    #[must_use]
    pub fn front(self: &Arc<Self>) -> InForceFront {
        let own = self.catalog.load().own_copy();
        InForceFront { shared: Arc::clone(self), own: Mutex::new(own) }
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
            self.put(catalog);
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

/// One worker's copy of the catalog in force. Others may use it too, and are answered as correctly, but not as fast.
pub struct InForceFront {
    shared: Arc<InForce>,
    own: Mutex<Arc<Catalog>>,
}

impl Policies for InForceFront {
    fn catalog(&self) -> Arc<Catalog> {
        let Ok(mut own) = self.own.try_lock() else { return self.shared.catalog() };
        if own.stamp.get() != self.shared.stamp.load(Ordering::Acquire) {
            *own = self.shared.catalog.load().own_copy();
        }
        Arc::clone(&own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Arc<Catalog> {
        let policies = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policies");
        Arc::new(crate::policy::load(&policies).unwrap().0)
    }

    #[test]
    fn a_front_has_its_own_copy_and_follows() {
        let (first, second) = (catalog(), catalog());
        let in_force = Arc::new(InForce::new(Arc::clone(&first)));
        let fronts = [in_force.front(), in_force.front()];
        let seen = fronts.each_ref().map(InForceFront::catalog);
        assert!(seen.iter().all(|copy| copy.stamp == first.stamp && !Arc::ptr_eq(copy, &first)));
        assert!(!Arc::ptr_eq(&seen[0], &seen[1]));
        assert!(Arc::ptr_eq(&seen[0], &fronts[0].catalog()));
        for (id, plan) in &first.plans {
            assert!(!Arc::ptr_eq(plan, &seen[0].plans[id]) && plan == &seen[0].plans[id]);
        }
        in_force.put(Arc::clone(&second));
        for front in &fronts {
            assert_eq!(front.catalog().stamp, second.stamp);
        }
        // Where another thread is in the way, the answer is the shared one.
        let _busy = fronts[0].own.lock().unwrap();
        assert!(Arc::ptr_eq(&fronts[0].catalog(), &second));
    }
}
