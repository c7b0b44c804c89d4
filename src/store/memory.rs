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
        time::Version,
        units::Units,
    },
    ports::{
        AuditRow, BucketKey, ChangeRow, Committed, ExecuteError, GrantOutcome, GrantRequest, Heartbeat,
        Incarnation, KeyStore, LedgerStore, NodeRow, NodeStore, Origin, OthersUsage, PollAnswer,
        RegisterError, Registration, SlotTotals, Snapshot, StoreError, TenantStore, UsageRow,
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

<<<<<<< HEAD
impl State {
    fn carry_out(&mut self, command: &Command, origin: &Origin) -> Result<Committed, ExecuteError> {
        if let Some(idempotency) = &origin.idempotency
            && let Some((fingerprint, earlier)) = self.idempotency.get(&idempotency.key)
        {
            if *fingerprint != idempotency.fingerprint {
                return Err(ExecuteError::IdempotencyConflict);
            }
            return Ok(Committed { replayed: true, ..earlier.clone() });
        }
        let known = self.tenants.get(&command.tenant).cloned();
        let created = known.is_none();
        if created && !matches!(command.change, Change::PutTenant { .. } | Change::Enroll { .. }) {
            return Err(ExecuteError::NoTenant(command.tenant.clone()));
        }
        let mut tenant = known.unwrap_or_else(|| change::fresh_tenant(&command.tenant, origin.at));
        let effect = change::effect(&tenant, created, &command.change);
        self.change_keys(command, origin.at)?;

        let version = Version(self.version.0 + 1);
        self.version = version;
        if change::apply(&mut tenant, &command.change, origin.at, version) {
            self.tenants.insert(command.tenant.clone(), tenant);
        }
        let done = Committed { version, effect, replayed: false };
        self.record(command, origin, &done);
        Ok(done)
    }

    fn change_keys(&mut self, command: &Command, at: UnixMillis) -> Result<(), ExecuteError> {
        match &command.change {
            Change::CreateKey { id, hash, name, expires_at, imported } => {
                if self.by_hash.contains_key(hash) || self.keys.contains_key(id) {
                    return Err(ExecuteError::KeyTaken);
                }
                let key = ApiKey {
                    id: id.clone(),
                    tenant: command.tenant.clone(),
                    name: name.clone(),
                    expires_at: *expires_at,
                    imported: *imported,
                    created_at: at,
                };
                self.by_hash.insert(*hash, id.clone());
                self.keys.insert(id.clone(), (*hash, key));
            }
            Change::RevokeKey(id) => match self.keys.get(id) {
                Some((hash, key)) if key.tenant == command.tenant => {
                    self.by_hash.remove(hash);
                    self.keys.remove(id);
                }
                _ => return Err(ExecuteError::NoKey(command.tenant.clone(), id.clone())),
            },
            Change::DeleteTenant => {
                self.tenants.remove(&command.tenant);
                self.keys.retain(|_, (_, key)| key.tenant != command.tenant);
                let keys = &self.keys;
                self.by_hash.retain(|_, id| keys.contains_key(id));
            }
            _ => {}
        }
        Ok(())
    }

    fn record(&mut self, command: &Command, origin: &Origin, done: &Committed) {
        let (tenant, kind) = (command.tenant.clone(), command.change.kind().to_owned());
        self.changes.push_back(ChangeRow {
            version: done.version,
            tenant: tenant.clone(),
            kind: kind.clone(),
            at: origin.at,
        });
        let last = done.version.0.saturating_sub(KEPT_CHANGES);
        let oldest = origin.at.0.saturating_sub(KEPT_MILLIS);
        while self.changes.front().is_some_and(|row| row.version.0 <= last || row.at.0 < oldest) {
            self.changes.pop_front();
        }
        self.audit.push(AuditRow {
            cursor: self.audit.len() as u64 + 1,
            version: done.version,
            at: origin.at,
            actor: origin.actor.clone(),
            source: origin.source.clone(),
            tenant,
            kind,
            detail: change::detail(&command.change),
        });
        if let Some(idempotency) = &origin.idempotency {
            let entry = (idempotency.fingerprint.clone(), done.clone());
            self.idempotency.insert(idempotency.key.clone(), entry);
        }
    }

    fn live(&self, now: UnixMillis) -> u32 {
        let live = self.nodes.values().filter(|node| now.0.saturating_sub(node.beat.0) < LIVE_MILLIS).count();
        u32::try_from(live).unwrap_or(u32::MAX)
    }

    fn others_of(&self, incarnation: Incarnation, bucket: &BucketKey) -> OthersUsage {
        let (mut used, mut uncertain) = (0u64, 0u64);
        for (key, slot) in &self.book.slots {
            if key.bucket == *bucket && key.incarnation != incarnation {
                used = used.saturating_add(slot.net());
                if !self.nodes.values().any(|node| node.incarnation == key.incarnation) {
                    uncertain = uncertain.saturating_add(slot.open());
                }
            }
        }
        OthersUsage { used: Units::saturating(used), uncertain: Units::saturating(uncertain) }
    }
}

=======
>>>>>>> w/store
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
    async fn register(&self, node: &Registration) -> Result<Version, RegisterError> {
        let now = self.clock.now();
        let mut state = self.state()?;
        if let Some(other) = state.nodes.get(&node.name) {
            let age = now.0.saturating_sub(other.beat.0);
            let own = other.incarnation == node.incarnation || Some(other.incarnation) == node.replaces;
            if !own && age < LIVE_MILLIS {
                let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
                return Err(RegisterError::NameTaken { name: node.name.clone(), age });
            }
        }
        let applied = state.version;
        let row = Node { incarnation: node.incarnation, applied, digest: node.digest.clone(), beat: now };
        state.nodes.insert(node.name.clone(), row);
        Ok(applied)
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
        })
    }

    async fn deregister(&self, incarnation: Incarnation) -> Result<(), StoreError> {
        self.state()?.nodes.retain(|_, node| node.incarnation != incarnation);
        Ok(())
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
