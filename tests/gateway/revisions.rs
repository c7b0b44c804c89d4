//! Policies applied to a running installation: on all nodes at one version, to some tenants first, and back again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{
    admin::Admin,
    amount::amount,
    client::{Reply, Wire, get},
    cluster::{Cluster, node, shell, usage},
    postgres::Postgres,
    process::{POLICIES, Setup, eventually},
    upstream::Upstream,
};

type Files = BTreeMap<String, String>;

fn shipped() -> Files {
    POLICIES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// The shipped policies with another text in the place of one.
fn with(name: &str, text: &str) -> Files {
    let mut files = shipped();
    files.insert(name.to_owned(), text.to_owned());
    files
}

fn small(limit: u64) -> Files {
    let text = shipped()["plans/small.yaml"].replace("limit: 5", &format!("limit: {limit}"));
    with("plans/small.yaml", &text)
}

async fn apply(admin: Admin, files: &Files, more: Value) -> Reply {
    let mut body = json!({ "files": files });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    admin.call("POST", "/v1/policy/apply", body).await
}

/// Applies, and expects that it is in force everywhere.
async fn applied(admin: Admin, files: &Files, more: Value) -> Value {
    let reply = apply(admin, files, more).await;
    let answer = reply.json();
    assert_eq!((reply.status, &answer["applied"]["pending"]), (200, &json!([])), "{answer}");
    answer
}

async fn decide(admin: Admin, what: &str) -> Value {
    admin.ok("POST", &format!("/v1/policy/{what}"), json!({})).await
}

/// The quota that a request was decided by.
fn quota(reply: &Reply) -> Option<u64> {
    let text = reply.header("ratelimit-policy")?;
    text.split("q=").nth(1)?.split([';', ',']).next()?.parse().ok()
}

#[tokio::test]
async fn a_revision_is_applied_and_taken_back() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let admin = gateway.admin;
    let key = admin.tenant("acme", "small").await;
    let status = async || get("/v1/messages").key(&key).send(gateway.data).await.status;
    let before = admin.get("/v1/policy").await;
    assert_eq!((&before["number"], &before["source"]), (&json!(0), &json!("folder")));
    assert_eq!(status().await, 200);

    let answer = applied(admin, &small(2), json!({ "base": 0, "message": "tight", "author": "ann" })).await;
    assert_eq!((&answer["number"], &answer["applied"]["nodes"]), (&json!(2), &json!(1)));
    assert_eq!((status().await, status().await), (200, 429), "the very next request, and usage is kept");
    let now = admin.get("/v1/policy").await;
    assert_eq!(
        (&now["number"], &now["source"], &now["digest"]),
        (&json!(2), &json!("revision"), &answer["digest"])
    );
    assert_eq!(admin.get("/v1/nodes").await["items"][0]["applied"], answer["version"]);

    // The folder is not asked any more.
    setup.policy("plans/small.yaml", &small(50)["plans/small.yaml"]);
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert_eq!(status().await, 429);

    let back = decide(admin, "rollback").await;
    assert_eq!((&back["number"], &back["digest"]), (&json!(3), &before["digest"]), "the folder as it was");
    assert_eq!(admin.get("/v1/tenants/acme/rights").await["quotas"]["requests"]["limit"], 5);
    assert_eq!((status().await, status().await, status().await, status().await), (200, 200, 200, 429));
    assert_eq!((upstream.count(), admin.used("acme", "requests").await), (5, 5));

    let history = admin.get("/v1/policy/revisions").await;
    let kinds: Vec<_> = history["items"].as_array().unwrap().iter().map(|item| &item["kind"]).collect();
    assert_eq!(kinds, [&json!("rollback"), &json!("apply"), &json!("import")]);
    assert_eq!(
        (&history["items"][1]["message"], &history["items"][1]["author"]),
        (&json!("tight"), &json!("ann"))
    );
    let kept = admin.get("/v1/policy/revisions/2").await;
    assert_eq!(kept["files"], json!(small(2)));

    // A restart finds what was applied, whatever is in the folder.
    applied(admin, &small(7), json!({})).await;
    drop(gateway);
    let gateway = setup.start().await;
    assert_eq!(gateway.admin.get("/v1/tenants/acme/rights").await["quotas"]["requests"]["limit"], 7);
    let again = apply(gateway.admin, &small(7), json!({})).await;
    assert_eq!((again.status, again.code()), (409, "policies-unchanged".to_owned()));
}

