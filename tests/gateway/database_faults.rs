//! Several nodes and a database that restarts, falls silent or loses its connections: nothing counted twice or lost.

use serde_json::json;

use crate::support::{
    amount::{Dice, amount},
    client::{Ask, get},
    cluster::{Cluster, node, standing, usage},
    drain::drain,
    forwarder::Forwarder,
    load::{Load, volley},
    postgres::{Postgres, Stop},
    process::eventually,
    upstream::Upstream,
};

const LEDGER: &str = "ledger-unavailable";
const RIGHTS: &str = "rights-unavailable";
const EXHAUSTED: &str = "quota-exhausted";
const SOFT: &str =
    "plan: soft\nfeatures: [chat]\nquotas:\n  requests: { limit: 3, overage: { mode: allow } }\n";

fn message(key: &str) -> Ask {
    get("/v1/messages").key(key)
}

async fn cluster(upstream: &Upstream, databases: [String; 3]) -> Cluster {
    let setups = ["a", "b", "c"].into_iter().zip(databases).map(|(name, database)| {
        let setup = node(upstream, &database, name);
        setup.policy("plans/soft.yaml", SOFT);
        setup
    });
    Cluster::of(setups.collect()).await
}

async fn on(upstream: &Upstream, server: &Postgres) -> Cluster {
    let database = server.url();
    cluster(upstream, [database.clone(), database.clone(), database]).await
}

/// Without holding up the clients, which live in this process, too.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// Every node has recorded exactly what was admitted.
async fn recorded(cluster: &Cluster, tenant: &str, admitted: usize) {
    for node in cluster.alive() {
        eventually("recorded equals admitted", async || {
            let rights = node.admin.call("GET", &format!("/v1/tenants/{tenant}/rights"), json!(null)).await;
            rights.status == 200
                && rights.json()["quotas"]["requests"]["used"] == admitted as u64
                && usage(node.admin, tenant).await == admitted as u64
        })
        .await;
        let rights = node.admin.get(&format!("/v1/tenants/{tenant}/rights")).await;
        assert_eq!(rights["quotas"]["requests"]["uncertain"], 0, "{rights}");
    }
}

