//! The poll, and what follows from it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::roster::Roster;
use crate::{
    clock::{Clock, SystemClock},
    domain::{
        id::TenantId,
        time::{Epoch, Monotonic, UnixMillis, Version},
    },
    freshness::Freshness,
    metrics::Metrics,
    ports::{
        Deployments, Heartbeat, Incarnation, NodeStore, Policies, PollAnswer, RegisterError, Registration,
        StoreError, Wanted,
    },
};

/// Between two polls, from the sending of one to that of the next.
const TURN: Duration = Duration::from_millis(250);
/// However many changes are announced, polls are as far apart: one brings them all.
const APART: Duration = Duration::from_millis(5);
/// So often at least the node says to itself that it goes on.
const TICK: Duration = Duration::from_millis(200);
/// Tenants that are put right at the same time. Fewer than the sessions that heartbeats need, too.
const AT_ONCE: usize = 3;
/// After which a poll counts as failed.
const POLL_LIMIT: Duration = Duration::from_secs(3);
/// A local clock that is further off the database's is reported.
const CLOCK_TOLERANCE_MILLIS: i64 = 2_000;

/// Something that must obey a change before it counts as in force on this node.
#[async_trait]
pub trait Subscriber: Send + Sync + 'static {
    /// A tenant was changed, last by the change of this version.
    async fn changed(&self, tenant: &TenantId, version: Version);
    /// Anything may have changed: what is held from before must go.
    async fn all_changed(&self);
    /// Other nodes are refused units of these buckets: what is held of them is to be given back.
    fn wanted(&self, wanted: &[Wanted]);
    /// Usage events were charged to these tenants: what is known of their usage is no longer true.
    fn charged(&self, tenants: &[TenantId]);
    /// The database may have forgotten what it granted: returns everything that is held. Whether all of it is recorded.
    async fn returned(&self) -> bool;
}

/// What the feed is made of.
pub struct FeedParts {
    /// The registry and the changes.
    pub store: Arc<dyn NodeStore>,
    /// What the feed writes.
    pub freshness: Arc<Freshness>,
    /// Time; its civil clock is corrected by what the polls measure.
    pub clock: Arc<SystemClock>,
    /// The same clock, as far as it measures.
    pub monotonic: Arc<dyn Clock>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Whose digest the heartbeat reports.
    pub policies: Arc<dyn Policies>,
    /// Who puts changed policies in force.
    pub deployments: Arc<dyn Deployments>,
    /// This run, as it was registered.
    pub registration: Registration,
    /// The epoch in which it was registered, when it held nothing.
    pub epoch: Epoch,
    /// Who obeys changes.
    pub subscribers: Vec<Arc<dyn Subscriber>>,
}

/// The change feed of this node.
pub struct Feed {
    parts: FeedParts,
    clock_off_millis: AtomicI64,
    failing: AtomicBool,
    /// Everything spent is recorded in this epoch, and nothing from before it is held.
    reasserted: AtomicU64,
    awaited: Mutex<Vec<String>>,
    /// When the latest poll was sent.
    sent: AtomicU64,
    /// How many nodes were alive when the registry was last read for that.
    counted: AtomicU32,
    roster: Roster,
}

/// What a poll was good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Polled {
    /// Everything is in force, and was reported.
    Done,
    /// Another is to be sent at once.
    Again,
}

impl Feed {
    /// A feed that has heard of nothing yet.
    #[must_use]
    pub fn new(parts: FeedParts) -> Self {
        let reasserted = AtomicU64::new(parts.epoch.0);
        let roster = Roster::new(Arc::clone(&parts.store), Arc::clone(&parts.monotonic));
        Self {
            parts,
            sent: AtomicU64::new(0),
            counted: AtomicU32::new(0),
            roster,
            clock_off_millis: AtomicI64::new(0),
            failing: AtomicBool::new(false),
            reasserted,
            awaited: Mutex::default(),
        }
    }

