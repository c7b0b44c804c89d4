//! The broken corpus held against the schemas: whatever is wrong with a file's shape, an editor marks.

use std::{collections::BTreeSet, fs, path::Path};

use super::{Validators, kind, root};
use crate::policy;

/// What no schema can see, by the diagnostic's code, and for codes that have other reasons by words of its message.
const BEYOND: [(&str, &str); 45] = [
    // Of codes in upper case the schema does not know which there are.
    ("invalid-currency", "`ZZZ`"),
    // CEL is a language of its own.
    ("invalid-condition", ""),
    ("condition-type", ""),
    ("condition-cost", ""),
    ("unknown-variable", ""),
    ("unknown-function", ""),
    ("unknown-attribute", ""),
    ("hidden-header", ""),
    ("invalid-header", "in lower case here"),
    ("public-route", "decided before its tenant is known"),
    // Names of other files, and what follows from several values together.
    ("unknown-feature", ""),
    ("unknown-limit", ""),
    ("unknown-meter", ""),
    ("unknown-plan", ""),
    ("unknown-addon", ""),
    ("plan-name-mismatch", ""),
    ("addon-name-mismatch", ""),
    ("plan-cycle", ""),
    ("route-conflict", ""),
    ("step-without-tenant", ""),
    ("contradiction", "is both given and taken away"),
    ("contradiction", "is never answered with"),
    ("invalid-rollover", "needs a month with a hard end"),
    ("invalid-rollover", "nothing is left over"),
    // The file's own name.
    ("invalid-id", "rename the file"),
    // Files as such, and what is not even YAML.
    ("file-empty", ""),
    ("yaml-syntax", ""),
    ("yaml-documents", ""),
    ("yaml-tag", ""),
    ("yaml-alias", ""),
    ("yaml-depth", ""),
    ("yaml-key", ""),
    ("yaml-merge-key", ""),
    ("yaml-duplicate-key", ""),
    // JSON knows one kind of numbers.
    ("invalid-number", "found `1e3`"),
    ("invalid-number", "found `1.0`"),
    ("invalid-number", "found `0x10`"),
    // Paths and methods are a language of their own.
    ("invalid-route", ""),
    ("invalid-method", "stands twice"),
    ("invalid-method", "can never match"),
    ("invalid-method", "is not a method that anybody sends"),
    ("invalid-header", "is about the connection"),
    ("invalid-header", "Plangate itself sets"),
    ("invalid-timezone", ""),
    ("invalid-existing", "found `2027-02-29`"),
];

struct Entry {
    removed: Vec<String>,
    files: Vec<(String, String)>,
}

fn parse(text: &str) -> Entry {
    let mut entry = Entry { removed: Vec::new(), files: Vec::new() };
    for line in text.split_inclusive('\n') {
        if let Some(name) = line.strip_prefix("# file: ") {
            entry.files.push((name.trim().to_owned(), String::new()));
        } else if let Some((_, content)) = entry.files.last_mut() {
            content.push_str(line);
        } else if let Some(name) = line.strip_prefix("# remove: ") {
            entry.removed.push(name.trim().to_owned());
        }
    }
    entry
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(entries(&path));
        } else if path.extension().is_some_and(|ending| ending == "txt") {
            out.push(path);
        }
    }
    out.sort();
    out
}

#[test]
fn what_is_wrong_with_a_shape_is_against_the_schema() {
    let validators = Validators::new();
    let base = super::files(&root().join("tests/corpus/base"));
    let (mut wrong, mut seen, mut used) = (Vec::new(), 0, BTreeSet::<&(&str, &str)>::new());
    for path in entries(&root().join("tests/corpus")) {
        let entry = parse(&fs::read_to_string(&path).unwrap());
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in base.iter().chain(&entry.files) {
            let removed = |removed: &String| name == removed || name.starts_with(&format!("{removed}/"));
            if !entry.removed.iter().any(removed) || entry.files.iter().any(|(other, _)| other == name) {
                write(folder.path(), name, text);
            }
        }
        let report = policy::check(folder.path());
        for (name, text) in &entry.files {
            if kind(name).is_none() {
                continue;
            }
            let errors: Vec<_> = report.errors().filter(|error| error.location.file == *name).collect();
            let seen_by_schema: Vec<_> = errors
                .iter()
                .filter(|error| {
                    let said = format!("{} {}", error.message, error.help.as_deref().unwrap_or_default());
                    let beyond =
                        BEYOND.iter().find(|(code, part)| *code == error.code && said.contains(part));
                    used.extend(beyond);
                    beyond.is_none()
                })
                .collect();
            let complaints = validators.complaints(name, text);
            seen += usize::from(!seen_by_schema.is_empty());
            let shown = path.strip_prefix(root()).unwrap().display();
            match complaints {
                Some(complaints)
                    if seen_by_schema.is_empty() && errors.is_empty() && !complaints.is_empty() =>
                {
                    wrong.push(format!(
                        "{shown}: {name} is good, and not by the schema: {}",
                        complaints.join("; ")
                    ));
                }
                Some(complaints) if !seen_by_schema.is_empty() && complaints.is_empty() => {
                    let codes: Vec<_> = seen_by_schema
                        .iter()
                        .map(|error| format!("{}: {}", error.code, error.message))
                        .collect();
                    wrong.push(format!("{shown}: the schema lets {name} pass: {}", codes.join("; ")));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(seen >= 60, "{seen}");
    let unused: Vec<_> = BEYOND.iter().filter(|entry| !used.contains(*entry)).collect();
    assert!(unused.is_empty(), "exceptions that no file of the corpus needs: {unused:?}");
}
