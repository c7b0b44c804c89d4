//! What is warned of, and above all what is not.

use std::collections::BTreeSet;

use super::*;
use crate::domain::route::{Methods, Operation, OperationIx, Pattern, RouteTable};

fn folder_of(files: &[(&str, String)]) -> Report {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.clone()));
    check_files(Path::new("x"), &PolicyFiles(files.collect()))
}

fn found<'r>(report: &'r Report, code: &str) -> Vec<&'r Diagnostic> {
    report.diagnostics().iter().filter(|finding| finding.code == code).collect()
}

fn with_routes(routes: &[String]) -> Report {
    let lines: String =
        routes.iter().map(|route| format!("  - {{ match: \"{route}\", public: true }}\n")).collect();
    folder_of(&[
        ("features.yaml", "features: {}\n".to_owned()),
        ("plans/free.yaml", "plan: free\n".to_owned()),
        ("routes.yaml", format!("routes:\n{lines}")),
    ])
}

#[test]
fn routes_that_something_reaches_are_not_told_of() {
    let routes = [
        "* /b",
        "* /b/{x}",
        "GET /b/{*rest}",
        "GET|HEAD|POST /c",
        "* /c",
        "HEAD /d",
        "GET /d",
        "* /d/",
        "GET /e/{x}/f",
        "* /e/{*rest}",
        "GET /f/",
        "GET /f",
        "* /{x}/{y}/{z}",
        "* /{*all}",
    ];
    let report = with_routes(&routes.map(str::to_owned));
    assert!(found(&report, "route-hidden").is_empty(), "{}", report.render(false));
}

