//! Tenants: read, changed as the domain says, and listed by what is to come.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use async_trait::async_trait;

use super::{Fake, World};
use crate::{
    domain::{
        command::{Change, Command},
        id::{PlanId, TenantId},
        identity::ApiKey,
        period::Period,
        plan::PlanRef,
        tenant::Tenant,
        time::{UnixMillis, Version},
        transitions::State,
    },
    ports::*,
};

fn keep_grants(world: &World, before: &Tenant, after: &Tenant, at: UnixMillis) {
    let mut grants = world.grants.lock().unwrap();
    let history = grants.entry(after.id.clone()).or_default();
    let is_of = |tenant: &Tenant, row: &GrantRow| tenant.grants.iter().any(|grant| grant.id == row.grant.id);
    for row in history.iter_mut().filter(|row| is_of(before, row) && !is_of(after, row)) {
        row.ended_at = Some(at);
    }
    let given = after.grants.iter().filter(|grant| !before.grants.contains(grant));
    history.extend(given.map(|grant| GrantRow { grant: grant.clone(), ended_at: None }));
}

fn change(
    world: &World,
    command: &Command,
    origin: &Origin,
    version: Version,
) -> Result<Effect, ExecuteError> {
    let mut tenants = world.tenants.lock().unwrap();
    let id = &command.tenant;
    let created = !tenants.contains_key(id);
    if created && !matches!(command.change, Change::PutTenant { .. }) {
        return Err(ExecuteError::NoTenant(id.clone()));
    }
    let before = tenants.get(id).cloned().unwrap_or_else(|| Tenant::new(id.clone(), origin.at));
    let mut tenant = before.clone();
    if command.change.is_of_tenant() {
        tenant.apply(&command.change, origin.at, version)?;
    }
    keep_grants(world, &before, &tenant, origin.at);
    tenants.insert(id.clone(), tenant);
    let mut keys = world.keys.lock().unwrap();
    match &command.change {
        Change::DeleteTenant => {
            tenants.remove(id);
            return Ok(Effect::Deleted);
        }
        Change::CreateKey { id: key, name, expires_at, imported, hash } => {
            if *imported && hash.0 == [9; 32] {
                return Err(ExecuteError::KeyTaken);
            }
            keys.push(ApiKey {
                id: key.clone(),
                tenant: id.clone(),
                name: name.clone(),
                expires_at: *expires_at,
                imported: *imported,
                created_at: origin.at,
            });
            return Ok(Effect::KeyCreated(key.clone()));
        }
        Change::RevokeKey(key) => {
            let before = keys.len();
            keys.retain(|k| k.id != *key);
            if keys.len() == before {
                return Err(ExecuteError::NoKey(id.clone(), key.clone()));
            }
            return Ok(Effect::Deleted);
        }
        Change::Grant(_) => {
            let given = tenants[id].grants.last().unwrap().id.clone();
            return Ok(Effect::GrantCreated(given));
        }
        Change::Attach { addon, .. } if before.addons.iter().all(|had| had.addon != *addon) => {
            return Ok(Effect::Created);
        }
        _ => {}
    }
    Ok(if created { Effect::Created } else { Effect::Updated })
}

#[async_trait]
impl TenantStore for Fake {
    async fn tenant(&self, id: &TenantId) -> Result<Snapshot<Option<Tenant>>, StoreError> {
        self.0.check()?;
        let value = self.0.tenants.lock().unwrap().get(id).cloned();
        Ok(Snapshot { version: Version(self.0.version.load(Ordering::SeqCst)), value })
    }

    async fn tenants(&self, after: Option<&TenantId>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        self.0.check()?;
        let all = self.0.tenants.lock().unwrap();
        Ok(all.values().filter(|t| after.is_none_or(|a| t.id > *a)).take(limit as usize).cloned().collect())
    }

    async fn keys(&self, tenant: &TenantId) -> Result<Vec<ApiKey>, StoreError> {
        self.0.check()?;
        Ok(self.0.keys.lock().unwrap().iter().filter(|k| k.tenant == *tenant).cloned().collect())
    }

