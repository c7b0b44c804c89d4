//! The example policies hold, and a corpus of broken folders is reported exactly: code, file, line, column, message.
//!
//! Each `tests/corpus/**/*.txt` is a folder laid over `tests/corpus/base`. Lines before the first `# file: NAME` say what
//! must come of it, completely: `# expect: FILE:LINE:COLUMN error|warning CODE | part of the message or help`
//! (without line and column for a whole file), or `# remove: FILE`. The rest are the files' texts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use plangate::policy::{self, Diagnostic, Report};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_example_has_no_finding_and_all_its_cases_hold() {
    let report = policy::test(&root().join("policies"));
    assert!(report.is_ok(), "{}", report.render(false));
    assert!(report.check().diagnostics().is_empty(), "{}", report.render(false));
    assert!(report.results().len() >= 25);
}

struct Entry {
    expected: Vec<(String, String)>,
    removed: Vec<String>,
    files: Vec<(String, String)>,
}

fn parse(text: &str) -> Entry {
    let mut entry = Entry { expected: Vec::new(), removed: Vec::new(), files: Vec::new() };
    for line in text.split_inclusive('\n') {
        if let Some(name) = line.strip_prefix("# file: ") {
            entry.files.push((name.trim().to_owned(), String::new()));
        } else if let Some((_, content)) = entry.files.last_mut() {
            content.push_str(line);
        } else if let Some(expected) = line.strip_prefix("# expect: ") {
            let (head, part) = expected.split_once(" | ").unwrap_or((expected, ""));
            entry.expected.push((head.trim().to_owned(), part.trim().to_owned()));
        } else if let Some(name) = line.strip_prefix("# remove: ") {
            entry.removed.push(name.trim().to_owned());
        } else {
            assert!(line.trim().is_empty() || line.starts_with("# "), "a line before the first file: {line}");
        }
    }
    entry
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn head(diagnostic: &Diagnostic) -> String {
    let file = &diagnostic.location.file;
    let place = match diagnostic.location.span {
        Some(span) => format!("{file}:{}:{}", span.line, span.column),
        None => file.clone(),
    };
    format!("{place} {} {}", diagnostic.severity.as_str(), diagnostic.code)
}

fn check(entry: &Entry) -> Report {
    let folder = tempfile::tempdir().unwrap();
    copy(&root().join("tests/corpus/base"), folder.path());
    for name in &entry.removed {
        let path = folder.path().join(name);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    for (name, content) in &entry.files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    policy::check(folder.path())
}

/// What differs between a report and what was expected of it.
fn differences(entry: &Entry, report: &Report) -> Vec<String> {
    let mut out = Vec::new();
    let mut left: Vec<&Diagnostic> = report.diagnostics().iter().collect();
    for (wanted, part) in &entry.expected {
        let fits = |d: &&Diagnostic| {
            let said = format!("{} {}", d.message, d.help.as_deref().unwrap_or_default());
            head(d) == *wanted && said.contains(part)
        };
        match left.iter().position(fits) {
            Some(place) => drop(left.remove(place)),
            None => out.push(format!("  missing:  {wanted} | {part}")),
        }
    }
    for diagnostic in left {
        let help = diagnostic.help.as_deref().unwrap_or_default();
        out.push(format!("  not expected:  # expect: {} | {} {help}", head(diagnostic), diagnostic.message));
    }
    out
}

fn entries(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            entries(&path, out);
        } else if path.extension().is_some_and(|e| e == "txt") {
            out.push(path);
        }
    }
}

#[test]
fn every_broken_folder_is_reported_exactly() {
    let mut paths = Vec::new();
    entries(&root().join("tests/corpus"), &mut paths);
    assert!(paths.len() >= 60, "{}", paths.len());
    let mut wrong = String::new();
    for path in paths {
        let entry = parse(&fs::read_to_string(&path).unwrap());
        assert!(!entry.expected.is_empty(), "{}", path.display());
        let report = check(&entry);
        let differences = differences(&entry, &report);
        if !differences.is_empty() {
            wrong.push_str(&format!("{}\n{}\n", path.display(), differences.join("\n")));
        }
        // What is shown names the line itself and marks the place in it.
        let text = report.render(false);
        for diagnostic in report.diagnostics() {
            assert!(text.contains(diagnostic.code), "{}", path.display());
            if let Some(excerpt) = &diagnostic.location.excerpt {
                let line = excerpt.text.replace('\t', "    ");
                // Control characters are shown as signs.
                let mut parts = line.split(char::is_control);
                assert!(parts.all(|part| text.contains(part.trim())), "{}: {line}\n{text}", path.display());
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_base_of_the_corpus_is_good() {
    let report = policy::test(&root().join("tests/corpus/base"));
    assert!(report.is_ok() && report.check().diagnostics().is_empty(), "{}", report.render(false));
}
