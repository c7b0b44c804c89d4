//! The configuration: what each key does by default and from the environment, and how a bad one ends the start
//! (contract, section 3).

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, process::Command};

use serde_json::{Value, json};

use super::tokens::{claims, issuer, with_keys};
use crate::{
    signer::{Signer, key_set},
    support::{
        admin::TOKEN,
        client::get,
        postgres::Postgres,
        process::{Setup, eventually, plangate, write},
        refusal::{Refusal, run},
        upstream::Upstream,
    },
};

/// `serve` in a folder with these texts as its files.
fn serve(folder: &std::path::Path, files: &[(&str, &str)], variables: &[(&str, &str)]) -> Command {
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
    let mut command = plangate();
    command.arg("serve").current_dir(folder).envs(variables.iter().copied());
    command
}

/// What becomes of a start from `plangate.yaml` with this text.
async fn with_file(text: &str) -> Refusal {
    let folder = tempfile::tempdir().unwrap();
    run(serve(folder.path(), &[("plangate.yaml", text)], &[])).await
}

async fn with_variable(name: &str, value: &str) -> Refusal {
    let folder = tempfile::tempdir().unwrap();
    let file = [("plangate.yaml", "upstream: http://127.0.0.1:9000\n")];
    run(serve(folder.path(), &file, &[(name, value)])).await
}

