//! The report of `policy test` for programs.

use serde_json::{Map, Value, json};

use super::TestReport;
use crate::policy::case::{CaseResult, Coverage, Difference, Failed, Holding, Tried, percent, tried_of};

impl TestReport {
    /// The same for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "ok": self.is_ok(),
            "passed": self.passed(),
            "failed": self.failed(),
            "left_out": self.left_out,
            "cases": self.results.iter().map(case).collect::<Vec<_>>(),
            "coverage": self.coverage.as_ref().map(coverage),
            "check": self.check.to_json(),
        })
    }
}

fn case(result: &CaseResult) -> Value {
    let mut out = json!({
        "name": result.name,
        "file": result.file,
        "line": result.line,
        "passed": result.passed,
        "steps": result.steps - 1,
        "expected": result.expected,
        "got": result.got,
    });
    if let Some(failed) = &result.failed {
        out["failure"] = failure(failed);
    }
    out
}

fn failure(failed: &Failed) -> Value {
    let difference =
        |one: &Difference| json!({ "field": one.field, "expected": one.expected, "got": one.got });
    json!({
        "line": failed.line,
        "step": failed.step,
        "after": failed.after,
        "request": failed.request,
        "at": failed.at,
        "differences": failed.differences.iter().map(difference).collect::<Vec<_>>(),
        "reason": failed.reason,
        "tenant": failed.tenant.as_ref().map(tenant),
        "steps_not_run": failed.left,
    })
}

fn tenant(tenant: &Holding) -> Value {
    let meters: Vec<Value> = tenant
        .meters
        .iter()
        .map(|held| {
            json!({
                "meter": held.meter,
                "window": held.window,
                "used": held.used,
                "limit": held.limit,
                "overage": held.overage,
            })
        })
        .collect();
    let attributes: Map<String, Value> =
        tenant.attributes.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    json!({
        "plan": tenant.plan,
        "state": tenant.state,
        "suspended": tenant.suspended,
        "attributes": attributes,
        "meters": meters,
        "request_counted": tenant.counted,
    })
}

fn coverage(coverage: &Coverage) -> Value {
    let thing = |one: &Tried| json!({ "name": one.name, "tried": one.is_tried(), "answers": one.answers });
    let mut out = json!({ "percent": coverage.percent() });
    for (name, things) in coverage.kinds() {
        let tried = (tried_of(things), things.len());
        out[name] = json!({
            "percent": percent(tried),
            "tried": tried.0,
            "all": tried.1,
            "each": things.iter().map(thing).collect::<Vec<_>>(),
        });
    }
    out
}
