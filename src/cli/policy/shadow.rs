//! `plangate policy shadow`.

use clap::{Args, ValueEnum};
use http::Method;
use serde_json::Value;

use crate::cli::{
    Failure,
    client::{Call, Connection},
    output::{Rows, field, note, show},
};

/// Show what the policies that are tried in the shadow would have decided otherwise
#[derive(Debug, Args)]
pub struct Shadow {
    /// Sum up by tenant or by route
    #[arg(long, value_enum)]
    by: Option<By>,
    /// How many rows, the most frequent first: 1 to 500
    #[arg(long, value_name = "ROWS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Tenants
    Tenant,
    /// Routes
    Route,
}

impl By {
    const fn word(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Route => "route",
        }
    }
}

impl Shadow {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let call = Call::new(Method::GET, &["v1", "policy", "shadow"])
            .query("by", self.by.map(|by| by.word().to_owned()))
            .query("limit", Some(self.limit.to_string()));
        let answer = self.connection.call(call).await?;
        note(&in_words(&answer));
        show(self.connection.output, &answer, &rows(&answer, self.by))?;
        if answer.get("next").is_some_and(|next| !next.is_null()) {
            note("there are more: --limit shows up to 500, --by sums up");
        }
        Ok(())
    }
}

/// What the totals say.
fn in_words(answer: &Value) -> String {
    let total = |name: &str| answer.pointer(&format!("/totals/{name}")).and_then(Value::as_u64).unwrap_or(0);
    let since = field(answer, "/since");
    let (refused, allowed) = (total("newly_refused"), total("newly_allowed"));
    let otherwise = total("differing").saturating_sub(refused).saturating_sub(allowed);
    let compared = total("compared");
    let mut text = format!("{} of {}", grouped(refused), counted(compared, "request"));
    text.push_str(&format!(" since {since} would have been refused, {} let in", grouped(allowed)));
    if otherwise > 0 {
        text.push_str(&format!(", and {} answered otherwise", grouped(otherwise)));
    }
    text.push('.');
    let uncompared = total("uncompared");
    if uncompared > 0 {
        text.push_str(&format!(" {} could not be compared.", counted(uncompared, "request")));
    }
    text
}

fn rows(answer: &Value, by: Option<By>) -> Rows {
    let mut rows = Rows::new(match by {
        None => &["TENANT", "ROUTE", "NOW", "THEN", "REQUESTS"],
        Some(By::Tenant) => &["TENANT", "REQUESTS", "REFUSED THEN", "LET IN THEN"],
        Some(By::Route) => &["ROUTE", "REQUESTS", "REFUSED THEN", "LET IN THEN"],
    });
    for item in answer.get("items").and_then(Value::as_array).into_iter().flatten() {
        let sums = || ["/count", "/newly_refused", "/newly_allowed"].map(|path| field(item, path));
        rows.add(match by {
            None => vec![
                sender(item),
                route(item),
                verdict(item, "/enforced"),
                verdict(item, "/candidate"),
                field(item, "/count"),
            ],
            Some(By::Tenant) => std::iter::once(sender(item)).chain(sums()).collect(),
            Some(By::Route) => std::iter::once(route(item)).chain(sums()).collect(),
        });
    }
    rows
}

/// Who: in brackets where it is no tenant.
fn sender(item: &Value) -> String {
    match item.get("sender").and_then(Value::as_str) {
        Some("tenant") | None => field(item, "/tenant"),
        Some(other) => format!("({other})"),
    }
}

fn route(item: &Value) -> String {
    let route = field(item, "/route");
    if route.is_empty() { "(no route)".to_owned() } else { route }
}

/// `feature-not-in-plan export`.
fn verdict(item: &Value, path: &str) -> String {
    let part = |name: &str| item.pointer(&format!("{path}/{name}")).and_then(Value::as_str);
    let code = part("code").unwrap_or("-");
    match part("feature").or(part("meter")) {
        Some(about) => format!("{code} {about}"),
        None => code.to_owned(),
    }
}

/// `1 request`, `12,400 requests`.
fn counted(number: u64, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {what}{ending}", grouped(number))
}

/// `12,400`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && place % 3 == first {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> Value {
        json!({
            "number": 3, "digest": "d", "since": "2026-11-22T10:00:00Z", "next": null,
            "totals": {
                "compared": 12_400, "differing": 21, "newly_refused": 18, "newly_allowed": 2, "uncompared": 1
            },
            "items": [
                { "sender": "tenant", "tenant": "acme", "route": "GET /v1/export/{*rest}", "count": 18,
                  "enforced": { "code": "allow" },
                  "candidate": { "code": "feature-not-in-plan", "feature": "export" } },
                { "sender": "anonymous", "tenant": null, "route": "", "count": 2,
                  "enforced": { "code": "credential-missing" }, "candidate": { "code": "allow" } },
                { "sender": "others", "tenant": null, "route": "*", "count": 1,
                  "enforced": { "code": "rate-limited", "meter": "requests" },
                  "candidate": { "code": "quota-exhausted", "meter": "requests" } },
            ],
        })
    }

    #[test]
    fn the_totals_are_said_in_words() {
        assert_eq!(
            in_words(&answer()),
            "18 of 12,400 requests since 2026-11-22T10:00:00Z would have been refused, 2 let in, and 1 answered \
             otherwise. 1 request could not be compared."
        );
        let nothing = json!({ "since": "then", "totals": {} });
        assert_eq!(in_words(&nothing), "0 of 0 requests since then would have been refused, 0 let in.");
    }

    #[test]
    fn rows_say_who_what_and_how_often() {
        assert_eq!(
            rows(&answer(), None).plain(),
            "TENANT\tROUTE\tNOW\tTHEN\tREQUESTS\n\
             acme\tGET /v1/export/{*rest}\tallow\tfeature-not-in-plan export\t18\n\
             (anonymous)\t(no route)\tcredential-missing\tallow\t2\n\
             (others)\t*\trate-limited requests\tquota-exhausted requests\t1\n"
        );
        let sums = json!({ "items": [
            { "sender": "tenant", "tenant": "acme", "count": 5, "newly_refused": 3, "newly_allowed": 1 },
        ] });
        assert_eq!(
            rows(&sums, Some(By::Tenant)).plain(),
            "TENANT\tREQUESTS\tREFUSED THEN\tLET IN THEN\nacme\t5\t3\t1\n"
        );
        let sums = json!({ "items": [
            { "route": "GET /a", "count": 5, "newly_refused": 3, "newly_allowed": 1 },
        ] });
        assert!(rows(&sums, Some(By::Route)).plain().ends_with("\nGET /a\t5\t3\t1\n"));
    }

    #[test]
    fn long_numbers_are_grouped() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (12_400, "12,400"), (123_456, "123,456")]
        {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
    }
}