/// A line of the file, the key that is at fault, and what must be said of it.
const BAD: &[(&str, &str, &[&str])] = &[
    ("listen: here", "listen", &["`here`", "127.0.0.1:8080"]),
    ("listen: 8080", "listen", &["`8080`", "127.0.0.1:8080"]),
    ("listen: 127.0.0.1:99999", "listen", &["99999"]),
    ("upstream: ftp://x", "upstream", &["`ftp://x`", "http://127.0.0.1:9000"]),
    ("upstream: http://x/api", "upstream", &["no path"]),
    ("upstream: http://me:hunter2@x", "upstream", &["`http://***@x`"]),
    ("upstream: [http://x]", "upstream", &["a list"]),
    ("policies: 7", "policies", &["`7`", "a text"]),
    ("database: mysql://me:hunter2@h/d", "database", &["mysql", "sqlite://", "postgres://"]),
    ("database: 7", "database", &["expected a text"]),
    ("data_dir: []", "data_dir", &["a list", "a text"]),
    ("workers: many", "workers", &["`many`", "a whole number"]),
    ("workers: -1", "workers", &["`-1`", "a whole number"]),
    ("workers: 1.5", "workers", &["`1.5`", "a whole number"]),
    ("workers: 0", "workers", &["`0`", "1 to 1024"]),
    ("node: \"a b\"", "node", &["`a b`", "63 visible characters"]),
    ("node: \"a\\nb\"", "node", &["`a\\nb`"]),
    ("mode: audit", "mode", &["`audit`", "enforce or observe"]),
    ("mode: { observe: 1 }", "mode", &["enforce or observe"]),
    ("tenants: { unknown: allow }", "tenants.unknown", &["`allow`", "deny"]),
    ("tenants: { unknown: { plans: free } }", "tenants.unknown", &["plan: NAME"]),
    ("tenants: { known: deny }", "tenants.known", &["unknown key", "`unknown`"]),
    ("tenants: free", "tenants", &["`free`", "a map of keys"]),
    ("trusted_proxies: 10.0.0.0/8", "trusted_proxies", &["`10.0.0.0/8`", "a list"]),
    ("trusted_proxies: [10.0.0.0/8, 10.0.0.0/99]", "trusted_proxies[1]", &["`10.0.0.0/99`"]),
    ("probe: readyz", "probe", &["`readyz`", "/.plangate/readyz"]),
    ("probe: /a/../b", "probe", &["`/a/../b`"]),
    ("cors: { origins: [app.example] }", "cors.origins[0]", &["`app.example`", "https://app.example"]),
    ("cors: { origins: [\"https://app.example/\"] }", "cors.origins[0]", &["https://app.example/"]),
    ("admin: { listen: 1 }", "admin.listen", &["`1`"]),
    ("admin: { token: [hunter2] }", "admin.token", &["a text"]),
    ("admin: hunter2", "admin", &["a map of keys"]),
    ("identity: { api_key_header: \"a b\" }", "identity.api_key_header", &["`a b`", "x-api-key"]),
    ("identity: { api_key_header: Authorization }", "identity.api_key_header", &["`Authorization`"]),
    ("identity: { jwt: { issuer: a } }", "identity.jwt", &["a map", "a list"]),
    ("identity: { jwt: [{ audience: a }] }", "identity.jwt[0].issuer", &["missing"]),
    (
        "identity: { jwt: [{ issuer: i, audience: a, algorithms: [EdDSA], jwks_file: f, leeway: 1 }] }",
        "identity.jwt[0].leeway",
        &["`1`", "30s"],
    ),
    (
        "identity: { jwt: [{ issuer: i, audience: a, algorithms: [EdDSA], jwks_file: f, keys: 1 }] }",
        "identity.jwt[0].keys",
        &["unknown key"],
    ),
    (
        "identity: { jwt: [{ issuer: i, audience: a, algorithms: [EdDSA], jwks_file: f, jwks_url: \"http://x\" }] }",
        "identity.jwt[0]",
        &["exactly one"],
    ),
    (
        "identity: { jwt: [{ issuer: i, audience: a, algorithms: [EdDSA], jwks_file: f, cookie: \"a b\" }] }",
        "identity.jwt",
        &["`a b`", "cookie"],
    ),
    (
        "identity: { jwt: [{ issuer: i, audience: a, algorithms: [none], jwks_file: f }] }",
        "identity.jwt[0].algorithms[0]",
        &["`none`", "EdDSA, ES256"],
    ),
    (
        "identity: { jwt: [{ issuer: i, audience: a, algorithms: [EdDSA, HS256], jwks_file: f }] }",
        "identity.jwt[0].algorithms",
        &["`HS256`", "hs256_secret_file"],
    ),
    (
        "identity: { jwt: [{ issuer: i, audience: a, algorithms: [ES256], jwks_url: \"http://me:hunter2@x/\" }] }",
        "identity.jwt[0].jwks_url",
        &["***@x"],
    ),
    ("timeouts: { idle: 5 minutes }", "timeouts.idle", &["`5 minutes`", "30s"]),
    ("timeouts: { connect: 0s }", "timeouts.connect", &["`0s`", "more than zero"]),
    ("timeouts: { request_head: 10 }", "timeouts.request_head", &["`10`", "30s"]),
    ("timeouts: { read: 1s }", "timeouts.read", &["unknown key", "`stream_idle`"]),
    ("timeouts: 5s", "timeouts", &["`5s`", "a map of keys"]),
    ("caps: { connections: 0 }", "caps.connections", &["`0`", "1 to"]),
    ("caps: { connections: 18446744073709551615 }", "caps.connections", &["1 to"]),
    ("caps: { connections: lots }", "caps.connections", &["`lots`", "a whole number"]),
    ("caps: { request_head: big }", "caps.request_head", &["`big`", "64KiB"]),
    ("caps: { request_head: 1 }", "caps.request_head", &["`1`", "1KiB to 1MiB"]),
    ("caps: { tenants_cached: -5 }", "caps.tenants_cached", &["`-5`", "a whole number"]),
    ("serve_stale: soon", "serve_stale", &["`soon`", "10m"]),
    ("serve_stale: 367d", "serve_stale", &["`367d`", "at most 366d"]),
    ("retention: { usage_hours: 34d }", "retention.usage_hours", &["`34d`", "at least 35d", "billing month"]),
    ("retention: { usage_hours: 800h }", "retention.usage_hours", &["`800h`", "at least 35d"]),
    ("retention: { usage_days: 60d }", "retention.usage_days", &["`60d`", "at least 92d", "usage_hours"]),
    ("retention: { usage_days: 36526d }", "retention.usage_days", &["`36526d`", "at most 36525d"]),
    ("retention: { audit: 23h }", "retention.audit", &["`23h`", "at least 1d"]),
    ("retention: { audit: 400 }", "retention.audit", &["`400`", "400d"]),
    ("retention: { usage: 92d }", "retention.usage", &["unknown key", "`usage_hours`"]),
    ("retention: 92d", "retention", &["`92d`", "a map of keys"]),
    ("lisen: 127.0.0.1:1", "lisen", &["unknown key", "`listen`"]),
];

