//! A store in memory: for tests, benches and embedding, with the same rules as the others and nothing on disk.

mod state;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{book::Setting, connect::Store, feed, nodes::LIVE_MILLIS};
use crate::{
    clock::{Clock, SystemClock},
    domain::{
        command::Command,
        id::TenantId,
        identity::{ApiKey, KeyHash},
        period::Period,
        tenant::Tenant,
        time::{Epoch, Version},
        units::Units,
    },
    ports::{
        AuditRow, BucketKey, ChangeRow, Committed, ExecuteError, GrantOutcome, GrantRequest, Heartbeat,
        Incarnation, KeyStore, LedgerStore, Lost, LostError, NodeRow, NodeStore, Origin, OthersUsage,
        PollAnswer, RegisterError, Registered, Registration, Remainder, SlotTotals, Snapshot, StoreError,
        TenantStore, UsageRow,
    },
};
use state::{Node, State};

/// A store in memory.
pub struct Memory {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    woken: Notify,
    installation: Uuid,
    key_secret: [u8; 32],
}

impl Memory {
    /// An empty store on the machine's clock.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the system gives no random numbers.
    pub fn new() -> Result<Self, StoreError> {
        Self::with_clock(Arc::new(SystemClock::default()))
    }

    /// An empty store on a clock, which is what it says the database's clock is.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the system gives no random numbers.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Ok(Self {
            clock,
            state: Mutex::default(),
            woken: Notify::new(),
            installation: uuid::Builder::from_random_bytes(super::sql::random()?).into_uuid(),
            key_secret: super::sql::random()?,
        })
    }

    /// The state, whole even if a holder panicked: no change of it is made in steps that can fail.
    fn state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed { Err(StoreError::Unavailable("the store is closed".into())) } else { Ok(state) }
    }
}

fn take<T>(limit: u32, rows: impl Iterator<Item = T>) -> Vec<T> {
    rows.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect()
}

#[async_trait]
impl TenantStore for Memory {
    async fn tenant(&self, id: &TenantId) -> Result<Snapshot<Option<Tenant>>, StoreError> {
        let state = self.state()?;
        Ok(Snapshot { version: state.version, value: state.tenants.get(id).cloned() })
    }

    async fn tenants(&self, after: Option<&TenantId>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        let state = self.state()?;
        let rows = state.tenants.iter().filter(|(id, _)| after.is_none_or(|after| *id > after));
        Ok(take(limit, rows.map(|(_, tenant)| tenant.clone())))
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<ApiKey>, StoreError> {
        let state = self.state()?;
        let own = state.keys.values().map(|(_, key)| key).filter(|key| key.tenant == *tenant);
        let mut keys: Vec<ApiKey> = own.cloned().collect();
        keys.sort_by_key(|key| key.created_at);
        Ok(keys)
    }

    async fn execute(&self, command: &Command, origin: &Origin) -> Result<Committed, ExecuteError> {
        let done = self.state()?.carry_out(command, origin)?;
        if !done.replayed {
            self.woken.notify_one();
        }
        Ok(done)
    }

    async fn changes(&self, after: Version, limit: u32) -> Result<Vec<ChangeRow>, StoreError> {
        let state = self.state()?;
        let first = state.changes.partition_point(|row| row.version <= after);
        Ok(take(limit, state.changes.range(first..).cloned()))
    }

    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let state = self.state()?;
        Ok(take(limit, state.audit.iter().filter(|row| row.cursor > after).cloned()))
    }

    async fn usage(&self, tenant: &TenantId, span: Period) -> Result<Vec<UsageRow>, StoreError> {
        let state = self.state()?;
        let own =
            state.book.usage.iter().filter(|((whose, _, hour), _)| whose == tenant && span.contains(*hour));
        let mut rows: Vec<UsageRow> = own
            .map(|((_, meter, hour), units)| UsageRow {
                meter: meter.clone(),
                hour: *hour,
                units: Units::saturating(u64::try_from(*units).unwrap_or(0)),
            })
            .collect();
        rows.sort_by(|a, b| (a.hour, &a.meter).cmp(&(b.hour, &b.meter)));
        Ok(rows)
    }
}

#[async_trait]
impl KeyStore for Memory {
    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Snapshot<Option<ApiKey>>, StoreError> {
        let state = self.state()?;
        let key = state.by_hash.get(hash).and_then(|id| state.keys.get(id)).map(|(_, key)| key.clone());
        Ok(Snapshot { version: state.version, value: key })
    }

