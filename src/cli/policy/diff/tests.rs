//! What the command prints, as it stands in `snapshots/`.

use clap::{Args, FromArgMatches};

use super::*;
use crate::wire::diff::{
    Altered, Bearing, Bill, ChangeEntry, Cost, FeatureImpact, ImpactView, LimitImpact, List, MeterImpact,
    MissingPlan, Over, QuotaImpact, RanOut, Remapped, RouteImpact, RunOut, Touched,
};

fn change(place: [&str; 3], before: &str, after: &str, bearing: Bearing) -> ChangeEntry {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let [subject, name, aspect] = place.map(str::to_owned);
    ChangeEntry { subject, name, aspect, before: some(before), after: some(after), bearing }
}

fn list<T>(total: u64, first: Vec<T>) -> List<T> {
    List { total, first }
}

fn none<T>() -> List<T> {
    list(0, Vec::new())
}

fn touched(tenants: &[&str]) -> Vec<Touched> {
    tenants.iter().map(|tenant| Touched { tenant: (*tenant).to_owned(), from: None }).collect()
}

fn altered(tenant: &str, before: Option<u64>, after: Option<u64>) -> Altered {
    Altered { tenant: tenant.to_owned(), from: None, before, after }
}

#[allow(clippy::too_many_lines, reason = "one value, field by field")]
fn impact() -> ImpactView {
    let day = |day: &str, window: &str| Some(RunOut { day: day.to_owned(), window: window.to_owned() });
    let out = |tenant: &str, before, after| RanOut {
        tenant: tenant.to_owned(),
        meter: "requests".to_owned(),
        before,
        after,
    };
    let bill = |tenant: &str, before: &str, after: &str| Bill {
        tenant: tenant.to_owned(),
        before: before.to_owned(),
        after: after.to_owned(),
    };
    let later = Touched { tenant: "late".to_owned(), from: Some("2026-04-01T00:00:00Z".to_owned()) };
    ImpactView {
        at: "2026-03-20T10:00:00Z".to_owned(),
        tenants: 12_345,
        losing: 1_015,
        gaining: 1,
        missing_plans: vec![MissingPlan { plan: "gold".to_owned(), tenants: list(1, touched(&["midas"])) }],
        features: vec![
            FeatureImpact {
                feature: "export".to_owned(),
                lost: list(1_003, touched(&["acme", "brix", "coda", "dune", "echo", "fizz"])),
                gained: none(),
            },
            FeatureImpact {
                feature: "sso".to_owned(),
                lost: list(1, vec![later]),
                gained: list(1, touched(&["nova"])),
            },
        ],
        meters: vec![MeterImpact {
            meter: "ai_tokens".to_owned(),
            lost: list(2, touched(&["acme", "brix"])),
            gained: none(),
        }],
        routes: vec![RouteImpact {
            routes: list(2, vec!["GET|POST /v1/export/{id}".to_owned(), "* /v1/reports/{*rest}".to_owned()]),
            lost: list(3, touched(&["acme", "brix", "coda"])),
            gained: list(1, touched(&["nova"])),
        }],
        limits: vec![LimitImpact {
            limit: "seats".to_owned(),
            lowered: list(1, vec![altered("acme", None, Some(5))]),
            raised: none(),
        }],
        quotas: vec![QuotaImpact {
            meter: "requests".to_owned(),
            window: "month".to_owned(),
            lowered: list(
                2,
                vec![altered("acme", Some(100_000), Some(50_000)), altered("brix", Some(9), Some(0))],
            ),
            raised: list(1, vec![altered("nova", Some(5), None)]),
        }],
        over_now: list(
            1,
            vec![Over {
                tenant: "acme".to_owned(),
                meter: "requests".to_owned(),
                window: "month".to_owned(),
                used: 61_234,
                limit: 50_000,
            }],
        ),
        ran_out: list(
            9,
            vec![
                out("nova", None, day("2026-03-17", "month")),
                out("acme", day("2026-02-21", "day"), day("2026-02-03", "week")),
                out("brix", None, day("2026-02-04", "month")),
                out("coda", None, day("2026-02-05", "month")),
                out("dune", None, day("2026-02-06", "month")),
                out("echo", None, day("2026-02-07", "month")),
            ],
        ),
        spared: list(1, vec![out("free-7", day("2026-02-11", "month"), None)]),
        cost: vec![Cost {
            currency: "USD".to_owned(),
            before: "23410.00".to_owned(),
            after: "23420.002".to_owned(),
            dearer: list(1, vec![bill("acme", "19.00", "29.002")]),
            cheaper: none(),
        }],
        remapped: list(
            7,
            vec![
                Remapped {
                    tenant: "acme".to_owned(),
                    before: Some("plan pro".to_owned()),
                    after: Some("plan basic, 2 of seats".to_owned()),
                },
                Remapped { tenant: "brix".to_owned(), before: Some("plan pro".to_owned()), after: None },
            ],
        ),
    }
}