#[tokio::test]
async fn a_bad_value_ends_the_start_with_one_line() {
    for (text, key, words) in BAD {
        let with_upstream = if text.starts_with("upstream") {
            (*text).to_owned()
        } else {
            format!("upstream: http://127.0.0.1:9\n{text}\n")
        };
        let refusal = with_file(&with_upstream).await;
        refusal.says(&format!("plangate.yaml: {key}: "), words);
        assert!(refusal.error.contains("expected"), "{refusal:?}");
        assert!(!format!("{refusal:?}").contains("hunter2"), "{refusal:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_configuration_is_refused() {
    with_file("").await.says("plangate.yaml: upstream: missing", &["expected"]);
    with_file("- a\n- b\n").await.says("plangate.yaml: ", &["a map of keys"]);
    with_file("listen: [\n").await.says("plangate.yaml: ", &["line"]);
    with_file("listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n")
        .await
        .says("plangate.yaml: ", &["line", "listen"]);
    let folder = tempfile::tempdir().unwrap();
    let missing = run(serve(folder.path(), &[], &[])).await;
    missing.says("plangate.yaml: upstream: missing", &[]);
    let mut named = serve(folder.path(), &[], &[]);
    named.args(["--config", "elsewhere.yaml"]);
    run(named).await.says("elsewhere.yaml: cannot be read", &["No such file"]);
    let by_variable = serve(folder.path(), &[], &[("PLANGATE_CONFIG", "other.yaml")]);
    run(by_variable).await.says("other.yaml: cannot be read", &[]);
    let mut a_folder = serve(folder.path(), &[], &[]);
    a_folder.args(["--config", "."]);
    run(a_folder).await.says(".: cannot be read", &[]);
}

#[tokio::test]
async fn a_bad_variable_is_named() {
    for (name, value, key, words) in [
        ("PLANGATE_LISTEN", "here", "listen", &["`here`"][..]),
        ("PLANGATE_WORKERS", "many", "workers", &["`many`", "a whole number"]),
        ("PLANGATE_WORKERS", "0", "workers", &["1 to 1024"]),
        ("PLANGATE_TRUSTED_PROXIES", "10.0.0.0/8", "trusted_proxies", &["a list as JSON"]),
        ("PLANGATE_TRUSTED_PROXIES", "[\"nope\"]", "trusted_proxies[0]", &["`nope`"]),
        ("PLANGATE_TENANTS_UNKNOWN", "free", "tenants.unknown", &["deny"]),
        ("PLANGATE_TIMEOUTS_DRAIN", "long", "timeouts.drain", &["`long`", "30s"]),
        ("PLANGATE_TIMEOUTS", "{\"drain\":5}", "timeouts.drain", &["`5`"]),
        ("PLANGATE_CAPS_CONNECTIONS", "10k", "caps.connections", &["`10k`", "a whole number"]),
        ("PLANGATE_IDENTITY_JWT", "[{}]", "identity.jwt[0].issuer", &["missing"]),
        ("PLANGATE_ADMIN", "{\"token\":\"hunter2\"", "admin", &["a map as JSON"]),
        ("PLANGATE_ADMIN", "\"hunter2\"", "admin", &["a map of keys"]),
        ("PLANGATE_CORS_ORIGINS", "[\"x\"]", "cors.origins[0]", &["`x`"]),
        ("PLANGATE_RETENTION_USAGE_HOURS", "10d", "retention.usage_hours", &["`10d`", "at least 35d"]),
        ("PLANGATE_RETENTION_AUDIT", "ever", "retention.audit", &["`ever`", "400d"]),
        ("PLANGATE_RETENTION", "92d", "retention", &["a map as JSON"]),
        ("PLANGATE_DATABASE", "redis://:hunter2@h", "database", &["redis"]),
    ] {
        let refusal = with_variable(name, value).await;
        refusal.says(&format!("{name}: {key}: "), words);
        assert!(!format!("{refusal:?}").contains("hunter2"), "{refusal:?}");
    }
}

#[tokio::test]
async fn what_only_the_start_can_tell_is_said_the_same_way() {
    let upstream = Upstream::start().await;
    let base = || Setup::before(&upstream);
    let file = |setup: &Setup| format!("{}: ", setup.path("plangate.yaml").display());

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (pointer, key) in [("/listen", "listen"), ("/admin/listen", "admin.listen")] {
        let setup = base().with(pointer, address.clone());
        let start = format!("{}{key}: `{address}`", file(&setup));
        setup.refused().await.says(&start, &["in use"]);
    }
    let mut setup = base();
    setup.environment.push(("PLANGATE_LISTEN".into(), address.clone()));
    setup.refused().await.says(&format!("PLANGATE_LISTEN: listen: `{address}`"), &["in use"]);

    let setup = base().with("/tenants/unknown", json!({ "plan": "gold" }));
    setup
        .refused()
        .await
        .says(&format!("{}tenants.unknown.plan: `gold`", file(&setup)), &["a plan that the policies have"]);
    let mut setup = base();
    setup.environment.push(("PLANGATE_TENANTS_UNKNOWN_PLAN".into(), "No Id".into()));
    setup.refused().await.says("PLANGATE_TENANTS_UNKNOWN_PLAN: tenants.unknown.plan: `No Id`", &["a plan"]);

    // Also while the database is away: nobody should have to wait for it to learn of a slip of the pen.
    let away = base().with("/database", "postgres://me@127.0.0.1:1/db");
    let setup = away.with("/identity/jwt", json!([issuer("jwks_file", "no-such.json")]));
    setup.refused().await.says(&format!("{}identity.jwt: ", file(&setup)), &["no-such.json", "No such file"]);
    let setup = base().with("/identity/jwt", json!([issuer("hs256_secret_file", "no-such")]));
    let key = "identity.jwt.hs256_secret_file: `no-such`";
    setup.refused().await.says(&format!("{}{key}", file(&setup)), &["No such file"]);

    for (name, text, words) in [
        ("short", "hunter2 and not much more", &["at least 32"][..]),
        ("keys.json", "<html>", &["`keys`"]),
        ("none.json", "{\"keys\":[]}", &["no usable key"]),
    ] {
        let mut setup = base();
        let path = write(setup.path("").as_path(), name, text);
        let source = if name == "short" { "hs256_secret_file" } else { "jwks_file" };
        setup.set("/identity/jwt", json!([issuer(source, &path)]));
        let refusal = setup.refused().await;
        refusal.says(&format!("{}identity.jwt: ", file(&setup)), words);
        assert!(!format!("{refusal:?}").contains("hunter2"), "{refusal:?}");
    }
    let mut setup = base();
    let path = write(setup.path("").as_path(), "jwks.json", &key_set(&[Signer::ed().jwk("a")]));
    setup.set("/identity/jwt", json!([issuer("jwks_file", &path), issuer("jwks_file", &path)]));
    setup.refused().await.says(&format!("{}identity.jwt: ", file(&setup)), &["twice"]);
    let setup = base().with("/identity/api_key_header", "content-length");
    setup.refused().await.says(&format!("{}identity.api_key_header: ", file(&setup)), &["content-length"]);
}

#[tokio::test]
async fn folders_that_cannot_be_used_are_named() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    fs::write(setup.path("file"), "").unwrap();
    let inside = setup.path("file/data").display().to_string();
    let file = setup.path("plangate.yaml").display().to_string();
    let setup = setup.with("/data_dir", inside.clone());
    setup.refused().await.says(&format!("{file}: data_dir: {inside}: cannot be used"), &["Not a directory"]);
    let data = setup.path("data").display().to_string();
    let setup = setup.with("/data_dir", data).with("/database", format!("sqlite://{inside}/x.db"));
    setup.refused().await.says(&format!("{file}: database: `{inside}`"), &["Not a directory"]);
    let folder = setup.path("policies").display().to_string();
    let setup = setup.with("/database", format!("sqlite://{folder}"));
    setup.refused().await.says(&format!("{file}: database: `{folder}`"), &["unable to open"]);
    let text = write(setup.path("").as_path(), "text.db", &"This is no database at all. ".repeat(100));
    let setup = setup.with("/database", format!("sqlite://{text}"));
    setup.refused().await.says(&format!("{file}: database: "), &["not a database"]);
}

#[tokio::test]
async fn broken_policies_end_the_start_with_all_that_is_wrong() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    setup.policy(
        "plans/small.yaml",
        "plan: small\nfeatures: [chat, telepathy]\nquotas:\n  requests: { limit: \"5\" }\n",
    );
    setup.policy("plans/big.yaml", "plan: big\nextends: nobody\n");
    let refusal = setup.refused().await;
    assert_eq!(refusal.code, Some(2));
    for word in ["plans/small.yaml:2", "telepathy", "plans/small.yaml:4", "plans/big.yaml:2", "nobody"] {
        assert!(refusal.error.contains(word), "{word}: {}", refusal.error);
    }
    let setup = Setup::before(&upstream).with("/policies", "no-such-folder");
    let refusal = setup.refused().await;
    assert_eq!(refusal.code, Some(2));
    assert!(refusal.error.contains("no-such-folder"), "{}", refusal.error);
}

