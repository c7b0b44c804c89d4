//! The audit log and admin tokens over sockets: what others do to the log in the database is found, and roles hold.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{
    admin::{Admin, TOKEN},
    client::ask,
    cluster::{node, shell},
    postgres::Postgres,
    process::{Setup, plangate},
    upstream::Upstream,
};

/// Runs statements behind the gateway's back.
async fn behind_its_back(url: &str, statements: &[&'static str]) {
    for statement in statements {
        if url.starts_with("sqlite") {
            let pool = sqlx::SqlitePool::connect(url).await.unwrap();
            sqlx::query(*statement).execute(&pool).await.unwrap();
            pool.close().await;
        } else {
            let pool = sqlx::PgPool::connect(url).await.unwrap();
            sqlx::query(*statement).execute(&pool).await.unwrap();
            pool.close().await;
        }
    }
}

/// Verifies; the exit code and the complaint.
async fn verify(admin: Admin, words: &[&str]) -> (i32, String) {
    let (code, _, complaint) = shell(admin, &[&["audit", "verify"], words].concat()).await;
    (code, complaint)
}

#[tokio::test]
async fn tampering_with_the_file_is_found() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let url = setup.config["database"].as_str().unwrap().to_owned();
    tampering_is_found(&setup, &url).await;
}

#[tokio::test]
async fn tampering_with_rows_of_a_server_is_found() {
    let upstream = Upstream::start().await;
    let url = Postgres::shared().url();
    let setup = Setup::before(&upstream).with("/database", url.as_str());
    tampering_is_found(&setup, &url).await;
}

async fn tampering_is_found(setup: &Setup, url: &str) {
    let gateway = setup.start().await;
    let admin = gateway.admin;
    admin.tenant("acme", "small").await;
    admin.subscribe("acme", "big").await;
    let lines = admin.get("/v1/audit?kind=subscription.put&tenant=acme&actor=admin").await;
    let change = &lines["items"][1];
    assert_eq!((&change["actor"], &change["source"]), (&json!("admin"), &json!("127.0.0.1")));
    assert_eq!(change["before"]["subscription"]["plan"], "small");
    assert_eq!(change["after"]["subscription"]["plan"], "big");
    let head = admin.get("/v1/audit/head").await;
    assert_eq!((&head["cursor"], &head["start"]), (&json!(4), &json!(0)));
    assert_eq!((&change["cursor"], &change["hash"]), (&json!(4), &head["hash"]));

    let (head_file, export) = (setup.path("head.json"), setup.path("audit.ndjson"));
    let (head_file, export) = (head_file.to_str().unwrap(), export.to_str().unwrap());
    let (code, said, _) = shell(admin, &["audit", "head", "--output", "json"]).await;
    assert_eq!((code, serde_json::from_str::<Value>(&said).unwrap()), (0, head.clone()));
    std::fs::write(head_file, said).unwrap();
    assert_eq!(shell(admin, &["audit", "export", export]).await.0, 0);
    for words in [&[][..], &["--head", head_file], &["--file", export, "--head", head_file]] {
        assert_eq!(verify(admin, words).await.0, 0, "{words:?}: {:?}", verify(admin, words).await);
    }
    let given = format!("4:{}", head["hash"].as_str().unwrap());
    python_agrees(export, &given);
    let text = std::fs::read_to_string(export).unwrap();
    std::fs::write(export, text.replacen("small", "Small", 1)).unwrap();
    let (code, complaint) = verify(admin, &["--file", export, "--head", &given]).await;
    assert!(code == 1 && complaint.contains("line 2: "), "{code} {complaint}");

    behind_its_back(url, &["UPDATE audit SET actor = 'nobody' WHERE place = 3"]).await;
    let (code, complaint) = verify(admin, &[]).await;
    assert!(
        code == 1 && complaint.contains("line 3: its hash is not that of what it says"),
        "{code} {complaint}"
    );
    behind_its_back(url, &["UPDATE audit SET actor = 'admin' WHERE place = 3"]).await;
    assert_eq!(verify(admin, &[]).await.0, 0);
    // The last line goes, and then the head with it: the exported head shows it all the same.
    behind_its_back(url, &["DELETE FROM audit WHERE place = 4"]).await;
    let (code, complaint) = verify(admin, &[]).await;
    assert!(code == 1 && complaint.contains("line 4: it is missing"), "{code} {complaint}");
    let moved = "UPDATE audit_chain SET place = 3, hash = (SELECT hash FROM audit WHERE place = 3)";
    behind_its_back(url, &[moved]).await;
    assert_eq!(verify(admin, &[]).await.0, 0, "of this the database itself knows nothing");
    let (code, complaint) = verify(admin, &["--head", head_file]).await;
    assert!(code == 1 && complaint.contains("line 4: it is missing"), "{code} {complaint}");
}

