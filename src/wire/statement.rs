//! A statement as JSON: what the admin API answers, and what is kept of a closed one, byte for byte.

use serde_json::{Map, Value, json};

use crate::domain::{
    money::{Currency, Price, Total},
    statement::{GrantCount, Hours, Item, Line, MeterCount, Statement, Unpriced},
    time::UnixMillis,
    units::Allowance,
};

/// Whether a statement is still being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// As it is at this instant: plans and add-ons for the whole period, usage so far.
    Open(UnixMillis),
    /// For good, since then.
    Closed(UnixMillis),
}

/// A statement as JSON.
#[must_use]
pub fn encode(statement: &Statement, status: Status) -> Value {
    let totals: Map<String, Value> = statement
        .totals()
        .into_iter()
        .map(|(currency, total)| (currency.to_string(), json!(amount(total, Some(currency)))))
        .collect();
    let (word, at) = match status {
        Status::Open(at) => ("open", at),
        Status::Closed(at) => ("closed", at),
    };
    json!({
        "tenant": statement.tenant.as_str(),
        "statement": statement.name,
        "period": { "start": statement.period.start.to_string(), "end": statement.period.end.to_string() },
        "zone": statement.zone.name(),
        "status": word,
        "as_of": at.to_string(),
        "currency": statement.currency.map(|currency| currency.to_string()),
        "lines": statement.lines.iter().map(line).collect::<Vec<_>>(),
        "total": amount(statement.total(), statement.currency),
        "totals": totals,
        "usage": statement.usage.iter().map(usage).collect::<Vec<_>>(),
        "grants": statement.grants.iter().map(grant).collect::<Vec<_>>(),
        "unpriced": statement.unpriced.iter().map(unpriced).collect::<Vec<_>>(),
    })
}

/// An amount as it is paid.
#[must_use]
pub fn amount(total: Total, currency: Option<Currency>) -> String {
    total.written(currency.map_or(2, Currency::minor_digits))
}

fn line(line: &Line) -> Value {
    let amount = amount(line.amount, line.currency);
    let mut value = item(&line.item);
    value["kind"] = json!(line.item.kind());
    value["currency"] = json!(line.currency.map(|currency| currency.to_string()));
    value["amount"] = json!(if line.item.is_credit() { format!("-{amount}") } else { amount });
    value
}

fn item(item: &Item) -> Value {
    let price_text = |price: &Option<Price>| price.map(|price| price.amount.to_string());
    match item {
        Item::Plan { plan, title, state, span, price } => json!({
            "plan": plan.id.as_str(),
            "plan_version": plan.version.0,
            "title": title,
            "state": state.as_str(),
            "from": span.start.to_string(),
            "to": span.end.to_string(),
            "price": price_text(price),
        }),
        Item::Addon { addon, title, quantity, span, price } => json!({
            "addon": addon.as_str(),
            "title": title,
            "quantity": quantity,
            "from": span.start.to_string(),
            "to": span.end.to_string(),
            "price": price_text(price),
        }),
        Item::Overage { meter, counting, plan, units, price, per } => json!({
            "meter": meter.as_str(),
            "counting": counting.0,
            "plan": plan.id.as_str(),
            "plan_version": plan.version.0,
            "units": units.get(),
            "price": price.to_string(),
            "per": per.get(),
        }),
        Item::SpendCap { cap } => json!({ "cap": cap.to_string() }),
    }
}

fn unpriced(unpriced: &Unpriced) -> Value {
    let mut value = match unpriced {
        Unpriced::Plan { plan, span } => json!({
            "plan": plan.id.as_str(),
            "plan_version": plan.version.0,
            "from": span.start.to_string(),
            "to": span.end.to_string(),
        }),
        Unpriced::Addon { addon, quantity, span } => json!({
            "addon": addon.as_str(),
            "quantity": quantity,
            "from": span.start.to_string(),
            "to": span.end.to_string(),
        }),
        Unpriced::Overage { meter, counting, units, .. } => json!({
            "meter": meter.as_str(),
            "counting": counting.0,
            "units": units.get(),
        }),
    };
    value["kind"] = json!(unpriced.kind());
    value["reason"] = json!(unpriced.reason());
    value
}

fn hours(hours: &Hours) -> Value {
    hours.iter().map(|(hour, units)| json!([hour.to_string(), units.get()])).collect()
}

fn usage(count: &MeterCount) -> Value {
    json!({
        "meter": count.meter.as_str(),
        "counting": count.counting.0,
        "included": count.included.map(|included| match included {
            Allowance::Limited(units) => json!(units.get()),
            Allowance::Unlimited => json!("unlimited"),
        }),
        "mode": count.mode,
        "used": count.used.get(),
        "overage": count.overage.get(),
        "uncertain": count.uncertain.get(),
        "hours": hours(&count.hours),
        "overage_hours": hours(&count.overage_hours),
    })
}

fn grant(count: &GrantCount) -> Value {
    json!({
        "grant": count.grant.as_str(),
        "meter": count.meter.as_str(),
        "used": count.used.get(),
        "uncertain": count.uncertain.get(),
        "hours": hours(&count.hours),
    })
}