    /// Nodes that keep grants back since the database failed over, as they have not recorded their slots again.
    #[must_use]
    pub fn awaited(&self) -> Vec<String> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far the local clock is off the database's in milliseconds, where that is more than is tolerated.
    #[must_use]
    pub fn clock_is_off(&self) -> Option<i64> {
        let off = self.clock_off_millis.load(Ordering::Relaxed);
        (off.abs() > CLOCK_TOLERANCE_MILLIS).then_some(off)
    }

    /// Whether the last poll failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Who this node is.
    pub(super) fn name(&self) -> &str {
        &self.parts.registration.name
    }

    /// Which run of it.
    pub(super) fn incarnation(&self) -> Incarnation {
        self.parts.registration.incarnation
    }

    /// Who else there is.
    pub(super) const fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Polls until told to stop. Nobody else polls meanwhile: who wants a poll asks [`Freshness`] for it.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let polling = async {
            loop {
                self.turn().await;
                self.catch_up().await;
                self.count_nodes().await;
            }
        };
        let ticking = async {
            loop {
                self.parts.freshness.tick(self.parts.monotonic.monotonic());
                tokio::time::sleep(TICK).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { tokio::join!(polling, ticking); } => {}
        }
    }

    /// Waits for the next poll's time.
    async fn turn(&self) {
        let left = |since: Duration| {
            let sent = Monotonic(self.sent.load(Ordering::Relaxed));
            since.saturating_sub(self.parts.monotonic.monotonic().since(sent))
        };
        tokio::select! {
            () = tokio::time::sleep(left(TURN)) => {}
            () = self.parts.freshness.poll_wanted() => {}
            () = self.parts.store.changed() => {}
        }
        tokio::time::sleep(left(APART)).await;
    }

    /// Polls until nothing new is left, so that the last heartbeat reports everything that is in force here.
    pub async fn catch_up(&self) {
        // Bounded: under a steady stream of changes the next turn goes on.
        for _ in 0..16 {
            match self.poll().await {
                Ok(Polled::Done) => return self.succeeded(),
                Ok(Polled::Again) => {}
                Err(error) => return self.failed(&error),
            }
        }
    }

    /// Reads who the nodes are when there are more or fewer of them, so that it is known when the database is away.
    async fn count_nodes(&self) {
        let live = self.parts.freshness.live_nodes();
        if self.counted.load(Ordering::Relaxed) != live
            && !self.is_failing()
            && self.roster.after(self.roster.begun()).await.1.is_some()
        {
            self.counted.store(live, Ordering::Relaxed);
        }
    }

