//! A statement as CSV (RFC 4180): made of its JSON, so that a closed one says the same in both forms.

use serde_json::Value;

/// The names of the columns.
const COLUMNS: [&str; 13] = [
    "kind", "item", "meter", "counting", "state", "from", "to", "quantity", "units", "price", "per",
    "currency", "amount",
];

/// A statement's lines, its totals, what was used, and the hours that make that up.
#[must_use]
pub fn encode(statement: &Value) -> String {
    let mut rows = Rows(String::new());
    rows.0.push_str(&line(&COLUMNS.map(str::to_owned)));
    for item in list(statement, "/lines") {
        rows.line(&text(&item["kind"]), item);
    }
    for (currency, total) in statement.get("totals").and_then(Value::as_object).into_iter().flatten() {
        rows.push(&[("kind", "total"), ("currency", currency), ("amount", &text(total))]);
    }
    for item in list(statement, "/unpriced") {
        rows.line(&format!("unpriced_{}", text(&item["kind"])), item);
    }
    for count in list(statement, "/usage") {
        rows.usage(count);
    }
    for grant in list(statement, "/grants") {
        let (id, meter) = (text(&grant["grant"]), text(&grant["meter"]));
        rows.units("grant", &id, &meter, "", grant, "used", "hours");
        rows.push(&[
            ("kind", "grant_uncertain"),
            ("item", &id),
            ("meter", &meter),
            ("units", &text(&grant["uncertain"])),
        ]);
    }
    rows.0
}

struct Rows(String);

impl Rows {
    fn push(&mut self, cells: &[(&str, &str)]) {
        let cell = |name: &str| {
            let found = cells.iter().find(|(column, _)| *column == name);
            found.map_or_else(String::new, |(_, text)| (*text).to_owned())
        };
        self.0.push_str(&line(&COLUMNS.map(cell)));
    }

    fn line(&mut self, kind: &str, item: &Value) {
        let named = match (&item["plan"], &item["plan_version"]) {
            (Value::String(plan), version) => format!("{plan}@{version}"),
            _ => text(if item["cap"].is_null() { &item["addon"] } else { &item["cap"] }),
        };
        let own = |name: &str| text(&item[name]);
        self.push(&[
            ("kind", kind),
            ("item", &named),
            ("meter", &own("meter")),
            ("counting", &own("counting")),
            ("state", &own("state")),
            ("from", &own("from")),
            ("to", &own("to")),
            ("quantity", &own("quantity")),
            ("units", &own("units")),
            ("price", &own("price")),
            ("per", &own("per")),
            ("currency", &own("currency")),
            ("amount", &own("amount")),
        ]);
    }

    fn usage(&mut self, count: &Value) {
        let (meter, counting) = (text(&count["meter"]), text(&count["counting"]));
        for (kind, field) in [("included", "included"), ("uncertain", "uncertain")] {
            self.push(&[
                ("kind", kind),
                ("meter", &meter),
                ("counting", &counting),
                ("units", &text(&count[field])),
            ]);
        }
        self.units("used", "", &meter, &counting, count, "used", "hours");
        self.units("beyond", "", &meter, &counting, count, "overage", "overage_hours");
    }

    /// A number of units, and the hours that make it up.
    #[allow(clippy::too_many_arguments, reason = "each is a column of its own")]
    fn units(
        &mut self,
        kind: &str,
        item: &str,
        meter: &str,
        counting: &str,
        of: &Value,
        units: &str,
        hours: &str,
    ) {
        let own = [("item", item), ("meter", meter), ("counting", counting)];
        let all = text(&of[units]);
        self.push(&[("kind", kind), own[0], own[1], own[2], ("units", &all)]);
        let kind = format!("{kind}_hour");
        for hour in of[hours].as_array().into_iter().flatten() {
            let (from, units) = (text(&hour[0]), text(&hour[1]));
            self.push(&[("kind", &kind), own[0], own[1], own[2], ("from", &from), ("units", &units)]);
        }
    }
}

fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// One line of cells.
#[must_use]
pub fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|text| cell(text)).collect();
    cells.join(",") + "\r\n"
}

/// A cell: quoted where it must be, and never what a spreadsheet takes for a formula.
fn cell(text: &str) -> String {
    let number = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) && !number(text);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_are_quoted_and_never_formulas() {
        let cells = ["a,b", "say \"no\"", "=1+1", "-5.00", "-x", "@sum", "two\nlines", ""];
        assert_eq!(
            line(&cells.map(str::to_owned)),
            "\"a,b\",\"say \"\"no\"\"\",'=1+1,-5.00,'-x,'@sum,\"two\nlines\",\r\n"
        );
    }

    #[test]
    fn each_line_has_all_columns() {
        let statement = json!({
            "lines": [
                { "kind": "plan", "plan": "pro", "plan_version": 2, "state": "active", "amount": "19.00" },
                { "kind": "spend_cap", "cap": "5.00", "amount": "-1.00", "currency": "USD" },
            ],
            "totals": { "USD": "18.00" },
            "usage": [{ "meter": "requests", "counting": 7, "included": "unlimited", "used": 3, "overage": 0,
                        "uncertain": 0, "hours": [["2026-11-15T10:00:00Z", 3]], "overage_hours": [] }],
            "grants": [{ "grant": "g1", "meter": "requests", "used": 1, "uncertain": 0,
                         "hours": [["2026-11-15T10:00:00Z", 1]] }],
            "unpriced": [{ "kind": "plan", "plan": "old", "plan_version": 1, "reason": "gone" },
                         { "kind": "overage", "meter": "requests", "counting": 7, "units": 5, "reason": "gone" }],
        });
        let text = encode(&statement);
        assert!(text.lines().all(|line| line.matches(',').count() == COLUMNS.len() - 1), "{text}");
        for line in [
            "plan,pro@2,,,active,,,,,,,,19.00",
            "spend_cap,5.00,,,,,,,,,,USD,-1.00",
            "total,,,,,,,,,,,USD,18.00",
            "unpriced_plan,old@1,,,,,,,,,,,",
            "unpriced_overage,,requests,7,,,,,5,,,,",
            "used,,requests,7,,,,,3,,,,",
            "used_hour,,requests,7,,2026-11-15T10:00:00Z,,,3,,,,",
            "grant_hour,g1,requests,,,2026-11-15T10:00:00Z,,,1,,,,",
        ] {
            assert!(text.contains(&format!("{line}\r\n")), "{line}: {text}");
        }
    }
}