#[tokio::test]
async fn what_cannot_be_applied_changes_nothing() {
    let upstream = Upstream::start().await;
    let gateway = Setup::before(&upstream).start().await;
    let admin = gateway.admin;
    let key = admin.tenant("acme", "small").await;
    let invalid = with("routes.yaml", "routes:\n  - { match: \"GET /x\", features: [caht] }\n");
    let refused = apply(admin, &invalid, json!({})).await;
    let problem = refused.json();
    assert_eq!((refused.status, refused.code()), (422, "policies-invalid".to_owned()));
    let finding = &problem["findings"][0];
    assert_eq!(
        (&finding["file"], &finding["line"], &finding["code"]),
        (&json!("routes.yaml"), &json!(2), &json!("unknown-feature"))
    );
    assert_eq!(finding["help"], "did you mean `chat`?");

    let mut fewer = shipped();
    fewer.remove("plans/small.yaml");
    let in_use = apply(admin, &fewer, json!({})).await;
    assert_eq!((in_use.status, in_use.code()), (409, "plans-in-use".to_owned()), "{}", in_use.text());
    assert!(in_use.json()["detail"].as_str().unwrap().contains("`small` has 1"));
    for (more, code) in [
        (json!({ "base": 7 }), (409, "revision-stale")),
        (json!({ "rollout": "dark" }), (400, "field-invalid")),
        (json!({ "rollout": { "tenants": "0%" } }), (400, "field-invalid")),
        (json!({ "rollout": { "tenants": [] } }), (400, "field-invalid")),
        (json!({ "message": "\u{7}" }), (400, "field-invalid")),
        (json!({ "files": 5 }), (400, "field-invalid")),
        (json!({ "files": {} }), (422, "policies-invalid")),
        (json!({ "surprise": 5 }), (400, "field-invalid")),
    ] {
        let reply = apply(admin, &small(2), more.clone()).await;
        assert_eq!((reply.status, reply.code().as_str()), code, "{more}: {}", reply.text());
    }
    for (what, code) in
        [("promote", "no-trial"), ("discard", "no-trial"), ("rollback", "no-earlier-revision")]
    {
        let reply = admin.call("POST", &format!("/v1/policy/{what}"), json!({})).await;
        assert_eq!((reply.status, reply.code().as_str()), (409, code));
    }
    assert_eq!(admin.get("/v1/policy").await["number"], 0);
    for (revision, status) in [("1", 404), ("0", 400), ("x", 400), ("99999999999999999999", 400)] {
        let reply = admin.call("GET", &format!("/v1/policy/revisions/{revision}"), Value::Null).await;
        assert_eq!(reply.status, status, "{revision}");
    }
    assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200);
    let forced = applied(admin, &fewer, json!({ "force": true })).await;
    assert_eq!(forced["number"], 2);
    assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.code(), "rights-unavailable");
    decide(admin, "rollback").await;
    assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200);
}

#[tokio::test]
async fn a_node_without_a_folder_waits_for_policies() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream).with("/policies", "database");
    std::fs::remove_dir_all(setup.path("policies")).unwrap();
    let gateway = setup.start().await;
    let ready = async || get("/readyz").send(gateway.admin.0).await;
    let waiting = ready().await;
    assert_eq!(waiting.status, 503);
    assert!(waiting.text().contains("plangate policy apply"), "{}", waiting.text());
    assert_ne!(get("/v1/messages").send(gateway.data).await.status, 200);
    assert_eq!(gateway.admin.get("/v1/policy").await["source"], "none");
    let answer = applied(gateway.admin, &shipped(), json!({ "base": 0 })).await;
    assert_eq!((ready().await.status, &answer["number"]), (200, &json!(1)));
    let key = gateway.admin.tenant("acme", "small").await;
    assert_eq!(get("/v1/messages").key(&key).send(gateway.data).await.status, 200);
}

