//! The commands (contract, section 6) against a running gateway: what they do, print and end with; and the demo's tour.

use std::{
    fs,
    io::Write,
    process::{Output, Stdio},
};

use serde_json::{Value, json};

use crate::support::{
    admin::TOKEN,
    client::get,
    process::{Gateway, Setup, eventually, plangate},
    upstream::Upstream,
};

mod tour;

/// What a command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

fn said(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// Runs `plangate` with these words against an admin API, with `input` as its standard input.
async fn run_at(address: String, token: &str, words: &str, input: &str) -> Said {
    let mut command = plangate();
    command.args(words.split_whitespace()).env("PLANGATE_ADMIN_URL", address);
    if !token.is_empty() {
        command.env("PLANGATE_ADMIN_TOKEN", token);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let work = move || {
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that does not read ends the pipe sooner.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().unwrap()
    };
    said(tokio::task::spawn_blocking(work).await.unwrap())
}

async fn run_with(gateway: &Gateway, words: &str, input: &str) -> Said {
    run_at(format!("http://{}", gateway.admin.0), TOKEN, words, input).await
}

async fn run(gateway: &Gateway, words: &str) -> Said {
    run_with(gateway, words, "").await
}

#[tokio::test]
async fn a_tenants_life_from_the_shell() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let made = run(&gateway, "tenant put acme --name Acme --timezone Europe/Berlin").await;
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    assert_eq!(
        made.out,
        "TENANT\tNAME\tSTATE\tPLAN\tANCHOR\tTIMEZONE\nacme\tAcme\tactive\t-\t-\tEurope/Berlin\n"
    );
    let plan = run(&gateway, "subscription put acme small --anchor-day 31 --output json").await.json();
    assert_eq!((&plan["subscription"]["plan"], &plan["applied"]["pending"]), (&json!("small"), &json!([])));
    let key = run(&gateway, "key create acme --name ci --output json").await.json();
    let (id, secret) = (key["id"].as_str().unwrap(), key["key"].as_str().unwrap());
    let status = async |path: &str| get(path).key(secret).send(gateway.data).await.status;
    assert_eq!(status("/v1/messages").await, 200);

    let listed = run(&gateway, "key list acme").await;
    assert!(
        listed.out.contains(id) && listed.out.contains("ci") && !listed.out.contains("pgk_"),
        "{}",
        listed.out
    );
    assert_eq!(run(&gateway, "subscription get acme --output json").await.json()["anchor_day"], 31);
    let rights = run(&gateway, "tenant rights acme").await;
    assert!(rights.out.contains("quota/month\trequests\t5\t1\t4\t"), "{}", rights.out);
    assert_eq!(run(&gateway, "tenant get acme --output json").await.json()["name"], "Acme");
    assert_eq!(run(&gateway, "tenant list --output json").await.json()["items"].as_array().unwrap().len(), 1);
    let table = run(&gateway, "tenant list --output table").await;
    assert!(
        table.out.contains("acme") && !table.out.contains('\u{1b}'),
        "no colour into a pipe: {}",
        table.out
    );

    assert!(run(&gateway, "tenant suspend acme").await.out.contains("suspended"));
    assert_eq!(status("/v1/messages").await, 403);
    assert_eq!(run(&gateway, "tenant resume acme").await.code, 0);
    assert_eq!(status("/v1/messages").await, 200);
    let reset = run(&gateway, "subscription put acme small --usage reset --no-wait").await;
    assert_eq!(reset.code, 0, "{}", reset.err);
    eventually("usage is recorded", async || {
        let usage = run(&gateway, "usage acme --bucket month --output json").await.json();
        usage["rows"][0]["units"] == 2
    })
    .await;
    let usage = run(&gateway, "usage acme --from 2020-01-01 --to 2020-02-01").await;
    assert_eq!(usage.out, "METER\tSTART\tEND\tUNITS\n");
    assert!(usage.err.contains("nothing was used"), "{}", usage.err);
    let revoked = run(&gateway, &format!("key revoke acme {id}")).await;
    assert_eq!(revoked.out, format!("ID\tSTATE\n{id}\trevoked\n"));
    assert_eq!(status("/v1/messages").await, 401);
    assert!(run(&gateway, "tenant delete acme").await.out.contains("deleted"));
    assert_eq!(run(&gateway, "tenant list").await.out.lines().count(), 1);
}

#[tokio::test]
async fn overrides_from_the_shell() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let file = setup.path("overrides.json");
    fs::write(
        &file,
        r#"{"features":{"export":true},"quotas":{"requests":{"limit":20,"day":15}},"limits":{"seats":3}}"#,
    )
    .unwrap();
    let put = run(&gateway, &format!("tenant overrides acme --file {}", file.display())).await;
    assert_eq!((put.code, put.err.as_str()), (0, ""));
    assert_eq!(
        put.out,
        "OVERRIDE\tNAME\tVALUE\nfeature\texport\ton\nlimit\tseats\t3\nquota\trequests\t{\"day\":15,\"limit\":20}\n"
    );
    assert_eq!(get("/v1/export/all").key(&key).send(gateway.data).await.status, 200, "in force at once");
    let shown = run(&gateway, "tenant overrides acme --output json").await;
    assert_eq!(shown.json()["quotas"], json!({ "requests": { "limit": 20, "day": 15 } }));
    // What is shown can be put back, here through a pipe.
    run_with(&gateway, "tenant overrides acme --file -", "{}").await;
    assert_eq!(get("/v1/export/all").key(&key).send(gateway.data).await.status, 403);
    let again = run_with(&gateway, "tenant overrides acme --file - --output json", &shown.out).await.json();
    assert_eq!(again["overrides"], shown.json());
    assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200);
    for (input, code, says) in [
        ("features: {export: true}", 2, "no JSON object"),
        ("[]", 2, "no JSON object"),
        ("", 2, "no JSON object"),
        (r#"{"features":{"fly":true},"limits":{"sofas":1}}"#, 1, "/limits/sofas"),
        (r#"{"quotas":{"requests":{"limit":-1}}}"#, 1, "/quotas/requests/limit"),
    ] {
        let refused = run_with(&gateway, "tenant overrides acme --file -", input).await;
        assert_eq!(refused.code, code, "{input}: {}", refused.err);
        assert!(refused.err.contains(says), "{input}: {}", refused.err);
    }
    let missing = run(&gateway, "tenant overrides acme --file /nowhere").await;
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains("/nowhere"), "{}", missing.err);
    assert_eq!(run(&gateway, "tenant overrides nobody").await.code, 1);
}

