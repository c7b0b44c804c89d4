//! `POST /v1/check`, `GET /v1/refusals` and `plangate explain` against a running gateway: right lines, right numbers, and the
//! gateway's own words.

use serde_json::{Value, json};

use crate::support::{
    client::{Reply, ask, get},
    postgres::Postgres,
    process::{Gateway, POLICIES, Setup, eventually},
    upstream::Upstream,
};

mod agreement;
mod refusals;
mod texts;

const BASE: &str = "plan: base\nfeatures:\n  - chat\nquotas:\n  requests: { limit: 100000, day: 5000 }\nrates:\n  \
                    requests: { limit: 50, per: 1s, burst: 100 }\n";
const TEAM: &str = "plan: team\nextends: base\ntrial: { days: 14, then: block }\nquotas:\n  \
                    ai_tokens: { limit: 1000, overage: { mode: allow, cap: 50 } }\n";
const QUIET: &str = "plan: quiet\nextends: base\nwithout:\n  - chat\n";
const BOOST: &str = "addon: boost\nfeatures: [export]\nquotas:\n  requests: { limit: 500 }\n";

/// The shipped policies of the tests, and plans that inherit and an add-on beside them.
fn set_up(upstream: &Upstream) -> Setup {
    let setup = Setup::before(upstream);
    std::fs::create_dir(setup.path("policies/addons")).unwrap();
    for (name, text) in [
        ("plans/base.yaml", BASE),
        ("plans/team.yaml", TEAM),
        ("plans/quiet.yaml", QUIET),
        ("addons/boost.yaml", BOOST),
    ] {
        setup.policy(name, text);
    }
    setup
}

async fn check(gateway: &Gateway, tenant: &str, request: &str) -> Value {
    let (method, path) = request.split_once(' ').unwrap();
    gateway.admin.ok("POST", "/v1/check", json!({ "tenant": tenant, "method": method, "path": path })).await
}

/// `plans/small.yaml:6` and what stands there, of the rule of a tenant's monthly requests.
async fn quota_rule(gateway: &Gateway, tenant: &str) -> (String, String) {
    let said = check(gateway, tenant, "GET /v1/messages").await;
    let rule = &said["quotas"][0]["rule"];
    (
        format!("{}:{}", rule["file"].as_str().unwrap_or("-"), rule["line"]),
        rule["text"].as_str().unwrap_or("-").to_owned(),
    )
}

/// The files of the policies, one of them with so many comments before it.
fn files(commented: &str, lines: usize) -> Value {
    let text = |name: &str, text: &str| {
        let before = if name == commented { "# moved\n".repeat(lines) } else { String::new() };
        (name.to_owned(), json!(format!("{before}{text}")))
    };
    Value::Object(POLICIES.iter().map(|(name, content)| text(name, content)).collect())
}