/// Two revisions of which no mixture admits a request, or charges what either says.
fn halves() -> [Files; 2] {
    let half = |features: &str, needs: &str, units: u64, limit: u64| {
        let mut files = shipped();
        files.insert(
            "features.yaml".to_owned(),
            format!("features:\n  {features}\n  chat: {{}}\n  export: {{}}\nlimits:\n  seats: {{}}\nmeters:\n  requests: {{ unit: request }}\n  ai_tokens: {{ unit: token }}\n"),
        );
        let route = format!(
            "  - {{ match: \"GET /v1/half\", features: [{needs}], charge: {{ requests: {units} }} }}\n"
        );
        let routes = files["routes.yaml"].clone() + &route;
        files.insert("routes.yaml".to_owned(), routes);
        let plan = format!("plan: half\nfeatures: [{needs}]\nquotas:\n  requests: {{ limit: {limit} }}\n");
        files.insert("plans/half.yaml".to_owned(), plan);
        files
    };
    [half("alpha: {}", "alpha", 1, 10_000_001), half("aaa: {}\n  beta: {}", "beta", 2, 20_000_002)]
}

/// Requests under way on every node, each checked for having been decided by one revision alone.
struct Traffic {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
    by: Arc<[AtomicU64; 2]>,
    /// Refused for want of units in time, by neither: a starved machine may take longer than a request waits for a grant.
    late: Arc<AtomicU64>,
}

