//! `stripe.yaml`: what the names of a Stripe account mean here.

use std::collections::BTreeMap;

use super::{Fields, named, scalar};
use crate::domain::billing::Told;
use crate::policy::{
    definition::{At, MeterTold, Name, Sale, StripeFile},
    diagnostic::Findings,
    schema,
    source::Place,
    tree::Node,
};

/// Reads the file.
pub(in crate::policy) fn decode(root: &Node, findings: &mut Findings<'_>) -> Option<StripeFile> {
    let fields = Fields::read(root, "stripe.yaml", schema::Stripe::KEYS, findings)?;
    let mut sales = |key: &str, (what, longest): (&str, usize)| {
        let mut sales = Vec::new();
        for (name, value) in section(&fields, key, findings) {
            let fits = is_name(&name, what, longest, findings);
            if let (true, Some(sale)) = (fits, sale(value, findings)) {
                sales.push((name, sale));
            }
        }
        sales
    };
    let (prices, lookup_keys) = (sales("prices", PRICE), sales("lookup_keys", LOOKUP_KEY));
    let mut features = Vec::new();
    for (name, value) in section(&fields, "features", findings) {
        let fits = is_name(&name, LOOKUP_KEY.0, LOOKUP_KEY.1, findings);
        let feature = reference(value, "the name of a feature", findings);
        features.extend(feature.filter(|_| fits).map(|feature| (name, feature)));
    }
    let mut meters = Vec::new();
    let mut seen: BTreeMap<String, Place> = BTreeMap::new();
    for (name, value) in section(&fields, "meters", findings) {
        let Some(told) = told(value, findings) else { continue };
        let event = &told.event_name;
        if let Some(first) = seen.insert(event.value.clone(), event.place) {
            let other = findings.locate(first);
            let message = format!("two meters are told as `{}`: their sums would be one", event.value);
            let finding = findings.error_at("duplicate-name", event.place, message);
            findings.push(finding.related(other, "first here"));
        }
        meters.push((name, told));
    }
    Some(StripeFile { prices, lookup_keys, features, meters })
}

/// What a name is in messages, and how long it may be.
const PRICE: (&str, usize) = ("a price's id", 255);
const LOOKUP_KEY: (&str, usize) = ("a lookup key", 200);
const EVENT_NAME: (&str, usize) = ("an event's name", 100);

fn section<'t>(fields: &Fields<'t>, key: &str, findings: &mut Findings<'_>) -> Vec<(Name, &'t Node)> {
    fields.get(key).map(|node| named(node, &format!("`{key}`"), findings)).unwrap_or_default()
}

fn is_name(name: &Name, what: &str, longest: usize, findings: &mut Findings<'_>) -> bool {
    let of_price = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let sign = |byte: u8| if what == PRICE.0 { of_price(byte) } else { byte.is_ascii_graphic() };
    let fits = (1..=longest).contains(&name.value.len()) && name.value.bytes().all(sign);
    if !fits {
        let shown: String = name.value.chars().take(80).collect();
        let message = format!("`{shown}` is not {what}: expected 1 to {longest} characters without spaces");
        findings.error("invalid-stripe-name", name.place, message);
    }
    fits
}

/// A name that refers to something of the policies.
fn reference(node: &Node, what: &str, findings: &mut Findings<'_>) -> Option<Name> {
    let text = scalar::text(node, what, findings)?;
    Some(At { value: text.to_owned(), place: node.place })
}

fn sale(node: &Node, findings: &mut Findings<'_>) -> Option<Sale> {
    let fields = Fields::read(node, "a price", schema::Sale::KEYS, findings)?;
    let help = || "write `{ plan: pro }` or `{ addon: extra-seats }`".to_owned();
    match (fields.get("plan"), fields.get("addon")) {
        (Some(plan), None) => reference(plan, "the name of a plan", findings).map(Sale::Plan),
        (None, Some(addon)) => reference(addon, "the name of an add-on", findings).map(Sale::Addon),
        (Some(_), Some(_)) => {
            let message = "a price sells a plan or an add-on, not both";
            findings.error_help("invalid-sale", node.place, message, help());
            None
        }
        (None, None) => {
            // What was misspelt is told already.
            if fields.unknown == 0 {
                findings.error_help(
                    "invalid-sale",
                    node.place,
                    "it is not said what the price sells",
                    help(),
                );
            }
            None
        }
    }
}

fn told(node: &Node, findings: &mut Findings<'_>) -> Option<MeterTold> {
    let fields = Fields::read(node, "a meter told to Stripe", schema::ToldMeter::KEYS, findings)?;
    let count = match fields.get("count") {
        None => Some(Told::Overage),
        Some(node) => match scalar::text(node, "`overage` or `all` for `count`", findings) {
            Some("overage") => Some(Told::Overage),
            Some("all") => Some(Told::All),
            Some(other) => {
                let shown: String = other.chars().take(80).collect();
                let message = format!("`{shown}` is not a count: expected `overage` or `all`");
                let help = "`overage`: units beyond what the plan includes; `all`: every unit".to_owned();
                findings.error_help("invalid-count", node.place, message, help);
                None
            }
            None => None,
        },
    };
    let event = fields.need("event_name", "the `event_name` of the meter in Stripe", findings)?;
    let event_name = reference(event, "the `event_name` of the meter in Stripe", findings)?;
    let fits = is_name(&event_name, EVENT_NAME.0, EVENT_NAME.1, findings);
    count.filter(|_| fits).map(|count| MeterTold { event_name, count })
}
