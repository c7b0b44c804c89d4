//! What the change feed and the audit log say of a change, and of what has happened by itself before it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::altered::Altered;
use crate::{
    domain::{
        command::{Change, Subscribe, TrialOffer, When},
        grant::GrantSource,
        lifecycle::{Event, Happened},
        mirror::{Mirror, MirroredStanding},
        period::{AnchorDay, Zone},
        plan::PlanRef,
        subscription::UsageRule,
        tenant::Tenant,
        time::UnixMillis,
    },
    ports::Origin,
    wire::{attributes, overrides},
};

/// Who writes down what has happened by itself.
const BY_ITSELF: (&str, &str) = ("system", "schedule");

/// A line of the audit log.
pub(super) struct Line {
    pub(super) actor: String,
    pub(super) source: String,
    /// The word in the feed, too.
    pub(super) kind: &'static str,
    pub(super) detail: Value,
    /// What it altered; see [`super::altered::tell`].
    pub(super) altered: Altered,
}

/// The lines of a change, with all that happened by itself until it was made, in order. That something was written down is
/// no line of its own: what was written down is.
pub(super) fn lines(change: &Change, origin: &Origin, made: Option<&(Tenant, Vec<Happened>)>) -> Vec<Line> {
    let happened = made.map_or(&[][..], |(_, happened)| happened);
    let by_itself = |one: &Happened| Line {
        actor: BY_ITSELF.0.to_owned(),
        source: BY_ITSELF.1.to_owned(),
        kind: one.what.kind(),
        detail: event(one),
        altered: Altered::default(),
    };
    // What comes of the change itself, such as the end of a grace of no days, is after it.
    let (before, then) = happened.split_at(happened.partition_point(|one| one.at < origin.at));
    let mut lines: Vec<Line> = before.iter().map(by_itself).collect();
    if *change != Change::Advance {
        lines.push(Line {
            actor: origin.actor.clone(),
            source: origin.source.clone(),
            kind: change.kind(),
            detail: match made {
                Some((tenant, _)) if matches!(change, Change::RollOver { .. }) => rolled_over(tenant),
                _ => detail(change),
            },
            altered: Altered::default(),
        });
    }
    lines.extend(then.iter().map(by_itself));
    lines
}

/// The words of the lines, each once: so many rows of the feed share the version.
pub(super) fn kinds(lines: &[Line]) -> BTreeSet<&'static str> {
    lines.iter().map(|line| line.kind).collect()
}

fn event(Happened { at, what }: &Happened) -> Value {
    let mut detail = match what {
        Event::TrialEnded(then) => json!({ "then": then.as_ref().map(|plan| plan.id.as_str()) }),
        Event::PlanChanged(_) | Event::GraceEnded | Event::Canceled => json!({}),
        Event::GrantExpired(id) => json!({ "id": id.as_str() }),
        Event::AddonEnded(addon) => json!({ "addon": addon.as_str() }),
    };
    if let Event::TrialEnded(Some(plan)) | Event::PlanChanged(plan) = what {
        detail["plan"] = json!(plan.id.as_str());
        detail["plan_version"] = json!(plan.version.0);
    }
    detail["at"] = json!(at.to_string());
    detail
}

/// What was rolled over to the month by the change of the tenant's version.
fn rolled_over(tenant: &Tenant) -> Value {
    let given = tenant
        .grants
        .iter()
        .filter(|grant| grant.source == GrantSource::Rollover && grant.number == tenant.version);
    let units: Map<String, Value> =
        given.map(|grant| (grant.meter.to_string(), json!(grant.units.get()))).collect();
    json!({ "units": units })
}

fn instant(at: Option<UnixMillis>) -> Value {
    at.map_or(Value::Null, |at| json!(at.to_string()))
}

fn when(when: When) -> Value {
    match when {
        When::Now => json!("now"),
        When::PeriodEnd => json!("period_end"),
        When::At(at) => json!(at.to_string()),
    }
}

fn plan(plan: &PlanRef) -> Value {
    json!({ "plan": plan.id.as_str(), "plan_version": plan.version.0 })
}

fn subscribe(asked: &Subscribe) -> Value {
    let Subscribe { plan: to, at, anchor, usage, trial } = asked;
    let mut detail = plan(to);
    detail["at"] = when(*at);
    detail["anchor_day"] = json!(anchor.map(AnchorDay::get));
    detail["usage"] = json!(usage.map(UsageRule::as_str));
    if let Some(TrialOffer { days, then, usage, asked, again }) = trial {
        detail["trial"] = json!({
            "days": days,
            "then": then.as_ref().map(|plan| plan.id.as_str()),
            "usage": usage.as_str(),
            "asked": asked,
            "again": again,
        });
    }
    detail
}

