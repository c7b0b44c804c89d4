//! Records now and then what was counted of policies that are tried in the shadow, and learns for them what was used.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    domain::revision::Rollout,
    pipeline::shadow::Trials,
    ports::{Incarnation, Ledger, Policies, ShadowStore},
};

/// What a node counts is recorded so often: one that is killed loses no more.
const EVERY: Duration = Duration::from_secs(2);

/// Records what a node counts.
pub(super) struct Shadowing {
    pub(super) trials: Arc<Trials>,
    pub(super) policies: Arc<dyn Policies>,
    pub(super) store: Arc<dyn ShadowStore>,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) run: Incarnation,
}

impl Shadowing {
    /// Records until `end`, and once more then.
    pub(super) async fn run(self, end: CancellationToken) {
        let mut well = true;
        loop {
            let ended = end.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none();
            well = self.record(well).await;
            if ended {
                return;
            }
            let learning = self.trials.learn(&*self.ledger, self.clock.now(), self.clock.monotonic());
            if end.run_until_cancelled(learning).await.is_none() {
                self.record(well).await;
                return;
            }
        }
    }

    /// Records what is new. Whether that went well; `well`: whether it did the last time, as a failure is said once.
    async fn record(&self, well: bool) -> bool {
        let catalog = self.policies.catalog();
        let candidate = catalog.candidate.as_ref().filter(|tried| tried.rollout == Rollout::Shadow);
        self.trials.keep(candidate.map(|tried| tried.catalog.deployed));
        let Some(report) = self.trials.report(self.run, self.clock.now()) else { return well };
        match self.store.keep_shadow(&report).await {
            Ok(()) => {
                self.trials.recorded(&report);
                true
            }
            Err(error) => {
                if well {
                    tracing::warn!(
                        "what the tried policies would change is not recorded, tried again: {error}"
                    );
                }
                false
            }
        }
    }
}
