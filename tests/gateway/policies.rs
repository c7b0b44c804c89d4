//! Policy files (contract, section 2) under a running gateway, and `plangate policy check|test`.

use std::{fs, path::Path, process::Output};

use serde_json::{Value, json};

use crate::support::{
    admin::TOKEN,
    client::{ask, get},
    postgres::Postgres,
    process::{Gateway, POLICIES, Setup, eventually, plangate},
    upstream::Upstream,
};

fn shipped(name: &str) -> &'static str {
    POLICIES.iter().find(|(file, _)| *file == name).unwrap().1
}

fn small(limit: u64) -> String {
    shipped("plans/small.yaml").replace("limit: 5", &format!("limit: {limit}"))
}

async fn metric(gateway: &Gateway, name: &str) -> u64 {
    let text = get("/metrics").bearer(TOKEN).send(gateway.admin.0).await.text();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
    line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
}

async fn limit_is(gateway: &Gateway, limit: u64) {
    eventually("the edited limit is in force", async || {
        gateway.admin.get("/v1/tenants/acme/rights").await["quotas"]["requests"]["limit"] == limit
    })
    .await;
}

/// Sends until refused; how many passed, and the refusal's code.
async fn use_up(gateway: &Gateway, key: &str) -> (u64, String) {
    for passed in 0..50 {
        let reply = get("/v1/messages").key(key).send(gateway.data).await;
        if reply.status != 200 {
            return (passed, reply.code());
        }
    }
    panic!("nothing is refused");
}

async fn edited_limits_are_exact(setup: Setup, upstream: &Upstream) {
    let gateway = setup.start().await;
    let digest = gateway.admin.get("/v1/nodes").await["items"][0]["digest"].clone();
    let key = gateway.admin.tenant("acme", "small").await;
    for _ in 0..3 {
        assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200);
    }
    // Lowered, with units to spare; below what is used; raised again, twice, the second time after a refusal.
    for (limit, passes) in [(4, 1), (2, 0), (6, 2), (9, 3)] {
        setup.policy("plans/small.yaml", &small(limit));
        limit_is(&gateway, limit).await;
        assert_eq!(use_up(&gateway, &key).await, (passes, "quota-exhausted".into()), "limit {limit}");
        let refused = get("/v1/messages").key(&key).send(gateway.data).await.json();
        assert_eq!(refused["limit"], limit);
    }
    assert_eq!((upstream.count(), gateway.admin.used("acme", "requests").await), (9, 9));
    assert_eq!(metric(&gateway, "plangate_policy_reloads_total").await, 4);
    eventually("the heartbeat carries the new digest", async || {
        gateway.admin.get("/v1/nodes").await["items"][0]["digest"] != digest
    })
    .await;
}

#[tokio::test]
async fn edited_limits_are_exact_on_sqlite() {
    let upstream = Upstream::start().await;
    edited_limits_are_exact(Setup::before(&upstream), &upstream).await;
}

#[tokio::test]
async fn edited_limits_are_exact_on_postgres() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream).with("/database", Postgres::shared().url());
    edited_limits_are_exact(setup, &upstream).await;
}

#[tokio::test]
async fn routes_and_features_follow_the_files() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let status = async |path: &str| get(path).key(&key).send(gateway.data).await.status;
    assert_eq!(status("/v1/new").await, 404);
    let routes = shipped("routes.yaml");
    setup.policy(
        "routes.yaml",
        &format!(
            "{routes}\x20 - {{ match: \"GET /v1/new\", features: [chat], charge: {{ requests: 2 }} }}\n"
        ),
    );
    eventually("the new route is in force", async || status("/v1/new").await == 200).await;
    assert_eq!(gateway.admin.used("acme", "requests").await, 2, "at its own charge");
    setup.policy(
        "plans/small.yaml",
        &shipped("plans/small.yaml").replace("features: [chat]", "features: [export]"),
    );
    eventually("the feature is taken away", async || status("/v1/new").await == 403).await;
    let used = gateway.admin.used("acme", "requests").await;
    assert_eq!(status("/v1/messages").await, 403);
    let refused = get("/v1/messages").key(&key).send(gateway.data).await.json();
    assert_eq!((&refused["code"], &refused["feature"]), (&json!("feature-not-in-plan"), &json!("chat")));
    setup.policy("routes.yaml", routes);
    eventually("the route is gone", async || status("/v1/new").await == 404).await;
    assert_eq!(gateway.admin.used("acme", "requests").await, used, "refusals cost nothing");
}

