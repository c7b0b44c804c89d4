//! The example policies hold, and a corpus of broken folders is reported exactly: code, file, line, column, message.
//!
//! Each `tests/corpus/**/*.txt` is a folder laid over `tests/corpus/base`; `entry` tells how it is written. Every kind of
//! finding is shown as a snapshot by `shown`, and `replay` gives the corpus, and a few thousand mutations of it, to what
//! the fuzz targets run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod entry;
#[path = "../fuzz/input.rs"]
mod input;
mod replay;
mod shown;

use std::{
    fs,
    path::{Path, PathBuf},
};

use plangate::policy::{self, Diagnostic, Report};

use entry::{Entry, check, parse};

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

fn head(diagnostic: &Diagnostic) -> String {
    let file = &diagnostic.location.file;
    let place = match diagnostic.location.span {
        Some(span) => format!("{file}:{}:{}", span.line, span.column),
        None => file.clone(),
    };
    format!("{place} {} {}", diagnostic.severity.as_str(), diagnostic.code)
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

/// All entries, in the order of their names.
fn corpus() -> Vec<PathBuf> {
    let mut paths = Vec::new();
    entries(&root().join("tests/corpus"), &mut paths);
    paths
}

#[test]
fn every_broken_folder_is_reported_exactly() {
    let paths = corpus();
    assert!(paths.len() >= 150, "{}", paths.len());
    let mut wrong = String::new();
    for path in paths {
        let entry = parse(&fs::read_to_string(&path).unwrap());
        let (_, report) = check(&entry);
        let differences = differences(&entry, &report);
        if !differences.is_empty() || entry.expected.is_empty() {
            wrong.push_str(&format!("{}\n{}\n", path.display(), differences.join("\n")));
        }
        // What is shown names the line itself and marks the place in it.
        let text = report.render(false);
        for diagnostic in report.diagnostics() {
            assert!(text.contains(diagnostic.code), "{}", path.display());
            if let Some(excerpt) = &diagnostic.location.excerpt {
                let line = excerpt.text.replace('\t', "    ");
                // Control characters, and what changes the direction of writing, are shown as signs.
                let mut parts =
                    line.split(|c: char| c.is_control() || matches!(c, '\u{200b}'..='\u{206f}' | '\u{feff}'));
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
