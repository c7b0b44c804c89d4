//! `plangate explain` as a person reads it.

use std::process::Output;

use super::*;
use crate::support::{admin::TOKEN, process::plangate};

async fn run(gateway: &Gateway, arguments: &[&str]) -> Output {
    run_at(&format!("http://{}", gateway.admin.0), arguments).await
}

async fn run_at(address: &str, arguments: &[&str]) -> Output {
    let mut command = plangate();
    command.arg("explain").args(arguments);
    command.env("PLANGATE_ADMIN_URL", address).env("PLANGATE_ADMIN_TOKEN", TOKEN);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Without what is another in each run: instants, digests, versions, ages, ids.
fn steady(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = match line.split_once("heard of changes ") {
            Some((before, after)) => {
                format!("{before}heard of changes AGE{}", &after[after.find(" ms").unwrap()..])
            }
            None => line.to_owned(),
        };
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for place in 0..words.len() {
            let word = words[place].trim_end_matches([',', '\t']).to_owned();
            let steady = if word.parse::<jiff::Timestamp>().is_ok() {
                "TIME"
            } else if place > 0 && words[place - 1] == "policies" || word.len() == 12 && is_hexadecimal(&word)
            {
                "DIGEST"
            } else if place > 2 && words[place - 3..place].join(" ") == "facts of version" {
                "V"
            } else if place > 0 && words[place - 1] == "grant" && word.starts_with('g') {
                "GRANT"
            } else {
                continue;
            };
            words[place] = words[place].replace(&word, steady);
        }
        lines.push(words.join(" "));
    }
    lines.join("\n")
}

fn is_hexadecimal(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Tenants that stand in different ways.
async fn cast(gateway: &Gateway) {
    let admin = gateway.admin;
    for (name, plan) in [
        ("acme", "base"),
        ("heir", "quiet"),
        ("spent", "small"),
        ("granted", "small"),
        ("added", "base"),
        ("special", "base"),
        ("burst", "big"),
        ("held", "base"),
        ("paused", "base"),
    ] {
        let key = admin.tenant(name, plan).await;
        let times = if plan == "small" { 5 } else { 2 };
        for _ in 0..times {
            if plan != "quiet" {
                assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200);
            }
        }
    }
    admin.ok("PUT", "/v1/tenants/tried", json!({})).await;
    admin.ok("PUT", "/v1/tenants/tried/subscription", json!({ "plan": "team", "trial_days": 14 })).await;
    let grant =
        json!({ "meter": "ai_tokens", "units": 3000, "priority": 50, "expires_at": "2040-01-01T00:00:00Z" });
    admin.ok("POST", "/v1/tenants/tried/grants", grant).await;
    admin.ok("POST", "/v1/tenants/granted/grants", json!({ "meter": "requests", "units": 1500 })).await;
    admin.ok("PUT", "/v1/tenants/added/addons/boost", json!({ "quantity": 2 })).await;
    let special = json!({ "features": { "export": true }, "quotas": { "requests": { "limit": 7 } },
                          "rates": { "requests": "unlimited" } });
    admin.overrides("special", special).await;
    admin
        .overrides("burst", json!({ "rates": { "requests": { "limit": 1000, "per": "1s", "burst": 9 } } }))
        .await;
    admin.ok("POST", "/v1/tenants/held/suspend", Value::Null).await;
    admin.ok("POST", "/v1/tenants/paused/subscription/pause", Value::Null).await;
    admin.ok("PUT", "/v1/tenants/bare", json!({})).await;
}

const EXPLAINED: &[(&str, &str)] = &[
    ("acme", "GET /v1/messages"),
    ("acme", "GET /v1/export/all"),
    ("acme", "POST /v1/ai/chat"),
    ("acme", "/v1/me"),
    ("acme", "/nothing"),
    ("acme", "/v1//messages"),
    ("acme", "TRACE /v1/messages"),
    ("heir", "GET /v1/messages"),
    ("tried", "POST https://api.example/v1/ai/chat?x=1"),
    ("spent", "GET /v1/messages"),
    ("granted", "GET /v1/messages"),
    ("added", "PUT /v1/export/all"),
    ("special", "PUT /v1/export/all"),
    ("burst", "PUT /v1/export/all"),
    ("held", "GET /v1/messages"),
    ("paused", "GET /v1/messages"),
    ("bare", "GET /v1/messages"),
    ("nobody", "GET /v1/messages"),
    ("nobody", "GET /healthz"),
];