    fn succeeded(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the database answers again");
        }
    }

    fn failed(&self, error: &StoreError) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!("changes cannot be polled; deciding on what is known: {error}");
        }
    }

    /// One poll. Where it brought something, the next heartbeat must report it.
    async fn poll(&self) -> Result<Polled, StoreError> {
        let parts = &self.parts;
        let beat = Heartbeat {
            incarnation: parts.registration.incarnation,
            applied: parts.freshness.applied(),
            digest: parts.policies.catalog().digest.clone(),
            reasserted: Epoch(self.reasserted.load(Ordering::SeqCst)),
        };
        let sent = parts.monotonic.monotonic();
        self.sent.store(sent.0, Ordering::Relaxed);
        let local = SystemClock::uncorrected();
        let answer = tokio::time::timeout(POLL_LIMIT, parts.store.poll(&beat))
            .await
            .map_err(|_| StoreError::Unavailable("no answer to a poll within 3 s".to_owned()))??;
        self.measure_clock(local, &answer);
        if answer.superseded {
            tracing::error!("another process took this node's name; this one refuses to serve from now on");
            parts.freshness.retire();
            return Ok(Polled::Done);
        }
        let answered = parts.monotonic.monotonic();
        let mut news = self.apply(&answer).await?;
        news |= self.settle_epoch(&answer).await?;
        if !answer.wanted.is_empty() {
            parts.subscribers.iter().for_each(|subscriber| subscriber.wanted(&answer.wanted));
        }
        if !answer.charged.is_empty() {
            parts.subscribers.iter().for_each(|subscriber| subscriber.charged(&answer.charged));
        }
        let confirmed = parts.freshness.heard(sent, answered, answer.live_nodes);
        Ok(if news || !confirmed { Polled::Again } else { Polled::Done })
    }

    /// After a failover, or where this node is not known any more: gives back everything, and says so. Returns whether
    /// there is something to report with the next heartbeat.
    async fn settle_epoch(&self, answer: &PollAnswer) -> Result<bool, StoreError> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&answer.awaited);
        let behind = answer.epoch.0 > self.reasserted.load(Ordering::SeqCst);
        if !behind && !answer.forgotten {
            return Ok(false);
        }
        for subscriber in &self.parts.subscribers {
            if !subscriber.returned().await {
                // With the next poll again. Nothing is granted meanwhile that could be lost.
                return Ok(false);
            }
        }
        if answer.forgotten {
            tracing::warn!(
                "the database does not know this node any more: it has returned everything and begins anew"
            );
            match self.parts.store.register(&self.parts.registration).await {
                Ok(_) => {}
                Err(RegisterError::Store(error)) => return Err(error),
                Err(RegisterError::NameTaken { .. }) => return Ok(true),
            }
        }
        if behind {
            tracing::warn!(
                epoch = answer.epoch.0,
                "the database failed over: everything spent is recorded again"
            );
            self.reasserted.store(answer.epoch.0, Ordering::SeqCst);
        }
        Ok(true)
    }

    fn measure_clock(&self, sent: UnixMillis, answer: &PollAnswer) {
        let received = SystemClock::uncorrected();
        // The answer was made somewhere between the two: the middle errs by at most half the round trip.
        let middle = sent.0 + (received.0 - sent.0) / 2;
        let off = answer.database_now.0 - middle;
        let trip = received.0 - sent.0;
        let before = self.clock_off_millis.swap(off, Ordering::Relaxed);
        if off.abs() > CLOCK_TOLERANCE_MILLIS && before.abs() <= CLOCK_TOLERANCE_MILLIS {
            tracing::warn!(off_millis = off, "this machine's clock differs from the database's");
        }
        // What is within the error of the measurement is not a difference.
        self.parts.clock.correct(if off.abs() <= trip { 0 } else { off });
    }

    /// Puts changes in force: first the words that outdate caches, then the ledger, then the policies, then the version
    /// that says so. Where the policies cannot be, nothing is said: the node ceases to be fresh.
    async fn apply(&self, answer: &PollAnswer) -> Result<bool, StoreError> {
        let parts = &self.parts;
        if answer.gap {
            parts.freshness.outdate_all(answer.upto);
            for subscriber in &parts.subscribers {
                subscriber.all_changed().await;
            }
        }
        let mut tenants: Vec<(&TenantId, Version)> =
            answer.changes.iter().filter_map(|row| Some((row.tenant.as_ref()?, row.version))).collect();
        for (tenant, version) in &tenants {
            parts.freshness.outdate(tenant, *version);
        }
        tenants.sort_by(|a, b| (a.0, b.1).cmp(&(b.0, a.1)));
        tenants.dedup_by(|a, b| a.0 == b.0);
        futures_util::stream::iter(tenants)
            .for_each_concurrent(AT_ONCE, async |(tenant, version)| {
                for subscriber in &parts.subscribers {
                    subscriber.changed(tenant, version).await;
                }
            })
            .await;
        if answer.gap || answer.changes.iter().any(|row| row.tenant.is_none()) {
            parts.deployments.obey().await?;
        }
        let news = answer.upto > parts.freshness.applied();
        if news {
            let now = parts.clock.now();
            for row in &answer.changes {
                let millis = u64::try_from(now.0 - row.at.0).unwrap_or(0);
                parts.metrics.change_applied.observe(Duration::from_millis(millis));
            }
            tracing::debug!(
                after = parts.freshness.applied().0,
                upto = answer.upto.0,
                changes = answer.changes.len(),
                gap = answer.gap,
                "changes are in force"
            );
            parts.freshness.set_applied(answer.upto);
        }
        Ok(news)
    }

    /// The newest version in force here.
    #[must_use]
    pub fn applied(&self) -> Version {
        self.parts.freshness.applied()
    }
}
