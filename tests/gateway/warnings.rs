//! Thresholds and exhausted quotas: told once for all nodes, also where a node is killed before it could tell.

use serde_json::{Value, json};

use crate::support::{
    admin::Admin,
    client::{Ask, get},
    cluster::{Cluster, shell},
    drain::drain,
    postgres::Postgres,
    process::{Setup, eventually},
    upstream::Upstream,
};

fn message(key: &str) -> Ask {
    get("/v1/messages").key(key)
}

/// What was told of a tenant's quotas: of each event its percentage, or that it is the end.
async fn told(admin: Admin, tenant: &str) -> Vec<Value> {
    let page = admin.get(&format!("/v1/events?tenant={tenant}")).await;
    let quotas = page["items"].as_array().unwrap().iter();
    let quotas = quotas.filter(|event| event["type"].as_str().unwrap().starts_with("quota."));
    quotas.map(|event| event["data"].get("threshold").cloned().unwrap_or_else(|| "end".into())).collect()
}

async fn are_told(admin: Admin, tenant: &str, expected: &[Value]) {
    let told = async || told(admin, tenant).await;
    eventually("the thresholds are told", async || told().await.len() >= expected.len()).await;
    assert_eq!(told().await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_cross_together_and_a_killed_one_tells_after_its_restart() {
    let upstream = Upstream::start().await;
    let mut cluster = Cluster::start(&upstream, &Postgres::shared().url()).await;
    let (acme, killed) = (cluster.limited("acme", 120).await, cluster.limited("killed", 50).await);
    assert_eq!(drain(&message(&acme), &cluster.places(), 2).await.passed(), 120);
    let admin = cluster.node(1).admin;
    are_told(admin, "acme", &[json!(50), json!(80), json!(100), json!("end")]).await;

    // The unit that reaches 80 % is charged, and the node is gone before it is recorded.
    for _ in 0..39 {
        assert_eq!(message(&killed).send(cluster.node(0).data).await.status, 200);
    }
    are_told(admin, "killed", &[json!(50)]).await;
    assert_eq!(message(&killed).send(cluster.node(0).data).await.status, 200);
    cluster.kill(0);
    cluster.start_again(0).await;
    are_told(admin, "killed", &[json!(50), json!(80)]).await;
    let page = admin.get("/v1/events?tenant=killed&kind=quota.threshold").await;
    let event = &page["items"][1]["data"];
    let expected = ["meter", "limit", "used", "plan", "tenant"].map(|key| event[key].clone());
    assert_eq!(json!(expected), json!(["requests", 50, 40, "big", "killed"]));

    // Who asks for more is refused, and has nothing told anew; another limit is another fact.
    assert_eq!(message(&acme).send(cluster.node(2).data).await.status, 429);
    cluster.limit("acme", 160).await;
    assert_eq!(message(&acme).send(cluster.node(2).data).await.status, 200);
    let first = [json!(50), json!(80), json!(100), json!("end")];
    are_told(admin, "acme", &[&first[..], &[json!(50)]].concat()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_says_when_and_the_shell_shows_it() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    setup.policy(
        "plans/told.yaml",
        "plan: told\nfeatures: [chat]\nwarn_at: [90, 25]\nquotas:\n  requests: { limit: 4, overage: { mode: allow, cap: 2 } }\n",
    );
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "told").await;
    for _ in 0..6 {
        assert_eq!(message(&key).send(gateway.data).await.status, 200);
    }
    assert_eq!(message(&key).send(gateway.data).await.status, 429);
    eventually("the end is told", async || told(gateway.admin, "acme").await.contains(&json!("end"))).await;
    let mut all = told(gateway.admin, "acme").await;
    all.sort_by_key(ToString::to_string);
    assert_eq!(all, [json!("end"), json!(25), json!(90)]);
    let words = ["event", "list", "--tenant", "acme", "--kind", "quota.exhausted", "--output", "json"];
    let (code, out, _) = shell(gateway.admin, &words).await;
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, shown["items"].as_array().unwrap().len()), (0, 1));
    assert_eq!(shown["items"][0]["data"]["limit"], 6, "with what is let through beyond it");
    let (code, out, _) = shell(gateway.admin, &["event", "list", "--output", "plain"]).await;
    assert!(code == 0 && out.contains("25% of requests: ") && out.contains("plan.changed"), "{out}");
    let (code, _, complaint) = shell(gateway.admin, &["event", "list", "--kind", "quota"]).await;
    assert!(code == 1 && complaint.contains("quota.threshold"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lowered_limit_is_told_of_without_another_request() {
    let upstream = Upstream::start().await;
    let gateway = Setup::before(&upstream).start().await;
    let key = gateway.admin.tenant("acme", "big").await;
    let limit = async |limit: u64| {
        gateway.admin.overrides("acme", json!({ "quotas": { "requests": { "limit": limit } } })).await;
    };
    limit(100).await;
    for _ in 0..60 {
        assert_eq!(message(&key).send(gateway.data).await.status, 200);
    }
    are_told(gateway.admin, "acme", &[json!(50)]).await;
    limit(70).await;
    are_told(gateway.admin, "acme", &[json!(50), json!(50), json!(80)]).await;
    limit(60).await;
    let all = [50, 50, 80, 50, 80, 100].map(|percent| json!(percent));
    are_told(gateway.admin, "acme", &[&all[..], &[json!("end")]].concat()).await;
    assert_eq!(upstream.count(), 60);
}
