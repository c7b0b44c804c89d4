//! Tests of the commands: what they send, print and end with.

use clap::{CommandFactory, Parser};
use http::{HeaderValue, Method};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_util::task::TaskTracker;

use super::{
    Cli, Command, Failure, addon,
    client::{Call, Connection, WriteOptions},
    grant, key, output, plan, subscription, tenant,
};

#[derive(Debug, Parser)]
struct Probe {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    write: WriteOptions,
}

fn probe(arguments: &[&str]) -> Probe {
    Probe::try_parse_from([&["probe"], arguments].concat()).unwrap()
}

fn token() -> HeaderValue {
    HeaderValue::from_static("Bearer t")
}

/// Answers one request and returns it.
async fn answering(status: &'static str, body: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served = TaskTracker::new().spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let mut chunk = [0; 4096];
        while !whole(&request) {
            let n = stream.read(&mut chunk).await.unwrap();
            assert_ne!(n, 0);
            request.extend_from_slice(&chunk[..n]);
        }
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (address, served)
}

fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

#[test]
#[allow(clippy::too_many_lines, reason = "a list of command lines")]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
    for good in [
        "explain --tenant acme /v1/x",
        "explain --tenant acme GET /v1/x --output json",
        "explain --request 0198",
        "explain --recent --tenant acme --code quota-exhausted --limit 5",
        "tenant put acme --name Acme --timezone Europe/Berlin --no-wait",
        "tenant get acme --output json",
        "tenant list --limit 5",
        "tenant rights acme",
        "tenant overrides acme",
        "tenant overrides acme --file - --no-wait --output json",
        "subscription put acme pro --anchor-day 31 --usage reset",
        "subscription get acme",
        "subscription show acme --output json",
        "subscription put acme pro --at period-end --usage prorate",
        "subscription put acme pro --trial-days 14 --then free --trial-again",
        "subscription cancel acme",
        "subscription cancel acme --at 2026-12-01T00:00:00Z --no-wait",
        "subscription undo acme",
        "subscription pause acme --idempotency-key x",
        "subscription resume acme",
        "subscription past-due acme --grace-days 3",
        "subscription paid acme",
        "subscription upcoming acme",
        "subscription upcoming --limit 5 --cursor 1.acme",
        "grant create acme requests 500 --expires-at 2026-12-01T00:00:00Z --priority 0 --recurring --reason sorry",
        "grant list acme --cursor 5",
        "grant void acme g5",
        "addon attach acme boost --quantity 3",
        "addon detach acme boost --at period-end",
        "addon list",
        "addon list acme",
        "plan list",
        "key create acme --import -",
        "key revoke acme k1 --idempotency-key x",
        "usage acme --from 2026-01-01 --bucket month",
        "webhooks create https://a.example/hook --event plan.changed --event quota.threshold --description d",
        "webhook list",
        "webhooks show wh_1 --output json",
        "webhooks update wh_1 --all-events --disable",
        "webhooks delete wh_1 --idempotency-key x",
        "webhooks rotate wh_1 --expire-after 1h",
        "webhooks deliveries wh_1 --state failed --cursor 5",
        "webhooks replay wh_1",
        "webhooks replay wh_1 --event evt_1",
        "webhooks replay wh_1 --since 2026-11-01T00:00:00Z",
        "webhooks test wh_1 --kind quota.exhausted",
        "webhooks listen --port 0 --secret whsec_x --forward http://127.0.0.1:3000/",
        "webhooks trigger quota.threshold --secret whsec_x",
        "policy diff",
        "policy diff new --against old --no-impact --fail-on loss --output markdown",
        "completions zsh",
    ] {
        Cli::try_parse_from(["plangate"].into_iter().chain(good.split(' '))).unwrap();
    }
    for bad in [
        "webhooks create https://a.example --event plan.forgotten",
        "webhooks update wh_1 --enable --disable",
        "webhooks replay wh_1 --event evt_1 --since 2026-11-01T00:00:00Z",
        "tenant put",
        "tenant list --limit 501",
        "subscription put acme pro --anchor-day 32",
        "subscription put acme pro --anchor-day 1 --anchor-at 2026-01-01T00:00:00Z",
        "subscription put acme pro --trial-days 3651",
        "subscription put acme pro --usage double",
        "subscription past-due acme --grace-days 366",
        "subscription upcoming acme --cursor 1.acme",
        "grant create acme requests 0",
        "grant create acme requests 9007199254740992",
        "grant create acme requests 1 --priority 1001",
        "addon attach acme boost --quantity 10001",
        "usage acme --bucket week",
        "policy diff --output table",
        "policy diff --fail-on gain",
        "completions dos",
    ] {
        let error = Cli::try_parse_from(["plangate"].into_iter().chain(bad.split(' '))).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{bad}");
    }
    let Command::Completions { .. } =
        Cli::try_parse_from(["plangate", "completions", "bash"]).unwrap().command
    else {
        panic!()
    };
}

