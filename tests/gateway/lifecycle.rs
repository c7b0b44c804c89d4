//! How a process starts and ends: drained, cut off, killed, frozen; and how it bears many connections.

use std::{fs, process::Command, time::Duration};

use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::support::{
    client::{Wire, get},
    load::{Load, volley},
    postgres::Postgres,
    process::{Gateway, Setup, eventually, through_shell},
    slow::SlowUpstream,
    upstream::Upstream,
};

const EXHAUSTED: &str = "quota-exhausted";

fn before(slow: &SlowUpstream) -> Setup {
    Setup::at(&format!("http://{}", slow.address))
}

async fn open(gateway: &Gateway, target: &str, key: &str, more: &str) -> Wire {
    let mut wire = Wire::to(gateway.data).await;
    wire.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\nX-Api-Key: {key}\r\n{more}\r\n")).await;
    wire
}

#[tokio::test]
async fn a_stop_lets_requests_end_and_records_them() {
    let slow = SlowUpstream::start().await;
    let setup = before(&slow).with("/timeouts/drain", "10s");
    let mut gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let mut waiting = open(&gateway, "/v1/messages/1", &key, "").await;
    let mut idle = open(&gateway, "/.plangate/readyz", &key, "").await;
    assert_eq!(idle.reply().await.status, 200);
    slow.arrived(1).await;

    gateway.signal("TERM");
    eventually("readiness goes off while the request goes on", async || {
        get("/readyz").send(gateway.admin.0).await.status == 503
    })
    .await;
    assert!(get("/readyz").send(gateway.admin.0).await.text().contains("stopping"));
    assert!(idle.is_closed().await, "a connection without a request is closed");
    assert!(tokio::net::TcpStream::connect(gateway.data).await.is_err(), "nobody new is let in");
    slow.release();
    let reply = waiting.reply().await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
    assert_eq!(gateway.ended().await.code(), Some(0));

    let gateway = setup.start().await;
    assert_eq!(gateway.admin.used("acme", "requests").await, 1);
    volley(&get("/v1/messages/2").key(&key), &[gateway.data], 3, 9)
        .await
        .is_only(&[("passed", 4), (EXHAUSTED, 5)]);
}

#[tokio::test]
async fn streams_are_cut_when_the_drain_time_is_over() {
    let slow = SlowUpstream::start().await;
    let setup = before(&slow).with("/timeouts/drain", "1s");
    let mut gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let mut events = open(&gateway, "/v1/messages/stream", &key, "").await;
    assert_eq!(events.head().await.status, 200);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut socket = open(&gateway, "/v1/messages/socket", &key, upgrade).await;
    assert_eq!(socket.head().await.status, 101);
    socket.send("hello").await;
    assert_eq!(socket.until("hello").await, "hello");

    let began = Instant::now();
    gateway.signal("TERM");
    // Both go on until the limit, and then both sides of both are closed.
    socket.send("still").await;
    assert_eq!(socket.until("still").await, "still");
    let (_, closed) = tokio::join!(events.rest(), socket.is_closed());
    assert!(closed);
    let cut = began.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&cut), "{cut:?}");
    assert_eq!(gateway.ended().await.code(), Some(0));
    slow.ended(2).await;
    let gateway = setup.start().await;
    assert_eq!(gateway.admin.used("acme", "requests").await, 2, "each was charged once, at its start");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let slow = SlowUpstream::start().await;
    let setup = before(&slow).with("/timeouts/drain", "30s");
    let mut gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    let mut waiting = open(&gateway, "/v1/messages/1", &key, "").await;
    slow.arrived(1).await;
    gateway.signal("TERM");
    eventually("the first one is heard", async || get("/readyz").send(gateway.admin.0).await.status == 503)
        .await;
    let began = Instant::now();
    gateway.signal("INT");
    let ended = gateway.ended().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(ended.code(), Some(1), "not a clean end");
    assert!(waiting.is_closed().await);
}

async fn killed_under_load(setup: Setup, upstream: &Upstream) {
    const LIMIT: usize = 1500;
    const CLIENTS: usize = 8;
    let mut gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "small").await;
    gateway.admin.overrides("acme", json!({ "quotas": { "requests": { "limit": LIMIT } } })).await;
    let message = get("/v1/messages").key(&key);
    let mut in_flight = 0;
    for _ in 0..3 {
        let load = Load::on(&message, &[gateway.data], CLIENTS);
        load.until(150).await;
        gateway.kill();
        in_flight += load.stop().await.unanswered();
        let began = Instant::now();
        gateway = setup.start().await;
        assert!(
            began.elapsed() < Duration::from_secs(4),
            "its own successor need not wait: {:?}",
            began.elapsed()
        );
        let nodes = gateway.admin.get("/v1/nodes").await;
        assert_eq!(nodes["items"].as_array().unwrap().len(), 1, "it took the place: {nodes}");
    }
    let tally = volley(&message, &[gateway.data], CLIENTS, LIMIT + 100).await;
    assert_eq!(tally.passed() + tally.of(EXHAUSTED), tally.total(), "{tally:?}");
    assert!(upstream.count() <= LIMIT, "{} served of {LIMIT}", upstream.count());
    // Each unit is recorded: served, or in flight at a kill.
    let rights = gateway.admin.get("/v1/tenants/acme/rights").await;
    let quota = &rights["quotas"]["requests"];
    assert_eq!((&quota["used"], &quota["uncertain"]), (&json!(LIMIT), &json!(0)), "{quota}, {tally:?}");
    assert!(upstream.count() + in_flight >= LIMIT, "{} served, {in_flight} in flight", upstream.count());
}

