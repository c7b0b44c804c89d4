//! Add-ons, and what plan files say of a plan's life.

use super::*;
use crate::domain::{
    catalog::Catalog,
    id::PlanId,
    plan::{Existing, Plan, Rollover, Trial},
    units::Units,
};

fn compiled(plan: &str) -> Catalog {
    let files = [
        (
            "features.yaml",
            "features: { chat: {}, export: {} }\nlimits: { seats: {} }\nmeters: { requests: {}, mails: {} }\n",
        ),
        ("routes.yaml", ROUTES),
        ("plans/free.yaml", FREE),
        ("plans/pro.yaml", plan),
        ("addons/archive.yaml", "addon: archive\nplans: [pro]\nfeatures: [export]\n"),
        (
            "addons/more.yaml",
            "addon: more\ntitle: More\nprice: { amount: \"5\", currency: EUR }\nlimits: { seats: 10 }\nquotas: { mails: 7, requests: { limit: 0, hour: 3, day: unlimited } }\n",
        ),
    ];
    let compiled = in_memory(&files.map(|(name, text)| (name.to_owned(), text.to_owned())));
    compiled.catalog.unwrap_or_else(|| panic!("{:#?}", compiled.diagnostics))
}

#[test]
fn a_plan_says_all_of_its_life() {
    let catalog = compiled(
        "plan: pro\nversion: 3\nexisting: 2027-01-31\nextends: free\nchanges: { downgrade: period_end }\n\
         trial: { days: 14, then: free, usage: reset }\ngrace: { days: 0 }\n\
         quotas:\n  requests: { limit: 100, rollover: { max: 20% } }\n  mails: { limit: 9, rollover: { max: 5000 } }\n",
    );
    let plan = catalog.plan("pro").unwrap();
    assert_eq!((plan.version, plan.grace_days, plan.introduced), (PlanVersion(3), Some(0), None));
    assert_eq!(plan.existing, Existing::On(jiff::civil::date(2027, 1, 31)));
    assert_eq!(plan.changes, Changes { upgrade: ChangeAt::Now, downgrade: ChangeAt::PeriodEnd });
    let then = Some(PlanId::parse("free").unwrap());
    assert_eq!(plan.trial, Some(Trial { days: 14, then, usage: UsageRule::Reset }));
    let rollover = |meter: &str| {
        plan.meters[usize::from(catalog.meter_ix(meter).unwrap().0)].quota.unwrap().rollover.unwrap()
    };
    assert_eq!(rollover("requests"), Rollover::Percent(20));
    assert_eq!(rollover("mails"), Rollover::Units(Units::new(5000).unwrap()));

    // What a file leaves out.
    let plan = Arc::clone(catalog.plan("free").unwrap());
    assert_eq!((plan.version, plan.existing, plan.grace_days), (PlanVersion::FIRST, Existing::Stay, None));
    assert_eq!((plan.changes, plan.trial.clone()), (Changes::default(), None));
    for (text, existing) in [("stay", Existing::Stay), ("next_period", Existing::NextPeriod)] {
        let catalog = compiled(&format!("plan: pro\nversion: 2\nexisting: {text}\n"));
        assert_eq!(catalog.plan("pro").unwrap().existing, existing);
    }
}

#[test]
fn versions_and_those_who_are_on_older_ones_are_not_inherited() {
    let files = |parent: &str| {
        let files = [
            ("features.yaml", FEATURES.to_owned()),
            ("routes.yaml", ROUTES.to_owned()),
            ("plans/free.yaml", format!("{FREE}{parent}")),
            ("plans/pro.yaml", "plan: pro\nextends: free\n".to_owned()),
        ];
        files.map(|(name, text)| (name.to_owned(), text))
    };
    let catalog =
        in_memory(&files("version: 7\nexisting: next_period\ngrace: { days: 3 }\n")).catalog.unwrap();
    let (parent, child) = (catalog.plan("free").unwrap(), catalog.plan("pro").unwrap());
    assert_eq!((parent.version, parent.existing), (PlanVersion(7), Existing::NextPeriod));
    assert_eq!((child.version, child.existing), (PlanVersion::FIRST, Existing::Stay));
    assert_eq!(child.grace_days, Some(3));
}

#[test]
fn what_is_warned_of_is_inherited_and_replaced() {
    let percent = |plan: &str, files: &[(String, String)]| {
        let catalog = in_memory(files).catalog.unwrap();
        catalog.plan(plan).unwrap().warn_at.as_ref().map(|at| at.percentages().to_vec())
    };
    for (free, pro, expected) in [
        ("", "", [None, None]),
        ("warn_at: [100, 75]\n", "", [Some(vec![75, 100]), Some(vec![75, 100])]),
        ("warn_at: [100]\n", "warn_at: [1]\n", [Some(vec![100]), Some(vec![1])]),
        ("", "warn_at: []\n", [None, Some(vec![])]),
    ] {
        let files = [
            ("features.yaml", FEATURES.to_owned()),
            ("routes.yaml", ROUTES.to_owned()),
            ("plans/free.yaml", format!("{FREE}{free}")),
            ("plans/pro.yaml", format!("plan: pro\nextends: free\n{pro}")),
        ];
        let files = files.map(|(name, text)| (name.to_owned(), text));
        assert_eq!(["free", "pro"].map(|plan| percent(plan, &files)), expected);
    }
}

