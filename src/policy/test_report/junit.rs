//! The report of `policy test` as JUnit XML, which every CI reads: a suite for each file, a test case for each case.

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::{TestReport, led_to};
use crate::policy::case::CaseResult;

impl TestReport {
    /// The report as JUnit XML. Errors of the check, which kept the cases from being run, are errors of a suite of their
    /// own.
    ///
    /// # Errors
    /// Where it cannot be written as XML.
    pub fn to_junit(&self) -> Result<String, SerializeError> {
        let mut report = Report::new("plangate policy test");
        if !self.check.is_ok() {
            report.add_test_suite(self.errors());
        }
        for of_file in self.results.chunk_by(|a, b| a.file == b.file) {
            let Some(first) = of_file.first() else { continue };
            let mut suite = TestSuite::new(first.file.as_str());
            suite.add_test_cases(of_file.iter().map(case));
            report.add_test_suite(suite);
        }
        report.to_string()
    }

    fn errors(&self) -> TestSuite {
        let mut suite = TestSuite::new("check");
        for error in self.check.errors() {
            let line = error.location.span.map_or(1, |span| span.line);
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_type(error.code).set_message(error.message.as_str());
            if let Some(help) = &error.help {
                status.set_description(help.as_str());
            }
            let mut case = TestCase::new(error.code, status);
            case.set_classname(error.location.file.as_str());
            place(&mut case, &error.location.file, line);
            suite.add_test_case(case);
        }
        suite
    }
}

fn place(case: &mut TestCase, file: &str, line: usize) {
    case.extra.insert("file".into(), file.into());
    case.extra.insert("line".into(), line.to_string().into());
}

fn case(result: &CaseResult) -> TestCase {
    let mut status = TestCaseStatus::success();
    let mut line = result.line;
    if let Some(failed) = &result.failed {
        line = failed.line;
        status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_type("expectation");
        status.set_message(format!("expected {}, got {}", result.expected, result.got));
        let mut text = format!("{}:{}\n", result.file, failed.line);
        if let Some(led_to) = led_to(failed) {
            text.push_str(&format!("{led_to}\n"));
        }
        text.push_str(&format!("{} at {}\n", failed.request, failed.at));
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        for one in &failed.differences {
            text.push_str(&format!(
                "{}: expected {}, got {}\n",
                one.field,
                shown(&one.expected),
                shown(&one.got)
            ));
        }
        if let Some(reason) = &failed.reason {
            text.push_str(&format!("{reason}\n"));
        }
        status.set_description(text);
    }
    let mut case = TestCase::new(result.name.as_str(), status);
    case.set_classname(result.file.as_str()).set_assertions(result.steps);
    place(&mut case, &result.file, line);
    case
}
