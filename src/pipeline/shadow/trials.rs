//! What one node keeps of the trial that runs: begun with the first request that is decided twice, forgotten with the trial.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    tally::Tally,
    tried::{Asked, Refused, Tried},
};
use crate::{
    domain::{
        catalog::Catalog,
        id::TenantId,
        rights::Rights,
        time::{Monotonic, UnixMillis, Version},
    },
    freshness::Freshness,
    ports::{Incarnation, Ledger, ShadowReport, ShadowTotals, TriedRights},
};

/// What a tenant has used without the ledger's knowing is learned anew after so long.
const LEARNED_FOR: Duration = Duration::from_secs(60);
/// Tenants whose use is learned in one go.
const AT_ONCE: usize = 16;

/// Tenants that are compared on one node; the requests of more are counted as not compared.
pub(super) const TENANTS: usize = 20_000;
const SHARDS: usize = 32;

/// All that a node remembers of trials.
#[derive(Default)]
pub struct Trials {
    freshness: Arc<Freshness>,
    current: Mutex<Option<Arc<Trial>>>,
}

/// One trial.
pub(super) struct Trial {
    /// The version of the change with which it began.
    number: Version,
    pub(super) tally: Tally,
    tenants: Box<[Mutex<HashMap<TenantId, Tried>>]>,
    hasher: RandomState,
    known: AtomicUsize,
    /// The totals that were last recorded.
    recorded: Mutex<Option<ShadowTotals>>,
}

impl Trial {
    fn new(number: Version) -> Self {
        Self {
            number,
            tally: Tally::default(),
            tenants: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            known: AtomicUsize::new(0),
            recorded: Mutex::default(),
        }
    }

    /// The rights of those whose use is to be learned: of whom that was never done first, then who waits longest.
    fn to_learn(&self, at: Monotonic) -> Vec<Arc<Rights>> {
        let before =
            Monotonic(at.0.saturating_sub(u64::try_from(LEARNED_FOR.as_nanos()).unwrap_or(u64::MAX)));
        let mut found = Vec::new();
        for shard in &self.tenants {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let due = shard.values().filter_map(|tried| tried.to_learn(before));
            found.extend(due.map(|(learned, rights)| (learned, Arc::clone(rights))));
        }
        found.sort_by_key(|(learned, _)| *learned);
        found.into_iter().take(AT_ONCE).map(|(_, rights)| rights).collect()
    }

    /// Asks a tenant's place; `None`: there is no room for another one.
    fn with<R>(&self, tenant: &TenantId, ask: impl FnOnce(&mut Tried) -> Option<R>) -> Option<R> {
        let shard = usize::try_from(self.hasher.hash_one(tenant) % (SHARDS as u64)).unwrap_or(0);
        let mut shard = self.tenants[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tried) = shard.get_mut(tenant) {
            return ask(tried);
        }
        if self.known.load(Ordering::Relaxed) >= TENANTS {
            return None;
        }
        self.known.fetch_add(1, Ordering::Relaxed);
        ask(shard.entry(tenant.clone()).or_default())
    }
}

impl Trials {
    /// On a node that hears of changes here.
    #[must_use]
    pub fn new(freshness: Arc<Freshness>) -> Self {
        Self { freshness, current: Mutex::default() }
    }

    /// The trial of these policies; `None`: a later one runs already.
    pub(super) fn of(&self, candidate: &Catalog) -> Option<Arc<Trial>> {
        let number = candidate.deployed;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some(trial) if trial.number == number => Some(Arc::clone(trial)),
            Some(trial) if trial.number > number => None,
            _ => Some(Arc::clone(current.insert(Arc::new(Trial::new(number))))),
        }
    }

    /// Live nodes, among which rates are shared.
    pub(super) fn nodes(&self) -> u32 {
        self.freshness.live_nodes()
    }

    /// Decides a tenant's request by the tried policies; `None`: what is needed for that is not in memory.
    pub(super) fn decide(
        &self,
        trial: &Trial,
        candidate: &Catalog,
        asked: &Asked<'_>,
        fresh: impl FnOnce() -> Option<TriedRights>,
    ) -> Option<Result<(), Refused>> {
        let min_version = self.freshness.min_version(asked.tenant);
        trial.with(asked.tenant, |tried| tried.decide(asked, candidate.stamp, min_version, fresh))
    }

    /// Learns from the database what some tenants have used without this node's ledger knowing: those of whom that was
    /// not learned for a minute, a few at a time. Where it cannot be learned, it is as it was.
    pub async fn learn(&self, ledger: &dyn Ledger, now: UnixMillis, at: Monotonic) {
        let Some(trial) = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return };
        for rights in trial.to_learn(at) {
            let Ok(usage) = ledger.usage(&rights, now).await else { return };
            trial.with(&rights.tenant, |tried| {
                tried.learn(&rights, &usage, at, |bucket| ledger.known_used(bucket));
                Some(())
            });
        }
    }

    /// Forgets what was counted in any trial but this one.
    pub fn keep(&self, running: Option<Version>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |trial: &Arc<Trial>| running.is_none_or(|running| trial.number < running);
        let gone = current.take_if(|trial| over(trial));
        drop(current);
        // It may be large: nobody waits for its end.
        drop(gone);
    }

    /// What was counted since it was last recorded; `None`: nothing.
    #[must_use]
    pub fn report(&self, incarnation: Incarnation, at: UnixMillis) -> Option<ShadowReport> {
        let trial = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let (totals, rows) = trial.tally.report();
        let known = *trial.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        (known != Some(totals) || !rows.is_empty()).then_some(ShadowReport {
            trial: trial.number,
            incarnation,
            at,
            totals,
            rows,
        })
    }

    /// A report is recorded.
    pub fn recorded(&self, report: &ShadowReport) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(trial) = current.filter(|trial| trial.number == report.trial) else { return };
        trial.tally.recorded(&report.rows);
        *trial.recorded.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.totals);
    }
}