#[tokio::test]
async fn a_bad_file_keeps_the_last_good_policies() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    for (failures, (file, text)) in [
        ("plans/small.yaml", "plan: small\nfeatures: [chta]\nquotas:\n  requests: { limit: 1 }\n"),
        ("plans/small.yaml", "plan: small\nquotas: { requests: ["),
        ("plans/other.yaml", "plan: misnamed\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let failures = failures as u64 + 1;
        setup.policy(file, text);
        eventually("the bad file is noticed", async || {
            metric(&gateway, "plangate_policy_reload_failures_total").await == failures
        })
        .await;
        assert_eq!(metric(&gateway, "plangate_policies_good").await, 0);
        let ready = get("/readyz").send(gateway.admin.0).await;
        assert_eq!((ready.status, &ready.json()["ready"]), (200, &json!(true)), "it goes on serving");
        assert!(
            ready.json()["reasons"][0].as_str().unwrap().contains("policy folder has errors"),
            "{ready:?}"
        );
        assert!(gateway.log().contains(file), "the log names the file");
        assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200, "the last good plan");
    }
    assert!(gateway.log().contains("unknown feature `chta`"), "and what is wrong with it");
    assert!(gateway.log().contains("the last good ones stay"));
    assert_eq!(metric(&gateway, "plangate_policy_reloads_total").await, 0);

    // Mended, and changed at that.
    fs::remove_file(setup.path("policies/plans/other.yaml")).unwrap();
    setup.policy("plans/small.yaml", &small(4));
    limit_is(&gateway, 4).await;
    assert_eq!(use_up(&gateway, &key).await.0, 1);
    let ready = get("/readyz").send(gateway.admin.0).await.json();
    assert_eq!(ready, json!({ "ready": true, "reasons": [] }));
    assert_eq!(metric(&gateway, "plangate_policies_good").await, 1);
    assert_eq!(metric(&gateway, "plangate_policy_reloads_total").await, 1);
    assert!(gateway.stop().await.success());
}

#[tokio::test]
async fn a_plan_in_use_that_is_removed_refuses_its_tenants_only() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let admin = gateway.admin;
    let (key, other) = (admin.tenant("acme", "small").await, admin.tenant("other", "big").await);
    assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200);
    fs::remove_file(setup.path("policies/plans/small.yaml")).unwrap();
    let refused = async || get("/v1/messages").key(&key).send(gateway.data).await;
    let free = async || get("/v1/me").key(&key).send(gateway.data).await.status;
    eventually("the plan is gone", async || free().await == 503).await;
    for _ in 0..20 {
        let refused = refused().await;
        assert_eq!((refused.status, refused.code().as_str()), (503, "rights-unavailable"));
        assert!(refused.header("retry-after").is_some());
    }
    assert_eq!(get("/v1/messages").key(&other).send(gateway.data).await.status, 200);
    let lines = gateway.log().matches("rights cannot be compiled").count();
    assert_eq!(lines, 1, "one line in the log, not one for each request");
    let rights = admin.call("GET", "/v1/tenants/acme/rights", Value::Null).await;
    assert_eq!((rights.status, rights.code().as_str()), (409, "plan-missing"));
    let asked = json!({ "tenant": "acme", "method": "GET", "path": "/v1/messages" });
    assert_eq!(admin.call("POST", "/v1/check", asked).await.code(), "plan-missing");
    // The tenant itself can be read and put on a plan that there is; then all is as before.
    assert_eq!(admin.get("/v1/tenants/acme").await["subscription"]["plan"], "small");
    let gone = admin.call("PUT", "/v1/tenants/acme/subscription", json!({ "plan": "small" })).await;
    assert_eq!((gone.status, gone.code().as_str()), (422, "name-unknown"));
    admin.subscribe("acme", "big").await;
    assert_eq!(refused().await.status, 200, "at once");
    assert_eq!(admin.used("acme", "requests").await, 2, "what was used counts on");
    assert!(gateway.stop().await.success());
}