#[tokio::test]
async fn a_write_is_sent_as_the_api_takes_it() {
    let (address, served) = answering("200 OK", r#"{"version":1}"#).await;
    let probe = probe(&["--admin", &format!("{address}/"), "--no-wait", "--idempotency-key", "once"]);
    let call = Call::new(Method::PUT, &["v1", "tenants", "../a b"])
        .query("from", Some("2026-01-01T00:00:00+01:00".to_owned()))
        .write(&probe.write, json!({"name": "x"}));
    let answer = probe.connection.call_as(call, token()).await.unwrap();
    assert_eq!(answer["version"], 1);
    let request = served.await.unwrap();
    assert!(
        request.starts_with(
            "PUT /v1/tenants/..%2Fa%20b?from=2026-01-01T00%3A00%3A00%2B01%3A00&wait=none HTTP/1.1\r\n"
        ),
        "{request}"
    );
    for line in ["authorization: Bearer t", "idempotency-key: once", "content-type: application/json"] {
        assert!(request.contains(&format!("{line}\r\n")), "{request}");
    }
    assert!(request.ends_with(r#"{"name":"x"}"#));
}

async fn failure(status: &'static str, body: &'static str) -> Failure {
    let (address, served) = answering(status, body).await;
    let connection = probe(&["--admin", &address]).connection;
    let call = Call::new(Method::GET, &["v1", "tenants", "acme"]);
    let failure = connection.call_as(call, token()).await.unwrap_err();
    served.await.unwrap();
    failure
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let problem = r#"{"code":"tenant-not-found","detail":"there is no tenant `acme`","status":404}"#;
    let refused = failure("404 Not Found", problem).await;
    assert_eq!(refused.exit_code(), 1);
    assert!(refused.to_string().contains("there is no tenant `acme` (404 tenant-not-found)"));
    assert!(refused.to_string().contains("plangate tenant list"));
    let fields = r#"{"code":"name-unknown","detail":"2 fields are not valid","errors":[{"pointer":"/a","detail":"x"},{"pointer":"/b","detail":"y"}]}"#;
    assert!(failure("422 Unprocessable Entity", fields).await.to_string().contains("/b: y"));
    for (status, body) in [("200 OK", "hello"), ("404 Not Found", "<html>"), ("302 Found", "{}")] {
        let strange = failure(status, body).await;
        assert!(strange.to_string().contains("is it the right address?"), "{strange}");
    }
}

#[tokio::test]
async fn nobody_there_is_exit_code_3() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let connection = probe(&["--admin", &address]).connection;
    let failure = connection.call_as(Call::new(Method::GET, &["v1"]), token()).await.unwrap_err();
    assert_eq!(failure.exit_code(), 3);
    assert!(failure.to_string().contains("plangate serve"), "{failure}");
}

#[tokio::test]
async fn a_bad_address_is_exit_code_2() {
    for admin in ["127.0.0.1:8081", "ftp://x", "http://u:p@x", "http://x/path", "", "http://"] {
        let connection = probe(&["--admin", admin]).connection;
        let failure = connection.call_as(Call::new(Method::GET, &["v1"]), token()).await.unwrap_err();
        assert_eq!(failure.exit_code(), 2, "{admin}: {failure}");
    }
}

#[test]
fn rows_for_people_and_for_programs() {
    let tenant = json!({"tenant": "acme", "name": "A\u{1b}[2J\tB", "state": "active", "timezone": "UTC",
        "subscription": {"plan": "pro", "anchor_day": 15}});
    let rows = tenant::tenants([&tenant]);
    assert_eq!(
        rows.plain(),
        "TENANT\tNAME\tSTATE\tPLAN\tANCHOR\tTIMEZONE\nacme\tA\u{fffd}[2J\u{fffd}B\tactive\tpro\t15\tUTC\n"
    );
    let plain = rows.table(false);
    assert!(plain.contains("acme") && !plain.contains('\u{1b}'), "{plain}");
    assert!(rows.table(true).contains('\u{1b}'));
    let subscription = json!({"plan": "pro", "plan_version": 2, "state": "active", "anchor_day": 3, "since": "S",
        "period": {"end": "E"}, "trial": null, "scheduled": {"at": "A", "change": "cancel", "plan": null}});
    let row = subscription::subscriptions("acme", &subscription).plain();
    assert_eq!(row.lines().nth(1), Some("acme\tpro\tactive\t3\tS\t2\tE\t-\tcancel at A"));
    let grant = json!({"id": "g5", "meter": "requests", "units": 5, "used": 1, "remaining": 4, "priority": 100,
        "recurring": false, "source": "grant", "expires_at": null, "ended_at": null, "reason": "x"});
    let row = grant::grants(&[grant]).plain();
    assert_eq!(row.lines().nth(1), Some("g5\trequests\t5\t1\t4\t100\tfalse\tgrant\t-\t-\tx"));
    let addon = json!({"addon": "boost", "title": "B", "quantity": 2, "in_force": true, "since": "S"});
    let row = addon::attached(&[addon]).plain();
    assert_eq!(row.lines().nth(1), Some("boost\tB\t2\ttrue\tS\t-"));
    let plan = json!({"plan": "pro", "version": 1, "current": true, "tenants": 7, "title": null,
        "price": {"amount": "19.00", "currency": "USD"}, "trial": {"days": 14, "then": "free"},
        "changes": {"upgrade": "now", "downgrade": "period_end"}, "existing": "stay"});
    let row = plan::plans(&[plan]).plain();
    assert_eq!(
        row.lines().nth(1),
        Some("pro\t1\ttrue\t7\t-\t19.00 USD\t14 days, then free\tnow\tperiod_end\tstay")
    );
    let keys = key::keys(&[json!({"id": "k1", "imported": false})]);
    assert_eq!(keys.plain().lines().nth(1), Some("k1\t-\tfalse\t-\t-"));
    assert_eq!(output::field(&json!({"a": Value::Null}), "/a"), "-");
}

#[test]
fn rights_as_rows() {
    let rights = json!({"state": "active", "plan": "pro", "period": {"end": "E"}, "features": ["chat"],
        "until": "U", "addons": [{"addon": "boost", "quantity": 2, "ends_at": null}],
        "limits": {"seats": "unlimited"}, "rates": {"requests": {"limit": 5, "per": "1s"}},
        "quotas": {"requests": {"limit": 9, "used": 1, "remaining": 8, "resets_at": "M",
                   "sources": [
                       {"source": "grant", "id": "g5", "limit": 4, "used": 1, "remaining": 3, "expires_at": null},
                       {"source": "plan", "id": null, "limit": 5, "used": 0, "remaining": 5, "expires_at": "M"}],
                   "windows": [{"per": "day", "limit": 3, "used": 1, "remaining": 2, "resets_at": "D"}]}}});
    let text = tenant::rights(&rights).plain();
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "state\tactive\t-\t-\t-\tU",
            "plan\tpro\t-\t-\t-\tE",
            "addon\tboost\t2\t-\t-\t-",
            "feature\tchat\t-\t-\t-\t-",
            "limit\tseats\tunlimited\t-\t-\t-",
            "quota/day\trequests\t3\t1\t2\tD",
            "quota/month\trequests\t9\t1\t8\tM",
            "source/grant/g5\trequests\t4\t1\t3\t-",
            "source/plan\trequests\t5\t0\t5\tM",
            "rate\trequests\t5 per 1s\t-\t-\t-",
        ]
    );
}
