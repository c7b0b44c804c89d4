//! What a change altered of a tenant, before and after: for the lines of the audit log.

use serde_json::{Map, Value, json};

use super::journal::Line;
use crate::{
    domain::{
        command::Change, identity::ApiKey, lifecycle::Happened, subscription::Subscription, tenant::Tenant,
        time::UnixMillis,
    },
    wire::{attributes, hex::sha256, overrides, subscription},
};

/// The most bytes of either side in a line.
const MOST: usize = 16 * 1024;

/// What was altered. Both sides have the same keys; null stands where there is nothing. Both null: nothing was.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Altered {
    pub(super) before: Value,
    pub(super) after: Value,
}

/// A change, and the tenant on both sides of it.
pub(super) struct Sides<'a> {
    pub(super) before: &'a Tenant,
    /// The tenant was made by this very change.
    pub(super) created: bool,
    /// As of [`super::change::make`].
    pub(super) made: Option<&'a (Tenant, Vec<Happened>)>,
    /// The key that was taken away.
    pub(super) revoked: Option<&'a ApiKey>,
    pub(super) at: UnixMillis,
}

/// Adds to the lines of a change, as [`super::journal::lines`] made them, what each altered. Of what happened by itself at
/// one instant, the first line says it.
pub(super) fn tell(lines: &mut [Line], change: &Change, sides: &Sides<'_>) {
    let Some((after, happened)) = sides.made else {
        if let Some(line) = lines.first_mut() {
            line.altered = beside(change, sides);
        }
        return;
    };
    let nothing = Value::Null;
    let mut earlier = if sides.created { nothing } else { facts(sides.before) };
    let mut instant = None;
    let before = happened.iter().filter(|one| one.at < sides.at).count();
    for (place, line) in lines.iter_mut().enumerate() {
        // The change itself is after all that happened before it; what comes of it is part of it.
        let then = match happened.get(place) {
            Some(one) if place < before => one.at,
            _ => sides.at,
        };
        if instant == Some(then) {
            continue;
        }
        instant = Some(then);
        let later = if then < sides.at { facts(&sides.before.at(then)) } else { facts(after) };
        line.altered = between(&earlier, &later);
        earlier = later;
    }
}

/// What a change that is not of the tenant's facts alters.
fn beside(change: &Change, sides: &Sides<'_>) -> Altered {
    let key = |id: &str, name: Option<&str>, expires_at: Option<UnixMillis>, imported: bool| json!({ "keys": { id: { "name": name, "expires_at": instant(expires_at), "imported": imported } } });
    match change {
        Change::DeleteTenant => between(&facts(sides.before), &Value::Null),
        Change::CreateKey { id, name, expires_at, imported, .. } => {
            let after = key(id.as_str(), name.as_deref(), *expires_at, *imported);
            Altered { before: json!({ "keys": { id.as_str(): null } }), after }
        }
        Change::RevokeKey(id) => {
            let before = sides.revoked.map_or_else(
                || json!({ "keys": { id.as_str(): null } }),
                |had| key(id.as_str(), had.name.as_deref(), had.expires_at, had.imported),
            );
            Altered { before, after: json!({ "keys": { id.as_str(): null } }) }
        }
        _ => Altered::default(),
    }
}

fn instant(at: Option<UnixMillis>) -> Value {
    at.map_or(Value::Null, |at| json!(at.to_string()))
}

/// A tenant's facts, each by its name: so that what differs can be told apart.
fn facts(tenant: &Tenant) -> Value {
    let addons: Map<String, Value> = tenant
        .addons
        .iter()
        .map(|one| {
            let facts = json!({
                "quantity": one.quantity, "since": one.since.to_string(), "ends_at": instant(one.ends_at),
            });
            (one.addon.to_string(), facts)
        })
        .collect();
    let grants: Map<String, Value> = tenant
        .grants
        .iter()
        .map(|one| {
            let facts = json!({
                "meter": one.meter.as_str(), "units": one.units.get(), "priority": one.priority,
                "since": one.since.to_string(), "expires_at": instant(one.expires_at),
                "recurring": one.recurring, "reason": one.reason, "source": one.source.as_str(),
            });
            (one.id.to_string(), facts)
        })
        .collect();
    json!({
        "name": tenant.name,
        "timezone": tenant.zone.name(),
        "suspended": tenant.suspended,
        "attributes": tenant.attributes.as_deref().map_or_else(|| json!({}), attributes::encode),
        "overrides": overrides::encode(&tenant.overrides),
        "subscription": tenant.subscription.as_ref().map(subscribed),
        "addons": addons,
        "grants": grants,
    })
}

fn subscribed(subscription: &Subscription) -> Value {
    json!({
        "plan": subscription.plan.id.as_str(),
        "plan_version": subscription.plan.version.0,
        "state": subscription.state.state().as_str(),
        "anchor_day": subscription.anchor.get(),
        "epoch": subscription.epoch.0,
        "since": subscription.since.to_string(),
        "life": subscription::encode(subscription),
    })
}

/// What differs between two documents.
pub(super) fn between(before: &Value, after: &Value) -> Altered {
    let (before, after) = differing(before, after);
    Altered { before: bounded(before), after: bounded(after) }
}

