//! The schemas are held to the decoder: by all good files there are, by all broken ones, and by the decoder's own text.

mod corpus;
mod reference;

use std::{
    fs,
    path::{Path, PathBuf},
};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{Kind, of, text};
use crate::policy::{
    diagnostic::Findings,
    source::{self, FileIx, Sources},
    tree::{Node, Value as Tree},
    yaml,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The validator of a file of a policy folder; `None`: it is no policy file.
fn kind(name: &str) -> Option<Kind> {
    Some(match source::Kind::of(name)? {
        source::Kind::Features => Kind::Features,
        source::Kind::Plan => Kind::Plan,
        source::Kind::Addon => Kind::Addon,
        source::Kind::Routes => Kind::Routes,
        source::Kind::Stripe => Kind::Stripe,
        source::Kind::Cases => Kind::Cases,
    })
}

struct Validators([Validator; 6]);

impl Validators {
    fn new() -> Self {
        Self(Kind::ALL.map(|kind| jsonschema::draft7::new(&of(kind)).unwrap()))
    }

    fn of(&self, kind: Kind) -> &Validator {
        &self.0[Kind::ALL.iter().position(|other| *other == kind).unwrap()]
    }

    /// What the schema has against a file. `None`: it is no YAML, which no schema gets to see.
    fn complaints(&self, name: &str, text: &str) -> Option<Vec<String>> {
        let instance = instance(name, text)?;
        let errors = self.of(kind(name)?).iter_errors(&instance);
        Some(errors.map(|error| format!("{}: {error}", error.instance_path())).collect())
    }
}

/// A file as an editor's language server hands it to the schema.
fn instance(name: &str, text: &str) -> Option<Value> {
    let mut sources = Sources::default();
    sources.add(name, Some(text.to_owned()));
    let mut findings = Findings::over(&sources);
    let tree = yaml::parse(FileIx(0), text, &mut findings)?;
    (!findings.has_errors()).then(|| value(&tree))
}

fn value(node: &Node) -> Value {
    match &node.value {
        Tree::Seq(items) => items.iter().map(|item| value(item)).collect(),
        Tree::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, entry)| {
                    let Tree::Scalar { text, .. } = &key.value else { unreachable!("keys are scalars") };
                    (text.clone(), value(entry))
                })
                .collect(),
        ),
        Tree::Scalar { .. } if node.is_null() => Value::Null,
        Tree::Scalar { text, plain: true } => plain(text),
        Tree::Scalar { text, .. } => json!(text),
    }
}

/// A plain scalar by YAML's core schema.
fn plain(text: &str) -> Value {
    let digits = text.trim_start_matches(['+', '-']);
    let number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    match text {
        "true" | "True" | "TRUE" => json!(true),
        "false" | "False" | "FALSE" => json!(false),
        _ => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(whole), _) => json!(whole),
            (_, Ok(float)) if number => json!(float),
            _ => match digits.strip_prefix("0x").map(|hex| i64::from_str_radix(hex, 16)) {
                Some(Ok(whole)) => json!(whole),
                _ => json!(text),
            },
        },
    }
}

/// Every YAML file below a folder, by its name in it.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(here) = open.pop() {
        for entry in fs::read_dir(here).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "yaml") {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                out.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    out.sort();
    out
}

#[test]
fn every_example_fits_its_schema() {
    let validators = Validators::new();
    let mut seen = 0;
    for folder in ["policies", "examples/policies", "tests/corpus/base"] {
        for (name, text) in files(&root().join(folder)) {
            let complaints = validators.complaints(&name, &text).unwrap();
            assert!(complaints.is_empty(), "{folder}/{name}:\n{}", complaints.join("\n"));
            seen += 1;
        }
    }
    assert!(seen >= 18, "{seen}");
}

