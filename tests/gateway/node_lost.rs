//! An operator declares a node lost: what it held is counted as spent, and never usable again by anybody.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    admin::Admin,
    client::{Ask, get},
    cluster::{Cluster, shell, standing},
    drain::drain,
    load::{Load, volley},
    postgres::Postgres,
    process::eventually,
    upstream::Upstream,
};

const LIMIT: u64 = 1_000;

fn message(key: &str) -> Ask {
    get("/v1/messages").key(key)
}

async fn cluster(upstream: &Upstream) -> Cluster {
    Cluster::start(upstream, &Postgres::shared().url()).await
}

async fn lost(admin: Admin, name: &str) -> Value {
    let answer = admin.call("POST", &format!("/v1/nodes/{name}/lost"), Value::Null).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn names(admin: Admin) -> Vec<String> {
    let listed = admin.get("/v1/nodes").await;
    listed["items"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_node_held_stays_uncertain_even_when_it_comes_back() {
    let upstream = Upstream::start().await;
    let mut cluster = cluster(&upstream).await;
    let key = cluster.limited("acme", LIMIT).await;
    for node in cluster.alive() {
        volley(&message(&key), &[node.data], 3, 50).await.is_only(&[("passed", 50)]);
    }
    eventually("all of that is recorded", async || standing(cluster.admin(), "acme").await.used == 150).await;
    cluster.kill(1);
    let (data, kept) = (cluster.setup(1).path("data"), cluster.setup(1).path("kept"));
    // Away for now, and the same file when it comes back.
    fs::rename(&data, &kept).unwrap();

    // Its units are nobody's to spend, declared lost or not.
    let before = drain(&message(&key), &[cluster.place(0), cluster.place(2)], 3).await;
    let rest = LIMIT - upstream.count() as u64;
    assert!(rest > 0, "it held something: {before:?}");
    let (code, out, err) = shell(cluster.admin(), &["node", "lost", "b", "--output", "json"]).await;
    assert_eq!(code, 0, "{err}");
    let said: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
    assert!(said.to_string().contains(&rest.to_string()), "it says what was written off, {rest}: {said}");
    let shown = |node: usize| standing(cluster.node(node).admin, "acme");
    for node in [0, 2] {
        eventually("the gap is shown", async || {
            let standing = shown(node).await;
            (standing.used, standing.uncertain, standing.remaining) == (LIMIT - rest, rest, 0)
        })
        .await;
    }
    assert_eq!(drain(&message(&key), &[cluster.place(0), cluster.place(2)], 2).await.passed(), 0);
    // Once more is no further loss.
    lost_again(cluster.admin(), "b").await;
    assert_eq!(shown(0).await.uncertain, rest);

    // With the file that it had.
    fs::rename(&kept, &data).unwrap();
    cluster.start_again(1).await;
    assert_eq!(drain(&message(&key), &cluster.places(), 2).await.passed(), 0, "{}", cluster.node(1).log());
    for node in 0..3 {
        let standing = standing(cluster.node(node).admin, "acme").await;
        assert_eq!((standing.used, standing.uncertain), (LIMIT - rest, rest), "{standing:?}");
    }
    // It is a node like the others again.
    let other = cluster.limited("other", 30).await;
    volley(&message(&other), &[cluster.node(1).data], 3, 35)
        .await
        .is_only(&[("passed", 30), ("quota-exhausted", 5)]);
}

/// A name that was declared lost already, or is not known any more.
async fn lost_again(admin: Admin, name: &str) {
    let answer = admin.call("POST", &format!("/v1/nodes/{name}/lost"), Value::Null).await;
    assert!(matches!(answer.status, 200 | 404), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_node_that_is_declared_lost_goes_on() {
    let upstream = Upstream::start().await;
    let cluster = cluster(&upstream).await;
    let key = cluster.limited("acme", 6_000).await;
    let ample = cluster.limited("ample", 10_000_000).await;
    let load = Load::on_places(&message(&key), &cluster.places(), 6);
    let other = Load::on_places(&message(&ample), &[cluster.place(1)], 2);
    load.more(200).await;
    other.more(50).await;
    lost(cluster.admin(), "b").await;
    other.more(200).await;
    let early = load.stop().await;
    let other = other.stop().await;
    for tally in [&early, &other] {
        assert_eq!(tally.passed() + tally.of("ledger-unavailable"), tally.total(), "{tally:?}");
    }
    eventually("it serves without a restart", async || {
        message(&ample).send(cluster.node(1).data).await.status == 200
    })
    .await;

    let late = drain(&message(&key), &cluster.places(), 3).await;
    let served = early.passed() + late.passed();
    assert!(served <= 6_000, "{served}");
    for node in cluster.alive() {
        eventually("what it has used since is recorded", async || {
            standing(node.admin, "acme").await.used == served as u64
        })
        .await;
        let standing = standing(node.admin, "acme").await;
        assert_eq!(standing.used + standing.uncertain, 6_000, "{standing:?}: {early:?}, {late:?}");
        assert_eq!(standing.remaining, 0);
    }
    assert_eq!(names(cluster.admin()).await, ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_name_the_nodes_and_refuse_strangers() {
    let upstream = Upstream::start().await;
    let mut cluster = cluster(&upstream).await;
    let (code, out, err) = shell(cluster.admin(), &["node", "list"]).await;
    assert_eq!(code, 0, "{err}");
    for name in ["a", "b", "c"] {
        assert!(out.lines().any(|line| line.split_whitespace().next() == Some(name)), "{out}");
    }
    let (code, out, _) = shell(cluster.admin(), &["node", "list", "--output", "json"]).await;
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, listed["items"].as_array().unwrap().len()), (0, 3), "{out}");

    let unknown = cluster.admin().call("POST", "/v1/nodes/nobody/lost", Value::Null).await;
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    let (code, _, err) = shell(cluster.admin(), &["node", "lost", "nobody"]).await;
    assert!(code == 1 && err.contains("nobody"), "{code}: {err}");
    let stranger = crate::support::client::ask("POST", "/v1/nodes/b/lost").send(cluster.admin().0).await;
    assert_eq!(stranger.status, 401);

    // One that held nothing.
    cluster.kill(2);
    lost(cluster.admin(), "c").await;
    let key = cluster.limited("acme", 20).await;
    assert_eq!(drain(&message(&key), &[cluster.place(0), cluster.place(1)], 2).await.passed(), 20);
    let again = cluster.admin().call("POST", "/v1/nodes/b/lost?force=1", json!({ "x": 1 })).await;
    assert_eq!(again.status, 400, "what it does not know it does not do: {}", again.text());
}
