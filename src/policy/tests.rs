//! Tests of the whole way from files to decisions.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::{
    compile::{Compiled, compile},
    source::Sources,
    *,
};
use crate::domain::{
    plan::{ChangeAt, Changes, PlanVersion},
    subscription::UsageRule,
    units::Allowance,
};
use crate::ports::Policies;

mod life;
mod lints;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

const FEATURES: &str = "features: { chat: {} }\nmeters: { requests: {} }\n";
const ROUTES: &str = "routes:\n  - { match: GET /chat, features: [chat], charge: { requests: 1 } }\n";
const FREE: &str = "plan: free\nfeatures: [chat]\nquotas: { requests: 10 }\n";

fn good() -> tempfile::TempDir {
    folder(&[("features.yaml", FEATURES), ("routes.yaml", ROUTES), ("plans/free.yaml", FREE)])
}

fn codes(report: &Report) -> Vec<(&'static str, String)> {
    report.diagnostics().iter().map(|d| (d.code, d.location.file.clone())).collect()
}

#[test]
fn odd_files_are_errors_and_never_hang() {
    let folder = good();
    let dir = folder.path();
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, dir.join("plans/pipe.yaml"), fifo, mode, 0).unwrap();
    std::os::unix::fs::symlink("/dev/zero", dir.join("plans/zero.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.join("plans/gone.yaml")).unwrap();
    fs::create_dir(dir.join("plans/dir.yaml")).unwrap();
    fs::write(dir.join("plans/big.yaml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    fs::write(dir.join("plans/latin.yaml"), b"plan: latin\ntitle: caf\xe9\n").unwrap();
    let report = check(dir);
    let found: BTreeMap<String, &str> = codes(&report).into_iter().map(|(code, file)| (file, code)).collect();
    for (file, code) in [
        ("pipe", "file-not-regular"),
        ("zero", "file-not-regular"),
        ("dir", "file-not-regular"),
        ("gone", "file-unreadable"),
        ("big", "file-too-large"),
        ("latin", "file-not-utf8"),
    ] {
        assert_eq!(found.get(&format!("plans/{file}.yaml")), Some(&code), "{}", report.render(false));
    }
    assert_eq!(found.len(), 6, "{}", report.render(false));
    let latin = report.errors().find(|d| d.code == "file-not-utf8").unwrap();
    assert_eq!(latin.location.span.map(|s| (s.line, s.column)), Some((2, 11)));
}

#[test]
fn files_up_to_the_bound_and_symlinks_are_read() {
    let folder = good();
    let padded = format!("{FREE}{}", "#".repeat((1 << 20) - FREE.len()));
    let elsewhere = self::folder(&[("free.yaml", &padded)]);
    fs::remove_file(folder.path().join("plans/free.yaml")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("free.yaml"), folder.path().join("plans/free.yaml"))
        .unwrap();
    assert!(load(folder.path()).is_ok());
}

#[test]
fn a_missing_folder_is_one_error() {
    let report = load(Path::new("/nonexistent/policies")).unwrap_err();
    assert_eq!(codes(&report), [("folder-missing", String::new())]);
    let file = folder(&[("x", "")]);
    assert_eq!(codes(&load(&file.path().join("x")).unwrap_err()), [("folder-missing", String::new())]);
}

#[test]
fn text_and_json_show_place_line_and_help() {
    let folder = good();
    write(folder.path(), "plans/basic.yaml", "plan: basic\nextends: fre\n");
    let report = load(folder.path()).unwrap_err();
    let text = report.render(false);
    let path = folder.path().join("plans/basic.yaml");
    for part in [
        "error[unknown-plan]: unknown plan `fre`",
        &format!("{}:2:10", path.display()),
        "2 | extends: fre",
        "^^^",
        "did you mean `free`?",
        "1 error, 0 warnings",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(report.render(true).contains("\u{1b}["));
    let json = report.to_json();
    let first = &json["diagnostics"][0];
    assert_eq!(first["file"], "plans/basic.yaml");
    assert_eq!((&first["line"], &first["column"], &first["length"]), (&2.into(), &10.into(), &3.into()));
    assert_eq!(first["source"], "extends: fre");
    assert_eq!(json["ok"], false);
}

#[test]
fn a_terminal_is_not_written_to_by_a_file() {
    let folder = good();
    write(folder.path(), "plans/basic.yaml", "plan: basic\nextends: \"\\e[31mfre\"\n# \u{1b}[2J\n");
    assert!(!check(folder.path()).render(false).contains('\u{1b}'));
}

#[test]
fn both_places_of_a_conflict_are_shown() {
    let folder = good();
    let routes = "routes:\n  - { match: \"GET /{a}\" }\n  - { match: \"GET /{b}\" }\n";
    write(folder.path(), "routes.yaml", routes);
    let report = load(folder.path()).unwrap_err();
    let conflict = &report.diagnostics()[0];
    assert_eq!(conflict.location.span.unwrap().line, 3);
    assert_eq!(conflict.related[0].0.span.unwrap().line, 2);
    assert!(report.render(false).contains("routes.yaml:2:14"), "{}", report.render(false));
}

#[test]
fn failing_cases_say_what_was_expected_and_what_came() {
    let folder = good();
    let cases = "cases:\n  - name: ten is too many\n    tenant: { plan: free, used: { requests: 9 } }\n    \
                 request: GET /chat\n    expect: { deny: quota-exhausted }\n";
    write(folder.path(), "cases/x.yaml", cases);
    let report = super::test(folder.path());
    assert!(!report.is_ok() && report.check().is_ok());
    assert_eq!((report.passed(), report.failed()), (0, 1));
    let text = report.render(false);
    for part in [
        "ten is too many (cases/x.yaml:2)",
        "decision deny             allow",
        "code     quota-exhausted  -",
        "10 of 10 `requests` used this month, this request included",
        "1 failed",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert_eq!(report.to_json()["cases"][0]["passed"], false);
}

#[test]
fn broken_cases_do_not_keep_the_policies_from_loading() {
    let folder = good();
    write(folder.path(), "cases/x.yaml", "cases: [");
    assert!(load(folder.path()).is_ok());
    assert!(!check(folder.path()).is_ok());
    let report = super::test(folder.path());
    assert!(!report.is_ok() && report.results().is_empty());
}

#[test]
fn a_thousand_mistakes_are_counted_not_shown_and_still_errors() {
    let features: String = (0..3000).map(|n| format!("  X{n}: {{}}\n")).collect();
    let folder = good();
    write(folder.path(), "features.yaml", &format!("features:\n{features}"));
    let report = check(folder.path());
    assert!(!report.is_ok());
    assert!(report.diagnostics().len() < 1100);
    assert!(report.warnings().any(|d| d.code == "too-many-findings"));
}

#[test]
fn large_and_hostile_files_end_soon() {
    // Each would take minutes if any step of the way took quadratic time.
    let many = |text: &dyn Fn(usize) -> String| (0..60_000).map(text).collect::<String>();
    let known = (0..4000).map(|n| format!("feature{n}: {{}}, ")).collect::<String>();
    let features = format!("features: {{ chat: {{}}, {known} }}\nmeters: {{ requests: {{}} }}\n");
    for (name, text) in [
        ("plans/a.yaml", format!("plan: a\nfeatures: [{}]\n", many(&|n| format!("feature_{n},")))),
        ("plans/a.yaml", format!("plan: a\nfeatures: [{}]\n", many(&|_| "chat,".to_owned()))),
        ("plans/a.yaml", format!("plan: a\nlimits: {{{}}}\n", many(&|_| "seats: 1,".to_owned()))),
        ("addons/a.yaml", format!("addon: a\nplans: [{}]\n", many(&|n| format!("plan_{n},")))),
        ("addons/a.yaml", format!("addon: a\nquotas: {{{}}}\n", many(&|n| format!("m{n}: {{ day: 1 }},")))),
        ("routes.yaml", format!("routes: [{}]\n", many(&|_| "{match: x},".to_owned()))),
        ("routes.yaml", format!("routes: [{{match: \"{} /\"}}]\n", many(&|n| format!("A{n}|")))),
        ("routes.yaml", format!("routes: [{{match: \"GET {}\"}}]\n", "/a".repeat(400_000))),
        ("routes.yaml", format!("routes: {}", "[".repeat(900_000))),
        ("routes.yaml", "- ".repeat(400_000)),
    ] {
        let mut files = vec![
            ("features.yaml".to_owned(), features.clone()),
            ("routes.yaml".to_owned(), ROUTES.to_owned()),
            ("plans/free.yaml".to_owned(), FREE.to_owned()),
        ];
        files.retain(|(other, _)| other != name);
        files.push((name.to_owned(), text));
        assert!(in_memory(&files).catalog.is_none(), "{name}");
        all_of(&files);
    }
}

#[test]
fn a_thousand_plans_and_ten_thousand_routes() {
    let route = |n: usize| format!("  - {{ match: \"GET /v1/r{n}/{{id}}\", features: [chat] }}\n");
    let routes: String = (0..10_000).map(route).collect();
    let mut files = vec![
        ("features.yaml".to_owned(), FEATURES.to_owned()),
        ("routes.yaml".to_owned(), format!("defaults: {{ charge: {{ requests: 1 }} }}\nroutes:\n{routes}")),
        ("plans/p0.yaml".to_owned(), FREE.replace("free", "p0")),
    ];
    files.extend((1..1000).map(|n| {
        (
            format!("plans/p{n}.yaml"),
            format!("plan: p{n}\nextends: p{}\nquotas: {{ requests: {n} }}\n", n - 1),
        )
    }));
    let compiled = in_memory(&files);
    assert!(compiled.diagnostics.is_empty(), "{:?}", compiled.diagnostics.first());
    assert_eq!(compiled.catalog.unwrap().plans.len(), 1000);
}

#[test]
fn a_bad_state_keeps_the_last_good_catalog() {
    let folder = good();
    let watched = Watched::open(folder.path()).unwrap();
    let first = watched.status().digest;
    let mut catalogs = watched.subscribe();

    write(folder.path(), "plans/free.yaml", "plan: fre");
    assert!(!watched.reload());
    let bad = watched.status();
    assert_eq!((bad.reloads, bad.reload_failures, &bad.digest), (0, 1, &first));
    assert!(bad.last_error.unwrap().contains("plan-name-mismatch"));
    assert!(!watched.reload());
    assert_eq!(watched.status().reload_failures, 1, "the same bad state is not tried again");
    assert!(!catalogs.has_changed().unwrap());

    fs::rename(folder.path(), folder.path().with_extension("away")).unwrap();
    assert!(!watched.reload());
    assert!(watched.status().last_error.unwrap().contains("folder-missing"));
    assert_eq!(watched.catalog().digest, first);
    fs::rename(folder.path().with_extension("away"), folder.path()).unwrap();

    write(folder.path(), "plans/free.yaml", &FREE.replace("10", "20"));
    assert!(!watched.reload());
    let good = watched.status();
    assert_eq!((good.reloads, good.last_error), (1, None));
    assert_ne!(good.digest, first);
    assert_eq!(catalogs.borrow_and_update().digest, watched.catalog().digest);
}

#[test]
fn changed_cases_change_nothing_in_force() {
    let folder = good();
    let watched = Watched::open(folder.path()).unwrap();
    write(folder.path(), "cases/x.yaml", "cases: []");
    watched.reload();
    assert_eq!(watched.status().reloads, 0);
}

#[tokio::test]
async fn a_saved_file_comes_into_force_and_so_does_a_swapped_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two, link) =
        (folder.path().join("..1"), folder.path().join("..2"), folder.path().join("policies"));
    for dir in [&one, &two] {
        write(dir, "features.yaml", FEATURES);
        write(dir, "routes.yaml", ROUTES);
        write(dir, "plans/free.yaml", FREE);
    }
    write(&two, "plans/pro.yaml", "plan: pro\nextends: free\n");
    std::os::unix::fs::symlink(&one, &link).unwrap();
    let watched = Watched::open(&link).unwrap();
    let mut catalogs = watched.subscribe();
    let token = CancellationToken::new();
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(Arc::clone(&watched).watch(token.clone()));
    let mut next = async || {
        tokio::time::timeout(Duration::from_secs(30), catalogs.changed()).await.unwrap().unwrap();
        catalogs.borrow_and_update().clone()
    };

    write(&one, "plans/basic.yaml", "plan: basic\nextends: free\n");
    assert!(next().await.plan("basic").is_some());

    let new = folder.path().join("new");
    std::os::unix::fs::symlink(&two, &new).unwrap();
    fs::rename(&new, &link).unwrap();
    let swapped = next().await;
    assert!(swapped.plan("pro").is_some() && swapped.plan("basic").is_none());

    write(&two, "plans/team.yaml", "plan: team\nextends: free\n");
    assert!(next().await.plan("team").is_some());
    token.cancel();
    tasks.close();
    tasks.wait().await;
}

/// A plan as the property test thinks of it.
#[derive(Debug, Clone)]
struct Plain {
    parent: Option<usize>,
    features: BTreeSet<usize>,
    without: BTreeSet<usize>,
    limits: BTreeMap<usize, Option<u64>>,
    quotas: BTreeMap<usize, Option<u64>>,
    price: Option<u64>,
    life: Life,
}

/// What a plan says of its own life; the first three are inherited.
#[derive(Debug, Clone)]
struct Life {
    grace: Option<u16>,
    changes: Option<(Option<bool>, Option<bool>)>,
    trial: Option<(u16, bool)>,
    version: Option<u32>,
}

fn life() -> impl Strategy<Value = Life> {
    let later = || proptest::option::of(any::<bool>());
    (
        proptest::option::of(0..=365u16),
        proptest::option::of((later(), later())),
        proptest::option::of((1..=3650u16, any::<bool>())),
        proptest::option::of(1..=1_000_000u32),
    )
        .prop_map(|(grace, changes, trial, version)| Life { grace, changes, trial, version })
}

impl Life {
    fn text(&self) -> String {
        let word = |later: bool| if later { "period_end" } else { "now" };
        let mut text = String::new();
        if let Some(days) = self.grace {
            text.push_str(&format!("grace: {{ days: {days} }}\n"));
        }
        if let Some((up, down)) = self.changes {
            let up = up.map(|later| format!("upgrade: {}", word(later)));
            let down = down.map(|later| format!("downgrade: {}", word(later)));
            let both: Vec<String> = up.into_iter().chain(down).collect();
            text.push_str(&format!("changes: {{ {} }}\n", both.join(", ")));
        }
        if let Some((days, reset)) = self.trial {
            let usage = if reset { ", usage: reset" } else { "" };
            text.push_str(&format!("trial: {{ days: {days}, then: block{usage} }}\n"));
        }
        if let Some(version) = self.version {
            text.push_str(&format!("version: {version}\n"));
        }
        text
    }

    fn changes(&self) -> Changes {
        let at = |later| if later == Some(true) { ChangeAt::PeriodEnd } else { ChangeAt::Now };
        let (upgrade, downgrade) = self.changes.unwrap_or_default();
        Changes { upgrade: at(upgrade), downgrade: at(downgrade) }
    }
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn plain() -> impl Strategy<Value = Plain> {
    let subset = || proptest::collection::btree_set(0..NAMES.len(), 0..4);
    let numbers = || proptest::collection::btree_map(0..NAMES.len(), proptest::option::of(0..100u64), 0..4);
    (
        proptest::option::of(any::<prop::sample::Index>()),
        subset(),
        subset(),
        numbers(),
        numbers(),
        proptest::option::of(0..99u64),
        life(),
    )
        .prop_map(|(parent, features, without, limits, quotas, price, life)| Plain {
            // Turned into an earlier plan below, so that there is no cycle.
            parent: parent.map(|index| index.index(1 << 16)),
            without: without.difference(&features).copied().collect(),
            features,
            limits,
            quotas,
            price,
            life,
        })
}

impl Plain {
    fn text(&self, ix: usize) -> String {
        let list = |set: &BTreeSet<usize>| {
            let names: Vec<&str> = set.iter().map(|ix| NAMES[*ix]).collect();
            format!("[{}]", names.join(", "))
        };
        let map = |map: &BTreeMap<usize, Option<u64>>| {
            let number = |n: &Option<u64>| n.map_or("unlimited".to_owned(), |n| n.to_string());
            let entries: Vec<_> =
                map.iter().map(|(ix, n)| format!("{}: {}", NAMES[*ix], number(n))).collect();
            format!("{{ {} }}", entries.join(", "))
        };
        let mut text = format!("plan: p{ix:02}\ntitle: Plan {ix}\n");
        if let Some(parent) = self.parent {
            text.push_str(&format!("extends: p{parent:02}\n"));
        }
        if let Some(price) = self.price {
            text.push_str(&format!("price: {{ amount: \"{price}.00\", currency: EUR }}\n"));
        }
        text.push_str(&self.life.text());
        text.push_str(&format!("features: {}\nwithout: {}\n", list(&self.features), list(&self.without)));
        text.push_str(&format!("limits: {}\nquotas: {}\n", map(&self.limits), map(&self.quotas)));
        text
    }
}

/// The same by straightforward recursion.
fn effective(plans: &[Plain], ix: usize) -> Plain {
    let plan = &plans[ix];
    let Some(parent) = plan.parent else { return plan.clone() };
    let mut out = effective(plans, parent);
    out.features = &(&out.features - &plan.without) | &plan.features;
    out.limits.extend(&plan.limits);
    out.quotas.extend(&plan.quotas);
    out.price = plan.price.or(out.price);
    out.life = Life {
        grace: plan.life.grace.or(out.life.grace),
        changes: plan.life.changes.or(out.life.changes),
        trial: plan.life.trial.or(out.life.trial),
        version: plan.life.version,
    };
    out
}

fn in_memory(files: &[(String, String)]) -> Compiled {
    let mut sources = Sources::default();
    for (name, text) in files {
        sources.add(name, Some(text.clone()));
    }
    compile(&sources)
}

fn number(allowance: Allowance) -> Option<u64> {
    allowance.limit().map(|units| units.get())
}

fn example() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let names = [
        "features.yaml",
        "routes.yaml",
        "plans/pro.yaml",
        "plans/basic.yaml",
        "plans/free.yaml",
        "addons/archive.yaml",
        "addons/ai-tokens.yaml",
    ];
    let mut files: Vec<(String, String)> =
        names.iter().map(|name| ((*name).to_owned(), fs::read_to_string(root.join(name)).unwrap())).collect();
    for cases in ["cases/quotas.yaml", "cases/life.yaml", "cases/steps.yaml"] {
        files.push((cases.into(), fs::read_to_string(root.join(cases)).unwrap()));
    }
    files
}

/// Checks everything, as `policy check` and `policy test` do, and shows it: none of it may panic.
fn all_of(files: &[(String, String)]) {
    let mut sources = Sources::default();
    for (name, text) in files {
        sources.add(name, Some(text.clone()));
    }
    let (report, catalog, cases) = checked(Path::new("x"), &sources);
    assert_eq!(report.is_ok(), catalog.is_some() && report.errors().next().is_none());
    let _ = (report.render(true), report.to_json());
    if let Some(catalog) = catalog {
        let _ = run(&catalog, &cases);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn inheritance_is_what_recursion_says(mut plans in proptest::collection::vec(plain(), 1..12)) {
        for (ix, plan) in plans.iter_mut().enumerate() {
            plan.parent = plan.parent.filter(|_| ix > 0).map(|parent| parent % ix.max(1));
        }
        let declared = NAMES.map(|name| format!("{name}: {{}}")).join(", ");
        let mut files = vec![
            ("features.yaml".to_owned(), format!("features: {{ {declared} }}\nlimits: {{ {declared} }}\nmeters: {{ {declared} }}\n")),
            ("routes.yaml".to_owned(), "routes: []\n".to_owned()),
        ];
        files.extend(plans.iter().enumerate().map(|(ix, plan)| (format!("plans/p{ix:02}.yaml"), plan.text(ix))));
        let catalog = in_memory(&files).catalog.expect("valid");
        prop_assert_eq!(catalog.plans.len(), plans.len());
        for ix in 0..plans.len() {
            let wanted = effective(&plans, ix);
            let plan = catalog.plan(&format!("p{ix:02}")).unwrap();
            let features: BTreeSet<usize> = plan.features.iter().map(|ix| usize::from(ix.0)).collect();
            prop_assert_eq!(features, wanted.features);
            let limits: BTreeMap<usize, Option<u64>> = plan.limits.iter()
                .map(|(id, n)| (NAMES.iter().position(|name| *name == id.as_str()).unwrap(), number(*n))).collect();
            prop_assert_eq!(limits, wanted.limits);
            let quotas: BTreeMap<usize, Option<u64>> = plan.meters.iter().enumerate()
                .filter_map(|(ix, terms)| Some((ix, number(terms.quota?.month)))).collect();
            prop_assert_eq!(quotas, wanted.quotas);
            prop_assert_eq!(plan.price.map(|p| p.amount.to_string()), wanted.price.map(|p| format!("{p}.00")));
            prop_assert_eq!(plan.grace_days, wanted.life.grace);
            prop_assert_eq!(plan.changes, wanted.life.changes());
            let trial = plan.trial.as_ref().map(|trial| (trial.days, trial.usage == UsageRule::Reset));
            prop_assert_eq!(trial, wanted.life.trial);
            prop_assert_eq!(plan.version, PlanVersion(wanted.life.version.unwrap_or(1)));
            prop_assert_eq!(plan.title.clone(), Some(format!("Plan {ix}")));
            prop_assert_eq!(plan.parent.as_ref().map(|p| p.as_str().to_owned()), plans[ix].parent.map(|p| format!("p{p:02}")));
        }
    }

    #[test]
    fn any_parents_at_all_end(parents in proptest::collection::vec(proptest::option::of(0usize..8), 8)) {
        let mut files = vec![("features.yaml".to_owned(), "features: {}\n".to_owned()), ("routes.yaml".to_owned(), "routes: []\n".to_owned())];
        for (ix, parent) in parents.iter().enumerate() {
            let extends = parent.map_or(String::new(), |parent| format!("extends: p{parent}\n"));
            files.push((format!("plans/p{ix}.yaml"), format!("plan: p{ix}\n{extends}")));
        }
        let cyclic = |start: usize| {
            let mut at = start;
            (0..8).all(|_| parents[at].inspect(|parent| at = *parent).is_some())
        };
        // A plan is in a cycle if it comes back to itself; every cycle is reported exactly once.
        let mut cycles = BTreeSet::new();
        for start in (0..8).filter(|start| cyclic(*start)) {
            let mut at = start;
            for _ in 0..8 { at = parents[at].unwrap(); }
            let mut members = BTreeSet::new();
            while members.insert(at) { at = parents[at].unwrap(); }
            cycles.insert(members);
        }
        let compiled = in_memory(&files);
        let reported = compiled.diagnostics.iter().filter(|d| d.code == "plan-cycle").count();
        prop_assert_eq!(reported, cycles.len());
        prop_assert_eq!(compiled.catalog.is_some(), cycles.is_empty());
    }

    #[test]
    fn mutated_files_never_panic(
        file in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..6, "[\\x00-\\x7fé{}\\[\\]:,&*!|>\"' \n\t-]{0,6}"), 1..6),
    ) {
        let mut files = example();
        let place = file.index(files.len());
        let text = &mut files[place].1;
        for (at, cut, insert) in edits {
            let mut from = at.index(text.len() + 1);
            while !text.is_char_boundary(from) { from -= 1; }
            let mut to = (from + cut).min(text.len());
            while !text.is_char_boundary(to) { to += 1; }
            text.replace_range(from..to, &insert);
        }
        all_of(&files);
    }

    #[test]
    fn arbitrary_texts_never_panic(text in "[ -~\n\té\u{feff}]{0,200}", which in 0usize..5) {
        let mut files = example();
        let name = ["features.yaml", "routes.yaml", "plans/free.yaml", "cases/life.yaml", "addons/archive.yaml"][which];
        files.retain(|(other, _)| other != name);
        files.push((name.to_owned(), text));
        all_of(&files);
    }
}