    async fn execute(&self, command: &Command, origin: &Origin) -> Result<Committed, ExecuteError> {
        self.0.check()?;
        if let Some(idempotency) = &origin.idempotency
            && let Some((fingerprint, committed)) = self.0.done.lock().unwrap().get(&idempotency.key)
        {
            if *fingerprint != idempotency.fingerprint {
                return Err(ExecuteError::IdempotencyConflict);
            }
            return Ok(Committed { replayed: true, ..committed.clone() });
        }
        let version = Version(self.0.version.load(Ordering::SeqCst) + 1);
        let effect = change(&self.0, command, origin, version)?;
        self.0.version.store(version.0, Ordering::SeqCst);
        self.0.log.lock().unwrap().push((command.clone(), origin.clone()));
        let committed = Committed { version, effect, replayed: false };
        if let Some(idempotency) = &origin.idempotency {
            let entry = (idempotency.fingerprint.clone(), committed.clone());
            self.0.done.lock().unwrap().insert(idempotency.key.clone(), entry);
        }
        Ok(committed)
    }

    async fn changes(&self, after: Version, limit: u32) -> Result<Vec<ChangeRow>, StoreError> {
        let log = self.0.log.lock().unwrap();
        let rows = log.iter().zip(1u64..).map(|((command, origin), n)| ChangeRow {
            version: Version(n),
            tenant: Some(command.tenant.clone()),
            kind: command.change.kind().to_owned(),
            at: origin.at,
        });
        Ok(rows.filter(|row| row.version > after).take(limit as usize).collect())
    }

    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let log = self.0.log.lock().unwrap();
        let rows = log.iter().zip(1u64..).map(|((command, origin), n)| AuditRow {
            cursor: n,
            version: Version(n),
            at: origin.at,
            actor: origin.actor.clone(),
            source: origin.source.clone(),
            tenant: Some(command.tenant.clone()),
            kind: command.change.kind().to_owned(),
            detail: serde_json::json!({}),
        });
        Ok(rows.filter(|row| row.cursor > after).take(limit as usize).collect())
    }

    async fn usage(&self, _: &TenantId, span: Period) -> Result<Vec<UsageRow>, StoreError> {
        self.0.check()?;
        self.0.asked_usage.lock().unwrap().push(span);
        Ok(self.0.rows.lock().unwrap().iter().filter(|row| span.contains(row.hour)).cloned().collect())
    }
}

#[async_trait]
impl LifecycleStore for Fake {
    async fn grants(
        &self,
        tenant: &TenantId,
        before: Option<Version>,
        limit: u32,
    ) -> Result<Vec<GrantRow>, StoreError> {
        self.0.check()?;
        let grants = self.0.grants.lock().unwrap();
        let mut rows: Vec<GrantRow> = grants.get(tenant).into_iter().flatten().rev().cloned().collect();
        rows.retain(|row| before.is_none_or(|before| row.grant.number < before));
        // Those of one number are on one page.
        let last = rows.get(limit as usize - 1).map(|row| row.grant.number);
        rows.retain(|row| last.is_none_or(|last| row.grant.number >= last));
        Ok(rows)
    }

    async fn due(&self, _: UnixMillis, _: u32) -> Result<Vec<TenantId>, StoreError> {
        panic!("the admin API writes down nothing by itself")
    }

    async fn upcoming(
        &self,
        after: Option<&(UnixMillis, TenantId)>,
        limit: u32,
    ) -> Result<Vec<Tenant>, StoreError> {
        self.0.check()?;
        let tenants = self.0.tenants.lock().unwrap();
        let all = tenants.values().filter_map(|tenant| Some((tenant.next_instant()?, tenant.id.clone())));
        let mut places: Vec<_> = all.filter(|place| after.is_none_or(|after| place > after)).collect();
        places.sort();
        Ok(places.into_iter().take(limit as usize).map(|(_, id)| tenants[&id].clone()).collect())
    }

    async fn on_older_version(
        &self,
        _: &PlanRef,
        _: Option<&TenantId>,
        _: u32,
    ) -> Result<Vec<Tenant>, StoreError> {
        panic!("the admin API moves nobody")
    }

    async fn to_roll_over(&self, _: &[PlanId], _: UnixMillis, _: u32) -> Result<Vec<TenantId>, StoreError> {
        panic!("the admin API rolls nothing over")
    }

    async fn tenants_by_plan(&self) -> Result<Vec<(PlanRef, u64)>, StoreError> {
        self.0.check()?;
        let mut counts = BTreeMap::<PlanRef, u64>::new();
        for tenant in self.0.tenants.lock().unwrap().values() {
            let subscription = tenant.subscription.iter();
            for subscription in subscription.filter(|s| s.state.state() != State::Canceled) {
                *counts.entry(subscription.plan.clone()).or_default() += 1;
            }
        }
        Ok(counts.into_iter().collect())
    }
}
