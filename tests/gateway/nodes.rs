//! Several processes on one PostgreSQL: one installation, whichever node a request or a change comes to.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::support::{
    client::get,
    load::volley,
    postgres::Postgres,
    process::{Gateway, Setup, eventually},
    upstream::Upstream,
};

const EXHAUSTED: &str = "quota-exhausted";

fn node(upstream: &Upstream, database: &str, name: &str) -> Setup {
    Setup::before(upstream).with("/database", database).with("/node", name).with("/workers", 1)
}

/// Nodes `a`, `b`, ... on a new database, started at the same time.
async fn nodes(upstream: &Upstream, count: usize) -> Vec<(Setup, Gateway)> {
    let database = Postgres::shared().url();
    let setups = ["a", "b", "c"].map(|name| node(upstream, &database, name));
    let setups: Vec<Setup> = setups.into_iter().take(count).collect();
    let gateways = futures_util::future::join_all(setups.iter().map(Setup::start)).await;
    setups.into_iter().zip(gateways).collect()
}

fn none_pending(answer: &Value, nodes: u64) {
    assert_eq!(answer["applied"], json!({ "nodes": nodes, "pending": [] }), "{answer}");
}

#[tokio::test]
async fn three_that_start_at_once_on_nothing_share_one_installation() {
    let upstream = Upstream::start().await;
    let all = nodes(&upstream, 3).await;
    let listed = all[2].1.admin.get("/v1/nodes").await;
    let items = listed["items"].as_array().unwrap();
    let names: Vec<&str> = items.iter().map(|node| node["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(items.iter().all(|node| node["live"] == true), "{listed}");
    let digests: BTreeSet<&str> = items.iter().map(|node| node["digest"].as_str().unwrap()).collect();
    assert_eq!((digests.len(), &listed["warnings"]), (1, &json!([])), "{listed}");

    // Made on one, known on all: also the secret that keys are hashed with is one.
    let key = all[0].1.admin.tenant("acme", "small").await;
    for (_, gateway) in &all {
        assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200);
    }

    // Another policy folder is told apart.
    all[1].0.policy("plans/small.yaml", "plan: small\nquotas:\n  requests: { limit: 6 }\n");
    eventually("the difference is warned of", async || {
        let listed = all[0].1.admin.get("/v1/nodes").await;
        listed["warnings"][0].as_str().is_some_and(|warning| warning.contains("different policies"))
    })
    .await;

    // A clean stop deregisters at once.
    let mut all = all.into_iter();
    let (a, b) = (all.next().unwrap().1, all.next().unwrap().1);
    assert!(b.stop().await.success());
    let listed = a.admin.get("/v1/nodes").await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{listed}");
    assert_eq!(listed["warnings"], json!([]));
}

#[tokio::test]
async fn a_change_is_in_force_everywhere_when_it_is_answered() {
    let upstream = Upstream::start().await;
    let all = nodes(&upstream, 2).await;
    let (a, b) = (&all[0].1, &all[1].1);
    let key = a.admin.tenant("acme", "big").await;
    let export = get("/v1/export/all").key(&key);
    for turn in 0..50 {
        let (here, there) = if turn % 3 == 0 { (a, b) } else { (b, a) };
        let (plan, expected) = if turn % 2 == 0 { ("small", 403) } else { ("big", 200) };
        none_pending(&here.admin.subscribe("acme", plan).await, 2);
        let answers = [export.send(there.data).await, export.send(here.data).await];
        assert_eq!(answers.map(|answer| answer.status), [expected; 2], "{plan} in turn {turn}");
    }
    // Suspending and resuming, too.
    for (action, expected) in [("suspend", 403), ("resume", 200)] {
        none_pending(&a.admin.ok("POST", &format!("/v1/tenants/acme/{action}"), Value::Null).await, 2);
        assert_eq!(export.send(b.data).await.status, expected, "{action}");
    }
    let changes = b.admin.get("/v1/changes?after=0").await;
    let versions: Vec<u64> =
        changes["items"].as_array().unwrap().iter().map(|c| c["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>(), "in order and without gaps");
}

#[tokio::test]
async fn keys_work_and_end_on_every_node_at_once() {
    let upstream = Upstream::start().await;
    let all = nodes(&upstream, 2).await;
    let (a, b) = (&all[0].1, &all[1].1);
    a.admin.tenant("acme", "big").await;
    for _ in 0..20 {
        let made = a.admin.ok("POST", "/v1/tenants/acme/keys", json!({ "name": "n" })).await;
        let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
        let asked = get("/v1/messages").key(key);
        assert_eq!(asked.send(b.data).await.status, 200, "a new key");
        none_pending(&a.admin.ok("DELETE", &format!("/v1/tenants/acme/keys/{id}"), Value::Null).await, 2);
        let refused = asked.send(b.data).await;
        assert_eq!((refused.status, refused.code().as_str()), (401, "credential-invalid"));
    }
    // A key that was tried before it was there is not remembered as unknown: imported ones are known beforehand.
    let imported = "zQ8vR2mX7tK1pW9sL4nB6cY3hD5jF0gAeU_iO-xN";
    let asked = get("/v1/messages").key(imported);
    assert_eq!(asked.send(b.data).await.status, 401);
    let import = json!({ "name": "theirs", "import": imported });
    a.admin.ok("POST", "/v1/tenants/acme/keys", import).await;
    assert_eq!(asked.send(b.data).await.status, 200);
    // Deleting the tenant ends its keys.
    none_pending(&b.admin.ok("DELETE", "/v1/tenants/acme", Value::Null).await, 2);
    assert_eq!(asked.send(a.data).await.status, 401);
}

#[tokio::test]
async fn a_name_belongs_to_one_live_node() {
    let upstream = Upstream::start().await;
    let database = Postgres::shared().url();
    let first = node(&upstream, &database, "same");
    let running = first.start().await;
    let second = node(&upstream, &database, "same");
    let mut command = second.command();
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("`same`") && said.contains("node"), "{said}");
    // The first one is not disturbed by it, and its folder is its own, too.
    let key = running.admin.tenant("acme", "small").await;
    assert_eq!(get("/v1/messages").key(&key).send(running.data).await.status, 200);
    let mut command = first.command();
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("another plangate process"));
    assert!(running.stop().await.success());
    let taken = second.start().await;
    assert_eq!(
        get("/v1/messages").key(&key).send(taken.data).await.status,
        200,
        "after a clean stop it is free"
    );
}

#[tokio::test]
async fn rates_are_divided_by_the_nodes_alive() {
    let upstream = Upstream::start().await;
    let database = Postgres::shared().url();
    let setups = ["a", "b"].map(|name| {
        let setup = node(&upstream, &database, name);
        let rates = "rates:\n  requests: { limit: 10, per: 1h, burst: 10 }\n";
        setup.policy(
            "plans/fast.yaml",
            &format!("plan: fast\nfeatures: [chat]\nquotas:\n  requests: {{ limit: 1000 }}\n{rates}"),
        );
        setup
    });
    let (a, b) = (setups[0].start().await, setups[1].start().await);
    // The first hears of the second with its next poll, at the latest with the one that the change asks for.
    let key = a.admin.tenant("acme", "fast").await;
    for node in [&a, &b] {
        volley(&get("/v1/messages").key(&key), &[node.data], 8, 30)
            .await
            .is_only(&[("passed", 5), ("rate-limited", 25)]);
    }
    assert_eq!(upstream.count(), 10, "no more than one node would let pass");
    assert!(b.stop().await.success());
    let other = a.admin.tenant("other", "fast").await;
    volley(&get("/v1/messages").key(&other), &[a.data], 8, 30)
        .await
        .is_only(&[("passed", 10), ("rate-limited", 20)]);
}

#[tokio::test]
async fn a_shared_quota_is_never_over_admitted() {
    let upstream = Upstream::start().await;
    let all = nodes(&upstream, 3).await;
    let admin = all[0].1.admin;
    let everywhere: Vec<_> = all.iter().map(|(_, gateway)| gateway.data).collect();
    for limit in [1, 10, 500] {
        let tenant = format!("limit-{limit}");
        let key = admin.tenant(&tenant, "small").await;
        admin.overrides(&tenant, json!({ "quotas": { "requests": { "limit": limit } } })).await;
        let before = upstream.count();
        let tally = volley(&get("/v1/messages").key(&key), &everywhere, 18, limit + 300).await;
        assert_eq!(tally.passed() + tally.of(EXHAUSTED), tally.total(), "{tally:?}");
        assert_eq!(upstream.count() - before, tally.passed());
        assert!(tally.passed() <= limit, "{tally:?} of {limit}");
        // Busy nodes spend what they hold: at the tail that is little.
        assert!(tally.passed() >= limit - limit / 10, "{tally:?} of {limit}");
        // The asked node to the unit, others at most two seconds behind.
        let passed = tally.passed() as u64;
        for (_, gateway) in &all {
            let known = eventually("every node knows what was used", async || {
                gateway.admin.used(&tenant, "requests").await == passed
            });
            timeout(Duration::from_millis(2500), known).await.expect("what others used comes late");
        }
    }
}

#[tokio::test]
async fn what_idle_nodes_hold_comes_back_when_they_stop_or_the_tenant_changes() {
    let upstream = Upstream::start().await;
    let mut all = nodes(&upstream, 2).await;
    let (_, b) = all.pop().unwrap();
    let (_, a) = all.pop().unwrap();
    let key = a.admin.tenant("acme", "small").await;
    let more = |limit: u64| json!({ "quotas": { "requests": { "limit": limit } } });
    a.admin.overrides("acme", more(400)).await;
    let message = get("/v1/messages").key(&key);
    // One request there takes a share there.
    volley(&message, &[b.data], 4, 40).await.is_only(&[("passed", 40)]);
    let tally = volley(&message, &[a.data], 8, 500).await;
    assert!(tally.passed() >= 400 - 40 - 100, "{tally:?}");
    // A change seals and returns it on every node before it is answered.
    none_pending(&a.admin.overrides("acme", more(401)).await, 2);
    let before = upstream.count();
    volley(&message, &[a.data], 8, 500)
        .await
        .is_only(&[("passed", 401 - before), (EXHAUSTED, 500 + before - 401)]);

    // The same again, and now the other stops.
    a.admin.overrides("acme", more(800)).await;
    volley(&message, &[b.data], 4, 40).await.is_only(&[("passed", 40)]);
    assert!(b.stop().await.success());
    let before = upstream.count();
    let left = 800 - before;
    volley(&message, &[a.data], 8, left + 100).await.is_only(&[("passed", left), (EXHAUSTED, 100)]);
    assert_eq!(upstream.count(), 800);
    assert_eq!(a.admin.used("acme", "requests").await, 800);
}

#[tokio::test]
async fn a_limit_is_lowered_under_load_on_all_nodes() {
    use crate::support::load::Load;
    const CLIENTS: usize = 9;
    let upstream = Upstream::start().await;
    let all = nodes(&upstream, 3).await;
    let everywhere: Vec<_> = all.iter().map(|(_, gateway)| gateway.data).collect();
    let key = all[0].1.admin.tenant("acme", "big").await;
    let load = Load::on(&get("/v1/messages").key(&key), &everywhere, CLIENTS);
    load.until(150).await;
    let limit = 300;
    let changed =
        all[1].1.admin.overrides("acme", json!({ "quotas": { "requests": { "limit": limit } } })).await;
    none_pending(&changed, 3);
    let admitted = upstream.count() + CLIENTS;
    load.until(1500).await;
    let tally = load.stop().await;
    assert_eq!(tally.passed() + tally.of(EXHAUSTED), tally.total(), "{tally:?}");
    assert!(upstream.count() <= admitted.max(limit), "{} of {limit}, {admitted} before", upstream.count());
}

#[tokio::test]
async fn notifications_only_save_time() {
    let upstream = Upstream::start().await;
    let all = nodes(&upstream, 2).await;
    let (a, b) = (&all[0].1, &all[1].1);
    let database = all[0].0.config["database"].as_str().unwrap().to_owned();
    let key = a.admin.tenant("acme", "big").await;
    let export = get("/v1/export/all").key(&key);
    for (plan, expected) in [("small", 403), ("big", 200)].into_iter().cycle().take(6) {
        Postgres::shared().run(
            &database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND query LIKE 'LISTEN%'",
        );
        none_pending(&a.admin.subscribe("acme", plan).await, 2);
        assert_eq!(export.send(b.data).await.status, expected);
    }
}

#[tokio::test]
async fn a_dead_node_is_named_until_it_must_have_stopped_serving() {
    let upstream = Upstream::start().await;
    let database = Postgres::shared().url();
    let setups = ["a", "b"].map(|name| node(&upstream, &database, name).with("/serve_stale", "1500ms"));
    let (a, b) = (setups[0].start().await, setups[1].start().await);
    a.admin.tenant("acme", "big").await;
    b.kill();
    let first = a.admin.subscribe("acme", "small").await;
    assert_eq!(first["applied"], json!({ "nodes": 1, "pending": ["b"] }), "it may be alive");
    let gone = eventually("it leaves `pending`", async || {
        a.admin.subscribe("acme", "small").await["applied"]["pending"] == json!([])
    });
    timeout(Duration::from_secs(3), gone).await.expect("it refuses by itself by now");
}

#[tokio::test]
async fn a_node_whose_place_was_taken_refuses() {
    let upstream = Upstream::start().await;
    let database = Postgres::shared().url();
    let setups = ["one", "two"].map(|_| node(&upstream, &database, "same"));
    let old = setups[0].start().await;
    let key = old.admin.tenant("acme", "big").await;
    let message = get("/v1/messages").key(&key);
    assert_eq!(message.send(old.data).await.status, 200);
    old.signal("STOP");
    let frozen = Instant::now();
    Postgres::shared().run(&database, "UPDATE nodes SET beat_ms = beat_ms - 10000");
    let new = setups[1].start().await;
    assert_eq!(message.send(new.data).await.status, 200);
    // Nobody's place is taken within five seconds, but here; what it knew then is older than the second it may use it.
    tokio::time::sleep_until(frozen + Duration::from_millis(1050)).await;
    old.signal("CONT");
    let refused = message.send(old.data).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "rights-unavailable"));
    let readyz = get("/readyz").send(old.admin.0).await;
    assert!(
        readyz.status == 503 && readyz.text().contains("another process took this node's name"),
        "{readyz:?}"
    );
    // Its stop takes nothing from its successor.
    assert!(old.stop().await.success());
    none_pending(&new.admin.subscribe("acme", "small").await, 1);
    assert_eq!(new.admin.get("/v1/nodes").await["items"].as_array().unwrap().len(), 1);
    assert_eq!(new.admin.used("acme", "requests").await, 2);
}