#[tokio::test]
async fn a_data_folder_serves_one_process() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let first = setup.start().await;
    let key = first.admin.tenant("acme", "big").await;
    let start =
        format!("{}: data_dir: {}", setup.path("plangate.yaml").display(), setup.path("data").display());
    setup.refused().await.says(&start, &["another plangate process is using this folder"]);
    assert_eq!(get("/v1/messages").key(&key).send(first.data).await.status, 200, "the first goes on");
    first.kill();
    let again = setup.start().await;
    assert_eq!(
        get("/v1/messages").key(&key).send(again.data).await.status,
        200,
        "a killed one holds nothing"
    );
}

#[tokio::test]
async fn defaults_do_for_everything_but_the_upstream() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    // Other addresses than the usual ones, which this machine may use for something else; all the rest is left out.
    let mut bare = Setup::before(&upstream);
    bare.config = json!({ "upstream": setup.config["upstream"], "listen": "127.0.0.1:0",
        "admin": { "listen": "127.0.0.1:0", "token": TOKEN } });
    assert!(!bare.path("plangate-data").exists());
    let gateway = bare.start().await;
    for made in ["plangate-data/plangate.db", "plangate-data/ledger"] {
        assert!(bare.path(made).is_file(), "{made}");
    }
    let key = gateway.admin.tenant("acme", "small").await;
    assert_eq!(
        get("/v1/messages").key(&key).send(gateway.data).await.status,
        200,
        "enforced and with x-api-key"
    );
    assert_eq!(get("/v1/messages").send(gateway.data).await.status, 401);
    assert_eq!(get("/.plangate/readyz").send(gateway.data).await.status, 200);
    let nodes = gateway.admin.get("/v1/nodes").await;
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    assert!(nodes.to_string().contains(&format!("\"{name}\"")), "{nodes} lacks the host's name {name}");
    let long = get(&format!("/v1/messages?{}", "x".repeat(70_000))).key(&key).send(gateway.data).await;
    assert_eq!((long.status, long.code().as_str()), (431, "head-too-large"), "64 KiB");
    let fits = get(&format!("/v1/messages?{}", "x".repeat(50_000))).key(&key).send(gateway.data).await;
    assert_eq!(fits.status, 200);
}

