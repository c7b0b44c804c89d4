//! Samples of what is told: for trying out an endpoint before anything has happened.

use serde_json::{Value, json};

use crate::domain::{event::EventKind, time::UnixMillis};

/// Whose facts samples are.
pub const TENANT: &str = "sample";

/// The body of a sample. `"sample": true` tells it from a fact.
#[must_use]
pub fn body(kind: EventKind, at: UnixMillis) -> String {
    let month_end = UnixMillis(at.0.saturating_add(9 * 86_400_000));
    let month_start = UnixMillis(at.0.saturating_sub(21 * 86_400_000));
    let period = json!({ "start": month_start.to_string(), "end": month_end.to_string() });
    let mut data = match kind {
        EventKind::PlanChanged => json!({
            "plan": "pro", "plan_version": 1, "previous_plan": "basic", "previous_plan_version": 1, "version": 1,
        }),
        EventKind::SubscriptionStateChanged => json!({
            "state": "active", "previous_state": "trialing", "plan": "pro", "version": 1,
        }),
        EventKind::TrialWillEnd => json!({
            "plan": "pro", "trial_ends_at": month_end.to_string(), "then": "free",
        }),
        EventKind::QuotaThreshold => json!({
            "meter": "requests", "threshold": 80, "limit": 100_000, "used": 80_000, "plan": "basic",
            "period": period,
        }),
        EventKind::QuotaExhausted => json!({
            "meter": "requests", "limit": 100_000, "used": 100_000, "plan": "basic", "period": period,
        }),
        EventKind::SpendThreshold => json!({
            "threshold": 80, "spend_cap": "200.00", "spent": "160.00", "currency": "USD", "plan": "pro",
            "period": period,
        }),
        EventKind::StatementClosed => json!({
            "period": period, "total": "42.50", "currency": "USD",
        }),
    };
    data["tenant"] = Value::from(TENANT);
    data["sample"] = Value::from(true);
    json!({ "type": kind.as_str(), "timestamp": at.to_string(), "data": data }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_one() {
        for kind in EventKind::ALL {
            let body: Value = serde_json::from_str(&body(kind, UnixMillis(1_700_000_000_000))).unwrap();
            assert_eq!(body["type"], kind.as_str());
            assert_eq!((&body["data"]["tenant"], &body["data"]["sample"]), (&"sample".into(), &true.into()));
        }
    }
}