#[tokio::test]
async fn keys_from_the_shell() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    gateway.admin.tenant("acme", "small").await;
    // A customer's key comes by a file or a pipe, never as an argument.
    let theirs = "sk_live_0f8fad5bd9cb469fa165708677d21c40b3e5";
    let imported = run_with(&gateway, "key create acme --import -", &format!("{theirs}\n")).await;
    assert_eq!(imported.code, 0, "{}", imported.err);
    assert!(!imported.out.contains(theirs));
    assert_eq!(get("/v1/messages").key(theirs).send(gateway.data).await.status, 200);
    let again = run_with(&gateway, "key create acme --import -", theirs).await;
    assert_eq!(again.code, 1);
    assert!(again.err.contains("already in use") && !again.err.contains(theirs), "{}", again.err);
    assert_eq!(run_with(&gateway, "key create acme --import -", "\n").await.code, 2, "nothing in the pipe");

    let first = run(&gateway, "key create acme --idempotency-key once").await;
    assert!(first.out.contains("pgk_") && first.err.contains("shown this once"), "{}", first.err);
    let again = run(&gateway, "key create acme --idempotency-key once").await;
    assert_eq!(again.code, 0);
    assert!(!again.out.contains("pgk_") && again.err.contains("repeats an earlier answer"), "{}", again.err);
    let items = run(&gateway, "key list acme --output json").await.json();
    assert_eq!(items["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn exit_codes_say_what_kind_of_failure_it_was() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let address = format!("http://{}", gateway.admin.0);
    for (words, says) in [
        ("tenant get nobody", "plangate tenant list"),
        ("tenant put UPPER", "UPPER"),
        ("subscription put nobody small", "there is no tenant `nobody`"),
        ("subscription put nobody gold", "no plan `gold`"),
        ("key revoke nobody key_1", "nobody"),
        ("usage nobody --from yesterday", "there is no tenant"),
    ] {
        let refused = run(&gateway, words).await;
        assert_eq!(refused.code, 1, "{words}: {}", refused.err);
        assert!(refused.err.starts_with("error: ") && refused.err.contains(says), "{words}: {}", refused.err);
        assert_eq!(refused.out, "");
    }
    let wrong = run_at(address.clone(), "wrong", "tenant list", "").await;
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("PLANGATE_ADMIN_TOKEN"), "{}", wrong.err);
    for words in
        ["tenant", "tenant put", "tenant list --limit 0", "usage acme --bucket week", "fly", "key create"]
    {
        let usage = run(&gateway, words).await;
        assert_eq!(usage.code, 2, "{words}");
        assert!(usage.err.contains("Usage:") || usage.err.contains("--help"), "{words}: {}", usage.err);
    }
    let unset = run_at(address.clone(), "", "tenant list", "").await;
    assert_eq!((unset.code, unset.err.contains("PLANGATE_ADMIN_TOKEN")), (2, true), "{}", unset.err);
    let odd = run_at("ftp://x".to_owned(), TOKEN, "tenant list", "").await;
    assert_eq!(odd.code, 2, "{}", odd.err);
    // The data listener is not an admin API, and says so.
    let other = run_at(format!("http://{}", gateway.data), TOKEN, "tenant get acme", "").await;
    assert_eq!(other.code, 1, "{}", other.err);
    assert!(gateway.stop().await.success());
    let gone = run_at(address, TOKEN, "tenant list", "").await;
    assert_eq!(gone.code, 3);
    assert!(gone.err.contains("could not reach") && gone.err.contains("plangate serve"), "{}", gone.err);
}