#[tokio::test]
async fn without_a_token_the_admin_api_refuses_all() {
    let upstream = Upstream::start().await;
    for token in [Value::Null, json!("")] {
        let gateway = Setup::before(&upstream).with("/admin/token", token).start().await;
        for ask in [
            get("/v1/tenants"),
            get("/v1/tenants").bearer(""),
            get("/v1/tenants").bearer(TOKEN),
            get("/metrics"),
        ] {
            assert_eq!(ask.send(gateway.admin.0).await.status, 401, "{ask:?}");
        }
        assert_eq!(get("/healthz").send(gateway.admin.0).await.status, 200);
    }
}

#[tokio::test]
async fn variables_win_over_the_file_and_need_none() {
    let (upstream, signer) = (Upstream::start().await, Signer::ed());
    let mut setup = Setup::before(&upstream);
    let path = |name: &str| setup.path(name).display().to_string();
    let keys = write(setup.path("").as_path(), "jwks.json", &key_set(&[signer.jwk("a")]));
    let jwt = json!([issuer("jwks_file", &keys)]).to_string();
    let database = format!("sqlite://{}", path("elsewhere/deep/p.db"));
    let (policies, data) = (path("policies"), path("other-data"));
    let variables = [
        ("PLANGATE_LISTEN", "127.0.0.1:0"),
        ("PLANGATE_UPSTREAM", &format!("http://{}", upstream.address)),
        ("PLANGATE_POLICIES", &policies),
        ("PLANGATE_DATABASE", &database),
        ("PLANGATE_DATA_DIR", &data),
        ("PLANGATE_WORKERS", "1"),
        ("PLANGATE_NODE", "from-environment"),
        ("PLANGATE_MODE", "enforce"),
        ("PLANGATE_TENANTS_UNKNOWN", "{\"plan\":\"small\"}"),
        ("PLANGATE_TRUSTED_PROXIES", "[\"127.0.0.0/8\"]"),
        ("PLANGATE_PROBE", "/lb"),
        ("PLANGATE_CORS_ORIGINS", "[\"https://app.example\"]"),
        ("PLANGATE_ADMIN", "{\"listen\":\"127.0.0.1:1\",\"token\":\"the map's\"}"),
        ("PLANGATE_ADMIN_LISTEN", "127.0.0.1:0"),
        ("PLANGATE_ADMIN_TOKEN", TOKEN),
        ("PLANGATE_IDENTITY_API_KEY_HEADER", "x-acme-key"),
        ("PLANGATE_IDENTITY_JWT", &jwt),
        ("PLANGATE_TIMEOUTS_DRAIN", "1s"),
        ("PLANGATE_CAPS_REQUEST_HEAD", "2KiB"),
        ("PLANGATE_CAPS_CONNECTIONS", "50"),
        ("PLANGATE_CAPS_TENANTS_CACHED", "10"),
        ("PLANGATE_SERVE_STALE", "0"),
        ("PLANGATE_RETENTION", "{\"usage_hours\":\"840h\",\"usage_days\":\"1d\"}"),
        ("PLANGATE_RETENTION_USAGE_DAYS", "3660d"),
        ("PLANGATE_RETENTION_AUDIT", "7300d"),
        ("PLANGATE_NO_SUCH_KEY", "hunter2"),
    ];
    setup.environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    // Everything here is overridden: what would be refused, or lead elsewhere, must not matter.
    setup.config = json!({ "listen": "nonsense", "workers": "x", "node": 7, "mode": "observe", "probe": "?",
        "tenants": { "unknown": "deny" }, "caps": "none", "admin": "x", "identity": { "jwt": 5 } });
    let gateway = setup.start().await;
    let token = signer.token("a", &claims("newcomer"));
    let reply = get("/v1/messages").bearer(&token).with("x-request-id", "theirs").send(gateway.data).await;
    assert_eq!((reply.status, reply.header("x-request-id")), (200, Some("theirs")));
    assert_eq!(upstream.last().header("x-plangate-plan"), Some("small"));
    let key = gateway.admin.key("newcomer").await;
    assert_eq!(get("/v1/messages").with("x-acme-key", &key).send(gateway.data).await.status, 200);
    let refused = get("/v1/messages").with("origin", "https://app.example").send(gateway.data).await;
    assert_eq!(refused.status, 401, "enforced");
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(get("/lb").send(gateway.data).await.status, 200);
    let long = get(&format!("/v1/messages?{}", "x".repeat(3000))).send(gateway.data).await;
    assert_eq!(long.status, 431);
    assert!(gateway.admin.get("/v1/nodes").await.to_string().contains("\"from-environment\""));
    assert!(setup.path("elsewhere/deep/p.db").is_file() && setup.path("other-data/ledger").is_file());
    let log = gateway.log();
    let warned = log.lines().find(|line| line.contains("PLANGATE_NO_SUCH_KEY")).expect("a warning");
    assert!(warned.contains("WARN") && !log.contains("hunter2"), "{warned}");
    assert!(!log.contains("\"variable\":\"PLANGATE_LOG\""), "that one is known");
}

