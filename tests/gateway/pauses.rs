//! A node that stands still (`SIGSTOP`) while the others use up the quota, and goes on as if nothing had happened.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::support::{
    amount::amount,
    client::{Ask, Wire, get},
    cluster::{Cluster, standing},
    drain::drain,
    load::{Load, volley},
    postgres::Postgres,
    process::eventually,
    upstream::Upstream,
};

fn message(key: &str) -> Ask {
    get("/v1/messages").key(key)
}

/// Pauses from the shortest after which a node is no longer fresh to one after which it is taken for dead.
fn pauses() -> Vec<Duration> {
    let longest = amount("PLANGATE_PAUSE_SECONDS", 6);
    let mut all: Vec<u64> = [1, 2, 6, 12].into_iter().filter(|pause| *pause < longest).collect();
    if longest <= 6 {
        all.retain(|pause| *pause != 2);
    }
    all.push(longest);
    all.into_iter().map(Duration::from_secs).collect()
}

/// Connections with a request that is there at the very moment of the thaw.
async fn send_ahead(cluster: &Cluster, node: usize, ask: &Ask, count: usize) -> Vec<Wire> {
    let address = cluster.node(node).data;
    let mut wires = Vec::new();
    for _ in 0..count {
        let mut wire = Wire::to(address).await;
        wire.send(ask.bytes(address, true)).await;
        wires.push(wire);
    }
    wires
}

async fn admitted(wires: Vec<Wire>) -> usize {
    let mut admitted = 0;
    for mut wire in wires {
        let reply = wire.reply().await;
        match reply.status {
            200 => admitted += 1,
            429 => assert_eq!(reply.code(), "quota-exhausted"),
            _ => panic!("{reply:?}"),
        }
    }
    admitted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_node_never_takes_the_quota_over_its_limit() {
    const LIMIT: usize = 900;
    let upstream = Upstream::start().await;
    let cluster = Cluster::start(&upstream, &Postgres::shared().url()).await;
    for (turn, pause) in pauses().into_iter().enumerate() {
        let tenant = format!("paused-{turn}");
        let key = cluster.limited(&tenant, LIMIT as u64).await;
        let before = upstream.count();
        volley(&message(&key), &[cluster.node(1).data], 4, 40).await.is_only(&[("passed", 40)]);
        let began = Instant::now();
        cluster.node(1).signal("STOP");
        let ahead = send_ahead(&cluster, 1, &message(&key), 20).await;
        let others = drain(&message(&key), &[cluster.place(0), cluster.place(2)], 3).await;
        let held = LIMIT - (upstream.count() - before);
        assert!(
            others.passed() + 40 + held == LIMIT && held > 0,
            "what it holds nobody else may use: {others:?}"
        );
        sleep_until(began + pause).await;
        cluster.node(1).signal("CONT");
        let late = admitted(ahead).await;
        assert!(late <= held, "{late} passed at once, {held} were held");
        // Its units are usable by all again, and by nobody twice.
        let rest = drain(&message(&key), &cluster.places(), 3).await;
        assert_eq!(late + rest.passed(), held, "after {pause:?}: {rest:?}");
        assert_eq!(upstream.count() - before, LIMIT);
        for node in cluster.alive() {
            eventually("all say so", async || standing(node.admin, &tenant).await.used == LIMIT as u64).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_downgrade_during_the_pause_binds_the_paused_node() {
    let upstream = Upstream::start().await;
    let cluster = Cluster::start(&upstream, &Postgres::shared().url()).await;
    let key = cluster.limited("acme", 2_000).await;
    for node in 0..3 {
        volley(&message(&key), &[cluster.node(node).data], 4, 50).await.is_only(&[("passed", 50)]);
    }
    cluster.node(1).signal("STOP");
    let ahead = send_ahead(&cluster, 1, &message(&key), 40).await;
    let changed = cluster.limit("acme", 170).await;
    assert_eq!(changed["applied"]["pending"], json!(["b"]), "{changed}");
    let others = drain(&message(&key), &[cluster.place(0), cluster.place(2)], 3).await;
    cluster.node(1).signal("CONT");
    let late = admitted(ahead).await;
    let rest = drain(&message(&key), &cluster.places(), 3).await;
    assert_eq!(others.passed() + late + rest.passed(), 20, "{others:?}, {late} at once, {rest:?}");
    assert_eq!(upstream.count(), 170);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pauses_under_load_at_the_tail_are_harmless() {
    let upstream = Upstream::start().await;
    let cluster = Cluster::start(&upstream, &Postgres::shared().url()).await;
    let key = cluster.limited("acme", 400).await;
    let mut limit = 400;
    let load = Load::on_places(&message(&key), &cluster.places(), 6);
    for turn in 0..amount("PLANGATE_PAUSES", 5) {
        let node = cluster.node(turn as usize % 3);
        load.more(60).await;
        node.signal("STOP");
        // Past the time for which what it knows is good.
        let until = Instant::now() + Duration::from_millis(1_100);
        load.more(20).await;
        sleep_until(until).await;
        node.signal("CONT");
        load.more(20).await;
        assert!(upstream.count() <= limit, "{} of {limit}", upstream.count());
        limit += 150;
        cluster.limit("acme", limit as u64).await;
    }
    let tally = load.stop().await;
    assert_eq!(tally.of("broken"), 0, "{tally:?}");
    drain(&message(&key), &cluster.places(), 2).await;
    assert_eq!(upstream.count(), limit);
    for node in cluster.alive() {
        eventually("all say so", async || standing(node.admin, "acme").await.used == limit as u64).await;
        assert_eq!(standing(node.admin, "acme").await.uncertain, 0);
    }
}