/// Patterns of up to three segments over a few words, and methods.
fn few_routes() -> impl Strategy<Value = Vec<String>> {
    let segment = || prop::sample::select(vec!["a", "b", "{x}", "{y}"]);
    let end = prop::sample::select(vec!["", "", "/", "/{*rest}", "/{*rest}"]);
    let methods = prop::sample::select(vec![
        "*",
        "*",
        "GET",
        "HEAD",
        "POST",
        "GET|POST",
        "POST|PUT|PATCH|DELETE|OPTIONS",
    ]);
    let route =
        (methods, proptest::collection::vec(segment(), 0..3), end).prop_map(|(methods, segments, end)| {
            let names: BTreeSet<_> = segments.iter().collect();
            // A name may stand once only.
            let segments = if names.len() < segments.len() { vec!["a"] } else { segments };
            let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
            let path =
                if path.is_empty() && end != "/{*rest}" { "/".to_owned() } else { format!("{path}{end}") };
            format!("{methods} {path}")
        });
    proptest::collection::vec(route, 1..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Against asking for every path of up to five segments over the words that matter.
    #[test]
    fn a_route_is_hidden_when_no_request_at_all_reaches_it(mut routes in few_routes()) {
        // Leave out what would conflict.
        let mut table = RouteTable::default();
        let operation = |name: &str| Operation {
            name: name.to_owned(),
            public: true,
            features: Default::default(),
            charge: Box::default(),
            settle: Box::default(),
            conditions: None,
        };
        routes.retain(|route| {
            let (methods, path) = route.split_once(' ').unwrap();
            let methods = match methods {
                "*" => Methods::Any,
                names => Methods::Named(names.split('|').map(str::to_owned).collect()),
            };
            table.add(&methods, &Pattern::parse(path).unwrap(), operation(route)).is_ok()
        });
        let mut paths = vec![String::new()];
        let mut last = paths.clone();
        for _ in 0..5 {
            last = last.iter().flat_map(|path| ["a", "b", "c"].map(|word| format!("{path}/{word}"))).collect();
            paths.extend(last.clone());
        }
        let paths: Vec<String> = paths.iter().flat_map(|path| [path.clone(), format!("{path}/")]).filter(|p| !p.is_empty()).collect();
        let reached = |methods: &[&str]| -> BTreeSet<u32> {
            let each = methods.iter().flat_map(|method| paths.iter().filter_map(|path| table.find(method, path)));
            each.map(|OperationIx(ix)| ix).collect()
        };
        let usual = reached(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
        let all = &usual | &reached(&["LINK"]);
        let report = with_routes(&routes);
        let told: BTreeSet<u32> = found(&report, "route-hidden").iter()
            .map(|finding| u32::try_from(finding.location.span.unwrap().line).unwrap() - 2).collect();
        let count = u32::try_from(routes.len()).unwrap();
        let hidden: BTreeSet<u32> = (0..count).filter(|ix| !usual.contains(ix)).collect();
        prop_assert_eq!(&told, &hidden, "{:?}", routes);
        for finding in found(&report, "route-hidden") {
            let ix = u32::try_from(finding.location.span.unwrap().line).unwrap() - 2;
            prop_assert_eq!(finding.message.starts_with("no request"), !all.contains(&ix));
        }
    }
}

fn priced(name: &str, amount: &str, rest: &str) -> (String, String) {
    (
        format!("plans/{name}.yaml"),
        format!("plan: {name}\nprice: {{ amount: \"{amount}\", currency: EUR }}\n{rest}"),
    )
}

fn with_plans(plans: Vec<(String, String)>) -> Report {
    let features =
        "features: { a: {}, b: {}, c: {} }\nlimits: { seats: {} }\nmeters: { requests: {}, tokens: {} }\n";
    let routes = "routes:\n  - { match: GET /x, features: [a, b, c], charge: { requests: 1, tokens: 1 } }\n";
    let mut files = plans;
    files.push(("features.yaml".to_owned(), features.to_owned()));
    files.push(("routes.yaml".to_owned(), routes.to_owned()));
    files.push((
        "addons/all.yaml".to_owned(),
        "addon: all\nfeatures: [a, b, c]\nlimits: { seats: 1 }\nquotas: { requests: 1, tokens: 1 }\n"
            .to_owned(),
    ));
    check_files(Path::new("x"), &PolicyFiles(files.into_iter().collect()))
}

#[test]
fn a_dearer_plan_with_less_is_told_once_for_each_cause() {
    // A typo high up in `small` and all that is dearer has less; those that extend `mid` have what it has.
    let report = with_plans(vec![
        priced("small", "5", "features: [a]\nquotas: { requests: 1000000, tokens: 5 }\n"),
        priced("mid", "10", "extends: small\nquotas: { requests: 10000 }\n"),
        priced("large", "20", "extends: mid\nfeatures: [b]\n"),
        priced("huge", "30", "extends: large\nquotas: { tokens: 50 }\n"),
    ]);
    let told = found(&report, "cheaper-has-more");
    assert_eq!(told.len(), 1, "{}", report.render(false));
    assert!(told[0].message.contains("`mid` costs more than `small` (10 to 5 EUR)"), "{}", told[0].message);
    assert!(
        told[0].message.ends_with("10000 `requests` in the month instead of 1000000"),
        "{}",
        told[0].message
    );
    assert_eq!(told[0].location.span.unwrap().line, 4);

    // The typo is in the middle: the one below it and the one above it are well.
    let report = with_plans(vec![
        priced("small", "5", "quotas: { requests: 100 }\n"),
        priced("mid", "10", "extends: small\nquotas: { requests: 2000000 }\n"),
        priced("large", "20", "extends: mid\nquotas: { requests: 10000 }\n"),
        priced("huge", "30", "extends: large\nquotas: { requests: 100000 }\n"),
    ]);
    let told = found(&report, "cheaper-has-more");
    assert_eq!(told.len(), 1, "{}", report.render(false));
    assert!(told[0].message.contains("`large` costs more than `mid`"), "{}", told[0].message);
}

#[test]
fn plans_of_other_lines_currencies_and_kinds_are_not_compared() {
    let report = with_plans(vec![
        priced("chat", "5", "features: [a, b]\nlimits: { seats: 50 }\nquotas: { requests: 100, tokens: unlimited }\n"),
        // Another line: it has what that one has not.
        priced("voice", "10", "features: [c]\nlimits: { seats: 5 }\nquotas: { requests: 10 }\n"),
        // A variant says so with `without`.
        priced("chat-health", "15", "extends: chat\nwithout: [b]\nquotas: { requests: 1 }\n"),
        // More of it is for free, as overage; and what is billed is not had for less.
        priced("soft", "20", "extends: chat\nquotas: { requests: { limit: 10, overage: { mode: allow } } }\n"),
        priced("same-price", "20.00", "extends: chat\nquotas: { requests: 100 }\n"),
        ("plans/dollars.yaml".to_owned(), "plan: dollars\nextends: chat\nprice: { amount: \"99\", currency: USD }\nquotas: { requests: 1 }\n".to_owned()),
        ("plans/unpriced.yaml".to_owned(), "plan: unpriced\nquotas: { requests: 1 }\n".to_owned()),
    ]);
    assert!(found(&report, "cheaper-has-more").is_empty(), "{}", report.render(false));
}

#[test]
fn a_plan_out_of_reach_is_told_only_beside_a_free_one_and_prices() {
    let plan = |name: &str, rest: &str| (format!("plans/{name}.yaml"), format!("plan: {name}\n{rest}"));
    let told = |plans: Vec<(String, String)>| {
        let report = with_plans(plans);
        found(&report, "plan-out-of-reach").iter().map(|d| d.location.file.clone()).collect::<Vec<_>>()
    };
    let pro = || priced("pro", "10", "extends: free\n");
    assert_eq!(told(vec![plan("free", ""), plan("old", ""), pro()]), ["plans/old.yaml"]);
    // Nothing else is free, so it may be the plan of all who pay nothing.
    assert!(told(vec![plan("old", ""), priced("pro", "10", "")]).is_empty());
    // Without any price, nothing is known of what is sold.
    assert!(told(vec![plan("free", ""), plan("old", ""), plan("pro", "extends: free\n")]).is_empty());
    assert!(told(vec![plan("free", ""), plan("old", "trial: { days: 5, then: free }\n"), pro()]).is_empty());
    assert!(told(vec![plan("free", ""), priced("old", "0", ""), pro()]).is_empty());
    assert!(
        told(vec![
            plan("free", ""),
            plan("old", ""),
            pro(),
            priced("x", "1", "trial: { days: 1, then: old }\n")
        ])
        .is_empty()
    );
}

#[test]
fn no_case_is_asked_for_where_there_are_none_or_one_is_broken() {
    let cases = |text: &str| {
        folder_of(&[
            ("features.yaml", FEATURES.to_owned()),
            ("routes.yaml", format!("{ROUTES}  - {{ match: GET /b, public: true }}\n")),
            ("plans/free.yaml", FREE.to_owned()),
            ("cases/x.yaml", text.to_owned()),
        ])
    };
    let one =
        "cases:\n  - { name: a, tenant: { plan: free }, request: HEAD /chat/, expect: { allow: true } }\n";
    let report = cases(one);
    let told = found(&report, "route-without-case");
    assert_eq!(told.len(), 1, "{}", report.render(false));
    assert!(report.is_ok() && told[0].message.contains("`GET /b`"));
    for none in [
        "cases: []\n",
        &format!("{one}  - {{ name: b }}\n"),
        &format!("{one}  - {{ name: b, request: GET /b, expect: {{ allow: true }} }}\n"),
    ] {
        assert!(found(&cases(none), "route-without-case").is_empty(), "{none}");
    }
}

#[test]
fn warnings_of_one_kind_are_bounded() {
    let names: String = (0..500).map(|n| format!("f{n}: {{}}, ")).collect();
    let report = folder_of(&[
        ("features.yaml", format!("features: {{ {names} }}\n")),
        ("routes.yaml", "routes: []\n".to_owned()),
        ("plans/free.yaml", "plan: free\n".to_owned()),
    ]);
    assert_eq!(found(&report, "unused-feature").len(), 50);
    assert_eq!(found(&report, "too-many-findings")[0].message, "450 further findings are not shown");
    assert!(report.is_ok());
}

/// What `policy check` must do in under a second: a thousand plans of a few lines, ten thousand routes of many shapes, and
/// in each way the most that is wrong with them. Whatever took quadratic time here would take minutes.
#[test]
fn a_thousand_plans_and_ten_thousand_routes_with_all_warnings() {
    let mut files = vec![(
        "features.yaml".to_owned(),
        format!(
            "features: {{ {} }}\nlimits: {{ {} }}\nmeters: {{ {} }}\n",
            (0..400).map(|n| format!("f{n}: {{}}, ")).collect::<String>(),
            (0..40).map(|n| format!("l{n}: {{}}, ")).collect::<String>(),
            (0..20).map(|n| format!("m{n}: {{}}, ")).collect::<String>(),
        ),
    )];
    for n in 0..1000 {
        // Every tenth begins a line of its own; the others extend the one before.
        let extends = if n % 10 == 0 { String::new() } else { format!("extends: p{}\n", n - 1) };
        let text = format!(
            "plan: p{n}\n{extends}price: {{ amount: \"{n}.00\", currency: EUR }}\nfeatures: [f{}, f{}]\nlimits: {{ l{}: {} }}\n\
             quotas: {{ m{}: {}, m0: {{ limit: {}, day: {} }} }}\nrates: {{ m0: {{ limit: 5, per: 1s }} }}\n",
            n % 400,
            (n + 7) % 400,
            n % 40,
            n * 7 % 1000,
            1 + n % 19,
            1 + n * 13 % 1000,
            1000 + n * 31 % 1000,
            10 + n,
        );
        files.push((format!("plans/p{n}.yaml"), text));
    }
    // Shapes that no plan admits, and rests and parameters that lie over each other.
    let routes: String = (0..10_000)
        .map(|n| {
            let path = match n % 5 {
                0 => format!("* /a{n}/{{*rest}}"),
                1 => format!("GET /b/{{x}}/c{n}/{{y}}"),
                2 => format!("GET|POST /{{x}}/d{n}"),
                3 => format!("M{n} /e"),
                _ => format!("* /f/g/{{x}}/h{n}/i/{{*rest}}"),
            };
            let (f, g, m) = (n * 3 % 400, n * 17 % 400, n % 20);
            format!(
                "  - {{ match: \"{path}\", features: [f{f}{}], charge: {{ m{m}: {} }} }}\n",
                if f == g { String::new() } else { format!(", f{g}") },
                1 + n % 50
            )
        })
        .collect();
    files.push(("routes.yaml".to_owned(), format!("routes:\n{routes}")));
    files.push(("cases/x.yaml".to_owned(), "cases:\n  - { name: a, tenant: { plan: p0 }, request: GET /a0, expect: { deny: feature-not-in-plan } }\n".to_owned()));
    let files = PolicyFiles(files.into_iter().collect());
    let report = check_files(Path::new("x"), &files);
    assert!(report.is_ok(), "{}", report.render(false));
    let codes: BTreeSet<&str> = report.diagnostics().iter().map(|finding| finding.code).collect();
    for code in ["route-for-nobody", "route-without-case", "cheaper-has-more", "charge-above-burst"] {
        assert!(codes.contains(code), "{codes:?}");
    }
    assert!(report.diagnostics().len() < 500, "{}", report.diagnostics().len());
}
