//! Each kind of finding as people see it, and each form of a report, kept as snapshots.
//!
//! To accept changed texts, run the test with `INSTA_UPDATE=always` and read the difference.

use std::{collections::BTreeMap, fs, path::Path};

use plangate::policy::{self, Diagnostic, Location, RULES, Severity};

use crate::{
    corpus,
    entry::{check, parse},
};

/// So many findings of one kind are kept.
const MOST: usize = 4;

fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots/policy");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

/// The texts of all kinds of findings, some of each, no two with the same message.
fn examples() -> BTreeMap<&'static str, Vec<String>> {
    let mut shown: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut messages: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut take = |report: &policy::Report, folder: &Path, finding: &Diagnostic| {
        let known = messages.entry(finding.code).or_default();
        if known.len() < MOST && !known.contains(&finding.message) {
            known.push(finding.message.clone());
            let text = report.render_one(finding, false);
            let text = text.replace(&folder.display().to_string(), "policies");
            shown.entry(finding.code).or_default().push(text);
        }
    };
    for path in corpus() {
        let (folder, report) = check(&parse(&fs::read_to_string(path).unwrap()));
        report.diagnostics().iter().for_each(|finding| take(&report, &folder, finding));
    }
    // What no entry can hold.
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    let report = policy::check(&gone);
    report.diagnostics().iter().for_each(|finding| take(&report, &gone, finding));
    fs::create_dir(folder.path().join("plans")).unwrap();
    for number in 0..=4096 {
        fs::write(folder.path().join(format!("plans/{number}.txt")), "").unwrap();
    }
    let report = policy::check(folder.path());
    let many = report.diagnostics().iter().filter(|finding| finding.code == "too-many-files");
    many.for_each(|finding| take(&report, folder.path(), finding));
    let names: String = (0..1003).map(|number| format!("X{number}: {{}}, ")).collect();
    fs::write(folder.path().join("features.yaml"), format!("features: {{ {names} }}\n")).unwrap();
    let report = policy::check(folder.path());
    let last = report.diagnostics().iter().filter(|finding| finding.code == "too-many-findings");
    last.for_each(|finding| take(&report, folder.path(), finding));
    let unreadable = Diagnostic {
        severity: Severity::Error,
        code: "folder-unreadable",
        message: "the folder cannot be read: permission denied".to_owned(),
        location: Location { file: "plans".to_owned(), span: None, excerpt: None },
        help: None,
        related: Vec::new(),
    };
    take(&report, folder.path(), &unreadable);
    shown
}

#[test]
fn every_kind_of_finding_has_a_rule_and_a_snapshot() {
    let mut shown = examples();
    let mut missing = Vec::new();
    for rule in RULES {
        match shown.remove(rule.code) {
            Some(texts) => settings().bind(|| {
                insta::assert_snapshot!(rule.code, texts.join("\n\n"));
            }),
            None => missing.push(rule.code),
        }
    }
    assert!(missing.is_empty(), "no entry of the corpus shows {missing:?}");
    assert!(shown.is_empty(), "no rule for {:?}", shown.keys());
}

#[test]
fn no_snapshot_is_left_of_a_finding_that_is_none_any_more() {
    for entry in fs::read_dir(crate::root().join("tests/snapshots/policy")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = |code: &str| name == format!("{code}.snap");
        assert!(
            RULES.iter().any(|rule| known(rule.code))
                || ["sarif", "github", "json", "text"].iter().any(|f| known(f)),
            "{name}"
        );
    }
}

/// A folder with an error and a warning in names that are awkward in every form, and with places that refer to others.
const AWKWARD: &str = r#"
# file: plans/a b,c.yaml
plan: "a b"
title: "100%: a,b"
# file: plans/basic.yaml
plan: basic
extends: fre
features: [chta, chat, chat]
# file: routes.yaml
routes:
  - { match: "GET /caf\u00e9/{a}" }
  - { match: "GET /caf\u00e9/{b}", public: "yes" }
# file: notes.txt
"#;

#[test]
fn all_forms_of_a_report() {
    let (folder, report) = check(&parse(AWKWARD));
    let here = folder.parent().unwrap();
    let name = folder.file_name().unwrap().to_str().unwrap();
    settings().bind(|| {
        let stable =
            |text: String| text.replace(&folder.display().to_string(), "policies").replace(name, "policies");
        insta::assert_snapshot!("text", stable(report.render(false)));
        insta::assert_snapshot!("json", stable(format!("{:#}", report.to_json())));
        insta::assert_snapshot!("github", stable(report.to_github(here)));
        let sarif = format!("{:#}", report.to_sarif(here)).replace(env!("CARGO_PKG_VERSION"), "VERSION");
        insta::assert_snapshot!("sarif", stable(sarif));
    });
}

#[test]
fn sarif_refers_only_to_what_it_holds() {
    let (folder, report) = check(&parse(AWKWARD));
    let sarif = report.to_sarif(&folder);
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), report.diagnostics().len());
    for (result, finding) in results.iter().zip(report.diagnostics()) {
        let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert_eq!((&rule["id"], &result["ruleId"]), (&result["ruleId"], &finding.code.into()));
        assert!(rule["shortDescription"]["text"].is_string());
        assert!(["error", "warning"].contains(&result["level"].as_str().unwrap()));
        let physical = &result["locations"][0]["physicalLocation"];
        let uri = physical["artifactLocation"]["uri"].as_str().unwrap();
        assert!(!uri.contains([' ', ':', ',']) && !uri.starts_with('/'), "{uri}");
        match finding.location.span {
            Some(span) => {
                let region = &physical["region"];
                assert_eq!(region["startLine"], span.line);
                assert_eq!(
                    (&region["startColumn"], &region["endColumn"]),
                    (&span.column.into(), &(span.column + span.len).into())
                );
            }
            None => assert!(physical.get("region").is_none()),
        }
    }
}

/// Words with a hyphen that stand in the sources as texts and are no findings.
const OTHER_WORDS: [&str; 1] = ["add-on"];

#[test]
fn every_code_of_the_sources_is_a_rule() {
    let mut folders = vec![crate::root().join("src/policy")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.ends_with("tests.rs") || path.iter().any(|part| part == "tests") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            // A code stands right after the call that reports it, or in a field of that name.
            let after = [
                "error(",
                "error_help(",
                "error_at(",
                "warn(",
                "warning_at(",
                "problem(",
                "wrong(",
                "code: ",
                "invalid(",
            ];
            for (place, _) in code.match_indices('"') {
                let before = code[..place].trim_end();
                let word: String = code[place + 1..].chars().take_while(|c| *c != '"').collect();
                let fits = |c: char| c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit();
                let hyphen =
                    word.contains('-') && word.chars().all(fits) && !OTHER_WORDS.contains(&word.as_str());
                if hyphen && after.iter().any(|call| before.ends_with(call.trim_end())) {
                    assert!(
                        RULES.iter().any(|rule| rule.code == word),
                        "{}: no rule for `{word}`",
                        path.display()
                    );
                    seen += 1;
                }
            }
        }
    }
    assert!(seen >= 60, "only {seen} were found");
}
