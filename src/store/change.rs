//! What a command does to a tenant, without a database.

use serde_json::{Value, json};

use crate::{
    domain::{
        command::Change,
        id::{GrantId, KeyId},
        period::Zone,
        tenant::Tenant,
    },
    ports::{Committed, Effect},
    wire::overrides,
};

/// The outcome of a change that has nothing left to do: of many first requests of a tenant, one enrols it.
pub(super) fn already(tenant: &Tenant, created: bool, change: &Change) -> Option<Committed> {
    let there = !created && matches!(change, Change::Enroll { .. });
    there.then_some(Committed { version: tenant.version, effect: Effect::Updated, replayed: true })
}

/// What the change does to a tenant as it was before; `created`: the tenant was made by this very change.
pub(super) fn effect(before: &Tenant, created: bool, change: &Change) -> Effect {
    match change {
        Change::PutTenant { .. } | Change::Enroll { .. } if created => Effect::Created,
        Change::Subscribe(_) if before.subscription.is_none() => Effect::Created,
        Change::DeleteTenant | Change::RevokeKey(_) => Effect::Deleted,
        Change::CreateKey { id, .. } => Effect::KeyCreated(id.clone()),
        _ => Effect::Updated,
    }
}

/// The effect as it is kept beside an idempotency key.
pub(super) fn encode_effect(effect: &Effect) -> String {
    match effect {
        Effect::Created => "created".into(),
        Effect::Updated => "updated".into(),
        Effect::Deleted => "deleted".into(),
        Effect::KeyCreated(id) => format!("key:{id}"),
        Effect::GrantCreated(id) => format!("grant:{id}"),
    }
}

/// Reads what [`encode_effect`] wrote.
pub(super) fn decode_effect(text: &str) -> Option<Effect> {
    match text {
        "created" => Some(Effect::Created),
        "updated" => Some(Effect::Updated),
        "deleted" => Some(Effect::Deleted),
        _ => match text.split_once(':')? {
            ("key", id) => KeyId::parse(id).ok().map(Effect::KeyCreated),
            ("grant", id) => GrantId::parse(id).ok().map(Effect::GrantCreated),
            _ => None,
        },
    }
}

/// What was asked, for the audit log: without the hash of a key.
pub(super) fn detail(change: &Change) -> Value {
    match change {
        Change::PutTenant { name, zone } => {
            json!({ "name": name, "timezone": zone.as_ref().map(Zone::name) })
        }
        Change::Enroll { plan } => json!({ "plan": plan.id.as_str() }),
        Change::DeleteTenant | Change::Suspend | Change::Resume => json!({}),
        Change::SetOverrides(all) => overrides::encode(all),
        Change::CreateKey { id, name, expires_at, imported, .. } => json!({
            "id": id.as_str(),
            "name": name,
            "expires_at": expires_at.map(|at| at.to_string()),
            "imported": imported,
        }),
        Change::RevokeKey(id) => json!({ "id": id.as_str() }),
        _ => json!({}),
    }
}
