//! What a Stripe account's names mean by a policy folder, and the line that says so.

use serde_json::{Value, json};

use crate::{
    cli::output::Rows,
    domain::{
        billing::{Sold, Told},
        catalog::Catalog,
        origin::Origin,
    },
};

/// One name of `stripe.yaml`.
struct Meaning {
    key: &'static str,
    name: String,
    /// In words.
    text: String,
    /// In the shape of the file.
    json: Value,
    origin: Option<Origin>,
}

fn sold(sold: &Sold) -> Value {
    match sold {
        Sold::Plan(plan) => json!({ "plan": plan.as_str() }),
        Sold::Addon(addon) => json!({ "addon": addon.as_str() }),
    }
}

fn meanings(catalog: &Catalog) -> Vec<Meaning> {
    let map = &catalog.stripe;
    let of = |key: &'static str, name: &str, text: String, json: Value| {
        let origin = catalog.origins.stripe.of(key, name);
        Meaning { key, name: name.to_owned(), text, json, origin }
    };
    let mut all = Vec::new();
    for (key, prices) in [("prices", &map.prices), ("lookup_keys", &map.lookup_keys)] {
        all.extend(prices.iter().map(|(name, what)| of(key, name, what.to_string(), sold(what))));
    }
    let features = map.features.iter();
    all.extend(
        features.map(|(name, feature)| {
            of("features", name, format!("feature {feature}"), json!(feature.as_str()))
        }),
    );
    all.extend(map.meters.iter().map(|(meter, told)| {
        let count = match told.count {
            Told::Overage => "overage",
            Told::All => "all",
        };
        let value = json!({ "event_name": told.event_name, "count": count });
        of("meters", meter.as_str(), told.to_string(), value)
    }));
    all
}

/// As a table.
pub(super) fn table(catalog: &Catalog) -> Rows {
    let mut rows = Rows::new(&["KEY", "NAME", "MEANS", "FILE"]);
    for one in meanings(catalog) {
        let place = one.origin.map_or_else(|| "-".to_owned(), |origin| origin.to_string());
        rows.add(vec![one.key.to_owned(), one.name, one.text, place]);
    }
    rows
}

/// For programs: by the file's keys, each name with its value and its place.
pub(super) fn json(catalog: &Catalog) -> Value {
    let mut out = json!({ "prices": {}, "lookup_keys": {}, "features": {}, "meters": {} });
    for Meaning { key, name, json, origin, .. } in meanings(catalog) {
        let (file, line) = (origin.as_ref().map(|one| &*one.file), origin.as_ref().map(|one| one.line));
        out[key][name] = json!({ "value": json, "file": file, "line": line });
    }
    out
}

/// Names of Stripe that sell a plan: the file's key, the name, and where it stands.
pub(super) fn selling<'c>(
    catalog: &'c Catalog,
    plan: &'c str,
) -> impl Iterator<Item = (&'static str, &'c str, Option<Origin>)> {
    let map = &catalog.stripe;
    let all = [("prices", &map.prices), ("lookup_keys", &map.lookup_keys)];
    all.into_iter().flat_map(move |(key, prices)| {
        let own =
            prices.iter().filter(move |(_, sold)| matches!(sold, Sold::Plan(id) if id.as_str() == plan));
        own.map(move |(name, _)| (key, name.as_str(), catalog.origins.stripe.of(key, name)))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy;

    #[test]
    fn each_name_is_shown_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let mut files = policy::files(&example).0;
        let stripe = "prices:\n  p_1: { plan: pro }\nlookup_keys:\n  seats: { addon: extra-seats }\n\
                      features: { key: export }\nmeters:\n  ai_tokens: { event_name: tokens }\n  \
                      requests: { event_name: calls, count: all }\n";
        files.insert("stripe.yaml".to_owned(), stripe.to_owned());
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let (catalog, _) = policy::load(folder.path()).unwrap();
        let expected = "KEY\tNAME\tMEANS\tFILE\n\
            prices\tp_1\tplan pro\tstripe.yaml:2\n\
            lookup_keys\tseats\tadd-on extra-seats\tstripe.yaml:4\n\
            features\tkey\tfeature export\tstripe.yaml:5\n\
            meters\tai_tokens\ttold as tokens, what is beyond the quota\tstripe.yaml:7\n\
            meters\trequests\ttold as calls, all units\tstripe.yaml:8\n";
        assert_eq!(table(&catalog).plain(), expected);
        let shown = json(&catalog);
        assert_eq!(
            shown["prices"]["p_1"],
            json!({ "value": { "plan": "pro" }, "file": "stripe.yaml", "line": 2 })
        );
        assert_eq!(shown["meters"]["requests"]["value"], json!({ "event_name": "calls", "count": "all" }));
        assert_eq!(selling(&catalog, "pro").map(|(_, name, _)| name).collect::<Vec<_>>(), ["p_1"]);
        assert_eq!(selling(&catalog, "basic").count(), 0);
    }
}
