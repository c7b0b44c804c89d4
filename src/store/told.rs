//! What is told outside of a change of a tenant: its plan and its state, step by step.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::{
    domain::{
        event::EventKind,
        lifecycle::Happened,
        tenant::Tenant,
        time::{UnixMillis, Version},
    },
    ports::NewEvent,
};

/// The facts of a change of this version, made at `at`: also of all that had happened by itself until then.
pub(super) fn of_change(
    before: &Tenant,
    after: &Tenant,
    happened: &[Happened],
    at: UnixMillis,
    version: Version,
) -> Vec<NewEvent> {
    let mut events = Vec::new();
    let mut earlier = Cow::Borrowed(before);
    for (then, next) in before.on_the_way(after, happened, at) {
        step(&earlier, &next, then, version, &mut events);
        earlier = next;
    }
    events
}

fn step(from: &Tenant, to: &Tenant, at: UnixMillis, version: Version, events: &mut Vec<NewEvent>) {
    let plan = |tenant: &Tenant| {
        tenant.subscription.as_ref().map_or((Value::Null, Value::Null), |subscription| {
            (json!(subscription.plan.id.as_str()), json!(subscription.plan.version.0))
        })
    };
    let ((was, was_version), (is, is_version)) = (plan(from), plan(to));
    let mut push = |kind: EventKind, data: Value| {
        let name = format!("{}/{}/{version}/{}", kind.as_str(), to.id, events.len());
        events.push(NewEvent { name, kind, tenant: to.id.clone(), at, data });
    };
    if (&was, &was_version) != (&is, &is_version) {
        let data = json!({
            "plan": is, "plan_version": is_version,
            "previous_plan": was, "previous_plan_version": was_version,
            "version": version.0,
        });
        push(EventKind::PlanChanged, data);
    }
    let (was, now) = (from.state(), to.state());
    if was != now {
        let data = json!({
            "state": now.as_str(), "previous_state": was.as_str(), "plan": is, "version": version.0,
        });
        push(EventKind::SubscriptionStateChanged, data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        command::{Change, Subscribe},
        id::TenantId,
    };

    #[test]
    fn each_step_is_told() {
        let start = Tenant::new(TenantId::parse("acme").unwrap(), UnixMillis(0));
        let mut tried = start.clone();
        let asked = Subscribe {
            trial: Some(crate::domain::command::TrialOffer {
                days: 1,
                then: Some("free".parse().unwrap()),
                usage: crate::domain::subscription::UsageRule::Keep,
                asked: true,
                again: false,
            }),
            ..Subscribe::to("pro".parse().unwrap())
        };
        tried.apply(&Change::Subscribe(asked), UnixMillis(1), Version(1)).unwrap();
        let words = |events: &[NewEvent]| -> Vec<String> {
            events.iter().map(|event| format!("{} {}", event.at.0, event.name)).collect()
        };
        let events = of_change(&start, &tried, &[], UnixMillis(1), Version(1));
        assert_eq!(words(&events), ["1 plan.changed/acme/1/0", "1 subscription.state_changed/acme/1/1"]);
        let mut later = tried.clone();
        let then = UnixMillis(2 * 86_400_000);
        let happened = later.apply(&Change::Suspend, then, Version(2)).unwrap();
        let events = of_change(&tried, &later, &happened, then, Version(2));
        assert_eq!(
            words(&events),
            ["86400001 plan.changed/acme/2/0", "86400001 subscription.state_changed/acme/2/1"]
        );
        assert_eq!(events[0].data["previous_plan"], "pro");
        assert_eq!(events[1].data["previous_state"], "trialing");
    }
}
