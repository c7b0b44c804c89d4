//! Databases that are away at the start, go away later and come back, and disks that are full.

use std::{
    net::{SocketAddr, TcpListener},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    admin::Admin,
    client::{Ask, Reply, ask, get},
    load::{Load, volley},
    postgres::Postgres,
    process::{Gateway, Setup, eventually, through_shell},
    upstream::Upstream,
};

const RIGHTS: &str = "rights-unavailable";
const LEDGER: &str = "ledger-unavailable";

async fn readyz(admin: SocketAddr) -> Reply {
    get("/readyz").send(admin).await
}

fn message(key: &str) -> Ask {
    get("/v1/messages").key(key)
}

async fn is_ready(gateway: &Gateway) -> bool {
    let reply = readyz(gateway.admin.0).await;
    reply.status == 200 && reply.json()["reasons"].as_array().is_none_or(Vec::is_empty)
}

/// A setup whose admin address is known before it serves.
fn with_known_admin(setup: Setup) -> (Setup, SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    (setup.with("/admin/listen", address.to_string()), address)
}

fn assert_unavailable(reply: &Reply, code: &str) {
    assert_eq!((reply.status, reply.code().as_str()), (503, code), "{}", reply.text());
    assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
}

/// Stops the server and waits until the gateway has noticed.
async fn take_away(server: &Postgres, gateway: &Gateway) {
    server.stop();
    eventually("readyz names the database", async || {
        readyz(gateway.admin.0).await.text().contains("the database has not answered")
    })
    .await;
}

async fn bring_back(server: &Postgres, gateway: &Gateway) {
    server.start();
    eventually("the node is ready again", async || is_ready(gateway).await).await;
}

#[tokio::test]
async fn a_database_that_is_away_at_the_start_is_waited_for() {
    let upstream = Upstream::start().await;
    let server = Postgres::private();
    server.stop();
    let (setup, admin) = with_known_admin(Setup::before(&upstream).with("/database", server.url()));
    let starting = setup.spawn(setup.command());
    let listens = async || tokio::net::TcpStream::connect(admin).await.is_ok();
    eventually("the admin listener is there", listens).await;
    eventually("readyz says what is waited for", async || {
        let reply = readyz(admin).await;
        assert_eq!(reply.status, 503, "{reply:?}");
        reply.json()["reasons"][0]
            .as_str()
            .is_some_and(|reason| reason.starts_with("waiting for the database"))
    })
    .await;
    assert_eq!(get("/healthz").send(admin).await.status, 200, "it is alive all the same");
    let early = Admin(admin).call("GET", "/v1/tenants", Value::Null).await;
    assert_unavailable(&early, "starting");

    // It can be stopped while it waits.
    assert!(starting.stop().await.success());
    let starting = setup.spawn(setup.command());
    server.start();
    let gateway = starting.serving().await;
    assert!(is_ready(&gateway).await);
    let key = gateway.admin.tenant("acme", "small").await;
    assert_eq!(message(&key).send(gateway.data).await.status, 200);
}

fn outage_setup(upstream: &Upstream, server: &Postgres) -> Setup {
    let setup = Setup::before(upstream).with("/database", server.url());
    setup.policy(
        "plans/soft.yaml",
        "plan: soft\nfeatures: [chat]\nquotas:\n  requests: { limit: 3, overage: { mode: allow } }\n",
    );
    setup
}