/// Runs the documentation's own program over an export, where there is an interpreter for it.
fn python_agrees(export: &str, head: &str) {
    let document = std::fs::read_to_string("docs/audit.md").unwrap();
    let program = document.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let run =
        std::process::Command::new("python3").args(["-c", program, export]).stderr(Stdio::inherit()).output();
    if let Ok(output) = run {
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), head);
    }
}

/// Calls with a token; the status, the code of a refusal and the answer.
async fn call(admin: Admin, token: &str, method: &str, path: &str, body: Value) -> (u16, String, Value) {
    let asked = ask(method, path).bearer(token);
    let reply = if body.is_null() { asked } else { asked.json(&body) }.send(admin.0).await;
    let answer = reply.json();
    (reply.status, answer["code"].as_str().unwrap_or_default().to_owned(), answer)
}

async fn made(admin: Admin, name: &str, role: &str) -> (String, String) {
    let answer = admin.ok("POST", "/v1/tokens", json!({ "name": name, "role": role })).await;
    let text = |field: &str| answer[field].as_str().unwrap().to_owned();
    (text("id"), text("token"))
}

#[tokio::test]
async fn roles_hold_and_a_revoked_token_is_refused_on_every_node_at_once() {
    let upstream = Upstream::start().await;
    let url = Postgres::shared().url();
    let setups = [node(&upstream, &url, "a"), node(&upstream, &url, "b")];
    let (first, second) = tokio::join!(setups[0].start(), setups[1].start());
    let (a, b) = (first.admin, second.admin);
    let (viewer_id, viewer) = made(a, "eye", "viewer").await;
    let (_, operator) = made(a, "desk", "operator").await;
    let (_, boss) = made(a, "boss", "admin").await;
    assert!(viewer.starts_with("pga_") && viewer.len() == 40);

    let lines = a.get("/v1/audit/head").await["cursor"].clone();
    for (method, path) in [
        ("PUT", "/v1/tenants/acme"),
        ("POST", "/v1/tenants/acme/keys"),
        ("POST", "/v1/policy/rollback"),
        ("POST", "/v1/nodes/b/lost"),
        ("POST", "/v1/tokens"),
    ] {
        let (status, code, answer) = call(b, &viewer, method, path, json!({})).await;
        assert_eq!((status, code.as_str()), (403, "role-forbids"), "{method} {path}");
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains("`eye` has the role `viewer`"), "{detail}");
    }
    assert_eq!(a.get("/v1/audit/head").await["cursor"], lines, "nothing was changed");
    assert_eq!(call(b, &viewer, "GET", "/v1/tenants/acme", Value::Null).await.0, 404);
    assert_eq!(call(b, &viewer, "GET", "/v1/nothing", Value::Null).await.0, 404);
    assert_eq!(call(b, &viewer, "GET", "/v1/tenants", Value::Null).await.0, 200);

    assert_eq!(call(b, &operator, "PUT", "/v1/tenants/acme", json!({})).await.0, 201);
    let checked = json!({ "tenant": "acme", "method": "GET", "path": "/v1/me" });
    assert_eq!(call(b, &viewer, "POST", "/v1/check", checked).await.0, 200);
    let last = a.get("/v1/audit?tenant=acme").await["items"][0].clone();
    assert_eq!((&last["actor"], &last["source"]), (&json!("desk"), &json!("127.0.0.1")));
    for (method, path) in [("POST", "/v1/policy/rollback"), ("DELETE", "/v1/tokens/tok_1")] {
        assert_eq!(call(b, &operator, method, path, json!({})).await.1, "role-forbids", "{method} {path}");
    }
    assert_eq!(call(b, &boss, "DELETE", "/v1/tokens/tok_1", json!({})).await.1, "token-not-found");

    let listed = call(b, &boss, "GET", "/v1/tokens", Value::Null).await.2;
    assert_eq!(listed["items"].as_array().unwrap().len(), 3);
    assert!(listed["items"][2]["last_used_at"].is_string() && !listed.to_string().contains("pga_"));
    a.ok("DELETE", &format!("/v1/tokens/{viewer_id}"), Value::Null).await;
    for admin in [b, a] {
        let (status, code, _) = call(admin, &viewer, "GET", "/v1/tenants", Value::Null).await;
        assert_eq!((status, code.as_str()), (401, "credential-invalid"));
    }
    assert_eq!(verify(b, &[]).await.0, 0);
}