#[test]
fn the_schemas_are_schemas_and_leave_no_key_open() {
    for kind in Kind::ALL {
        let schema = of(kind);
        assert!(jsonschema::meta::is_valid(&schema), "{}", kind.as_str());
        every_map(&schema, &mut |at, map| {
            let closed = map.get("additionalProperties") == Some(&json!(false));
            // Conditions that stand beside a closed map name some of its keys again.
            let beside = ["/if", "/then", "/else", "/oneOf/"].iter().any(|part| at.contains(part));
            assert!(closed || beside, "{} {at}", kind.as_str());
            for (key, property) in map["properties"].as_object().unwrap() {
                let described = property.is_boolean() || property.get("description").is_some();
                assert!(described || beside, "{} {at}: `{key}` has no description", kind.as_str());
            }
        });
    }
}

/// Calls for each map with known keys in a schema.
fn every_map(schema: &Value, found: &mut impl FnMut(&str, &serde_json::Map<String, Value>)) {
    let mut open = vec![(String::new(), schema)];
    while let Some((at, here)) = open.pop() {
        match here {
            Value::Object(map) => {
                if map.get("properties").is_some_and(Value::is_object)
                    && map.get("type") != Some(&json!("string"))
                {
                    found(&at, map);
                }
                open.extend(map.iter().map(|(key, value)| (format!("{at}/{key}"), value)));
            }
            Value::Array(items) => {
                open.extend(items.iter().enumerate().map(|(ix, value)| (format!("{at}/{ix}"), value)));
            }
            _ => {}
        }
    }
}

/// Lists of keys in the decoder are those of the schema's types, and no others.
#[test]
fn the_decoder_has_no_keys_of_its_own() {
    for entry in fs::read_dir(root().join("src/policy/decode")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (place, _) in code.match_indices("Fields::read(") {
            let call = &code[place..];
            let call = &call[..call.find("findings").unwrap_or(call.len())];
            let fine = call.contains("::KEYS") || call.contains("self.keys");
            let line = code[..place].lines().count();
            assert!(
                fine,
                "{}:{line}: the keys of a map are declared in src/policy/schema, as a `shape!` with a description of \
                 each, and read as `schema::Shape::KEYS` here",
                path.display()
            );
        }
    }
}

/// With `RENEW=1` it writes them; without, it compares them.
#[test]
fn the_written_schemas_are_those_of_the_types() {
    for kind in Kind::ALL {
        let path = root().join(format!("docs/schema/{}.json", kind.as_str()));
        if std::env::var_os("RENEW").is_some() {
            fs::write(&path, text(kind)).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == text(kind),
            "docs/schema/{}.json is out of date: run `plangate policy schema --output-dir docs/schema`, or \
             `RENEW=1 cargo test --lib policy::schema`, which renews docs/policies.md, too",
            kind.as_str()
        );
    }
}

/// The sample at the head of each chapter of docs/policies.md on a kind of files.
#[test]
fn the_samples_of_the_reference_fit_their_schemas() {
    let validators = Validators::new();
    let text = fs::read_to_string(root().join("docs/policies.md")).unwrap();
    for kind in Kind::ALL {
        let (_, chapter) = text.split_once(&format!("\n## {}\n", kind.files())).unwrap();
        let (_, sample) = chapter.split_once("```yaml\n").unwrap();
        let sample = sample.split_once("```").unwrap().0;
        let complaints = validators.complaints(&kind.files().replace('*', "x"), sample).unwrap();
        assert!(complaints.is_empty(), "{}: {}", kind.files(), complaints.join("\n"));
    }
}

/// Each sample names its schema in the first line, by a path that leads there.
#[test]
fn the_samples_name_their_schemas() {
    for folder in ["policies", "examples/policies"] {
        for (name, text) in files(&root().join(folder)) {
            let first = text.lines().next().unwrap();
            let path = first.strip_prefix("# yaml-language-server: $schema=").unwrap_or_default();
            let schema = root().join(folder).join(&name).parent().unwrap().join(path);
            let expected = root().join(format!("docs/schema/{}.json", kind(&name).unwrap().as_str()));
            assert_eq!(schema.canonicalize().ok(), expected.canonicalize().ok(), "{folder}/{name}: {first}");
        }
    }
}
