//! What answers say is left: on each node what was used there to the unit, and what was used on the others at most two
//! seconds before.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    client::{Ask, get},
    cluster::Cluster,
    postgres::Postgres,
    upstream::Upstream,
};

const LIMIT: u64 = 100_000;

fn message(key: &str) -> Ask {
    get("/v1/messages").key(key)
}

/// What the answer says is left of the month and of the day.
async fn left(cluster: &Cluster, node: usize, key: &str) -> [u64; 2] {
    let reply = message(key).send(cluster.node(node).data).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let items = reply.header("ratelimit").expect("it is metered");
    ["requests", "requests-day"].map(|quota| {
        let begin = format!("\"{quota}\";r=");
        let item = items.split(", ").find_map(|item| item.strip_prefix(begin.as_str()));
        let number = item.and_then(|item| item.split(';').next());
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {quota} in {items}"))
    })
}

/// After two seconds the node's next answer says that all of this is used. On a machine that is busy with other tests it may
/// take some statements longer; each look uses one unit more.
async fn knows(cluster: &Cluster, node: usize, key: &str, used: &mut u64) {
    let mut said = Vec::new();
    for _ in 0..10 {
        let now = left(cluster, node, key).await;
        *used += 1;
        if now == [LIMIT - *used, LIMIT / 2 - *used] {
            return;
        }
        said.push((now, *used));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    panic!("node {node} does not know what is used: {said:?}");
}

async fn send(cluster: &Cluster, node: usize, key: &str, times: u64) {
    for _ in 0..times {
        assert_eq!(message(key).send(cluster.node(node).data).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_knows_within_two_seconds_what_the_others_have_used() {
    let upstream = Upstream::start().await;
    let cluster = Cluster::start(&upstream, &Postgres::shared().url()).await;
    let admin = cluster.admin();
    let (often, seldom) = (admin.tenant("often", "big").await, admin.tenant("seldom", "big").await);
    for tenant in ["often", "seldom"] {
        let quota = json!({ "quotas": { "requests": { "limit": LIMIT, "day": LIMIT / 2 } } });
        admin.overrides(tenant, quota).await;
    }
    let mut used = 0;
    // Every node holds units of both, so that none asks the database for more.
    for node in 0..3 {
        used += 1;
        send(&cluster, node, &often, 1).await;
        send(&cluster, node, &seldom, 1).await;
    }
    for (node, times) in [(0, 40), (1, 25), (1, 5)] {
        send(&cluster, node, &seldom, times).await;
        // The third node charges now and then, and may answer from what it knew before.
        for _ in 0..times {
            send(&cluster, node, &often, 1).await;
            used += 1;
        }
        left(&cluster, 2, &often).await;
        used += 1;
    }
    let mut rare = 3 + 70;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Of one tenant this is its first request after all those of the others; its answer knows them all the same.
    knows(&cluster, 2, &often, &mut used).await;
    knows(&cluster, 2, &seldom, &mut rare).await;
    // What this one has used is known to the others as well.
    tokio::time::sleep(Duration::from_secs(2)).await;
    knows(&cluster, 0, &often, &mut used).await;
    knows(&cluster, 1, &seldom, &mut rare).await;
}
