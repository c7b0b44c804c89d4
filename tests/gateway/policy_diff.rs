//! `plangate policy diff` against a running gateway, with usage that was really charged: who would lose what, who would be
//! over a quota at once, and what it costs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::{Value, json};

use crate::support::{
    admin::TOKEN,
    client::get,
    postgres::Postgres,
    process::{Gateway, Setup, eventually, plangate},
    upstream::Upstream,
};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), target).map(|_| ()).unwrap();
        }
    }
}

/// The set-up's policies with some files in the place of others.
fn draft(setup: &Setup, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = setup.path(name);
    copy(&setup.path("policies"), &folder);
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
    folder
}

async fn diff(gateway: &Gateway, folder: &Path, words: &str) -> (i32, String, String) {
    let mut command = plangate();
    command.args(["policy", "diff"]).arg(folder).args(words.split_whitespace());
    command
        .env("PLANGATE_ADMIN_URL", format!("http://{}", gateway.admin.0))
        .env("PLANGATE_ADMIN_TOKEN", TOKEN);
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

const BIG: &str = "plan: big\nprice: { amount: \"29.00\", currency: USD }\nfeatures: [chat]\nlimits: { seats: 100 }\n\
                   quotas:\n  requests: { limit: 3 }\n  ai_tokens: { limit: 100, day: 5 }\n";

async fn the_impact_is_that_of_what_was_used(setup: Setup) {
    let gateway = setup.start().await;
    let acme = gateway.admin.tenant("acme", "big").await;
    gateway.admin.tenant("nova", "big").await;
    gateway.admin.overrides("nova", json!({ "features": { "export": true } })).await;
    gateway.admin.tenant("tiny", "small").await;
    for _ in 0..3 {
        assert_eq!(get("/v1/messages").key(&acme).send(gateway.data).await.status, 200);
    }
    let ai = crate::support::client::ask("POST", "/v1/ai/chat").key(&acme).send(gateway.data).await;
    assert_eq!(ai.status, 200);

    let same = draft(&setup, "same", &[("features.yaml", &with_comment(&setup, "features.yaml"))]);
    let (code, out, err) = diff(&gateway, &same, "").await;
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("Nothing changes"), "{out}");

    let less = draft(&setup, "less", &[("plans/big.yaml", BIG)]);
    let json = async || {
        let (code, out, err) = diff(&gateway, &less, "--output json").await;
        assert_eq!((code, err.as_str()), (4, ""), "{out}");
        serde_json::from_str::<Value>(&out).unwrap()
    };
    // What was charged is recorded within a second or so.
    eventually("all of it is recorded", async || json().await["impact"]["over_now"]["total"] == 2).await;
    let told = json().await;
    assert_eq!(told["base"]["number"], 0);
    let impact = &told["impact"];
    assert_eq!(
        (&impact["tenants"], &impact["losing"], &impact["gaining"]),
        (&json!(3), &json!(2), &json!(0))
    );
    let lost = json!({ "total": 1, "first": [{ "tenant": "acme", "from": null }] });
    assert_eq!(
        impact["features"],
        json!([{ "feature": "export", "lost": lost, "gained": { "total": 0, "first": [] } }])
    );
    assert_eq!(
        impact["over_now"]["first"],
        json!([
            { "tenant": "acme", "meter": "ai_tokens", "window": "day", "used": 5, "limit": 5 },
            { "tenant": "acme", "meter": "requests", "window": "month", "used": 4, "limit": 3 }
        ])
    );
    // They came to this gateway a moment ago, and had no month before.
    assert_eq!((&impact["cost"], &impact["ran_out"]["total"]), (&json!([]), &json!(0)));

    let (code, out, _) = diff(&gateway, &less, "").await;
    assert_eq!(code, 4);
    for line in [
        "~ plan big",
        "- features.export",
        "quotas.requests.limit  1000000 -> 3  loss",
        "- 1 tenant loses `export`: acme",
        "- `acme` would have nothing left of `requests` this month: 4 of 3 are used",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let (code, out, err) = diff(&gateway, &less, "--fail-on loss --output markdown").await;
    assert_eq!(code, 1);
    assert!(
        out.starts_with("### Plangate policies: ") && err.contains("somebody would lose something"),
        "{out}{err}"
    );
    let (code, out, _) = diff(&gateway, &less, "--no-impact").await;
    assert!(code == 4 && out.contains("was not asked for"), "{out}");

    nobody_has_plan_big(&setup, &gateway).await;
    // Nothing of all this changed anything.
    assert_eq!(get("/v1/export/all").key(&acme).send(gateway.data).await.status, 200);
    let admin = gateway.admin.0;
    assert!(gateway.stop().await.success());
    nobody_answers(admin, &less).await;
}

async fn nobody_answers(admin: std::net::SocketAddr, folder: &Path) {
    let mut command = plangate();
    command.args(["policy", "diff"]).arg(folder).env("PLANGATE_ADMIN_URL", format!("http://{admin}"));
    command.env("PLANGATE_ADMIN_TOKEN", TOKEN);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(3));
}

fn with_comment(setup: &Setup, name: &str) -> String {
    format!("# Nothing new.\n{}", fs::read_to_string(setup.path("policies").join(name)).unwrap())
}

/// A plan with tenants is taken away, and a version is raised.
async fn nobody_has_plan_big(setup: &Setup, gateway: &Gateway) {
    let gone = draft(setup, "gone", &[]);
    fs::remove_file(gone.join("plans/big.yaml")).unwrap();
    let (code, out, _) = diff(gateway, &gone, "").await;
    assert_eq!(code, 4);
    assert!(
        out.contains("- 2 tenants are refused everything, as plan `big` is missing: acme, nova"),
        "{out}"
    );
    let newer = format!("{BIG}version: 2\n");
    let newer = draft(setup, "newer", &[("plans/big.yaml", &newer)]);
    let (code, out, _) = diff(gateway, &newer, "--fail-on loss").await;
    assert_eq!(code, 4, "{out}");
    assert!(out.contains("none of them loses or gains anything"), "who is on the first version stays: {out}");
    let broken = draft(setup, "broken", &[("plans/big.yaml", "plan: big\nfeatures: [chatt]\n")]);
    let (code, out, err) = diff(gateway, &broken, "").await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("unknown feature") && err.contains("have errors"), "{err}");
}

#[tokio::test]
async fn the_impact_is_that_of_what_was_used_on_sqlite() {
    let upstream = Upstream::start().await;
    the_impact_is_that_of_what_was_used(Setup::before(&upstream)).await;
}

#[tokio::test]
async fn the_impact_is_that_of_what_was_used_on_postgres() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream).with("/database", Postgres::shared().url());
    the_impact_is_that_of_what_was_used(setup).await;
}