fn policy(command: &str, folder: &Path, more: &[&str]) -> Output {
    plangate().args(["policy", command]).arg(folder).args(more).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_shipped_policies_are_clean_and_their_cases_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let checked = policy("check", &folder, &[]);
    assert_eq!((checked.status.code(), checked.stderr.len()), (Some(0), 0));
    assert!(text(&checked.stdout).contains("no errors, no warnings"), "{}", text(&checked.stdout));
    let tested = policy("test", &folder, &["--output", "json"]);
    assert_eq!(tested.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&tested.stdout).unwrap();
    assert_eq!((&report["ok"], &report["failed"]), (&json!(true), &json!(0)));
    assert!(report["passed"].as_u64().unwrap() >= 30, "{report}");
    // Without a folder's name, it is `policies` where one stands.
    let here = plangate().args(["policy", "test"]).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert_eq!(here.status.code(), Some(0));
    assert!(text(&here.stdout).contains("ok   the last unit of free is usable"));
    for plan in ["free", "basic", "pro", "enterprise"] {
        assert!(folder.join(format!("plans/{plan}.yaml")).is_file());
    }
}

#[test]
fn check_shows_every_error_with_its_place_and_line() {
    let setup = Setup::at("http://127.0.0.1:1");
    let folder = setup.path("policies");
    setup
        .policy("plans/small.yaml", "plan: small\nfeatures: [chta]\nquotas:\n  requests: { limit: \"5\" }\n");
    setup.policy("plans/slow.yaml", "plan: slow\nextends: nothing\n");
    setup.policy("routes.yaml", "routes:\n  - { match: \"GET /a//b\", public: true }\n");
    let checked = policy("check", &folder, &[]);
    assert_eq!(checked.status.code(), Some(1));
    let shown = text(&checked.stdout);
    for (place, line) in [
        ("plans/small.yaml:2:12", "features: [chta]"),
        ("plans/small.yaml:4:22", "requests: { limit: \"5\" }"),
        ("plans/slow.yaml:2:10", "extends: nothing"),
        ("routes.yaml:2:", "- { match: \"GET /a//b\", public: true }"),
    ] {
        assert!(shown.contains(place), "{place} is missing:\n{shown}");
        assert!(shown.contains(line), "{line} is missing:\n{shown}");
    }
    assert!(shown.contains("did you mean `chat`?") || shown.contains("`chat`"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no colour into a pipe");
    let asked = policy("check", &folder, &["--output", "json"]);
    assert_eq!(asked.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!((&report["ok"], &report["errors"]), (&json!(false), &json!(4)), "{report:#}");
    let first =
        report["diagnostics"].as_array().unwrap().iter().find(|d| d["code"] == "unknown-feature").unwrap();
    assert_eq!(
        (&first["file"], &first["line"], &first["column"], &first["source"]),
        (&json!("plans/small.yaml"), &json!(2), &json!(12), &json!("features: [chta]"))
    );
    // A gateway does not start on it, and says the same.
    let served = setup.command().output().unwrap();
    assert_eq!(served.status.code(), Some(2));
    let said = text(&served.stderr);
    assert!(said.contains("plans/small.yaml:2:12") && said.contains("extends: nothing"), "{said}");
    // `test` runs no case on policies that have errors.
    let tested = policy("test", &folder, &[]);
    assert_eq!(tested.status.code(), Some(1));
    assert!(text(&tested.stdout).contains("no case was run"));
}

#[test]
fn cases_that_fail_say_what_was_expected_and_what_came() {
    let setup = Setup::at("http://127.0.0.1:1");
    fs::create_dir(setup.path("policies/cases")).unwrap();
    let cases = "cases:\n  - name: good\n    tenant: { plan: small }\n    request: GET /v1/messages\n    expect: { allow: true }\n\
                 \x20 - name: wrong\n    tenant: { plan: small, used: { requests: 5 } }\n    request: GET /v1/messages\n    expect: { allow: true }\n";
    setup.policy("cases/all.yaml", cases);
    let folder = setup.path("policies");
    assert_eq!(policy("check", &folder, &[]).status.code(), Some(0), "the form is right");
    let tested = policy("test", &folder, &[]);
    assert_eq!(tested.status.code(), Some(1));
    let shown = text(&tested.stdout);
    assert!(shown.contains("ok   good") && shown.contains("FAIL wrong (cases/all.yaml:6)"), "{shown}");
    assert!(shown.contains("expected: ") && shown.contains("quota-exhausted"), "{shown}");
    let asked = policy("test", &folder, &["--output", "json"]);
    assert_eq!(asked.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!(
        (&report["passed"], &report["failed"], &report["cases"][1]["line"]),
        (&json!(1), &json!(1), &json!(6))
    );
}

#[test]
fn bad_usage_is_exit_code_2() {
    let nowhere = Path::new("/nowhere/at/all");
    for command in ["check", "test"] {
        let missing = policy(command, nowhere, &[]);
        assert_eq!(missing.status.code(), Some(2), "{command}");
        assert!(text(&missing.stderr).contains("/nowhere/at/all"), "{}", text(&missing.stderr));
        let form = policy(command, nowhere, &["--output", "xml"]);
        assert_eq!(form.status.code(), Some(2));
    }
    assert_eq!(plangate().args(["policy", "forget"]).output().unwrap().status.code(), Some(2));
    assert_eq!(plangate().arg("policy").output().unwrap().status.code(), Some(2));
}

#[tokio::test]
async fn what_unmatched_allow_lets_through_is_charged_as_the_defaults() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    setup.policy("routes.yaml", &shipped("routes.yaml").replace("unmatched: deny", "unmatched: allow"));
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let check = async |path: &str| {
        let asked = json!({ "tenant": "acme", "method": "PUT", "path": path });
        gateway.admin.ok("POST", "/v1/check", asked).await
    };
    assert_eq!(check("/anything/else").await["allow"], true);
    assert_eq!(ask("PUT", "/anything/else").key(&key).send(gateway.data).await.status, 200);
    assert_eq!(gateway.admin.used("acme", "requests").await, 1);
    // The gateway's own paths are never forwarded, and check knows.
    for path in ["/.plangate/x", "/.plangate"] {
        assert_eq!(check(path).await["code"], "route-not-covered", "{path}");
        assert_eq!(ask("PUT", path).key(&key).send(gateway.data).await.code(), "route-not-covered");
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn check_speaks_to_code_scanning_and_to_a_build() {
    let setup = Setup::at("http://127.0.0.1:1");
    let folder = setup.path("policies");
    let here = folder.parent().unwrap();
    let ask = |form: &str| {
        // Both as it is typed and as a script would give it, the same files are named.
        [Path::new("./policies"), &folder].map(|given| {
            let mut command = plangate();
            command.args(["policy", "check", "--output", form]).arg(given).current_dir(here).output().unwrap()
        })
    };
    for form in ["github", "sarif"] {
        for good in ask(form) {
            assert_eq!(good.status.code(), Some(0), "{form}");
            assert!(form == "sarif" || !text(&good.stdout).contains("::error"), "{}", text(&good.stdout));
        }
    }
    setup.policy("plans/small.yaml", "plan: small\nfeatures: [chta]\nquotas:\n  requests: { limit: 5 }\n");
    for bad in ask("github") {
        assert_eq!(bad.status.code(), Some(1));
        let said = text(&bad.stdout);
        let line = "::error file=policies/plans/small.yaml,line=2,col=12,endColumn=16,title=unknown-feature::unknown feature `chta`%0Ahelp: ";
        assert!(said.lines().any(|one| one.starts_with(line)), "{said}");
    }
    for bad in ask("sarif") {
        assert_eq!(bad.status.code(), Some(1));
        let sarif: Value = serde_json::from_slice(&bad.stdout).unwrap();
        let result = &sarif["runs"][0]["results"][0];
        assert_eq!((&result["ruleId"], &result["level"]), (&json!("unknown-feature"), &json!("error")));
        let physical = &result["locations"][0]["physicalLocation"];
        assert_eq!(physical["artifactLocation"]["uri"], "policies/plans/small.yaml");
        assert_eq!(
            (&physical["region"]["startLine"], &physical["region"]["startColumn"]),
            (&json!(2), &json!(12))
        );
    }
    // Warnings are shown, and do not fail.
    setup.policy("plans/small.yaml", shipped("plans/small.yaml"));
    setup.policy("notes.txt", "");
    for warned in ask("github") {
        assert_eq!(warned.status.code(), Some(0));
        assert!(text(&warned.stdout).contains("::warning file=policies/notes.txt,title=file-unknown::"));
    }
}