async fn the_lines_are_those_of_the_policies_that_decide(setup: Setup) {
    let gateway = setup.start().await;
    gateway.admin.tenant("acme", "small").await;
    gateway.admin.tenant("other", "small").await;
    let line = "requests: { limit: 5 }".to_owned();
    assert_eq!(quota_rule(&gateway, "acme").await, ("plans/small.yaml:6".to_owned(), line.clone()));
    let said = check(&gateway, "acme", "GET /v1/messages").await;
    assert_eq!((&said["policy"]["source"], &said["policy"]["trial"]), (&json!("folder"), &json!(false)));
    assert_eq!(
        (said["policy"]["number"].as_u64(), said["policy"]["digest"].as_str().unwrap().len()),
        (None, 64)
    );
    assert_eq!((&said["node"], &said["plan_version"]), (&json!("a"), &json!(1)));
    assert_eq!(said["version"], gateway.admin.get("/v1/tenants/acme").await["version"]);
    assert!(said["age_ms"].as_u64().unwrap() < 10_000, "{said}");
    assert_eq!(
        said["steps"][3],
        json!({ "step": "route", "ok": true, "detail": "* /v1/messages",
                "rule": { "file": "routes.yaml", "line": 5, "text": "- { match: \"* /v1/messages\", features: [chat] }" } })
    );
    assert_eq!(
        (&said["charge_rule"]["file"], &said["charge_rule"]["line"]),
        (&json!("routes.yaml"), &json!(2))
    );

    // An edit of the folder moves the line.
    let small = POLICIES.iter().find(|(name, _)| *name == "plans/small.yaml").unwrap().1;
    setup.policy("plans/small.yaml", &format!("# moved\n# moved\n{small}"));
    let moved = ("plans/small.yaml:8".to_owned(), line.clone());
    eventually("the line has moved", async || quota_rule(&gateway, "acme").await == moved).await;

    // Applied policies are those whose lines count, whatever is in the folder.
    let admin = gateway.admin;
    let applied =
        admin.ok("POST", "/v1/policy/apply", json!({ "files": files("plans/small.yaml", 4) })).await;
    assert_eq!(quota_rule(&gateway, "acme").await, ("plans/small.yaml:10".to_owned(), line.clone()));
    let said = check(&gateway, "acme", "GET /v1/messages").await;
    assert_eq!(
        (&said["policy"]["source"], &said["policy"]["number"]),
        (&json!("revision"), &applied["number"])
    );
    assert_eq!(said["policy"]["digest"], admin.get("/v1/policy").await["digest"]);

    // Of policies on trial, for those by whom they are tried.
    let staged = json!({ "files": files("plans/small.yaml", 1), "rollout": { "tenants": ["acme"] } });
    admin.ok("POST", "/v1/policy/apply", staged).await;
    for (tenant, place, trial) in
        [("acme", "plans/small.yaml:7", true), ("other", "plans/small.yaml:10", false)]
    {
        assert_eq!(quota_rule(&gateway, tenant).await, (place.to_owned(), line.clone()), "{tenant}");
        assert_eq!(check(&gateway, tenant, "GET /v1/messages").await["policy"]["trial"], trial);
    }
}

#[tokio::test]
async fn the_lines_are_those_of_the_policies_that_decide_on_sqlite() {
    let upstream = Upstream::start().await;
    the_lines_are_those_of_the_policies_that_decide(Setup::before(&upstream)).await;
}

#[tokio::test]
async fn the_lines_are_those_of_the_policies_that_decide_on_postgres() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream).with("/database", Postgres::shared().url());
    the_lines_are_those_of_the_policies_that_decide(setup).await;
}

#[tokio::test]
async fn a_plan_kept_in_an_older_version_has_no_line_in_the_files() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    gateway.admin.tenant("old", "small").await;
    gateway.admin.tenant("new", "big").await;
    setup.policy("plans/small.yaml", "plan: small\nversion: 2\nfeatures: [chat]\nquotas: { requests: 9 }\n");
    eventually("the second version is in force", async || {
        gateway.admin.subscribe("new", "small").await["version"].is_u64()
            && check(&gateway, "new", "GET /v1/messages").await["plan_version"] == 2
    })
    .await;
    assert_eq!(quota_rule(&gateway, "new").await.0, "plans/small.yaml:4");
    let old = check(&gateway, "old", "GET /v1/messages").await;
    assert_eq!((&old["plan_version"], &old["quotas"][0]["limit"]), (&json!(1), &json!(5)));
    assert!(old["quotas"][0]["rule"].is_null(), "the file's line is of another version: {old}");
}

#[tokio::test]
async fn the_numbers_are_what_was_used() {
    let upstream = Upstream::start().await;
    let gateway = set_up(&upstream).start().await;
    let key = gateway.admin.tenant("acme", "base").await;
    for _ in 0..3 {
        assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200);
    }
    let said = check(&gateway, "acme", "GET /v1/messages").await;
    for (quota, (window, limit)) in
        said["quotas"].as_array().unwrap().iter().zip([("day", 5000), ("month", 100_000)])
    {
        assert_eq!(
            (&quota["window"], &quota["needs"], &quota["used"], &quota["limit"], &quota["remaining"]),
            (&json!(window), &json!(1), &json!(3), &json!(limit), &json!(limit - 3))
        );
    }
    let sources = &said["quotas"][1]["sources"];
    assert_eq!((&sources[0]["source"], &sources[0]["used"]), (&json!("plan"), &json!(3)));
    assert_eq!(
        (&said["rates"][0]["limit"], &said["rates"][0]["per"], &said["rates"][0]["rule"]["line"]),
        (&json!(50), &json!("1s"), &json!(7))
    );
}
