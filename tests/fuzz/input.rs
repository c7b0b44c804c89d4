//! What is made of bytes: a policy folder or a file of cases, checked and shown in every form. Used by the fuzz targets,
//! and by the test that replays their corpus.

use std::{collections::BTreeMap, path::Path};

use plangate::{
    domain::revision::PolicyFiles,
    policy::{self, Compiler, Report, Severity},
    ports::PolicyCompiler,
};

/// What is not in the bytes is taken from here.
const BASE: [(&str, &str); 3] = [
    ("features.yaml", include_str!("../corpus/base/features.yaml")),
    ("routes.yaml", include_str!("../corpus/base/routes.yaml")),
    ("plans/free.yaml", include_str!("../corpus/base/plans/free.yaml")),
];

/// The policies that fuzzed cases are about: those with the most in them.
const SHIPPED: [(&str, &str); 8] = [
    ("features.yaml", include_str!("../../policies/features.yaml")),
    ("routes.yaml", include_str!("../../policies/routes.yaml")),
    ("plans/free.yaml", include_str!("../../policies/plans/free.yaml")),
    ("plans/basic.yaml", include_str!("../../policies/plans/basic.yaml")),
    ("plans/pro.yaml", include_str!("../../policies/plans/pro.yaml")),
    ("plans/enterprise.yaml", include_str!("../../policies/plans/enterprise.yaml")),
    ("addons/archive.yaml", include_str!("../../policies/addons/archive.yaml")),
    ("addons/ai-tokens.yaml", include_str!("../../policies/addons/ai-tokens.yaml")),
];

/// More than this is not shown of any folder; a few of these files are one finding each.
const MOST_FINDINGS: usize = 5_000;

/// Bytes as a folder: `# file: NAME` begins a file, and what stands before the first is passed over, so that the corpus of
/// broken folders can be read, too.
pub fn folder(bytes: &[u8]) {
    let mut files: BTreeMap<String, String> = given(&BASE);
    let text = String::from_utf8_lossy(bytes);
    let mut name = None;
    for line in text.split_inclusive('\n') {
        if let Some(next) = line.strip_prefix("# file: ") {
            files.insert(next.trim().to_owned(), String::new());
            name = Some(next.trim().to_owned());
        } else if let Some(content) = name.as_ref().and_then(|name| files.get_mut(name)) {
            content.push_str(line);
        }
    }
    let files = PolicyFiles(files);
    hold(&policy::check_files(Path::new("policies"), &files));
    let compiled = Compiler.compile(&files);
    // Cases may be wrong where the policies are not; never the other way round.
    let tested = policy::test_files(Path::new("policies"), &files);
    assert!(compiled.is_ok() || !tested.is_ok());
    if let Ok((catalog, findings)) = compiled {
        assert!(findings.iter().all(|finding| finding.severity == "warning"));
        assert_eq!(catalog.digest, policy::digest(&files));
    }
}

/// Bytes as `cases/fuzzed.yaml` of the shipped policies.
pub fn case(bytes: &[u8]) {
    let mut files = given(&SHIPPED);
    files.insert("cases/fuzzed.yaml".to_owned(), String::from_utf8_lossy(bytes).into_owned());
    let tested = policy::test_files(Path::new("policies"), &PolicyFiles(files));
    hold(tested.check());
    assert!(tested.check().errors().all(|error| error.location.file == "cases/fuzzed.yaml"));
    assert_eq!(tested.passed() + tested.failed(), tested.results().len());
    clean(&tested.render(false));
    let _ = (tested.render(true), tested.to_json().to_string());
}

fn given(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// What holds for every report.
fn hold(report: &Report) {
    let all = report.diagnostics();
    assert!(all.len() < MOST_FINDINGS, "{} findings", all.len());
    assert_eq!(report.is_ok(), all.iter().all(|finding| finding.severity == Severity::Warning));
    for finding in all {
        assert!(policy::RULES.iter().any(|rule| rule.code == finding.code), "no rule for {}", finding.code);
        assert!(!finding.message.is_empty() && finding.message.len() < 20_000, "{}", finding.message.len());
        if let (Some(span), Some(excerpt)) = (finding.location.span, &finding.location.excerpt) {
            assert!(span.line > 0 && span.column > 0 && span.len > 0);
            assert!(excerpt.text.get(excerpt.start..excerpt.end).is_some());
        }
    }
    clean(&report.render(false));
    let _ = report.render(true);
    let from = Path::new("/work");
    assert_eq!(report.to_github(from).lines().count(), all.len(), "one line a finding");
    let sarif = report.to_sarif(from);
    assert_eq!(sarif["runs"][0]["results"].as_array().map(Vec::len), Some(all.len()));
    for value in [sarif, report.to_json()] {
        let text = value.to_string();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).ok(), Some(value));
    }
}

/// No file writes to the terminal of whoever checks it.
fn clean(text: &str) {
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "a control character is shown");
}
