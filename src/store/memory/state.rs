//! What the memory store holds, and how a change alters it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use crate::{
    clock::Clock,
    domain::{
        catalog::Digest,
        command::{Change, Command},
        id::{KeyId, MeterId, TenantId},
        identity::{ApiKey, KeyHash},
        plan::PlanRef,
        revision::{PolicyFiles, Revision},
        role::AdminToken,
        tenant::Tenant,
        time::{Epoch, UnixMillis, Version},
    },
    ports::{
        AuditRow, ChangeRow, Committed, EventKey, ExecuteError, GrantRow, Incarnation, KeptPlan, NewEvent,
        Origin, Sold,
    },
    store::{
        altered::{self, Sides},
        billing::Entries,
        book::Book,
        change,
        execute::{KEPT_CHANGES, KEPT_MILLIS},
        journal::{self, Line},
        outbox, told,
    },
};

use super::{
    meter_exports::Pieces, once::Outcome, shadow::Counted, statements::Bills, stripe::Told, trail::Trail,
    usage_events::Known as KnownEvent, webhooks::Webhooks,
};

#[derive(Default)]
pub(super) struct State {
    pub(super) version: Version,
    pub(super) tenants: BTreeMap<TenantId, Tenant>,
    pub(super) keys: BTreeMap<KeyId, (KeyHash, ApiKey)>,
    pub(super) by_hash: HashMap<KeyHash, KeyId>,
    pub(super) changes: VecDeque<ChangeRow>,
    pub(super) audit: Trail,
    /// Tokens of the admin API with their hashes, by name.
    pub(super) tokens: BTreeMap<String, (KeyHash, AdminToken)>,
    /// By key: the fingerprint of what was asked, and what it led to.
    pub(super) idempotency: HashMap<String, (String, Outcome)>,
    pub(super) nodes: BTreeMap<String, Node>,
    /// The name of every run, also of those that are over.
    pub(super) incarnations: HashMap<Incarnation, String>,
    pub(super) files: HashMap<uuid::Uuid, File>,
    /// Every grant that a tenant ever had, the oldest first.
    pub(super) grants: HashMap<TenantId, Vec<GrantRow>>,
    /// What plans said in each of their versions.
    pub(super) plans: BTreeMap<PlanRef, KeptPlan>,
    /// What was sold, as it was last.
    pub(super) sold: BTreeMap<Sold, serde_json::Value>,
    /// Policies by their digest.
    pub(super) policies: BTreeMap<Arc<str>, PolicyFiles>,
    /// Which of them decided, the oldest first.
    pub(super) revisions: Vec<Revision>,
    /// What was counted of policies that are tried in the shadow.
    pub(super) shadow: Counted,
    /// Usage by days, once it is old.
    pub(super) days: BTreeMap<(TenantId, MeterId, UnixMillis), i64>,
    /// Facts that are told outside, the oldest first, with their ids.
    pub(super) outbox: Vec<(String, NewEvent)>,
    /// How many of them were forgotten.
    pub(super) outbox_gone: u64,
    /// When somebody is to be told that a tenant's trial ends.
    pub(super) notices: BTreeMap<TenantId, UnixMillis>,
    /// What tenants are billed by, and their statements.
    pub(super) bills: Bills,
    /// Usage that is told to a billing system.
    pub(super) pieces: Pieces,
    /// What Stripe told, and which of its customers are which tenants.
    pub(super) told: Told,
    /// Whom they are told to.
    pub(super) webhooks: Webhooks,
    /// The time by which they are.
    pub(super) clock: Option<Arc<dyn Clock>>,
    /// Usage events that were charged.
    pub(super) events: HashMap<EventKey, KnownEvent>,
    pub(super) epoch: Epoch,
    pub(super) epoch_since: UnixMillis,
    pub(super) book: Book,
    pub(super) closed: bool,
}

/// A ledger file.
pub(super) struct File {
    /// How often it was opened.
    pub(super) opens: u64,
    /// When that was last, or it belonged to a registered node.
    pub(super) used: UnixMillis,
}

pub(super) struct Node {
    pub(super) incarnation: Incarnation,
    pub(super) applied: Version,
    pub(super) digest: Digest,
    pub(super) beat: UnixMillis,
    pub(super) file: uuid::Uuid,
    pub(super) reasserted: Epoch,
    /// A run with another ledger file was replaced before it had recorded its slots again.
    pub(super) owed: bool,
}