#[tokio::test]
async fn a_database_that_goes_away_costs_nothing_that_was_recorded() {
    const LIMIT: usize = 600;
    let (upstream, server) = (Upstream::start().await, Postgres::private());
    let setup = outage_setup(&upstream, &server);
    let gateway = setup.start().await;
    let (admin, node) = (gateway.admin, [gateway.data]);
    let hard = admin.tenant("hard", "small").await;
    admin.overrides("hard", json!({ "quotas": { "requests": { "limit": LIMIT } } })).await;
    let soft = admin.tenant("soft", "soft").await;
    let open = admin.tenant("open", "open").await;
    let unseen = admin.tenant("unseen", "big").await;
    volley(&message(&hard), &node, 8, 60).await.is_only(&[("passed", 60)]);
    for key in [&soft, &open] {
        volley(&message(key), &node, 4, 10).await.is_only(&[("passed", 10)]);
    }

    take_away(&server, &gateway).await;
    // Soft quotas go on; hard ones spend what is held.
    for key in [&soft, &open] {
        volley(&message(key), &node, 4, 50).await.is_only(&[("passed", 50)]);
    }
    let tally = volley(&message(&hard), &node, 8, LIMIT).await;
    assert!(tally.passed() > 0 && tally.of(LEDGER) > 0, "{tally:?}");
    assert_eq!(tally.passed() + tally.of(LEDGER), LIMIT, "the tenant is not at fault: {tally:?}");
    assert_unavailable(&message(&hard).send(gateway.data).await, LEDGER);
    // Whom nobody here knows cannot be looked up, and nothing can be written or read. A public route needs nothing.
    let (put, post, read, stranger, public) = tokio::join!(
        admin.call("PUT", "/v1/tenants/new", json!({})),
        admin.call("POST", "/v1/tenants/hard/keys", json!({})),
        admin.call("GET", "/v1/tenants/hard", Value::Null),
        async { message(&unseen).send(gateway.data).await },
        async { get("/healthz").send(gateway.data).await },
    );
    for reply in [put, post, read] {
        assert_unavailable(&reply, "store-unavailable");
    }
    assert_unavailable(&stranger, RIGHTS);
    assert_eq!(public.status, 200);
    assert_eq!(readyz(admin.0).await.status, 200, "within serve_stale it still wants traffic");

    bring_back(&server, &gateway).await;
    let used = async |tenant: &str| admin.used(tenant, "requests").await;
    assert_eq!((used("soft").await, used("open").await), (60, 60));
    assert_eq!(used("hard").await, 60 + tally.passed() as u64);
    eventually("units are granted again", async || message(&hard).send(gateway.data).await.status == 200)
        .await;
    volley(&message(&hard), &node, 8, LIMIT).await;
    assert_eq!(used("hard").await, LIMIT as u64, "all of it is usable, and no more");
    assert_eq!(upstream.count(), 60 + 60 + LIMIT + 1, "and one on the public route");
    assert_eq!(message(&unseen).send(gateway.data).await.status, 200);
    assert!(gateway.stop().await.success());
}

#[tokio::test]
async fn beyond_serve_stale_a_node_refuses_by_itself() {
    let (upstream, server) = (Upstream::start().await, Postgres::private());
    let setup = outage_setup(&upstream, &server).with("/serve_stale", "1500ms");
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("open", "open").await;
    assert_eq!(message(&key).send(gateway.data).await.status, 200);
    server.stop();
    eventually("the node refuses", async || {
        let reply = message(&key).send(gateway.data).await;
        if reply.status == 503 {
            assert_unavailable(&reply, RIGHTS);
        }
        reply.status == 503
    })
    .await;
    let reply = readyz(gateway.admin.0).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.text().contains("the database has not answered for"), "{reply:?}");
    assert_eq!(
        get("/.plangate/readyz").send(gateway.data).await.status,
        503,
        "the load balancer hears of it"
    );
    let served = upstream.count() as u64;
    bring_back(&server, &gateway).await;
    assert_eq!(get("/.plangate/readyz").send(gateway.data).await.status, 200);
    assert_eq!(message(&key).send(gateway.data).await.status, 200);
    assert_eq!(gateway.admin.used("open", "requests").await, served + 1);
}