fn differing(before: &Value, after: &Value) -> (Value, Value) {
    match (before, after) {
        _ if before == after => (Value::Null, Value::Null),
        (Value::Object(was), Value::Object(is)) => {
            let (mut left, mut right) = (Map::new(), Map::new());
            let names = was.keys().chain(is.keys().filter(|name| !was.contains_key(*name)));
            for name in names {
                let side = |object: &Map<String, Value>| object.get(name).cloned().unwrap_or_default();
                let (a, b) = (side(was), side(is));
                if a != b {
                    let (a, b) = differing(&a, &b);
                    left.insert(name.clone(), a);
                    right.insert(name.clone(), b);
                }
            }
            (Value::Object(left), Value::Object(right))
        }
        _ => (before.clone(), after.clone()),
    }
}

/// What is too long is named by its digest.
fn bounded(value: Value) -> Value {
    let text = value.to_string();
    if text.len() <= MOST {
        return value;
    }
    json!({ "left_out": true, "bytes": text.len(), "sha256": sha256(text.as_bytes()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{command::Subscribe, id::TenantId, time::Version},
        ports::Origin,
        store::{change, journal},
    };

    fn told(before: &Tenant, change: &Change, at: i64, created: bool) -> (Vec<Line>, Tenant) {
        let at = UnixMillis(at);
        let origin = Origin { at, actor: "ci".into(), source: "here".into(), idempotency: None };
        let made = change::make(before, change, &[], at, Version(9)).unwrap();
        let mut lines = journal::lines(change, &origin, made.as_ref());
        let sides = Sides { before, created, made: made.as_ref(), revoked: None, at };
        tell(&mut lines, change, &sides);
        (lines, made.map_or_else(|| before.clone(), |(after, _)| after))
    }

    fn subscribe(plan: &str, trial: Option<u16>) -> Change {
        let trial = trial.map(|days| crate::domain::command::TrialOffer {
            days,
            then: Some("free".parse().unwrap()),
            usage: crate::domain::subscription::UsageRule::Keep,
            asked: true,
            again: false,
        });
        Change::Subscribe(Subscribe { trial, ..Subscribe::to(plan.parse().unwrap()) })
    }

    #[test]
    fn only_what_differs_is_told() {
        let acme = Tenant::new(TenantId::parse("acme").unwrap(), UnixMillis(0));
        let named = Change::PutTenant { name: Some("Acme".into()), zone: None, attributes: None };
        let (lines, acme) = told(&acme, &named, 1, true);
        assert_eq!(lines[0].altered.before, Value::Null, "it was not there");
        assert_eq!(lines[0].altered.after["name"], "Acme");
        let (lines, acme) = told(&acme, &subscribe("free", None), 2, false);
        assert_eq!(lines[0].altered.before, json!({ "subscription": null }));
        assert_eq!(lines[0].altered.after["subscription"]["plan"], "free");
        let (lines, acme) = told(&acme, &subscribe("pro", None), 3, false);
        assert_eq!(lines[0].altered.before["subscription"]["plan"], "free");
        assert_eq!(lines[0].altered.after["subscription"]["plan"], "pro");
        assert_eq!(lines[0].altered.after["subscription"].get("anchor_day"), None, "the same as before");
        let (lines, acme) = told(&acme, &Change::Suspend, 4, false);
        let Altered { before, after } = &lines[0].altered;
        assert_eq!((before, after), (&json!({ "suspended": false }), &json!({ "suspended": true })));
        let (lines, acme) = told(&acme, &Change::Suspend, 5, false);
        assert_eq!(lines[0].altered, Altered::default(), "nothing was altered");
        let (lines, _) = told(&acme, &Change::DeleteTenant, 6, false);
        assert_eq!(
            (&lines[0].altered.before["name"], &lines[0].altered.after),
            (&json!("Acme"), &Value::Null)
        );
    }

    #[test]
    fn each_step_says_what_it_altered() {
        const DAY: i64 = 86_400_000;
        let acme = Tenant::new(TenantId::parse("acme").unwrap(), UnixMillis(0));
        let (_, acme) = told(&acme, &subscribe("pro", Some(1)), 0, true);
        let (lines, _) = told(&acme, &Change::Suspend, 2 * DAY, false);
        assert_eq!(
            lines.iter().map(|line| line.kind).collect::<Vec<_>>(),
            ["trial.ended", "tenant.suspended"]
        );
        assert_eq!(lines[0].altered.before["subscription"]["plan"], "pro");
        assert_eq!(lines[0].altered.after["subscription"]["plan"], "free");
        assert_eq!(lines[1].altered.after, json!({ "suspended": true }));
        let (lines, _) = told(&acme, &Change::Advance, DAY, false);
        assert_eq!((lines.len(), &lines[0].altered.after["subscription"]["plan"]), (1, &json!("free")));
    }

    #[test]
    fn what_is_too_long_is_named() {
        let long = json!({ "name": "n".repeat(MOST) });
        let Altered { before, after } = between(&json!({ "name": "n" }), &long);
        assert_eq!(before, json!({ "name": "n" }));
        assert_eq!((&after["left_out"], after["sha256"].as_str().unwrap().len()), (&json!(true), 64));
    }
}