impl Traffic {
    fn on(cluster: &Cluster, key: &str) -> Self {
        let (mut tasks, stop, by) =
            (JoinSet::new(), Arc::new(AtomicBool::new(false)), Arc::<[AtomicU64; 2]>::default());
        let late = Arc::<AtomicU64>::default();
        for gateway in cluster.alive() {
            for _ in 0..2 {
                let (address, key) = (gateway.data, key.to_owned());
                let (stop, by, late) = (Arc::clone(&stop), Arc::clone(&by), Arc::clone(&late));
                tasks.spawn(async move {
                    let mut wire = Wire::to(address).await;
                    let ask = get("/v1/half").key(&key);
                    while !stop.load(Ordering::Relaxed) {
                        let reply = ask.send_on(&mut wire, address).await;
                        if reply.status == 503 && reply.code() == "ledger-unavailable" {
                            late.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                        assert_eq!(reply.status, 200, "{}", reply.text());
                        let revision = match quota(&reply) {
                            Some(10_000_001) => 0,
                            Some(20_000_002) => 1,
                            other => panic!("decided by {other:?}"),
                        };
                        by[revision].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        }
        Self { tasks, stop, by, late }
    }

    /// Waits until so many more were decided by one of them.
    async fn more(&self, half: usize, requests: u64) {
        let enough = self.by[half].load(Ordering::Relaxed) + requests;
        eventually("the revision decides", async || self.by[half].load(Ordering::Relaxed) >= enough).await;
    }

    async fn end(mut self) -> [u64; 2] {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        let by = [0, 1].map(|revision| self.by[revision].load(Ordering::Relaxed));
        let late = self.late.load(Ordering::Relaxed);
        assert!(late * 50 <= by[0] + by[1], "{late} of {by:?} were late");
        by
    }
}

/// Asks until the units are there in time: see [`Traffic::late`].
async fn probe(node: std::net::SocketAddr, key: &str) -> Reply {
    let ask = get("/v1/half").key(key);
    for _ in 0..20 {
        let reply = ask.send(node).await;
        if reply.status != 503 || reply.code() != "ledger-unavailable" {
            return reply;
        }
    }
    panic!("units are never there in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_on_three_nodes_sees_half_a_revision() {
    let upstream = Upstream::start().await;
    let cluster = Cluster::start(&upstream, &Postgres::shared().url()).await;
    let halves = halves();
    applied(cluster.node(0).admin, &halves[0], json!({})).await;
    let key = cluster.admin().tenant("acme", "half").await;
    let traffic = Traffic::on(&cluster, &key);
    let mut probes = [0, 0];
    for turn in 1..=usize::try_from(amount("PLANGATE_REVISIONS", 12)).unwrap() {
        let half = turn % 2;
        let answer = applied(cluster.node(turn % 3).admin, &halves[half], json!({})).await;
        assert_eq!(answer["applied"]["nodes"], 3);
        for gateway in cluster.alive() {
            let reply = probe(gateway.data, &key).await;
            let text = reply.text();
            assert_eq!(quota(&reply), Some([10_000_001, 20_000_002][half]), "older than the answer: {text}");
            probes[half] += 1;
        }
        traffic.more(half, 30).await;
    }
    let by = traffic.end().await;
    assert!(by.iter().all(|count| *count > 0), "{by:?}");
    let requests = by[0] + by[1] + probes[0] + probes[1];
    assert_eq!(upstream.count() as u64, requests);
    let units = by[0] + probes[0] + 2 * (by[1] + probes[1]);
    // A flush that failed on a starved machine is repeated after up to 8 s.
    for _ in 0..1_000 {
        if usage(cluster.admin(), "acme").await == units {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(usage(cluster.admin(), "acme").await, units, "all of it is recorded: {by:?}, {probes:?}");
    let nodes = cluster.admin().get("/v1/nodes").await;
    assert_eq!(nodes["warnings"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lowered_quota_is_exact_on_three_nodes() {
    let upstream = Upstream::start().await;
    let cluster = Cluster::start(&upstream, &Postgres::shared().url()).await;
    let admin = cluster.admin();
    applied(admin, &small(100_000), json!({})).await;
    let key = admin.tenant("acme", "small").await;
    let ask = get("/v1/messages").key(&key);
    let load = crate::support::load::Load::on_places(&ask, &cluster.places(), 6);
    load.more(300).await;
    // More than can pass while the change is made, also where that takes its time.
    let limit = upstream.count() as u64 + 3_000;
    applied(cluster.node(1).admin, &small(limit), json!({})).await;
    let passed = upstream.count() as u64;
    load.more(4_000).await;
    load.stop().await;
    assert!(passed <= limit, "not more than that had passed when it was answered");
    assert_eq!(upstream.count() as u64, limit, "all of it can be used, and no more");
    // Below what is used: nothing more; raised: just the difference.
    applied(cluster.node(2).admin, &small(limit - 50), json!({})).await;
    applied(cluster.node(0).admin, &small(limit + 5), json!({})).await;
    let more =
        crate::support::load::volley(&ask, &cluster.alive().map(|node| node.data).collect::<Vec<_>>(), 6, 40)
            .await;
    assert_eq!(more.passed(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_is_tried_with_some_tenants_on_all_nodes() {
    let upstream = Upstream::start().await;
    let cluster = Cluster::start(&upstream, &Postgres::shared().url()).await;
    let halves = halves();
    let admin = cluster.admin();
    applied(admin, &halves[0], json!({})).await;
    let names: Vec<String> = (0..24).map(|n| format!("tenant-{n}")).collect();
    let mut keys = BTreeMap::new();
    for name in &names {
        keys.insert(name.clone(), admin.tenant(name, "half").await);
    }
    /// Who is decided by the second half, as each node has it.
    async fn staged(cluster: &Cluster, keys: &BTreeMap<String, String>) -> Vec<String> {
        let mut all = Vec::new();
        for gateway in cluster.alive() {
            let mut here = Vec::new();
            for (name, key) in keys {
                let reply = get("/v1/half").key(key).send(gateway.data).await;
                match (reply.status, quota(&reply)) {
                    (200, Some(10_000_001)) => {}
                    (200, Some(20_000_002)) => here.push(name.clone()),
                    other => panic!("{name}: {other:?} {}", reply.text()),
                }
            }
            all.push(here);
        }
        assert!(all.iter().all(|here| *here == all[0]), "every node has the same: {all:?}");
        all.remove(0)
    }
    let traffic = Traffic::on(&cluster, &keys["tenant-0"]);
    let list = json!({ "rollout": { "tenants": ["tenant-3", "tenant-11", "nobody"] } });
    let answer = applied(cluster.node(1).admin, &halves[1], list).await;
    assert!(answer["candidate"].is_string() && answer["candidate"] != answer["digest"]);
    assert_eq!(staged(&cluster, &keys).await, ["tenant-11", "tenant-3"]);
    let limit = async |name: &str| {
        let rights = admin.get(&format!("/v1/tenants/{name}/rights")).await;
        rights["quotas"]["requests"]["limit"].as_u64().unwrap()
    };
    assert_eq!((limit("tenant-3").await, limit("tenant-4").await), (20_000_002, 10_000_001));
    let check = json!({ "tenant": "tenant-3", "method": "GET", "path": "/v1/half" });
    assert_eq!(admin.ok("POST", "/v1/check", check).await["charge"], json!({ "requests": 2 }));

    applied(cluster.node(2).admin, &halves[1], json!({ "rollout": { "tenants": "30%" } })).await;
    let third = staged(&cluster, &keys).await;
    applied(cluster.node(0).admin, &halves[1], json!({ "rollout": { "tenants": "70%" } })).await;
    let most = staged(&cluster, &keys).await;
    assert!(third.len() < most.len() && third.iter().all(|name| most.contains(name)), "{third:?} {most:?}");
    let other = apply(admin, &halves[0], json!({})).await;
    assert_eq!((other.status, other.code()), (409, "trial-running".to_owned()));

    decide(cluster.node(1).admin, "discard").await;
    assert_eq!(staged(&cluster, &keys).await, Vec::<String>::new());
    applied(admin, &halves[1], json!({ "rollout": { "tenants": ["tenant-5"] } })).await;
    decide(cluster.node(2).admin, "promote").await;
    assert_eq!(staged(&cluster, &keys).await.len(), names.len());
    decide(admin, "rollback").await;
    assert_eq!(staged(&cluster, &keys).await, Vec::<String>::new());
    let by = traffic.end().await;
    assert!(by.iter().all(|count| *count > 0), "{by:?}");
}

#[tokio::test]
async fn the_commands_apply_and_take_back() {
    let upstream = Upstream::start().await;
    let setup = node(&upstream, &Postgres::shared().url(), "a");
    let gateway = setup.start().await;
    let admin = gateway.admin;
    admin.tenant("acme", "small").await;
    let folder = setup.path("edited");
    let write = |files: &Files| {
        for (name, text) in files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    };
    write(&small(3));
    let folder = folder.to_str().unwrap();
    let limit = async || admin.get("/v1/tenants/acme/rights").await["quotas"]["requests"]["limit"].clone();
    let (code, out, err) = shell(admin, &["policy", "apply", folder, "-m", "fewer", "--author", "ann"]).await;
    assert_eq!((code, limit().await), (0, json!(3)), "{out}{err}");
    assert!(err.contains("`plangate policy rollback` takes it back"), "{err}");
    let (code, _, err) = shell(admin, &["policy", "apply", folder]).await;
    assert_eq!(code, 0);
    assert!(err.contains("nothing to do"), "{err}");
    write(&small(8));
    let (code, _, err) = shell(admin, &["policy", "apply", folder, "--base", "1"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("revision-stale") && err.contains("policy diff"), "{err}");
    let (code, out, _) =
        shell(admin, &["policy", "apply", folder, "--tenants", "acme", "--output", "json"]).await;
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, answer["number"].as_u64(), limit().await), (0, Some(3), json!(8)));
    let (code, ..) = shell(admin, &["policy", "apply", "--promote"]).await;
    assert_eq!((code, limit().await), (0, json!(8)));
    let (code, ..) = shell(admin, &["policy", "rollback", "-m", "too many"]).await;
    assert_eq!((code, limit().await), (0, json!(3)));
    let (code, ..) = shell(admin, &["policy", "rollback", "--to", "1"]).await;
    assert_eq!((code, limit().await), (0, json!(5)));
    let (code, out, _) = shell(admin, &["policy", "history"]).await;
    let kinds: Vec<&str> = out.lines().skip(1).map(|line| line.split('\t').nth(3).unwrap()).collect();
    assert_eq!((code, kinds), (0, vec!["rollback", "rollback", "promote", "stage", "apply", "import"]));
    std::fs::write(format!("{folder}/routes.yaml"), "routes: [").unwrap();
    let (code, out, err) = shell(admin, &["policy", "apply", folder]).await;
    assert_eq!(code, 1);
    assert!(out.contains("routes.yaml:1") && err.contains("nothing was applied"), "{out}{err}");
    let (code, _, err) = shell(admin, &["policy", "apply", "/nowhere"]).await;
    assert_eq!(code, 2, "{err}");
}