fn sample(impact: Option<ImpactView>) -> PolicyDiff {
    let pro = |aspect| ["plan", "pro", aspect];
    PolicyDiff {
        base: Base { digest: "3f2a9c1b04de77a0".to_owned(), number: Some(12) },
        digest: "8c1d00ffee11aa22".to_owned(),
        changes: vec![
            change(["plan", "gold", ""], "Gold, 99.00 USD a month, 5 features", "", Bearing::Loss),
            change(pro("price"), "19.00 USD", "29.00 USD", Bearing::Loss),
            change(pro("features.export"), "export", "", Bearing::Loss),
            change(pro("features.sso"), "", "sso", Bearing::Gain),
            change(pro("quotas.requests.limit"), "100000", "50000", Bearing::Loss),
            change(
                ["plan", "team", ""],
                "",
                "Team | *big*\u{1b}[31m, 49.00 USD a month, 1 feature",
                Bearing::Neither,
            ),
            change(["route", "GET|POST /v1/export/{id}", "charge.requests"], "1", "10", Bearing::Loss),
            change(["unmatched", "", ""], "deny", "allow: no charge", Bearing::Gain),
            change(["stripe", "", "lookup_keys.pro_monthly"], "plan pro", "plan basic", Bearing::Neither),
            change(["stripe", "", "features.export"], "", "feature export", Bearing::Neither),
        ],
        impact,
    }
}

fn nothing() -> PolicyDiff {
    PolicyDiff { changes: Vec::new(), ..sample(None) }
}

fn untouched() -> ImpactView {
    ImpactView {
        tenants: 1,
        losing: 0,
        gaining: 0,
        missing_plans: Vec::new(),
        features: Vec::new(),
        meters: Vec::new(),
        routes: Vec::new(),
        limits: Vec::new(),
        quotas: Vec::new(),
        over_now: none(),
        ran_out: none(),
        spared: none(),
        cost: Vec::new(),
        remapped: none(),
        ..impact()
    }
}

const UNKNOWN: &str = "(no impact)";

#[test]
fn as_text() {
    insta::assert_snapshot!("text", text::render(&sample(Some(impact())), UNKNOWN, false));
    insta::assert_snapshot!("text_without_impact", text::render(&sample(None), UNKNOWN, false));
    insta::assert_snapshot!("text_nobody", text::render(&sample(Some(untouched())), UNKNOWN, false));
    insta::assert_snapshot!("text_nothing", text::render(&nothing(), UNKNOWN, false));
}

#[test]
fn as_markdown() {
    insta::assert_snapshot!("markdown", markdown::render(&sample(Some(impact())), UNKNOWN));
    insta::assert_snapshot!("markdown_without_impact", markdown::render(&sample(None), UNKNOWN));
    insta::assert_snapshot!("markdown_nobody", markdown::render(&sample(Some(untouched())), UNKNOWN));
    insta::assert_snapshot!("markdown_nothing", markdown::render(&nothing(), UNKNOWN));
}

#[test]
fn colour_is_all_that_colour_adds() {
    let (plain, coloured) = (
        text::render(&sample(Some(impact())), UNKNOWN, false),
        text::render(&sample(Some(impact())), UNKNOWN, true),
    );
    let mut bare = coloured.clone();
    for paint in ["\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[0m"] {
        assert!(coloured.contains(paint));
        bare = bare.replace(paint, "");
    }
    assert_eq!(bare, plain);
    assert!(!plain.contains('\x1b'), "what a policy says does not steer the terminal");
}

#[test]
fn a_comment_has_an_end() {
    let mut large = sample(None);
    large.changes =
        (0..5_000).map(|n| change(["plan", &format!("p{n}"), ""], "", "x", Bearing::Gain)).collect();
    let text = markdown::render(&large, UNKNOWN);
    assert!(text.len() < 60_000 && text.contains("And 4800 more."), "{}", text.len());
}

fn parsed(words: &str) -> Result<Diff, clap::Error> {
    let command = Diff::augment_args(clap::Command::new("diff"));
    let matches = command.try_get_matches_from(["diff"].into_iter().chain(words.split_whitespace()))?;
    Diff::from_arg_matches(&matches)
}

/// Writes a policy folder whose plan has these features.
fn folder(features: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    file("features.yaml", "features:\n  chat: {}\n  export: {}\nmeters:\n  requests: {}\n");
    file(
        "routes.yaml",
        "unmatched: deny\ndefaults: { charge: {} }\nroutes:\n  - { match: \"GET /\", features: [chat] }\n",
    );
    file("plans/pro.yaml", &format!("plan: pro\nfeatures: [{features}]\n"));
    folder
}

fn code(words: &str) -> u8 {
    parsed(words).unwrap().run().err().map_or(0, |failure| failure.exit_code())
}

#[test]
fn the_exit_code_tells_nothing_from_something_and_loss_from_gain() {
    let (less, more, broken) = (folder("chat"), folder("chat, export"), folder("chatt"));
    let path = |folder: &tempfile::TempDir| folder.path().display().to_string();
    let (less, more, broken) = (path(&less), path(&more), path(&broken));
    assert_eq!(code(&format!("{less} --against {less}")), 0);
    assert_eq!(code(&format!("{more} --against {less} --output markdown")), 4);
    assert_eq!(code(&format!("{more} --against {less} --fail-on loss --output json")), 4);
    assert_eq!(code(&format!("{less} --against {more}")), 4);
    assert_eq!(code(&format!("{less} --against {more} --fail-on loss")), 1);
    assert_eq!(code(&format!("{less} --against {less} --fail-on loss")), 0);
    assert_eq!(code(&format!("{broken} --against {less}")), 1);
    assert_eq!(code(&format!("{less} --against {broken}")), 1);
    assert_eq!(code(&format!("{less} --against {less}/nowhere")), 2);
    assert_eq!(code(&format!("{less}/nowhere")), 2);
    assert_eq!(parsed("--fail-on gain").unwrap_err().exit_code(), 2);
}

#[test]
fn an_answer_of_another_version_is_not_taken_for_an_empty_one() {
    assert!(read(json!({ "base": {} })).unwrap_err().to_string().contains("is not understood"));
    assert_eq!(read(json!(sample(Some(impact())))).unwrap(), sample(Some(impact())));
}
