//! What a failing run looks like, word for word, in each of its forms.

use std::{fs, path::Path};

use crate::policy::{TestReport, test, test_some};

const CASES: &str = r#"cases:
  - name: free sends
    tenant: { plan: free }
    request: GET /v1/messages
    expect: { allow: true, charge: { requests: 1 } }
  - name: "an <odd> & \"quoted\" name ]]> of é"
    tenant: { plan: free, timezone: Asia/Shanghai, used: { requests: 1000 }, attributes: { region: eu } }
    at: 2026-03-31T23:59:59+08:00
    request: GET /v1/messages?page=2
    expect: { allow: true, charge: { requests: 1 } }
  - name: the charge, and the seats
    tenant: { plan: free }
    request: GET /v1/messages
    expect: { allow: true, charge: { requests: 10 }, limits: { seats: 5 } }
  - name: another refusal
    tenant: { plan: free, used: { requests: 1000 } }
    request: GET /v1/messages
    expect: { deny: feature-not-in-plan, status: 403, feature: chat }
  - name: let through
    tenant: { plan: free }
    request: GET /v1/messages
    expect: { deny: rate-limited }
  - name: in the second step
    tenant: { plan: free, used: { requests: 997 } }
    request: GET /v1/messages
    expect: { allow: true }
    then:
      - after: { requests: 1 }
        expect: { allow: true }
      - after: [{ requests: 5 }, { days: 1 }]
        expect: { allow: true }
      - after: { next: month }
        expect: { allow: true }
  - name: a word that cannot be
    tenant: { plan: free, suspended: true }
    request: GET /v1/export
    expect: { deny: tenant-suspended }
    then:
      - after:
          - resume
          - paid
        expect: { allow: true }
  - name: nobody
    request: GET /v1/messages
    expect: { allow: true }
"#;

fn report(cases: &str, filter: Option<&str>) -> TestReport {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/base");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("plans")).unwrap();
    for name in ["features.yaml", "routes.yaml", "plans/free.yaml"] {
        fs::copy(base.join(name), folder.path().join(name)).unwrap();
    }
    fs::create_dir(folder.path().join("cases")).unwrap();
    fs::write(folder.path().join("cases/all.yaml"), cases).unwrap();
    test_some(folder.path(), filter, &crate::policy::Progress::default())
}

#[test]
fn a_failing_run_as_text() {
    let report = report(CASES, None);
    assert!(!report.is_ok());
    insta::assert_snapshot!("failing_text", report.render(false));
    // Colour adds nothing else.
    let coloured = report.render(true);
    let mut parts = coloured.split("\u{1b}[");
    let first = parts.next().unwrap().to_owned();
    let plain = parts.fold(first, |text, part| text + part.split_once('m').unwrap().1);
    assert_eq!(plain, report.render(false));
}

#[test]
fn its_coverage() {
    let report = report(CASES, None);
    insta::assert_snapshot!("coverage_text", report.render_coverage(false));
    let filtered = self::report(CASES, Some("free"));
    assert_eq!((filtered.passed(), filtered.failed(), filtered.filtered_out()), (1, 0, 7));
    assert!(filtered.render(false).ends_with("1 case passed, 7 left out\n"));
    insta::assert_snapshot!("coverage_of_one_case", filtered.render_coverage(false));
    assert_eq!(self::report(CASES, Some("cases/all")).results().len(), 8, "a file's name, too");
    let none = self::report(CASES, Some("nothing of the kind"));
    assert_eq!(none.render(false), "no case has such a name or file, 8 left out\n");
}

#[test]
fn a_failing_run_as_json() {
    let json = report(CASES, None).to_json();
    let shown =
        serde_json::json!({ "cases": [json["cases"][1], json["cases"][5]], "coverage": json["coverage"] });
    insta::assert_snapshot!("failing_json", format!("{shown:#}"));
}

#[test]
fn a_failing_run_as_junit() {
    let xml = report(CASES, None).to_junit().unwrap();
    insta::assert_snapshot!("failing_junit", xml);
    let broken = report("cases:\n  - { name: x, request: nothing }\n", None);
    insta::assert_snapshot!("broken_junit", broken.to_junit().unwrap());
    assert!(broken.coverage().is_none() && broken.render_coverage(false).is_empty());
}

#[test]
fn junit_says_the_same_when_it_is_read() {
    let report = report(CASES, None);
    let read = quick_junit::Report::deserialize_from_str(&report.to_junit().unwrap()).unwrap();
    assert_eq!((read.tests, read.failures, read.errors), (8, report.failed(), 0));
    let names: Vec<&str> = read.test_suites[0].test_cases.iter().map(|case| case.name.as_str()).collect();
    let wanted: Vec<&str> = report.results().iter().map(|result| result.name.as_str()).collect();
    assert_eq!(names, wanted);
}

#[test]
fn the_shipped_examples_try_all_of_their_policies() {
    for folder in ["policies", "examples/policies"] {
        let report = test(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        assert!(report.is_ok(), "{}", report.render(false));
        assert_eq!(report.coverage().unwrap().percent(), 100, "{}", report.render_coverage(false));
    }
}