#[tokio::test]
async fn explanations_read_well() {
    let upstream = Upstream::start().await;
    let setup = set_up(&upstream);
    let gateway = setup.start().await;
    cast(&gateway).await;
    let mut shown = String::new();
    let mut add = |tenant: &str, request: &str, output: &Output| {
        let (out, said) = (text(&output.stdout), text(&output.stderr));
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{tenant} {request}");
        shown.push_str(&format!("$ plangate explain --tenant {tenant} \"{request}\"\n{}\n\n", steady(&out)));
    };
    for (tenant, request) in EXPLAINED {
        add(tenant, request, &run(&gateway, &["--tenant", tenant, request]).await);
    }
    // Applied policies, which let pass what no route covers; one tenant tries others.
    let mut files = files("", 0);
    let routes = files["routes.yaml"].as_str().unwrap().replace("unmatched: deny", "unmatched: allow");
    files["routes.yaml"] = json!(routes);
    for (name, text) in [("plans/base.yaml", BASE), ("plans/team.yaml", TEAM), ("plans/quiet.yaml", QUIET)] {
        files[name] = json!(text);
    }
    gateway.admin.ok("POST", "/v1/policy/apply", json!({ "files": files })).await;
    add("acme", "GET /nothing", &run(&gateway, &["--tenant", "acme", "GET /nothing"]).await);
    files["plans/base.yaml"] = json!(BASE.replace("100000", "1"));
    let staged = json!({ "files": files, "rollout": { "tenants": ["acme"] } });
    gateway.admin.ok("POST", "/v1/policy/apply", staged).await;
    add("acme", "GET /v1/messages", &run(&gateway, &["--tenant", "acme", "GET", "/v1/messages"]).await);
    insta::assert_snapshot!("explanations", shown);

    // For a terminal, signs; for a program, the API's answer.
    let json = run(&gateway, &["--tenant", "acme", "/v1/me", "--output", "json"]).await;
    let answer: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&answer["allow"], &answer["steps"][0]["step"]), (&json!(true), &json!("path")));
    let plain = text(&run(&gateway, &["--tenant", "acme", "/v1/me"]).await.stdout);
    assert!(plain.is_ascii(), "{plain}");
}

#[tokio::test]
async fn refusals_read_well_and_ends_are_told_by_the_exit_code() {
    let upstream = Upstream::start().await;
    let gateway = Setup::before(&upstream).start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let mut last = String::new();
    for _ in 0..6 {
        let reply = get("/v1/messages?page=1").key(&key).send(gateway.data).await;
        last = reply.header("x-request-id").unwrap().to_owned();
    }
    let found = run(&gateway, &["--request", &last]).await;
    assert_eq!(found.status.code(), Some(0), "{}", text(&found.stderr));
    insta::assert_snapshot!("refusal", steady(&text(&found.stdout)));
    let recent = run(&gateway, &["--recent", "--tenant", "acme"]).await;
    let recent = text(&recent.stdout);
    assert!(recent.lines().count() == 2 && recent.contains(&last), "{recent}");
    assert!(recent.contains("\tacme\tsmall\tGET /v1/messages\t429\tquota-exhausted\t"), "{recent}");
    let none = text(&run(&gateway, &["--recent", "--code", "path-ambiguous"]).await.stdout);
    assert_eq!(none.lines().count(), 1, "{none}");

    for (arguments, code, said) in [
        (&["--request", "0198-gone"][..], 1, "plangate explain --recent"),
        (&["--tenant", "A!", "/v1/x"], 1, "field-invalid"),
        (&["/v1/x"], 2, "--tenant"),
        (&["--tenant", "acme"], 2, "REQUEST"),
        (&["--tenant", "acme", "get /v1/x"], 2, "did you mean \"GET\"?"),
        (&["--tenant", "acme", "v1/x"], 2, "begins with `/`"),
        (&["--request", "x", "--recent"], 2, "cannot be used"),
    ] {
        let output = run(&gateway, arguments).await;
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(said), "{arguments:?}: {error}");
    }
    let away = run_at("http://127.0.0.1:1", &["--tenant", "acme", "/v1/x"]).await;
    assert_eq!(away.status.code(), Some(3), "{}", text(&away.stderr));
}
