//! The catalog that requests are decided by: the watched folder's, made whole, once the ledger knows of it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::plan_versions::{Keep, PlanVersions, Whole};
use crate::{
    domain::{catalog::Catalog, time::Version},
    ports::Policies,
};

/// Between two tries to make changed policies whole while the database is away.
const AGAIN: Duration = Duration::from_secs(1);

/// The catalog in force on this node.
pub struct InForce {
    catalog: ArcSwap<Catalog>,
    /// The catalog's stamp, for those that have a copy: to read it writes nothing.
    stamp: AtomicU64,
    remarks: Mutex<Remarks>,
    /// One change at a time: the folder's, or the database's.
    turn: tokio::sync::Mutex<()>,
}

/// What an operator should know of the catalog.
#[derive(Default)]
struct Remarks {
    /// Why the changed policies are not in force yet.
    waiting: Option<String>,
    /// Versions of plans that cannot be read.
    damaged: Vec<String>,
}

impl InForce {
    /// Starts with a catalog.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self {
            stamp: AtomicU64::new(catalog.stamp.get()),
            catalog: ArcSwap::from(catalog),
            remarks: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Starts with a catalog that was made whole.
    pub(super) fn with(whole: Whole) -> Self {
        let in_force = Self::new(Arc::clone(&whole.catalog));
        in_force.remark(|remarks| remarks.damaged = whole.damaged_in_words());
        in_force
    }

    /// Waits for the turn to change what is in force.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Puts a catalog in force that was made whole, and of which the ledger knows.
    pub(super) fn put_whole(&self, whole: &Whole) {
        self.put(Arc::clone(&whole.catalog));
        self.remark(|remarks| *remarks = Remarks { waiting: None, damaged: whole.damaged_in_words() });
    }

    fn put(&self, catalog: Arc<Catalog>) {
        let stamp = catalog.stamp.get();
        self.catalog.store(catalog);
        // After it: who sees the stamp finds the catalog.
        self.stamp.store(stamp, Ordering::Release);
    }

    /// Whether nothing was ever put in force: everything is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let catalog = self.catalog.load();
        catalog.plans.is_empty() && catalog.routes.operations().is_empty()
    }

    /// The same for one worker, which counts its requests on a copy of its own.
    #[must_use]
    pub fn front(self: &Arc<Self>) -> InForceFront {
        let own = self.catalog.load().own_copy();
        InForceFront { shared: Arc::clone(self), own: Mutex::new(own) }
    }

    /// What an operator should know: that changed policies wait for the database, or that a kept version is damaged.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let remarks = self.remarks.lock().unwrap_or_else(PoisonError::into_inner);
        remarks.waiting.iter().chain(&remarks.damaged).cloned().collect()
    }

    fn remark(&self, change: impl FnOnce(&mut Remarks)) {
        change(&mut self.remarks.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Follows the policies: each catalog is made whole, then `tell` hears of it (the ledger must, before a request is
    /// decided by it), then it is in force. While the database is away the one before stays.
    pub(super) async fn follow(
        self: Arc<Self>,
        mut catalogs: watch::Receiver<Arc<Catalog>>,
        versions: Arc<PlanVersions>,
        tell: impl Fn(Arc<Catalog>),
        stop: CancellationToken,
    ) {
        loop {
            let catalog = Arc::clone(&catalogs.borrow_and_update());
            let turn = self.turn.lock().await;
            let done = if self.catalog.load().deployed > Version(0) {
                self.pass_over(&catalog);
                true
            } else if catalog.digest == self.catalog.load().digest {
                // The one to begin with; or the files are again as they were while a change of them still waited.
                self.remark(|remarks| remarks.waiting = None);
                true
            } else {
                tokio::select! {
                    () = stop.cancelled() => return,
                    done = self.take_over(&catalog, &versions, &tell) => done,
                }
            };
            drop(turn);
            tokio::select! {
                () = stop.cancelled() => return,
                changed = catalogs.changed() => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep(AGAIN), if !done => {}
            }
        }
    }

    /// A folder of which nothing comes into force, as an applied revision does.
    fn pass_over(&self, folder: &Catalog) {
        let differs = folder.digest != self.catalog.load().digest;
        if differs {
            tracing::info!(
                "the policy folder is not in force, as a revision was applied: apply the folder to change it"
            );
        }
        self.remark(|remarks| remarks.waiting = None);
    }

    /// Puts a catalog in force, if the database knows of the versions of its plans.
    async fn take_over(
        &self,
        catalog: &Catalog,
        versions: &PlanVersions,
        tell: &impl Fn(Arc<Catalog>),
    ) -> bool {
        match versions.complete(catalog, Keep::All).await {
            Ok(whole) => {
                tell(Arc::clone(&whole.catalog));
                self.put_whole(&whole);
                tracing::info!(digest = %catalog.digest.0, "policies in force");
                true
            }
            Err(error) => {
                let waiting = format!("the changed policies are not in force yet: {error}");
                self.remark(|remarks| {
                    // Said once, not each second.
                    if remarks.waiting.as_ref() != Some(&waiting) {
                        tracing::warn!("{waiting}; the ones before stay, and this is tried again");
                    }
                    remarks.waiting = Some(waiting);
                });
                false
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