impl State {
    /// Nothing yet, by this clock.
    pub(super) fn on(clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..Self::default() }
    }

    pub(super) fn carry_out(
        &mut self,
        command: &Command,
        origin: &Origin,
    ) -> Result<Committed, ExecuteError> {
        let before = self.before(origin, ExecuteError::IdempotencyConflict, |outcome| match outcome {
            Outcome::Change(done) => Some(Committed { replayed: true, ..done.clone() }),
            _ => None,
        });
        if let Some(earlier) = before? {
            return Ok(earlier);
        }
        let known = self.tenants.get(&command.tenant).cloned();
        let created = known.is_none();
        if created && !matches!(command.change, Change::PutTenant { .. } | Change::Enroll { .. }) {
            return Err(ExecuteError::NoTenant(command.tenant.clone()));
        }
        let before = known.unwrap_or_else(|| Tenant::new(command.tenant.clone(), origin.at));
        if let Some(there) = change::already(&before, created, &command.change, origin.at)? {
            return Ok(there);
        }
        let unused = self.unused(command, &before, origin.at);
        let version = Version(self.version.0 + 1);
        let effect = change::effect(&before.at(origin.at), created, &command.change, version);
        let made = change::make(&before, &command.change, &unused, origin.at, version)?;
        let revoked = self.change_keys(command, origin.at)?;

        self.version = version;
        if let Some((after, happened)) = &made {
            self.tell(told::of_change(&before, after, happened, origin.at, version));
            self.keep_grants(&before, after, origin.at);
            self.keep_notice(&before, after);
            if let Some(entries) = Entries::of(&before, after, happened, origin.at) {
                self.bills.keep(&command.tenant, entries);
            }
            self.tenants.insert(command.tenant.clone(), after.clone());
        }
        let done = Committed { version, effect, replayed: false };
        let mut lines = journal::lines(&command.change, origin, made.as_ref());
        let (made, revoked) = (made.as_ref(), revoked.as_ref());
        altered::tell(
            &mut lines,
            &command.change,
            &Sides { before: &before, created, made, revoked, at: origin.at },
        );
        self.record(command, origin, lines, &done);
        Ok(done)
    }

    /// Answers the key that was taken away.
    fn change_keys(&mut self, command: &Command, at: UnixMillis) -> Result<Option<ApiKey>, ExecuteError> {
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
                    return Ok(self.keys.remove(id).map(|(_, key)| key));
                }
                _ => return Err(ExecuteError::NoKey(command.tenant.clone(), id.clone())),
            },
            Change::DeleteTenant => {
                self.tenants.remove(&command.tenant);
                self.grants.remove(&command.tenant);
                self.notices.remove(&command.tenant);
                self.bills.forget(&command.tenant);
                self.told.links.retain(|_, (owner, ..)| *owner != command.tenant);
                self.keys.retain(|_, (_, key)| key.tenant != command.tenant);
                let keys = &self.keys;
                self.by_hash.retain(|_, id| keys.contains_key(id));
            }
            _ => {}
        }
        Ok(None)
    }

    fn record(&mut self, command: &Command, origin: &Origin, lines: Vec<Line>, done: &Committed) {
        for kind in journal::kinds(&lines) {
            self.changes.push_back(ChangeRow {
                version: done.version,
                tenant: Some(command.tenant.clone()),
                kind: kind.to_owned(),
                at: origin.at,
            });
        }
        self.prune(done.version, origin.at);
        for Line { actor, source, kind, detail, altered } in lines {
            let cursor = self.next_cursor();
            let row = AuditRow {
                cursor,
                version: done.version,
                at: origin.at,
                actor,
                source,
                tenant: Some(command.tenant.clone()),
                kind: kind.to_owned(),
                detail,
            };
            self.audit.push_altered(row, altered);
        }
        self.keep_outcome(origin, Outcome::Change(done.clone()));
    }

    /// Writes facts that are to be told, and to whom. Those that were told before are left out.
    pub(super) fn tell(&mut self, events: Vec<NewEvent>) {
        for event in events {
            let id = outbox::id(&event);
            if self.outbox.iter().all(|(told, _)| *told != id) {
                self.webhooks.fan_out(&event, self.clock.as_ref().map_or(event.at, |clock| clock.now()));
                self.outbox.push((id, event));
            }
        }
    }

    /// Forgets changes that are too old.
    pub(super) fn prune(&mut self, newest: Version, at: UnixMillis) {
        let last = newest.0.saturating_sub(KEPT_CHANGES);
        let oldest = at.0.saturating_sub(KEPT_MILLIS);
        while self.changes.front().is_some_and(|row| row.version.0 <= last || row.at.0 < oldest) {
            self.changes.pop_front();
        }
    }

    /// The place of the next line in the audit log.
    pub(super) const fn next_cursor(&self) -> u64 {
        self.audit.next()
    }

    pub(super) fn live(&self, now: UnixMillis) -> u32 {
        let live = self.nodes.values().filter(|node| node.alive(now)).count();
        u32::try_from(live).unwrap_or(u32::MAX)
    }
}
