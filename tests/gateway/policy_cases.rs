//! `plangate policy test`: filters, coverage, JUnit, and the exit codes that CI goes by.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

fn test(more: &[&str]) -> (Option<i32>, String, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policies");
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_plangate"))
        .args(["policy", "test"])
        .arg(folder)
        .args(more)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn cases_are_chosen_by_name_or_file() {
    let (code, shown, said) = test(&["--filter", "search"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(
        shown.contains("ok   hobby has no search\n") && shown.contains("1 case passed, 5 left out"),
        "{shown}"
    );
    assert!(test(&["--filter", "cases/notes"]).1.contains("6 cases passed\n"));
    let (code, shown, said) = test(&["--filter", "nothing like it"]);
    assert_eq!(code, Some(1), "a filter that chooses nothing tests nothing");
    assert!(shown.contains("no case has such a name or file, 6 left out"), "{shown}");
    assert!(said.contains("`--filter`"), "{said}");
}

#[test]
fn coverage_is_shown_and_can_be_demanded() {
    let (code, shown, _) = test(&["--coverage", "--coverage-min", "100"]);
    assert_eq!(code, Some(0));
    assert!(shown.contains("routes       3 of 3     100 %"), "{shown}");
    let (code, shown, said) = test(&["--coverage-min", "50", "--filter", "hobby has"]);
    assert_eq!(code, Some(1));
    assert!(shown.contains("routes that no case tries:\n  GET /healthz\n"), "{shown}");
    assert!(said.contains("the cases try 42 % of the policies, less than 50 %"), "{said}");
    let (code, shown, _) = test(&["--coverage-min", "42", "--filter", "hobby has", "--output", "json"]);
    assert_eq!(code, Some(0));
    let report: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&report["coverage"]["percent"], &report["left_out"]), (&json!(42), &json!(5)));
    assert_eq!(report["coverage"]["routes"]["each"][2]["answers"], json!({ "feature-not-in-plan": 1 }));
    assert_eq!(test(&["--coverage-min", "101"]).0, Some(2));
}

#[test]
fn junit_is_one_suite_for_each_file() {
    let (code, shown, said) = test(&["--output", "junit"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(shown.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"), "{shown}");
    assert!(shown.contains("<testsuite name=\"cases/notes.yaml\" tests=\"6\""), "{shown}");
    assert!(
        shown.contains("<testcase name=\"hobby has no search\" classname=\"cases/notes.yaml\""),
        "{shown}"
    );
}