#[tokio::test]
async fn a_killed_node_never_serves_more_than_the_limit_on_sqlite() {
    let upstream = Upstream::start().await;
    killed_under_load(Setup::before(&upstream), &upstream).await;
}

#[tokio::test]
async fn a_killed_node_never_serves_more_than_the_limit_on_postgres() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream).with("/database", Postgres::shared().url());
    killed_under_load(setup, &upstream).await;
}

#[tokio::test]
async fn a_thawed_node_decides_by_the_newest_plan() {
    let upstream = Upstream::start().await;
    let database = Postgres::shared().url();
    let setups =
        ["a", "b"].map(|name| Setup::before(&upstream).with("/database", &*database).with("/node", name));
    let (a, b) = (setups[0].start().await, setups[1].start().await);
    let key = a.admin.tenant("acme", "big").await;
    let export = get("/v1/export/all").key(&key);
    assert_eq!(export.send(b.data).await.status, 200);

    b.signal("STOP");
    // Sent while it is frozen, so that it is there at the very moment of the thaw.
    let mut early = Wire::to(b.data).await;
    let began = Instant::now();
    let changed = a.admin.subscribe("acme", "small").await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "a frozen node is not waited for: {:?}",
        began.elapsed()
    );
    assert_eq!(changed["applied"]["pending"], json!(["b"]), "and it is named");
    assert_eq!(export.send(a.data).await.status, 403);
    early.send(export.bytes(b.data, true)).await;
    b.signal("CONT");
    let refused = early.reply().await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "feature-not-in-plan"));
    assert_eq!(export.send(b.data).await.status, 403);
    let back = a.admin.subscribe("acme", "big").await;
    assert_eq!(back["applied"], json!({ "nodes": 2, "pending": [] }));
    assert_eq!(export.send(b.data).await.status, 200);
}

/// Resident memory in KiB.
fn memory(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn unknown_keys_do_not_fill_the_memory() {
    const KEYS: u64 = 20_000;
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let send = async |from: u64, count: u64| {
        let mut senders = tokio::task::JoinSet::new();
        for part in 0..8 {
            let address = gateway.data;
            senders.spawn(async move {
                let mut wire = Wire::to(address).await;
                for number in (from..from + count).filter(|number| number % 8 == part) {
                    // Shaped like a key that somebody imported: only the database knows that there is none.
                    let key = format!(
                        "zQ8vR2mX7tK1pW9sL4nB6cY3hD5jF0gA{:016x}",
                        number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    );
                    assert_eq!(get("/v1/messages").key(&key).send_on(&mut wire, address).await.status, 401);
                }
            });
        }
        senders.join_all().await;
    };
    send(0, KEYS / 2).await;
    let half = memory(&gateway);
    send(KEYS / 2, KEYS / 2).await;
    let grown = memory(&gateway).saturating_sub(half);
    assert!(grown < 8 * 1024, "{grown} KiB more for {} further keys", KEYS / 2);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn connections_are_counted_and_capped() {
    const IDLE: usize = 2_000;
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream).with("/caps/connections", IDLE + 2);
    // Both sides are commonly started with too few descriptors; the gateway helps itself.
    let own =
        Command::new("prlimit").args(["--pid", &std::process::id().to_string(), "--nofile=8192:"]).status();
    assert!(own.unwrap().success());
    let gateway = setup.spawn(through_shell(&setup.command(), "ulimit -Sn 256")).serving().await;
    let key = gateway.admin.tenant("acme", "big").await;
    let message = get("/v1/messages").key(&key);
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        let mut wire = Wire::to(gateway.data).await;
        // Begun, so that it is known to be accepted once the next is answered.
        wire.send("G").await;
        idle.push(wire);
    }
    assert_eq!(message.send(gateway.data).await.status, 200, "beside 2,000 idle connections");
    eventually("all of them are counted", async || {
        let metrics = crate::support::client::ask("GET", "/metrics")
            .bearer(crate::support::admin::TOKEN)
            .send(gateway.admin.0)
            .await
            .text();
        metrics.lines().any(|line| line.starts_with(&format!("plangate_connections {IDLE}")))
    })
    .await;
    let mut last = [Wire::to(gateway.data).await, Wire::to(gateway.data).await];
    for wire in &mut last {
        assert_eq!(message.send_on(wire, gateway.data).await.status, 200);
    }
    let refused = message.send(gateway.data).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "overloaded"));
    assert!(refused.header("retry-after").is_some());
    drop(last);
    drop(idle);
    let free = async { while message.send(gateway.data).await.status != 200 {} };
    timeout(Duration::from_secs(5), free).await.expect("closed connections free their places");
}