#[tokio::test]
async fn a_filter_of_the_log_that_means_nothing_is_told() {
    let upstream = Upstream::start().await;
    let mut setup = Setup::before(&upstream);
    setup.environment.push(("PLANGATE_LOG".into(), "plangate=loud=no".into()));
    let gateway = setup.start().await;
    eventually("it is told", async || gateway.log().contains("PLANGATE_LOG")).await;
}

#[tokio::test]
async fn no_secret_is_ever_logged() {
    let (upstream, signer) = (Upstream::start().await, Signer::ed());
    let mut setup =
        with_keys(&upstream, &[signer.jwk("k")]).with("/tenants/unknown", json!({ "plan": "big" }));
    let secret = "0123456789-shared-secret-of-issuer-two";
    let file = write(setup.path("").as_path(), "secret", secret);
    let mut second = issuer("hs256_secret_file", &file);
    second["issuer"] = json!("two");
    let mut issuers = setup.config["identity"]["jwt"].take();
    issuers.as_array_mut().unwrap().push(second);
    setup.set("/identity/jwt", issuers);
    let url = Postgres::shared().url().replace("plangate@", "plangate:hunter2@");
    assert!(url.contains("hunter2"), "{url}");
    setup.set("/database", url);
    setup.environment.push(("PLANGATE_LOG".into(), "trace".into()));
    let gateway = setup.start().await;

    let key = gateway.admin.tenant("acme", "big").await;
    let theirs = "q7Xv2LkP9sRt4WzB8nJc6HdF3gYm5TaQ";
    gateway.admin.ok("POST", "/v1/tenants/acme/keys", json!({ "import": theirs })).await;
    gateway.admin.call("POST", "/v1/tenants/acme/keys", json!({ "import": "weak-but-secret" })).await;
    let (token, forged) = (signer.token("k", &claims("acme")), Signer::ed().token("k", &claims("acme")));
    let bad = format!("{}0000", &key[..key.len() - 4]);
    let ask = || get("/v1/messages").body("the body's own words");
    for ask in [
        ask().key(&key),
        ask().bearer(&key),
        ask().key(theirs),
        ask().bearer(&token),
        ask().bearer(&forged),
        ask().bearer(&bad),
        ask().key("unknown-key-of-nobody"),
        ask().key(&key).bearer(&token),
        ask().with("cookie", &format!("session={token}")),
        get(&format!("/v1/export/x?token={theirs}")).key(&key),
        get("/healthz").key(&key),
    ] {
        ask.send(gateway.data).await;
    }
    get("/v1/tenants").bearer("wrong-admin-token").send(gateway.admin.0).await;
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let log = |gateway: &crate::support::process::Gateway| gateway.log();
    eventually("the log is busy", async || log(&gateway).lines().count() > 100).await;
    gateway.signal("TERM");
    let mut gateway = gateway;
    assert!(gateway.ended().await.success());
    let text = gateway.log();
    assert!(text.contains("\"level\":\"TRACE\"") || text.contains("\"level\":\"DEBUG\""));
    for secret in [
        key.as_str(),
        &key[4..20],
        theirs,
        "weak-but-secret",
        &bad,
        "unknown-key-of-nobody",
        &token,
        &signature(&token),
        &signature(&forged),
        TOKEN,
        "wrong-admin-token",
        "hunter2",
        secret,
        "the body's own words",
    ] {
        let line = text.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "the log shows {secret}: {line:?}");
    }
}

#[tokio::test]
async fn a_folder_that_may_not_be_read_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plangate.yaml");
    fs::write(&file, "upstream: http://127.0.0.1:9\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&file).is_ok() {
        return; // Root reads everything.
    }
    run(serve(folder.path(), &[], &[])).await.says("plangate.yaml: cannot be read", &["ermission denied"]);
}