/// What a billing system said.
fn mirrored(mirror: &Mirror) -> Value {
    let mut detail = json!({});
    if let Some(asked) = &mirror.subscription {
        use MirroredStanding as S;
        let (state, at) = match asked.standing {
            S::Trialing { ends_at } => ("trialing", Some(ends_at)),
            S::Active => ("active", None),
            S::PastDue { since, .. } => ("past_due", Some(since)),
            S::Unpaid => ("unpaid", None),
            S::Paused => ("paused", None),
            S::Expired => ("expired", None),
            S::Canceled { at } => ("canceled", Some(at)),
        };
        detail = plan(&asked.plan);
        detail["state"] = json!(state);
        detail["at"] = instant(at);
        detail["cancel_at"] = instant(asked.cancel_at);
    }
    let addons: Map<String, Value> =
        mirror.addons.iter().map(|(addon, quantity)| (addon.to_string(), json!(quantity))).collect();
    let features: Map<String, Value> =
        mirror.features.iter().map(|(feature, on)| (feature.to_string(), json!(on))).collect();
    detail["addons"] = Value::Object(addons);
    detail["features"] = Value::Object(features);
    detail
}

/// What was asked, without the hash of a key.
fn detail(change: &Change) -> Value {
    match change {
        Change::PutTenant { name, zone, attributes } => {
            let mut detail = json!({ "name": name, "timezone": zone.as_ref().map(Zone::name) });
            if let Some(attributes) = attributes {
                detail["attributes"] = attributes::encode(attributes);
            }
            detail
        }
        Change::Enroll { plan: to } | Change::MoveVersion { to } => plan(to),
        Change::Subscribe(asked) => subscribe(asked),
        Change::Cancel(at) => json!({ "at": when(*at) }),
        Change::PastDue { grace_days } => json!({ "grace_days": grace_days }),
        Change::Mirror(mirror) => mirrored(mirror),
        Change::SetOverrides(all) => overrides::encode(all),
        Change::Grant(new) => json!({
            "meter": new.meter.as_str(),
            "units": new.units.get(),
            "priority": new.priority,
            "expires_at": instant(new.expires_at),
            "recurring": new.recurring,
            "reason": new.reason,
        }),
        Change::VoidGrant(id) => json!({ "id": id.as_str() }),
        Change::Attach { addon, quantity } => json!({ "addon": addon.as_str(), "quantity": quantity }),
        Change::Detach { addon, at } => json!({ "addon": addon.as_str(), "at": when(*at) }),
        Change::CreateKey { id, name, expires_at, imported, .. } => json!({
            "id": id.as_str(),
            "name": name,
            "expires_at": instant(*expires_at),
            "imported": imported,
        }),
        Change::RevokeKey(id) => json!({ "id": id.as_str() }),
        Change::DeleteTenant
        | Change::Suspend
        | Change::Resume
        | Change::Undo
        | Change::Pause
        | Change::Continue
        | Change::Paid
        | Change::Advance
        | Change::RollOver { .. } => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{id::TenantId, lifecycle::Event};

    fn origin() -> Origin {
        Origin { at: UnixMillis(1_000), actor: "admin".into(), source: "here".into(), idempotency: None }
    }

    fn happened(at: i64, what: Event) -> Happened {
        Happened { at: UnixMillis(at), what }
    }

    fn after(happened: &[Happened]) -> (Tenant, Vec<Happened>) {
        (Tenant::new(TenantId::parse("acme").unwrap(), UnixMillis(0)), happened.to_vec())
    }

    #[test]
    fn what_happened_before_is_before() {
        let then: PlanRef = "pro@2".parse().unwrap();
        let all = [
            happened(10, Event::TrialEnded(Some(then))),
            happened(20, Event::GrantExpired("g1".parse().unwrap())),
            happened(1_000, Event::GraceEnded),
        ];
        let lines = lines(&Change::PastDue { grace_days: 0 }, &origin(), Some(&after(&all)));
        let words: Vec<_> = lines.iter().map(|line| (line.kind, line.actor.as_str())).collect();
        let system = |kind| (kind, "system");
        let expected = [
            system("trial.ended"),
            system("grant.expired"),
            ("subscription.past_due", "admin"),
            system("grace.ended"),
        ];
        assert_eq!(words, expected);
        let trial =
            json!({ "then": "pro", "plan": "pro", "plan_version": 2, "at": "1970-01-01T00:00:00.01Z" });
        assert_eq!(lines[0].detail, trial);
        assert_eq!(lines[2].detail, json!({ "grace_days": 0 }));
    }

    #[test]
    fn that_it_is_written_down_is_no_line() {
        let two = [happened(1, Event::GraceEnded), happened(2, Event::GraceEnded)];
        let lines = lines(&Change::Advance, &origin(), Some(&after(&two)));
        assert_eq!(lines.len(), 2);
        assert_eq!(kinds(&lines).into_iter().collect::<Vec<_>>(), ["grace.ended"]);
    }

    #[test]
    fn what_was_rolled_over_is_told() {
        let lines = lines(&Change::RollOver { rules: Vec::new() }, &origin(), Some(&after(&[])));
        assert_eq!(lines[0].detail, json!({ "units": {} }));
    }
}
