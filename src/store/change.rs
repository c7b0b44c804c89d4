//! What a command does to a tenant, without a database.

use crate::{
    domain::{
        command::{Change, When},
        id::{GrantId, KeyId, MeterId},
        lifecycle::{Happened, Refused},
        tenant::Tenant,
        time::{UnixMillis, Version},
        units::Units,
    },
    ports::{Committed, Effect},
};

/// The outcome of a change that has nothing to do, as of many who ask for the same at once all but one find; `None`: there
/// is something to do, and nothing forbids it. `created`: the tenant was made by this very change.
///
/// # Errors
/// [`Refused`]: known before a version is taken.
pub(super) fn already(
    tenant: &Tenant,
    created: bool,
    change: &Change,
    at: UnixMillis,
) -> Result<Option<Committed>, Refused> {
    let done = match change {
        Change::Enroll { .. } => !created,
        Change::Advance => tenant.next_instant().is_none_or(|due| at < due),
        Change::MoveVersion { to } => {
            let now = tenant.at(at).subscription;
            // Another node may know of a still newer one.
            now.is_none_or(|now| now.plan.id != to.id || now.plan.version >= to.version)
        }
        Change::Mirror(mirror) => tenant.mirrors(mirror, at),
        Change::RollOver { .. } => tenant.at(at).rollover_due(at).is_none(),
        _ => false,
    };
    if done {
        return Ok(Some(Committed { version: tenant.version, effect: Effect::Updated, replayed: true }));
    }
    if change.is_of_tenant() {
        // What is refused does not depend on the version.
        tenant.clone().apply(change, at, tenant.version)?;
    }
    Ok(None)
}

/// The tenant after a change, and what happened to it by itself until then; `None`: the change is not of its facts.
/// `unused`: what is rolled over.
///
/// # Errors
/// [`Refused`]; not after [`already`] found nothing against it.
pub(super) fn make(
    before: &Tenant,
    change: &Change,
    unused: &[(MeterId, Units)],
    at: UnixMillis,
    version: Version,
) -> Result<Option<(Tenant, Vec<Happened>)>, Refused> {
    if !change.is_of_tenant() {
        return Ok(None);
    }
    let mut tenant = before.clone();
    let happened = tenant.apply(change, at, version)?;
    if matches!(change, Change::RollOver { .. }) {
        tenant.roll_over(unused, at, version);
    }
    Ok(Some((tenant, happened)))
}

/// What the change of this version does to a tenant as it was before; `created`: the tenant was made by this very change.
pub(super) fn effect(before: &Tenant, created: bool, change: &Change, version: Version) -> Effect {
    match change {
        Change::PutTenant { .. } | Change::Enroll { .. } if created => Effect::Created,
        Change::Subscribe(_) if before.subscription.is_none() => Effect::Created,
        Change::Attach { addon, .. } if before.addons.iter().all(|had| had.addon != *addon) => {
            Effect::Created
        }
        Change::DeleteTenant | Change::RevokeKey(_) | Change::VoidGrant(_) => Effect::Deleted,
        Change::Detach { at: When::Now, .. } => Effect::Deleted,
        Change::CreateKey { id, .. } => Effect::KeyCreated(id.clone()),
        Change::Grant(_) => match GrantId::parse(&format!("g{version}")) {
            Ok(id) => Effect::GrantCreated(id),
            Err(_) => Effect::Created,
        },
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
