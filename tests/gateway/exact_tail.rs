//! The end of a quota that three processes share: exactly the limit passes, wherever its last units are.

use serde_json::{Value, json};

use crate::support::{
    client::{Ask, get},
    cluster::{Cluster, standing, usage},
    drain::drain,
    load::{Place, Tally, volley},
    postgres::Postgres,
    process::eventually,
    upstream::Upstream,
};

const EXHAUSTED: &str = "quota-exhausted";

fn message(key: &str) -> Ask {
    get("/v1/messages").key(key)
}

async fn cluster(upstream: &Upstream) -> Cluster {
    Cluster::start(upstream, &Postgres::shared().url()).await
}

fn only_passed_and_exhausted(tally: &Tally) {
    assert_eq!(tally.passed() + tally.of(EXHAUSTED), tally.total(), "{tally:?}");
}

/// Every node says that all is used: in its refusals, in the rights and in the usage.
async fn all_say_used(cluster: &Cluster, tenant: &str, key: &str, limit: u64) {
    for node in cluster.alive() {
        eventually("the refusal says that all is used", async || {
            let refused = message(key).send(node.data).await;
            assert_eq!((refused.status, refused.code().as_str()), (429, EXHAUSTED));
            let body = refused.json();
            assert_eq!(body["limit"], limit, "{body}");
            body["used"] == limit
        })
        .await;
        eventually("the rights say so", async || standing(node.admin, tenant).await.used == limit).await;
        let standing = standing(node.admin, tenant).await;
        assert_eq!((standing.uncertain, standing.remaining), (0, 0), "{standing:?}");
        eventually("the usage says so", async || usage(node.admin, tenant).await == limit).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_limit_passes_over_three_nodes() {
    let upstream = Upstream::start().await;
    let cluster = cluster(&upstream).await;
    for limit in [1, 7, 100, 10_007] {
        let tenant = format!("limit-{limit}");
        let key = cluster.limited(&tenant, limit).await;
        let before = upstream.count();
        let tally = drain(&message(&key), &cluster.places(), 4).await;
        only_passed_and_exhausted(&tally);
        assert_eq!((upstream.count() - before) as u64, limit, "counted by the upstream, {tally:?}");
        assert_eq!(tally.passed() as u64, limit);
        all_say_used(&cluster, &tenant, &key, limit).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_idle_nodes_hold_is_usable_elsewhere() {
    const LIMIT: usize = 3_000;
    let upstream = Upstream::start().await;
    let cluster = cluster(&upstream).await;
    let key = cluster.limited("acme", LIMIT as u64).await;
    // Enough that both are granted a share far above what they use.
    for node in [1, 2] {
        volley(&message(&key), &[cluster.node(node).data], 4, 60).await.is_only(&[("passed", 60)]);
    }
    let only: [Place; 1] = [cluster.place(0)];
    let tally = drain(&message(&key), &only, 6).await;
    only_passed_and_exhausted(&tally);
    assert_eq!((tally.passed(), upstream.count()), (LIMIT - 120, LIMIT), "{tally:?}");
    all_say_used(&cluster, "acme", &key, LIMIT as u64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dear_request_is_refused_only_when_too_little_is_left() {
    const LIMIT: usize = 1_237;
    let upstream = Upstream::start().await;
    let cluster = cluster(&upstream).await;
    let key = cluster.limited("acme", LIMIT as u64).await;
    let export = get("/v1/export/all").key(&key);
    let tally = drain(&export, &cluster.places(), 3).await;
    only_passed_and_exhausted(&tally);
    assert_eq!(tally.passed(), LIMIT / 10, "at ten units each: {tally:?}");
    // The rest, which no dear request could use, is whole.
    let tally = drain(&message(&key), &cluster.places(), 3).await;
    assert_eq!(tally.passed(), LIMIT % 10, "{tally:?}");
    assert_eq!(upstream.count(), LIMIT / 10 + LIMIT % 10);
    all_say_used(&cluster, "acme", &key, LIMIT as u64).await;
}

/// A zone in which it is about noon: no day ends while the test runs.
fn at_noon() -> String {
    let hour = (crate::tokens::now() / 3600 % 24) as i64;
    // `Etc/GMT+5` is five hours behind Greenwich.
    format!("Etc/GMT{:+}", hour - 12)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_beside_the_month_is_exact_too() {
    let upstream = Upstream::start().await;
    let cluster = cluster(&upstream).await;
    let admin = cluster.admin();
    admin.ok("PUT", "/v1/tenants/acme", json!({ "timezone": at_noon() })).await;
    admin.subscribe("acme", "big").await;
    let key = admin.key("acme").await;
    let quota = |day: Value| json!({ "quotas": { "requests": { "limit": 500, "day": day } } });
    for (day, passes) in [(203, 203), (331, 128), (9_999, 169)] {
        admin.overrides("acme", quota(day.into())).await;
        let tally = drain(&message(&key), &cluster.places(), 3).await;
        only_passed_and_exhausted(&tally);
        assert_eq!(tally.passed(), passes, "with {day} a day: {tally:?}");
    }
    assert_eq!(upstream.count(), 500, "and then the month is at its end");
    all_say_used(&cluster, "acme", &key, 500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raised_limit_is_usable_at_once_and_a_lowered_one_in_force_at_once() {
    let upstream = Upstream::start().await;
    let cluster = cluster(&upstream).await;
    let key = cluster.limited("acme", 90).await;
    assert_eq!(drain(&message(&key), &cluster.places(), 3).await.passed(), 90);
    for node in 0..3 {
        cluster.limit("acme", 91 + node as u64).await;
        let sent = message(&key).send(cluster.node(node).data).await;
        assert_eq!(sent.status, 200, "node {node}: the very next request may use what was added");
        assert_eq!(message(&key).send(cluster.node(node).data).await.status, 429);
    }
    cluster.limit("acme", 1_000).await;
    for node in 0..3 {
        volley(&message(&key), &[cluster.node(node).data], 3, 20).await.is_only(&[("passed", 20)]);
    }
    // 153 are used, and each node holds more.
    cluster.limit("acme", 200).await;
    let tally = drain(&message(&key), &cluster.places(), 3).await;
    assert_eq!(tally.passed(), 47, "{tally:?}");
    assert_eq!(upstream.count(), 200);
    all_say_used(&cluster, "acme", &key, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_notifications_cost_time_and_no_units() {
    const LIMIT: usize = 900;
    let upstream = Upstream::start().await;
    let cluster = cluster(&upstream).await;
    let database = cluster.setup(0).config["database"].as_str().unwrap().to_owned();
    let deafen = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                  WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    let key = cluster.limited("acme", LIMIT as u64).await;
    for node in [1, 2] {
        volley(&message(&key), &[cluster.node(node).data], 4, 60).await.is_only(&[("passed", 60)]);
    }
    let ask = message(&key);
    let places = [cluster.place(0)];
    let mut draining = Box::pin(drain(&ask, &places, 4));
    let tally = loop {
        tokio::select! {
            tally = &mut draining => break tally,
            () = tokio::time::sleep(std::time::Duration::from_millis(100)) => {
                tokio::task::block_in_place(|| Postgres::shared().run(&database, deafen));
            }
        }
    };
    only_passed_and_exhausted(&tally);
    assert_eq!((tally.passed(), upstream.count()), (LIMIT - 120, LIMIT), "{tally:?}");
    all_say_used(&cluster, "acme", &key, LIMIT as u64).await;
}