    async fn key_secret(&self) -> Result<[u8; 32], StoreError> {
        Ok(self.key_secret)
    }
}

#[async_trait]
impl LedgerStore for Memory {
    async fn grant(&self, requests: &[GrantRequest]) -> Result<Vec<GrantOutcome>, StoreError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        let live = state.live(now);
        let mut order: Vec<usize> = (0..requests.len()).collect();
        order.sort_by(|a, b| requests[*a].totals.slot.bucket.cmp(&requests[*b].totals.slot.bucket));
        let mut outcomes = vec![GrantOutcome::Stale; requests.len()];
        for place in order {
            let request = &requests[place];
            let tenant = state.tenants.get(&request.totals.slot.bucket.tenant).map(|tenant| tenant.version);
            outcomes[place] = state.book.grant(request, Setting { tenant, live, now });
        }
        Ok(outcomes)
    }

    async fn flush(&self, totals: &[SlotTotals]) -> Result<(), StoreError> {
        let mut state = self.state()?;
        totals.iter().for_each(|one| state.book.record(one));
        Ok(())
    }

    async fn remainders(&self, _: Incarnation, buckets: &[BucketKey]) -> Result<Vec<Remainder>, StoreError> {
        Ok(vec![Remainder::default(); buckets.len()])
    }

    async fn open_slots(&self, _: &[Incarnation]) -> Result<Vec<SlotTotals>, StoreError> {
        Ok(Vec::new())
    }

    async fn others(
        &self,
        incarnation: Incarnation,
        buckets: &[BucketKey],
    ) -> Result<Vec<OthersUsage>, StoreError> {
        let state = self.state()?;
        Ok(buckets.iter().map(|bucket| state.others_of(incarnation, bucket)).collect())
    }
}

#[async_trait]
impl NodeStore for Memory {
    async fn register(&self, node: &Registration) -> Result<Registered, RegisterError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        if let Some(other) = state.nodes.get(&node.name) {
            let age = now.0.saturating_sub(other.beat.0);
            let own = other.incarnation == node.incarnation;
            if !own && age < LIVE_MILLIS {
                let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
                return Err(RegisterError::NameTaken { name: node.name.clone(), age });
            }
        }
        let applied = state.version;
        let row = Node { incarnation: node.incarnation, applied, digest: node.digest.clone(), beat: now };
        state.nodes.insert(node.name.clone(), row);
        Ok(Registered { version: applied, epoch: Epoch(0) })
    }

    async fn poll(&self, beat: &Heartbeat) -> Result<PollAnswer, StoreError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        let registered = state.nodes.values_mut().find(|node| node.incarnation == beat.incarnation);
        let superseded = registered.is_none();
        if let Some(node) = registered {
            node.applied = node.applied.max(beat.applied);
            node.digest = beat.digest.clone();
            node.beat = now;
        }
        let first = state.changes.partition_point(|row| row.version <= beat.applied);
        let changes = state.changes.range(first..).take(feed::PAGE + 1).cloned().collect();
        let page = feed::page(beat.applied, state.version, changes);
        Ok(PollAnswer {
            changes: page.changes,
            upto: page.upto,
            gap: page.gap,
            live_nodes: state.live(now) + u32::from(superseded),
            database_now: now,
            superseded,
            forgotten: false,
            epoch: Epoch(0),
            awaited: Vec::new(),
            wanted: Vec::new(),
        })
    }

    async fn deregister(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        self.state()?.nodes.retain(|_, node| node.incarnation != incarnation);
        Ok(())
    }

    async fn declare_lost(&self, name: &str, _: &Origin) -> Result<Lost, LostError> {
        Err(LostError::Unknown(name.to_owned()))
    }

    async fn open_file(&self, _: Uuid, _: u64) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        let now = self.clock.now();
        let state = self.state()?;
        let row = |(name, node): (&String, &Node)| NodeRow {
            name: name.clone(),
            incarnation: node.incarnation,
            applied: node.applied,
            digest: node.digest.clone(),
            beat_age: Duration::from_millis(u64::try_from(now.0.saturating_sub(node.beat.0)).unwrap_or(0)),
        };
        Ok(state.nodes.iter().map(row).collect())
    }

    async fn changed(&self) {
        self.woken.notified().await;
    }
}

#[async_trait]
impl Store for Memory {
    fn installation(&self) -> Uuid {
        self.installation
    }

    async fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }
}