#[tokio::test]
async fn a_database_that_restarts_under_load_is_hardly_noticed() {
    let (upstream, server) = (Upstream::start().await, Postgres::private());
    let setup = outage_setup(&upstream, &server);
    let gateway = setup.start().await;
    let hard = gateway.admin.tenant("hard", "small").await;
    gateway.admin.overrides("hard", json!({ "quotas": { "requests": { "limit": 1_000_000 } } })).await;
    let load = Load::on(&message(&hard), &[gateway.data], 6);
    load.until(100).await;
    server.stop();
    server.start();
    load.until(400).await;
    eventually("the node is ready again", async || is_ready(&gateway).await).await;
    // Changes are obeyed again, too; the first may still meet a connection that died.
    eventually("a change is made", async || {
        let body = json!({ "plan": "big" });
        let changed = gateway.admin.call("PUT", "/v1/tenants/hard/subscription", body).await;
        changed.status == 200 && changed.json()["applied"]["pending"] == json!([])
    })
    .await;
    let tally = load.stop().await;
    assert_eq!(tally.passed() + tally.of(LEDGER), tally.total(), "{tally:?}");
    assert_eq!(gateway.admin.used("hard", "requests").await, upstream.count() as u64);
    assert_eq!(upstream.count(), tally.passed());
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_database_that_is_away() {
    let (upstream, server) = (Upstream::start().await, Postgres::private());
    let setup = outage_setup(&upstream, &server).with("/timeouts/drain", "1s");
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("open", "open").await;
    assert_eq!(message(&key).send(gateway.data).await.status, 200);
    server.stop();
    let stopped = tokio::time::timeout(Duration::from_secs(15), gateway.stop()).await;
    assert!(stopped.expect("it ends").success());
}

/// Has every write to a file fail from now on, as on a full disk; or, again, succeed.
fn disk(gateway: &Gateway, full: bool) {
    let soft = if full { "0" } else { "unlimited" };
    let mut command = Command::new("prlimit");
    command.args(["--pid", &gateway.pid().to_string(), &format!("--fsize={soft}:unlimited")]);
    assert!(command.status().unwrap().success());
}

#[tokio::test]
async fn a_full_disk_refuses_what_cannot_be_recorded_and_keeps_what_was() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    // By default the signal that tells of the limit ends the process; a full disk sends none.
    let command = through_shell(&setup.command(), "trap '' XFSZ");
    let gateway = setup.spawn(command).serving().await;
    let (admin, node) = (gateway.admin, [gateway.data]);
    let key = admin.tenant("acme", "small").await;
    admin.overrides("acme", json!({ "quotas": { "requests": { "limit": 300 } } })).await;
    volley(&message(&key), &node, 4, 30).await.is_only(&[("passed", 30)]);

    disk(&gateway, true);
    for (method, path) in [("PUT", "/v1/tenants/new"), ("POST", "/v1/tenants/acme/keys")] {
        let refused = admin.call(method, path, json!({})).await;
        let code = refused.code();
        assert!(refused.status == 503 && code.starts_with("store-"), "{refused:?}");
    }
    let tally = volley(&message(&key), &node, 8, 300).await;
    assert!(tally.of(LEDGER) > 0, "{tally:?}");
    assert_eq!(tally.passed() + tally.of(LEDGER), 300, "{tally:?}");
    assert_eq!(ask("GET", "/healthz").send(admin.0).await.status, 200);

    disk(&gateway, false);
    eventually("the node is ready again", async || is_ready(&gateway).await).await;
    assert_eq!(admin.used("acme", "requests").await, 30 + tally.passed() as u64);
    eventually("units are granted again", async || message(&key).send(gateway.data).await.status == 200)
        .await;
    volley(&message(&key), &node, 8, 400).await;
    assert_eq!((upstream.count(), admin.used("acme", "requests").await), (300, 300));
    assert!(gateway.stop().await.success());
    let gateway = setup.start().await;
    assert_eq!(gateway.admin.used("acme", "requests").await, 300);
    assert_eq!(gateway.admin.call("GET", "/v1/tenants/new", Value::Null).await.status, 404);
}