async fn all_ready(cluster: &Cluster) {
    for node in cluster.alive() {
        eventually("the node is ready again", async || {
            let ready = get("/readyz").send(node.admin.0).await;
            ready.status == 200 && ready.json()["reasons"].as_array().is_none_or(Vec::is_empty)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_under_load_lose_and_double_nothing() {
    let (upstream, server) = (Upstream::start().await, Postgres::private());
    let cluster = on(&upstream, &server).await;
    let tail = cluster.limited("tail", 300).await;
    let ample = cluster.limited("ample", 10_000_000).await;
    let soft = cluster.admin().tenant("soft", "soft").await;
    let loads = [&tail, &ample, &soft].map(|key| Load::on_places(&message(key), &cluster.places(), 3));
    for load in &loads {
        load.more(60).await;
    }
    for turn in 0..amount("PLANGATE_DATABASE_RESTARTS", 4) {
        let how = if turn % 2 == 0 { Stop::Immediate } else { Stop::Fast };
        aside(|| server.stop_by(how));
        for load in &loads {
            load.more(40).await;
        }
        aside(|| server.start());
        for load in &loads {
            load.more(60).await;
        }
    }
    all_ready(&cluster).await;
    let [mut of_tail, of_ample, of_soft] = {
        let [tail, ample, soft] = loads;
        [tail.stop().await, ample.stop().await, soft.stop().await]
    };
    assert_eq!(of_soft.passed(), of_soft.total(), "soft quotas go on: {of_soft:?}");
    assert_eq!(of_ample.passed() + of_ample.of(LEDGER), of_ample.total(), "{of_ample:?}");
    of_tail.add(drain(&message(&tail), &cluster.places(), 2).await);
    assert_eq!(of_tail.passed() + of_tail.of(LEDGER) + of_tail.of(EXHAUSTED), of_tail.total(), "{of_tail:?}");
    assert_eq!(of_tail.passed(), 300, "all of it is usable, and no more: {of_tail:?}");
    for (tenant, tally) in [("tail", &of_tail), ("ample", &of_ample), ("soft", &of_soft)] {
        recorded(&cluster, tenant, tally.passed()).await;
    }
    assert_eq!(upstream.count(), of_tail.passed() + of_ample.passed() + of_soft.passed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database_what_is_held_is_spent_and_then_said_to_be_unavailable() {
    const LIMIT: usize = 2_000;
    let (upstream, server) = (Upstream::start().await, Postgres::private());
    let cluster = on(&upstream, &server).await;
    let hard = cluster.limited("hard", LIMIT as u64).await;
    let soft = cluster.admin().tenant("soft", "soft").await;
    let open = cluster.admin().tenant("open", "open").await;
    for key in [&hard, &soft, &open] {
        for node in cluster.alive() {
            volley(&message(key), &[node.data], 3, 30).await.is_only(&[("passed", 30)]);
        }
    }
    aside(|| server.stop());
    let held = drain(&message(&hard), &cluster.places(), 2).await;
    assert!(held.passed() > 0, "what is held is spent: {held:?}");
    assert_eq!(held.passed() + held.of(LEDGER), held.total(), "the tenant is not at fault: {held:?}");
    let addresses: Vec<_> = cluster.alive().map(|node| node.data).collect();
    for key in [&soft, &open] {
        volley(&message(key), &addresses, 6, 120).await.is_only(&[("passed", 120)]);
    }
    for address in &addresses {
        let refused = message(&hard).send(*address).await;
        assert_eq!((refused.status, refused.code().as_str()), (503, LEDGER));
        assert!(refused.header("retry-after").is_some_and(|after| after.parse::<u64>().is_ok()));
    }
    aside(|| server.start());
    all_ready(&cluster).await;
    recorded(&cluster, "soft", 210).await;
    recorded(&cluster, "open", 210).await;
    recorded(&cluster, "hard", 90 + held.passed()).await;
    let rest = drain(&message(&hard), &cluster.places(), 3).await;
    assert_eq!(90 + held.passed() + rest.passed(), LIMIT, "{held:?}, {rest:?}");
    recorded(&cluster, "hard", LIMIT).await;
    assert_eq!(upstream.count(), LIMIT + 420);
}

/// A commit whose answer was lost is neither forgotten nor done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_at_any_instant_lose_and_double_nothing() {
    let mut dice = Dice::thrown(11);
    let upstream = Upstream::start().await;
    let server = Postgres::shared();
    let database = server.url();
    let name = database.rsplit('/').next().unwrap();
    let mut ways = Vec::new();
    for _ in 0..3 {
        ways.push(Forwarder::to(server.port()).await);
    }
    let way = |node: usize| format!("postgres://plangate@127.0.0.1:{}/{name}", ways[node].port);
    let cluster = cluster(&upstream, [way(0), way(1), way(2)]).await;
    let key = cluster.limited("acme", 500).await;
    let mut limit = 500;
    let load = Load::on_places(&message(&key), &cluster.places(), 6);
    for turn in 0..amount("PLANGATE_CUTS", 40) {
        load.more(dice.below(40)).await;
        ways[dice.below(3)].cut();
        if turn % 8 == 7 {
            limit += 100;
            // The call itself may meet a dead connection.
            let quota = json!({ "quotas": { "requests": { "limit": limit } } });
            eventually("the limit is raised", async || {
                cluster.admin().call("PUT", "/v1/tenants/acme/overrides", quota.clone()).await.status == 200
            })
            .await;
        }
    }
    let mut tally = load.stop().await;
    all_ready(&cluster).await;
    tally.add(drain(&message(&key), &cluster.places(), 2).await);
    let refused = [LEDGER, RIGHTS, EXHAUSTED].map(|code| tally.of(code)).iter().sum::<usize>();
    assert_eq!(tally.passed() + refused, tally.total(), "{tally:?}");
    assert_eq!((tally.passed(), upstream.count()), (limit, limit), "{tally:?}");
    recorded(&cluster, "acme", limit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_spends_its_own_and_no_more() {
    const LIMIT: usize = 1_500;
    let upstream = Upstream::start().await;
    let server = Postgres::shared();
    let database = server.url();
    let name = database.rsplit('/').next().unwrap();
    let way = Forwarder::to(server.port()).await;
    let behind = format!("postgres://plangate@127.0.0.1:{}/{name}", way.port);
    let cluster = cluster(&upstream, [database.clone(), database.clone(), behind]).await;
    let key = cluster.limited("acme", LIMIT as u64).await;
    for node in cluster.alive() {
        volley(&message(&key), &[node.data], 3, 40).await.is_only(&[("passed", 40)]);
    }
    // Nothing is closed: it cannot know that nobody hears it.
    way.silence(true);
    let others = drain(&message(&key), &[cluster.place(0), cluster.place(1)], 3).await;
    assert_eq!(others.passed() + others.of(EXHAUSTED), others.total(), "{others:?}");
    let own = drain(&message(&key), &[cluster.place(2)], 3).await;
    assert!(own.passed() > 0, "it held something: {own:?}");
    assert_eq!(own.passed() + own.of(LEDGER), own.total(), "{own:?}");
    assert!(upstream.count() <= LIMIT, "{}", upstream.count());
    way.silence(false);
    all_ready(&cluster).await;
    let rest = drain(&message(&key), &cluster.places(), 2).await;
    assert_eq!(upstream.count(), LIMIT, "{others:?}, {own:?}, {rest:?}");
    recorded(&cluster, "acme", LIMIT).await;
    assert_eq!(standing(cluster.admin(), "acme").await.remaining, 0);
}
