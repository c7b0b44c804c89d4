//! The tables of docs/policies.md, made from the schemas: between a mark for each kind of files and the next end mark.

use std::fs;

use serde_json::{Map, Value};

use super::super::{
    Addon, After, Attribute, Case, Cases, Changes, ComputedCharge, Declaration, Defaults, Expectation,
    Features, FixedCharge, Grace, Grant, Header, Kind, Meter, Overage, Overrides, PastDue, Plan, Price,
    Quota, Rate, Request, Reserve, Rollover, Route, Routes, Step, Stripe, Tenant, ToldMeter, Trial, Used,
    addon::AddedQuota,
    of,
    stripe::{AddonSale, PlanSale},
};
use super::root;

/// A map with known keys: its name in the schema, and the keys in the order in which they are declared.
type Shape = (&'static str, &'static [&'static str]);

/// The shapes of a kind: the file's own first.
fn shapes(kind: Kind) -> Vec<Shape> {
    match kind {
        Kind::Features => {
            vec![
                ("", Features::KEYS),
                ("Declaration", Declaration::KEYS),
                ("Meter", Meter::KEYS),
                ("Attribute", Attribute::KEYS),
            ]
        }
        Kind::Plan => vec![
            ("", Plan::KEYS),
            ("Price", Price::KEYS),
            ("Trial", Trial::KEYS),
            ("Grace", Grace::KEYS),
            ("Changes", Changes::KEYS),
            ("Quota", Quota::KEYS),
            ("Overage", Overage::KEYS),
            ("Rollover", Rollover::KEYS),
            ("Rate", Rate::KEYS),
        ],
        Kind::Addon => vec![("", Addon::KEYS), ("AddedQuota", AddedQuota::KEYS)],
        Kind::Routes => vec![
            ("", Routes::KEYS),
            ("Defaults", Defaults::KEYS),
            ("Route", Route::KEYS),
            ("FixedCharge", FixedCharge::KEYS),
            ("ComputedCharge", ComputedCharge::KEYS),
            ("Reserve", Reserve::KEYS),
            ("Header", Header::KEYS),
        ],
        Kind::Stripe => vec![
            ("", Stripe::KEYS),
            ("PlanSale", PlanSale::KEYS),
            ("AddonSale", AddonSale::KEYS),
            ("ToldMeter", ToldMeter::KEYS),
        ],
        Kind::Cases => vec![
            ("", Cases::KEYS),
            ("Case", Case::KEYS),
            ("Request", Request::KEYS),
            ("Tenant", Tenant::KEYS),
            ("Used", Used::KEYS),
            ("Overrides", Overrides::KEYS),
            ("Expectation", Expectation::KEYS),
            ("Step", Step::KEYS),
            ("After", After::KEYS),
            ("PastDue", PastDue::KEYS),
            ("Grant", Grant::KEYS),
        ],
    }
}

/// `AddedQuota` as `added quota`.
fn words(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

fn reference(kind: Kind) -> String {
    let schema = of(kind);
    let mut out = String::new();
    let all = shapes(kind);
    for (name, keys) in &all {
        let shape = if name.is_empty() { &schema } else { &schema["definitions"][*name] };
        if name.is_empty() {
            out += &format!("{}\n\n", shape["description"].as_str().unwrap());
        } else {
            out += &format!("#### {}\n\n{}\n\n", words(name), shape["description"].as_str().unwrap());
        }
        out += "| key | value | meaning |\n|---|---|---|\n";
        for key in *keys {
            out += &row(key, shape);
        }
        out.push('\n');
    }
    // What other kinds have, too, is described there.
    for name in schema["definitions"].as_object().into_iter().flat_map(Map::keys) {
        let listed = Kind::ALL.into_iter().any(|kind| shapes(kind).iter().any(|(other, _)| other == name));
        assert!(listed, "docs/policies.md says nothing of `{name}`: add it to `shapes` in {}", file!());
    }
    out
}

fn row(key: &str, shape: &Value) -> String {
    let property = &shape["properties"][key];
    let required = shape["required"].as_array().is_some_and(|keys| keys.iter().any(|other| other == key));
    let mut value = describe(property);
    if let Some(default) = property.get("default") {
        value += &format!("; default {}", code(default));
    }
    if required {
        value += "; **required**";
    }
    let meaning = property["description"].as_str().unwrap();
    format!("| `{key}` | {} | {} |\n", value.replace('|', "\\|"), meaning.replace('|', "\\|"))
}

fn code(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

/// What may stand somewhere, in words.
fn describe(schema: &Value) -> String {
    if let Some(name) = reference_of(schema) {
        let words = words(name);
        return format!("[{words}](#{})", words.replace(' ', "-"));
    }
    if let Some(title) = schema["title"].as_str() {
        let example = schema["examples"].as_array().and_then(|examples| examples.first());
        return example
            .map_or_else(|| title.to_owned(), |example| format!("{title}, such as {}", code(example)));
    }
    if let Some(only) = schema.get("const") {
        return code(only);
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(code).collect::<Vec<_>>().join(", ");
    }
    if let Some(forms) = schema["oneOf"].as_array() {
        return forms.iter().map(describe).collect::<Vec<_>>().join(" or ");
    }
    match schema["type"].as_str().unwrap() {
        "integer" => format!("{} to {}", schema["minimum"], schema["maximum"]),
        "boolean" => "`true` or `false`".to_owned(),
        "null" => "nothing".to_owned(),
        "array" => format!("list of: {}", describe(&schema["items"])),
        "object" => {
            format!(
                "map: {} → {}",
                describe(&schema["propertyNames"]),
                describe(&schema["additionalProperties"])
            )
        }
        other => other.to_owned(),
    }
}

fn reference_of(schema: &Value) -> Option<&str> {
    let direct = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref"))?;
    direct.as_str()?.strip_prefix("#/definitions/")
}

/// With `RENEW=1` it writes the tables; without, it compares them.
#[test]
fn the_reference_is_that_of_the_types() {
    let path = root().join("docs/policies.md");
    let mut text = fs::read_to_string(&path).unwrap();
    let written = text.clone();
    for kind in Kind::ALL {
        let mark = format!(
            "<!-- keys of {}: written by `RENEW=1 cargo test --lib policy::schema` -->\n",
            kind.as_str()
        );
        let start = text.find(&mark).unwrap_or_else(|| panic!("docs/policies.md lacks {mark}")) + mark.len();
        let end = start + text[start..].find("<!-- end -->").unwrap();
        text.replace_range(start..end, &format!("\n{}", reference(kind)));
    }
    if std::env::var_os("RENEW").is_some() {
        fs::write(&path, &text).unwrap();
    } else {
        assert!(
            text == written,
            "docs/policies.md is out of date: run `RENEW=1 cargo test --lib policy::schema`"
        );
    }
}
