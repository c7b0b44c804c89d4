//! Tenants that hammer at a quota that is used up: the database hardly hears of them.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    signer::{Signer, key_set},
    support::{
        amount::amount,
        client::{Ask, get},
        cluster::{Cluster, node},
        drain::drain,
        load::{Load, Place, exchange},
        postgres::Postgres,
        process::write,
        upstream::Upstream,
    },
    tokens::{claims, issuer},
};

const EXHAUSTED: &str = "quota-exhausted";
/// Statements a node may send in a second.
const ALLOWED: f64 = 5.0;

/// Longer than units are wanted after a refusal, so that all is looked at again.
fn seconds() -> u64 {
    amount("PLANGATE_HAMMER_SECONDS", 6)
}

fn message(key: &str) -> Ask {
    get("/v1/messages").key(key)
}

/// A server that logs every statement with the application that sent it.
fn talkative() -> Postgres {
    Postgres::with(&["log_statement=all", "log_line_prefix=@%a@", "log_min_messages=warning"])
}

/// Statements so far by the nodes, and how each of them begins.
fn statements(server: &Postgres) -> Vec<String> {
    let of_nodes = |line: &str| {
        let text = line.strip_prefix("@plangate@LOG:  ")?;
        let text = text.strip_prefix("execute ").or_else(|| text.strip_prefix("statement: "))?;
        Some(text.chars().take(90).collect())
    };
    server.log().lines().filter_map(of_nodes).collect()
}

/// Statements a node and second, while time passes.
async fn rate(server: &Postgres, nodes: usize, seconds: u64) -> f64 {
    let (before, began) = (statements(server).len(), Instant::now());
    sleep_until(began + Duration::from_secs(seconds)).await;
    let all = statements(server);
    let rate = (all.len() - before) as f64 / began.elapsed().as_secs_f64() / nodes as f64;
    if rate > ALLOWED {
        let mut kinds = std::collections::BTreeMap::<&str, usize>::new();
        all[before..].iter().for_each(|statement| *kinds.entry(statement).or_default() += 1);
        eprintln!("{kinds:#?}");
    }
    rate
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_exhausted_tenant_at_full_speed() {
    let upstream = Upstream::start().await;
    let server = tokio::task::block_in_place(talkative);
    let cluster = Cluster::start(&upstream, &server.url()).await;
    let key = cluster.limited("acme", 100).await;
    assert_eq!(drain(&message(&key), &cluster.places(), 2).await.passed(), 100);
    let idle = rate(&server, 3, 2).await;
    let load = Load::on_places(&message(&key), &cluster.places(), 6);
    load.until(100).await;
    let (answered, began) = (load.answers(), Instant::now());
    let hammered = rate(&server, 3, seconds()).await;
    let speed = (load.answers() - answered) as f64 / began.elapsed().as_secs_f64();
    let tally = load.stop().await;
    eprintln!("statements a node and second: {idle:.2} idle, {hammered:.2} at {speed:.0} requests a second");
    tally.is_only(&[(EXHAUSTED, tally.total())]);
    assert!(hammered <= ALLOWED, "{hammered}");
    // And what is added is found at once.
    cluster.limit("acme", 101).await;
    assert_eq!(message(&key).send(cluster.node(2).data).await.status, 200);
    assert_eq!(upstream.count(), 101);
}

/// Clients that ask for one tenant after the other, each on one node, and tell when they have been refused for all.
fn hammer(asks: &[Ask], places: &[Place], clients: usize) -> (JoinSet<()>, mpsc::Receiver<usize>) {
    let mut all = JoinSet::new();
    let (around, rounds) = mpsc::channel(64);
    for client in 0..clients {
        let (asks, place, around) = (asks.to_vec(), places[client % places.len()].clone(), around.clone());
        all.spawn(async move {
            let mut connection = None;
            loop {
                for ask in &asks {
                    let outcome = exchange(&mut connection, ask, place.address()).await;
                    assert_eq!(outcome.as_deref(), Ok(EXHAUSTED));
                }
                let _ = around.try_send(client);
            }
        });
    }
    (all, rounds)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_exhausted_tenants() {
    let tenants = amount("PLANGATE_EXHAUSTED_TENANTS", 1_000) as usize;
    let upstream = Upstream::start().await;
    let server = tokio::task::block_in_place(talkative);
    let signer = Signer::ed();
    let database = server.url();
    let setups = ["a", "b", "c"].map(|name| {
        let mut setup =
            node(&upstream, &database, name).with("/tenants", json!({ "unknown": { "plan": "tiny" } }));
        setup.policy("plans/tiny.yaml", "plan: tiny\nfeatures: [chat]\nquotas:\n  requests: { limit: 2 }\n");
        let file = write(setup.path("").as_path(), "jwks.json", &key_set(&[signer.jwk("ed")]));
        setup.set("/identity/jwt", json!([issuer("jwks_file", &file)]));
        setup
    });
    let cluster = Cluster::of(setups.into()).await;
    let places = cluster.places();
    let asks = (0..tenants)
        .map(|tenant| get("/v1/messages").bearer(&signer.token("ed", &claims(&format!("tenant-{tenant}")))));
    let asks: Vec<Ask> = asks.collect();

    // Each is made by its first request, has two units, and asks on every node.
    let mut users = JoinSet::new();
    for client in 0..9 {
        let (asks, places) = (asks.clone(), places.clone());
        users.spawn(async move {
            let (mut passed, mut connections) = (0, [None, None, None]);
            for ask in asks.iter().skip(client).step_by(9) {
                for turn in 0..6 {
                    let node = (client + turn) % 3;
                    let outcome = exchange(&mut connections[node], ask, places[node].address()).await;
                    passed += usize::from(outcome.unwrap() == "passed");
                }
            }
            passed
        });
    }
    let passed: usize = users.join_all().await.into_iter().sum();
    assert_eq!((passed, upstream.count()), (tenants * 2, tenants * 2), "each had its two");

    // Once what was used last is recorded, each node asks once more, and knows.
    let (mut clients, mut rounds) = hammer(&asks, &places, 6);
    let mut through = BTreeSet::new();
    while through.len() < 6 {
        // One that was not refused has ended, and would be waited for in vain.
        clients.try_join_next().transpose().expect("a client was not refused");
        let around = timeout(Duration::from_secs(120), rounds.recv()).await;
        through.insert(around.expect("the clients are too slow").expect("a client was not refused"));
    }
    let hammered = rate(&server, 3, seconds()).await;
    drop(clients);
    eprintln!("statements a node and second with {tenants} tenants: {hammered:.2}");
    assert!(hammered <= ALLOWED, "{hammered}");
    assert_eq!(upstream.count(), tenants * 2);
    // Each of them is still found at once when it may go on.
    for tenant in [0, tenants / 2, tenants - 1] {
        let quota = json!({ "quotas": { "requests": { "limit": 3 } } });
        cluster.admin().overrides(&format!("tenant-{tenant}"), quota).await;
        assert_eq!(asks[tenant].send(cluster.node(1).data).await.status, 200);
    }
}
