//! What a command does to a tenant, without a database.

use serde_json::{Value, json};

use crate::{
    domain::{
        command::{Change, UsageRule},
        id::{KeyId, TenantId},
        period::{AnchorDay, Zone},
        tenant::{Overrides, Subscription, SubscriptionState, Tenant},
        time::{UnixMillis, Version},
    },
    ports::{Committed, Effect},
    wire::overrides,
};

/// A tenant that was just made and has nothing yet.
pub(super) fn fresh_tenant(id: &TenantId, at: UnixMillis) -> Tenant {
    Tenant {
        id: id.clone(),
        name: None,
        zone: Zone::UTC,
        suspended: false,
        subscription: None,
        overrides: Overrides::default(),
        version: Version::default(),
        created_at: at,
    }
}

/// Changes the tenant's facts at a version; answers whether the change concerns them (keys and deletion do not).
pub(super) fn apply(tenant: &mut Tenant, change: &Change, at: UnixMillis, version: Version) -> bool {
    match change {
        Change::PutTenant { name, zone } => {
            if name.is_some() {
                tenant.name.clone_from(name);
            }
            if let Some(zone) = zone {
                tenant.zone = zone.clone();
            }
        }
        Change::Suspend => tenant.suspended = true,
        Change::Resume => tenant.suspended = false,
        Change::Subscribe { plan, anchor, usage } => {
            let before = tenant.subscription.as_ref();
            tenant.subscription = Some(Subscription {
                plan: plan.clone(),
                state: SubscriptionState::Active,
                anchor: anchor
                    .or(before.map(|old| old.anchor))
                    .unwrap_or_else(|| AnchorDay::of(at, &tenant.zone)),
                epoch: match (before, usage) {
                    (Some(old), UsageRule::Keep) => old.epoch,
                    _ => version,
                },
                since: match before {
                    Some(old) if old.plan == *plan => old.since,
                    _ => at,
                },
            });
        }
        Change::SetOverrides(overrides) => tenant.overrides = overrides.clone(),
        Change::Enroll { plan } => {
            tenant.subscription = Some(Subscription {
                plan: plan.clone(),
                state: SubscriptionState::Active,
                anchor: AnchorDay::of(at, &tenant.zone),
                epoch: version,
                since: at,
            });
        }
        Change::DeleteTenant | Change::CreateKey { .. } | Change::RevokeKey(_) => return false,
    }
    tenant.version = version;
    true
}

/// The outcome of a change that has nothing left to do: of many first requests of a tenant, one enrols it.
pub(super) fn already(tenant: &Tenant, created: bool, change: &Change) -> Option<Committed> {
    let there = !created && matches!(change, Change::Enroll { .. });
    there.then_some(Committed { version: tenant.version, effect: Effect::Updated, replayed: true })
}

/// What the change does to a tenant as it was before; `created`: the tenant was made by this very change.
pub(super) fn effect(before: &Tenant, created: bool, change: &Change) -> Effect {
    match change {
        Change::PutTenant { .. } | Change::Enroll { .. } if created => Effect::Created,
        Change::Subscribe { .. } if before.subscription.is_none() => Effect::Created,
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
    }
}

/// Reads what [`encode_effect`] wrote.
pub(super) fn decode_effect(text: &str) -> Option<Effect> {
    match text {
        "created" => Some(Effect::Created),
        "updated" => Some(Effect::Updated),
        "deleted" => Some(Effect::Deleted),
        _ => text.strip_prefix("key:").and_then(|id| KeyId::parse(id).ok()).map(Effect::KeyCreated),
    }
}

/// What was asked, for the audit log: without the hash of a key.
pub(super) fn detail(change: &Change) -> Value {
    match change {
        Change::PutTenant { name, zone } => {
            json!({ "name": name, "timezone": zone.as_ref().map(Zone::name) })
        }
        Change::Enroll { plan } => json!({ "plan": plan.as_str() }),
        Change::DeleteTenant | Change::Suspend | Change::Resume => json!({}),
        Change::Subscribe { plan, anchor, usage } => json!({
            "plan": plan.as_str(),
            "anchor_day": anchor.map(AnchorDay::get),
            "usage": match usage { UsageRule::Keep => "keep", UsageRule::Reset => "reset" },
        }),
        Change::SetOverrides(all) => overrides::encode(all),
        Change::CreateKey { id, name, expires_at, imported, .. } => json!({
            "id": id.as_str(),
            "name": name,
            "expires_at": expires_at.map(|at| at.to_string()),
            "imported": imported,
        }),
        Change::RevokeKey(id) => json!({ "id": id.as_str() }),
    }
}