#[tokio::test]
async fn tokens_are_made_from_the_shell_also_before_the_first_start() {
    let upstream = Upstream::start().await;
    let mut setup = Setup::before(&upstream);
    setup.set("/admin", json!({ "listen": "127.0.0.1:0" }));
    drop(setup.command());
    let file = setup.path("plangate.yaml");
    let create = |name: &'static str| {
        let mut command = plangate();
        command.args([
            "token",
            "create",
            name,
            "--role",
            "admin",
            "--output",
            "json",
            "--offline",
            "--config",
        ]);
        command.arg(&file).current_dir(setup.path(""));
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let output = create("root").await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(create("root").await.unwrap().status.code(), Some(1), "the name is taken");
    assert_eq!(create("admin").await.unwrap().status.code(), Some(2), "the name is reserved");
    let gateway = setup.start().await;
    let (admin, root) = (gateway.admin, made["token"].as_str().unwrap());
    assert_eq!(call(admin, TOKEN, "GET", "/v1/tenants", Value::Null).await.1, "admin-token-unset");
    assert_eq!(call(admin, root, "GET", "/v1/tenants", Value::Null).await.0, 200);
    let mangled = format!("{}x", &root[..39]);
    assert_eq!(call(admin, &mangled, "GET", "/v1/tenants", Value::Null).await.0, 401);
    let lines = call(admin, root, "GET", "/v1/audit", Value::Null).await.2;
    let line = &lines["items"][0];
    assert_eq!(
        (&line["actor"], &line["source"], &line["kind"]),
        (&json!("system"), &json!("offline"), &json!("token.created"))
    );
    assert!(!lines.to_string().contains(root));

    let asked = json!({ "name": "ci", "role": "viewer" });
    for (body, status, code, pointer) in [
        (json!({ "name": "CI", "role": "viewer" }), 422, "value-impossible", "/name"),
        (json!({ "name": "system", "role": "viewer" }), 422, "value-impossible", "/name"),
        (json!({ "name": "ci", "role": "owner" }), 422, "value-impossible", "/role"),
        (
            json!({ "name": "ci", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z" }),
            422,
            "value-impossible",
            "/expires_at",
        ),
        (json!({ "name": "ci" }), 400, "field-invalid", "/role"),
        (json!({ "name": "ci", "role": 1 }), 400, "field-invalid", "/role"),
        (json!({ "name": "root", "role": "viewer" }), 409, "name-taken", "/name"),
    ] {
        let (found, said, answer) = call(admin, root, "POST", "/v1/tokens", body.clone()).await;
        assert_eq!((found, said.as_str(), &answer["pointer"]), (status, code, &json!(pointer)), "{body}");
    }
    let once = || ask("POST", "/v1/tokens").bearer(root).with("idempotency-key", "k").json(&asked);
    let (first, again) = (once().send(admin.0).await, once().send(admin.0).await);
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert!(first.json()["token"].is_string() && again.json().get("token").is_none(), "shown once");
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
}
