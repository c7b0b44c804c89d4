//! Writes down what has become of tenants by itself: each thing once, however many nodes there are and whenever they die.
//!
//! Every node does all of it. That a thing is written once is by the tenant's row: who comes second finds nothing to do.
//! Rights do not wait for this: they change on every node at the very instant.

mod aside;
pub(super) mod closing;
mod months;
mod versions;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use self::{aside::Aside, versions::Sweep};
use crate::{
    clock::Clock,
    domain::{
        command::{Change, Command},
        id::TenantId,
        time::{Monotonic, UnixMillis},
    },
    freshness::{Freshness, Knowledge},
    ports::{
        EventStore, ExecuteError, Incarnation, LifecycleStore, Origin, Policies, StoreError, TenantStore,
    },
};

/// From turn to turn: rights do not wait for it, and the database hardly hears of nodes that are idle. Several nodes have
/// their turns at different times.
const EACH: Duration = Duration::from_secs(4);
/// While there is more to do.
const SOON: Duration = Duration::from_millis(10);
/// What is due is written so much later: by then it is in force by every node's clock, and the next request was not the
/// one to pay for it.
const SETTLED_MILLIS: i64 = 500;
/// How often trials are looked for that are about to end.
const TRIALS_EACH: Duration = Duration::from_secs(10);
/// What is asked for at once.
const PAGE: u32 = 100;
/// Of which so many are written in one turn: several nodes that have the same page begin at different places of it.
const AT_ONCE: usize = 25;

/// What the job is made of.
pub(super) struct LifecycleParts {
    pub(super) tenants: Arc<dyn TenantStore>,
    pub(super) lives: Arc<dyn LifecycleStore>,
    pub(super) events: Arc<dyn EventStore>,
    /// The catalog in force.
    pub(super) policies: Arc<dyn Policies>,
    pub(super) freshness: Arc<Freshness>,
    /// The database's, as far as this node knows it.
    pub(super) clock: Arc<dyn Clock>,
    /// Tells nodes apart.
    pub(super) run: Incarnation,
}

/// The job of one node.
pub(super) struct Lifecycle {
    parts: LifecycleParts,
    aside: Aside,
    /// Months are looked at no sooner.
    months_at: Monotonic,
    /// Trials that are about to end are looked for no sooner.
    trials_at: Monotonic,
    sweep: Sweep,
}

impl Lifecycle {
    pub(super) fn new(parts: LifecycleParts) -> Self {
        Self {
            parts,
            aside: Aside::default(),
            months_at: Monotonic(0),
            trials_at: Monotonic(0),
            sweep: Sweep::default(),
        }
    }

    /// Turn after turn until `end`.
    pub(super) async fn run(mut self, end: CancellationToken) {
        // By the random half of the run's name: nodes that were started together do not come all at once.
        let share = u32::try_from(self.parts.run.0.as_u64_pair().1 % 1_000).unwrap_or(0);
        let mut pause = EACH * share / 1_000;
        let mut well = true;
        while end.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            // A turn that is broken off has written whole changes, or nothing.
            let Some(answer) = end.run_until_cancelled(self.turn()).await else { return };
            pause = if matches!(answer, Ok(true)) { SOON } else { EACH };
            if let (Err(error), true) = (&answer, well) {
                tracing::warn!("what is due could not be written down, tried again: {error}");
            }
            well = answer.is_ok();
        }
    }

    /// Writes down a part of what is due; `true`: there is more.
    pub(super) async fn turn(&mut self) -> Result<bool, StoreError> {
        let monotonic = self.parts.clock.monotonic();
        // Who has just thawed knows neither the time nor the policies.
        if !matches!(self.parts.freshness.knowledge(monotonic), Knowledge::Fresh) {
            return Ok(false);
        }
        self.aside.turn(monotonic);
        let at = UnixMillis(self.parts.clock.now().0.saturating_sub(SETTLED_MILLIS));
        let mut more = self.write_due(at).await?;
        if monotonic >= self.months_at {
            if self.roll_over(at).await? {
                more = true;
            } else {
                self.months_at = monotonic.after(months::EACH);
            }
        }
        if monotonic >= self.trials_at {
            if self.parts.events.tell_trial_ends(at, PAGE).await? {
                more = true;
            } else {
                self.trials_at = monotonic.after(TRIALS_EACH);
            }
        }
        Ok(self.move_versions(at, monotonic).await? || more)
    }

    async fn write_due(&mut self, at: UnixMillis) -> Result<bool, StoreError> {
        let due = self.parts.lives.due(at, self.page()).await?;
        let (now, more) = self.choose(due);
        for tenant in now {
            self.make(tenant, Change::Advance, at).await?;
        }
        Ok(more)
    }

    /// How many to ask for, so that those that are set aside leave room for others.
    fn page(&self) -> u32 {
        PAGE.saturating_add(self.aside.count())
    }

    /// Those to look at in this turn, and whether there are others.
    fn choose(&self, mut tenants: Vec<TenantId>) -> (Vec<TenantId>, bool) {
        tenants.retain(|tenant| !self.aside.has(tenant));
        tenants.sort_by_cached_key(|tenant| {
            let mut place = DefaultHasher::new();
            (self.parts.run.0, tenant.as_str()).hash(&mut place);
            place.finish()
        });
        let more = tenants.len() > AT_ONCE;
        tenants.truncate(AT_ONCE);
        (tenants, more)
    }

    /// Makes a change; `true`: it was not made before. A tenant whose change fails is set aside.
    async fn make(&mut self, tenant: TenantId, change: Change, at: UnixMillis) -> Result<bool, StoreError> {
        let command = Command { tenant, change };
        let origin =
            Origin { at, actor: "system".to_owned(), source: "schedule".to_owned(), idempotency: None };
        match self.parts.tenants.execute(&command, &origin).await {
            Ok(done) => {
                self.aside.succeeded(&command.tenant);
                if !done.replayed {
                    let (tenant, version) = (&command.tenant, done.version.0);
                    tracing::debug!(%tenant, version, kind = command.change.kind(), "written down");
                }
                Ok(!done.replayed)
            }
            // It was deleted meanwhile.
            Err(ExecuteError::NoTenant(_)) => Ok(false),
            Err(error) => self.aside.failed(&command.tenant, command.change.kind(), error).map(|()| false),
        }
    }
}

#[cfg(test)]
mod tests;