#[tokio::test]
async fn completions_for_each_shell() {
    let setup = tempfile::tempdir().unwrap();
    let words = ["tenant", "overrides", "subscription", "completions", "--idempotency-key"];
    for shell in ["bash", "zsh", "fish"] {
        let script = said(plangate().args(["completions", shell]).output().unwrap());
        assert_eq!((script.code, script.err.as_str()), (0, ""));
        for word in words {
            assert!(script.out.contains(word.trim_start_matches('-')), "{shell} does not complete {word}");
        }
        let file = setup.path().join(shell);
        fs::write(&file, &script.out).unwrap();
        // Where the shell is there, it must be able to read it.
        if let Ok(read) = std::process::Command::new(shell).arg("-n").arg(&file).output() {
            assert!(read.status.success(), "{shell}: {}", String::from_utf8_lossy(&read.stderr));
        }
    }
    assert_eq!(plangate().args(["completions", "dos"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn help_says_what_to_do_next() {
    let help = |words: &[&str]| said(plangate().args(words).arg("--help").output().unwrap());
    let top = help(&[]);
    assert_eq!(top.code, 0);
    for word in ["plangate demo", "policy check", "serve", "tenant put", "key create", "PLANGATE_ADMIN_TOKEN"]
    {
        assert!(top.out.contains(word), "{word} is missing:\n{}", top.out);
    }
    for words in [
        &["serve"][..],
        &["demo"],
        &["policy", "check"],
        &["policy", "test"],
        &["tenant", "put"],
        &["tenant", "overrides"],
        &["subscription", "put"],
        &["key", "create"],
        &["usage"],
        &["completions"],
    ] {
        let help = help(words);
        assert_eq!(help.code, 0, "{words:?}");
        assert!(help.out.contains("Usage: plangate"), "{words:?}");
        assert!(help.out.lines().next().unwrap().len() > 10, "{words:?} has no description");
    }
    assert!(help(&["tenant", "list"]).out.contains("PLANGATE_ADMIN_TOKEN"));
    assert!(help(&["usage"]).out.contains("--output"));
    let version = said(plangate().arg("--version").output().unwrap());
    assert_eq!(version.out, format!("plangate {}\n", env!("CARGO_PKG_VERSION")));
}
