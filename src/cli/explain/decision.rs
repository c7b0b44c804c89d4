//! The text of a decision: the verdict, then each step with its rule and its numbers, then what would help.

use serde_json::{Map, Value};

use super::{
    super::output::field,
    words::{Style, Text, grouped, list, number, rule_of, short, text_of},
};

/// What the answer to a check says.
pub(super) fn text(answer: &Value, style: Style) -> String {
    let mut text = Text::new(style);
    verdict(answer, &mut text);
    let (tenant, method) = (field(answer, "/tenant"), field(answer, "/method"));
    text.line(&format!("{method} {} by {tenant}", field(answer, "/path")));
    text.line("");
    for step in list(answer, "steps") {
        show_step(answer, step, &mut text);
    }
    text.line("");
    for help in what_helps(answer) {
        text.line(&format!("what would help: {help}"));
    }
    for line in whence(answer) {
        text.line(&line);
    }
    text.end()
}

fn is_allowed(answer: &Value) -> bool {
    answer.get("allow").and_then(Value::as_bool) == Some(true)
}

fn verdict(answer: &Value, text: &mut Text) {
    if is_allowed(answer) && text_of(answer, "answered_by") == Some("plangate") {
        let status = field(answer, "/status");
        text.verdict(true, &format!("ALLOW {status}, answered by Plangate itself, charges nothing"));
    } else if is_allowed(answer) {
        text.verdict(true, &format!("ALLOW, charges {}", charges(answer)));
    } else {
        let (status, code) = (field(answer, "/status"), field(answer, "/code"));
        text.verdict(false, &format!("DENY {status} {code}: {}", field(answer, "/detail")));
    }
}

/// `requests 1 and ai_tokens 4,096 (a reserve, settled by x-usage-ai-tokens)`.
fn charges(answer: &Value) -> String {
    let none = Map::new();
    let charge = answer.get("charge").and_then(Value::as_object).unwrap_or(&none);
    let reserved = |meter: &str| text_of(answer.get("reserved")?, meter);
    let each = charge.iter().map(|(meter, units)| {
        let units = units.as_u64().map_or_else(|| units.to_string(), grouped);
        match reserved(meter) {
            Some(header) => format!("{meter} {units} (a reserve, settled by the answer's {header})"),
            None => format!("{meter} {units}"),
        }
    });
    let each: Vec<String> = each.collect();
    if each.is_empty() { "nothing".to_owned() } else { each.join(" and ") }
}

fn show_step(answer: &Value, step: &Value, text: &mut Text) {
    let (name, ok) = (field(step, "/step"), step.get("ok") == Some(&Value::Bool(true)));
    text.step(ok, &name, &field(step, "/detail"));
    match name.as_str() {
        "features" => {
            let features = list(answer, "features");
            for feature in features {
                let has = if feature.get("ok") == Some(&Value::Bool(true)) { "yes" } else { "no" };
                text.below(0, &format!("{}: {has}", field(feature, "/feature")));
                text.ground(2, feature);
            }
            // A meter that the plan does not name is no feature: its ground is the step's own.
            if features.iter().all(|feature| feature.get("ok") == Some(&Value::Bool(true))) && !ok {
                text.ground(0, step);
            }
        }
        "rate" => list(answer, "rates").iter().for_each(|rate| show_rate(rate, text)),
        "quota" => {
            list(answer, "quotas").iter().for_each(|quota| show_quota(quota, text));
            answer.get("spend_cap").into_iter().for_each(|cap| show_spend_cap(cap, text));
        }
        "route" => {
            text.ground(0, step);
            if let Some(rule) = answer.get("charge_rule").filter(|rule| rule.is_object()) {
                // Mostly it stands where the route does.
                let elsewhere = if step.get("rule") == Some(rule) {
                    String::new()
                } else {
                    format!(": {}", rule_of(rule))
                };
                text.below(0, &format!("charges {}{elsewhere}", charges(answer)));
            }
        }
        _ => text.ground(0, step),
    }
}

fn show_rate(rate: &Value, text: &mut Text) {
    let (meter, needs) = (field(rate, "/meter"), number(rate, "needs"));
    let (limit, per, burst) = (number(rate, "limit"), field(rate, "/per"), number(rate, "burst"));
    text.below(0, &format!("{meter}: needs {needs}, {limit} per {per}, {burst} at once"));
    text.ground(2, rate);
}

fn show_quota(quota: &Value, text: &mut Text) {
    let (meter, window) = (field(quota, "/meter"), field(quota, "/window"));
    let resets = field(quota, "/resets_at");
    text.below(
        0,
        &format!("{meter} per {window}: needs {}, {}, resets {resets}", number(quota, "needs"), used(quota)),
    );
    text.ground(2, quota);
    let sources = list(quota, "sources");
    if sources.len() > 1 {
        for source in sources {
            let id = text_of(source, "id").map_or_else(String::new, |id| format!(" {id}"));
            let until = text_of(source, "expires_at");
            let until = until.map_or_else(String::new, |until| format!(", until {until}"));
            text.below(4, &format!("{}{id}: {}{until}", field(source, "/source"), used(source)));
        }
    }
}