#[test]
fn add_ons_are_read_with_all_they_say() {
    let catalog = compiled("plan: pro\nextends: free\n");
    let names: Vec<&str> = catalog.addons.keys().map(|id| id.as_str()).collect();
    assert_eq!(names, ["archive", "more"]);
    let (archive, more) = (catalog.addon("archive").unwrap(), catalog.addon("more").unwrap());
    let (free, pro) = (&catalog.plan("free").unwrap().id, &catalog.plan("pro").unwrap().id);
    assert!(archive.goes_with(pro) && !archive.goes_with(free) && more.goes_with(free));
    assert!(archive.features.contains(catalog.feature_ix("export").unwrap()));
    assert_eq!(
        (more.title.as_deref(), more.price.map(|p| p.amount.to_string())),
        (Some("More"), Some("5".into()))
    );
    let mut plan = Plan::clone(catalog.plan("pro").unwrap());
    archive.add_to(&mut plan, 1);
    more.add_to(&mut plan, 2);
    assert_eq!(number(plan.limits["seats"]), Some(20));
    let quota = |meter: &str| plan.meters[usize::from(catalog.meter_ix(meter).unwrap().0)].quota.unwrap();
    assert_eq!(number(quota("mails").month), Some(14), "a meter that the plan does not name");
    assert_eq!((number(quota("requests").month), quota("requests").hour), (Some(10), None));
    assert!(plan.features.contains(catalog.feature_ix("export").unwrap()));
}

#[test]
fn a_case_with_other_limits_fails_and_says_which_there_are() {
    let folder = good();
    write(folder.path(), "features.yaml", &format!("{FEATURES}limits: {{ seats: {{}}, rooms: {{}} }}\n"));
    write(folder.path(), "plans/free.yaml", &format!("{FREE}limits: {{ seats: 3 }}\n"));
    write(folder.path(), "addons/seats.yaml", "addon: seats\nlimits: { seats: 10 }\n");
    let case = |name: &str, expect: &str| {
        format!(
            "  - name: {name}\n    tenant: {{ plan: free, addons: {{ seats: 2 }} }}\n    request: GET /chat\n    \
             expect: {{ allow: true, limits: {{ {expect} }} }}\n"
        )
    };
    let cases = [case("right", "seats: 23"), case("wrong", "seats: 13"), case("none", "rooms: 0")].concat();
    write(folder.path(), "cases/x.yaml", &format!("cases:\n{cases}"));
    let report = super::super::test(folder.path());
    assert!(report.check().is_ok(), "{}", report.render(false));
    assert_eq!(report.results().iter().map(|result| result.passed).collect::<Vec<_>>(), [true, false, false]);
    let wrong = &report.results()[1];
    assert_eq!(wrong.expected, "allow, limits { seats: 13 }");
    assert_eq!(wrong.got, "allow, charge { requests: 1 }, limits { seats: 23 }");
}

#[test]
fn the_digest_covers_add_ons_and_a_changed_one_is_a_change() {
    let folder = good();
    write(folder.path(), "addons/more.yaml", "addon: more\nquotas: { requests: 5 }\n");
    let watched = Watched::open(folder.path()).unwrap();
    let before = watched.catalog();
    write(folder.path(), "addons/more.yaml", "addon: more\nquotas: { requests: 6 }\n");
    assert!(!watched.reload());
    let after = watched.catalog();
    assert_ne!((before.digest.clone(), before.stamp), (after.digest.clone(), after.stamp));
    write(folder.path(), "addons/more.yaml", "addon: more\nplans: [fre]\n");
    assert!(!watched.reload());
    assert!(watched.status().last_error.unwrap().contains("did you mean `free`?"));
    assert_eq!(watched.catalog().stamp, after.stamp, "a broken add-on changes nothing");
    fs::remove_dir_all(folder.path().join("addons")).unwrap();
    assert!(!watched.reload());
    assert!(watched.catalog().addons.is_empty());
}

#[test]
fn thousands_of_add_ons_for_thousands_of_plans_end_soon() {
    let meters: String = (0..256).map(|n| format!("m{n}: {{}}, ")).collect();
    let mut files = vec![
        (
            "features.yaml".to_owned(),
            format!("features: {{ chat: {{}}, never: {{}} }}\nmeters: {{ {meters} }}\n"),
        ),
        ("routes.yaml".to_owned(), "routes:\n  - { match: GET /a, features: [never] }\n".to_owned()),
    ];
    files.extend(
        (0..2000).map(|n| (format!("plans/p{n}.yaml"), format!("plan: p{n}\nquotas: {{ m0: 1 }}\n"))),
    );
    files.extend((0..2000).map(|n| {
        let plans = if n % 2 == 0 { String::new() } else { format!("plans: [p{n}, p{}]\n", n - 1) };
        (format!("addons/a{n}.yaml"), format!("addon: a{n}\nfeatures: [chat]\nquotas: {{ m0: 1 }}\n{plans}"))
    }));
    let compiled = in_memory(&files);
    assert_eq!(compiled.catalog.unwrap().addons.len(), 2000);
    assert!(compiled.diagnostics.iter().any(|d| d.code == "route-for-nobody"));
}
