//! The text of a refusal of the last minutes, and the list of them.

use serde_json::Value;

use super::{
    super::output::{Rows, field},
    words::{Style, Text, list, number, short, text_of},
};

/// What a node remembers of a refusal.
pub(super) fn text(answer: &Value, style: Style) -> String {
    let mut text = Text::new(style);
    let (status, code) = (field(answer, "/status"), field(answer, "/code"));
    text.verdict(false, &format!("DENY {status} {code}: {}", field(answer, "/detail")));
    let by = text_of(answer, "tenant").map_or_else(|| "somebody unknown".to_owned(), str::to_owned);
    let plan = text_of(answer, "plan").map_or_else(String::new, |plan| format!(" on plan {plan}"));
    text.line(&format!("{} by {by}{plan}, at {}", request(answer), field(answer, "/at")));
    text.line("");
    let mut row = |name: &str, shown: Option<String>| {
        if let Some(shown) = shown {
            text.line(&format!("{name:<10}{shown}"));
        }
    };
    let owned = |name: &str| text_of(answer, name).map(str::to_owned);
    row("route", owned("route"));
    row("feature", owned("feature"));
    row("meter", numbers(answer));
    row("state", owned("state"));
    row("reason", owned("reason"));
    let version = answer.get("version").is_some_and(Value::is_u64);
    row("facts", version.then(|| format!("of version {}", number(answer, "version"))));
    row("policies", text_of(answer, "digest").map(short));
    row("node", owned("node"));
    if let (Some(tenant), Some(_)) = (text_of(answer, "tenant"), text_of(answer, "path")) {
        text.line("");
        text.line(&format!("as it is now: plangate explain --tenant {tenant} \"{}\"", request(answer)));
    }
    text.end()
}

/// `requests per month: 5 of 5 used, resets 2026-12-01T00:00:00Z`.
fn numbers(answer: &Value) -> Option<String> {
    let meter = text_of(answer, "meter")?;
    Some(match (text_of(answer, "window"), text_of(answer, "per")) {
        (Some(window), _) => format!(
            "{meter} per {window}: {} of {} used, resets {}",
            number(answer, "used"),
            number(answer, "limit"),
            field(answer, "/resets_at")
        ),
        (None, Some(per)) => format!("{meter}: {} per {per}", number(answer, "limit")),
        (None, None) => format!("{meter}: the plan has no quota for it"),
    })
}

fn request(answer: &Value) -> String {
    match (text_of(answer, "method"), text_of(answer, "path")) {
        (Some(method), Some(path)) => format!("{method} {path}"),
        _ => "a request that was forwarded".to_owned(),
    }
}

/// Refusals as rows.
pub(super) fn rows(answer: &Value) -> Rows {
    let mut rows = Rows::new(&["AT", "TENANT", "PLAN", "REQUEST", "STATUS", "CODE", "REQUEST ID"]);
    for item in list(answer, "items") {
        let cell = |name: &str| field(item, name);
        rows.add(vec![
            cell("/at"),
            cell("/tenant"),
            cell("/plan"),
            request(item),
            cell("/status"),
            cell("/code"),
            cell("/request_id"),
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_is_known_of_a_refusal_is_shown() {
        assert!(text(&json!({}), Style::PLAIN).starts_with("DENY - -"));
        let rate = json!({ "status": 429, "code": "rate-limited", "detail": "too fast", "tenant": "acme", "plan": "slow",
                           "method": "GET", "path": "/v1/x", "at": "T", "meter": "requests", "limit": 2000, "per": "1h" });
        let shown = text(&rate, Style::PLAIN);
        assert!(shown.contains("meter     requests: 2,000 per 1h\n"), "{shown}");
        assert!(shown.ends_with("as it is now: plangate explain --tenant acme \"GET /v1/x\"\n"), "{shown}");
        let away =
            json!({ "status": 502, "code": "upstream-unreachable", "detail": "away", "reason": "refused" });
        let shown = text(&away, Style::PLAIN);
        assert!(shown.contains("a request that was forwarded by somebody unknown"), "{shown}");
        assert!(shown.contains("reason    refused\n") && !shown.contains("as it is now"), "{shown}");
        assert_eq!(rows(&json!({ "items": [rate, away] })).len(), 2);
    }
}