fn show_spend_cap(cap: &Value, text: &mut Text) {
    let [needs, spent, limit, currency, resets] =
        ["/needs", "/spent", "/limit", "/currency", "/resets_at"].map(|place| field(cap, place));
    let line = format!("spend cap: needs {needs}, {spent} of {limit} {currency} spent, resets {resets}");
    text.below(0, &line);
    text.ground(2, cap);
}

fn used(of: &Value) -> String {
    let (used, limit) = (number(of, "used"), number(of, "limit"));
    match of.get("remaining").and_then(Value::as_u64) {
        Some(left) => format!("{used} of {limit} used, {} left", grouped(left)),
        None => format!("{used} used, unlimited"),
    }
}

/// What a person may do about a refusal.
fn what_helps(answer: &Value) -> Vec<String> {
    if is_allowed(answer) {
        return Vec::new();
    }
    let tenant = field(answer, "/tenant");
    let mut help = Vec::new();
    let plans: Vec<&str> = list(answer, "plans").iter().filter_map(Value::as_str).collect();
    if !plans.is_empty() {
        help.push(format!("plans that allow it: {}", plans.join(", ")));
    }
    let refusing = list(answer, "quotas").iter().find(|quota| quota.get("ok") == Some(&Value::Bool(false)));
    match text_of(answer, "code").unwrap_or_default() {
        "tenant-unknown" => help.push(format!("`plangate tenant put {tenant}` makes the tenant")),
        "tenant-suspended" => {
            help.push(format!("`plangate tenant resume {tenant}` takes the suspension back"))
        }
        "subscription-inactive" => {
            help.push(match text_of(answer, "state").unwrap_or_default() {
                "paused" => format!("`plangate subscription resume {tenant}` ends the pause"),
                "unpaid" => format!("`plangate subscription paid {tenant}`, once it is"),
                _ => format!("`plangate subscription put {tenant} PLAN` puts the tenant on a plan"),
            });
        }
        "route-not-covered" => help.push("a route in routes.yaml that covers it".to_owned()),
        "feature-not-in-plan" => {
            help.push(format!("`plangate tenant overrides {tenant}` sets it for this tenant alone"));
        }
        "quota-exhausted" => {
            if let Some(cap) = answer.get("spend_cap") {
                help.push(format!("to wait until {}", field(cap, "/resets_at")));
                help.push(format!(
                    "`plangate tenant overrides {tenant}` sets another `spend_cap` for this tenant"
                ));
            }
            if let Some(quota) = refusing {
                let (meter, resets) = (field(quota, "/meter"), field(quota, "/resets_at"));
                // What needs more than there ever is does not pass later either.
                if quota.get("needs").and_then(Value::as_u64) <= quota.get("limit").and_then(Value::as_u64) {
                    help.push(format!("to wait until {resets}"));
                }
                if field(quota, "/window") == "month" {
                    help.push(format!(
                        "`plangate grant create {tenant} {meter} UNITS` gives units beside the plan's"
                    ));
                }
            }
        }
        _ => {}
    }
    help
}

/// By what it was decided, and how old that is.
fn whence(answer: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(policy) = answer.get("policy") {
        let digest = text_of(policy, "digest").map(short).unwrap_or_default();
        let source = match (text_of(policy, "source"), policy.get("number").and_then(Value::as_u64)) {
            (Some("revision"), Some(number)) => format!(" (revision {number})"),
            (Some(source), _) => format!(" ({source})"),
            (None, _) => String::new(),
        };
        let trial =
            if policy.get("trial") == Some(&Value::Bool(true)) { ", on trial for this tenant" } else { "" };
        lines.push(format!("policies {digest}{source}{trial}"));
    }
    let mut facts = Vec::new();
    if let Some(plan) = text_of(answer, "plan") {
        facts.push(format!("plan {plan} in version {}", number(answer, "plan_version")));
    }
    if answer.get("version").is_some_and(Value::is_u64) {
        facts.push(format!("facts of version {}", number(answer, "version")));
    }
    if let Some(age) = answer.get("age_ms").and_then(Value::as_u64) {
        facts.push(format!("heard of changes {} ms ago", grouped(age)));
    }
    if let Some(node) = text_of(answer, "node").filter(|node| !node.is_empty()) {
        facts.push(format!("node {node}"));
    }
    if !facts.is_empty() {
        lines.push(facts.join(", "));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_with_less_than_expected_is_still_shown() {
        for answer in
            [json!({}), json!(null), json!({ "allow": true }), json!({ "steps": [{}], "quotas": 1 })]
        {
            assert!(text(&answer, Style::PLAIN).ends_with('\n'), "{answer}");
        }
    }

    #[test]
    fn a_reserve_says_where_its_cost_comes_from() {
        let answer = json!({ "allow": true, "charge": { "ai_tokens": 4096, "requests": 1 },
                             "reserved": { "ai_tokens": "x-usage" } });
        let shown = text(&answer, Style::PLAIN);
        let first = shown.lines().next().unwrap();
        assert_eq!(
            first,
            "ALLOW, charges ai_tokens 4,096 (a reserve, settled by the answer's x-usage) and requests 1"
        );
    }
}
