//! Policies tried in the shadow: what is enforced stays exactly as it was, and what would have differed is counted.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    admin::Admin,
    client::{Ask, ask, get},
    cluster::{Cluster, shell, usage},
    load::{Load, volley},
    postgres::Postgres,
    process::{Gateway, POLICIES, Setup, eventually},
    upstream::Upstream,
};

/// The policies of all tests, with some texts replaced.
fn candidate(changes: &[(&str, &str)]) -> Value {
    let files = POLICIES.iter().map(|(name, text)| {
        let text = changes.iter().fold((*text).to_owned(), |text, (from, to)| text.replace(from, to));
        ((*name).to_owned(), Value::from(text))
    });
    let files: serde_json::Map<String, Value> = files.collect();
    for (from, to) in changes {
        let has = |text: &str| files.values().any(|file| file.as_str().unwrap().contains(text));
        assert!(has(to) && !has(from), "`{from}` is not replaced");
    }
    files.into()
}

async fn try_in_the_shadow(admin: Admin, files: Value) {
    let done = admin.ok("POST", "/v1/policy/apply", json!({ "files": files, "rollout": "shadow" })).await;
    assert_eq!(done["applied"]["pending"], json!([]), "{done}");
}

/// The report once it has counted so many requests, and not one more.
async fn report(admin: Admin, compared: usize) -> Value {
    eventually("the report has counted all", async || {
        let counted = admin.get("/v1/policy/shadow").await["totals"]["compared"].as_u64().unwrap();
        assert!(counted <= compared as u64, "{counted} of {compared}");
        counted == compared as u64
    })
    .await;
    admin.get("/v1/policy/shadow").await
}

/// A row in short: who, where, how it was decided, how it would have been, how often.
fn rows(report: &Value) -> Vec<(String, String, String, String, u64)> {
    let items = report["items"].as_array().unwrap().iter();
    let mut rows: Vec<_> = items
        .map(|item| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let verdict = |name: &str| {
                let parts = ["code", "feature", "meter"].map(|part| text(&item[name][part]));
                parts.join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
            };
            let who = item["tenant"].as_str().map_or_else(|| text(&item["sender"]), str::to_owned);
            let count = item["count"].as_u64().unwrap();
            (who, text(&item["route"]), verdict("enforced"), verdict("candidate"), count)
        })
        .collect();
    rows.sort();
    rows
}

fn row(
    who: &str,
    route: &str,
    enforced: &str,
    candidate: &str,
    count: u64,
) -> (String, String, String, String, u64) {
    (who.into(), route.into(), enforced.into(), candidate.into(), count)
}

async fn send(gateway: &Gateway, ask: &Ask, times: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        statuses.push(ask.send(gateway.data).await.status);
    }
    statuses
}

/// Four tenants, one for each way in which the candidate is stricter.
struct Keys {
    acme: String,
    tiny: String,
    costly: String,
    slow: String,
}

impl Keys {
    async fn make(admin: Admin) -> Self {
        let keys = Self {
            acme: admin.tenant("acme", "big").await,
            tiny: admin.tenant("tiny", "small").await,
            costly: admin.tenant("costly", "big").await,
            slow: admin.tenant("slow", "slow").await,
        };
        admin.overrides("costly", json!({ "quotas": { "requests": { "limit": 25 } } })).await;
        keys
    }

    /// The same requests each time: 22 are compared. What the policies in force answer.
    async fn send(&self, gateway: &Gateway) {
        let post = |key: &str| ask("POST", "/v1/messages").key(key);
        assert_eq!(send(gateway, &get("/v1/export/all").key(&self.acme), 3).await, [200; 3]);
        assert_eq!(send(gateway, &get("/v1/new").key(&self.acme), 2).await, [404; 2]);
        assert_eq!(
            send(gateway, &post(&self.tiny), 7).await,
            [200, 200, 200, 200, 200, 429, 429],
            "the quota of five is in force"
        );
        assert_eq!(send(gateway, &get("/v1/messages/1").key(&self.costly), 6).await, [200; 6]);
        assert_eq!(send(gateway, &post(&self.slow), 3).await, [200, 200, 429], "the rate of two is in force");
        assert_eq!(send(gateway, &get("/healthz"), 1).await, [200]);
        // Nobody is known by the one or the other policies: not compared.
        assert_eq!(send(gateway, &get("/v1/messages"), 1).await, [401]);
    }
}

fn stricter() -> Value {
    candidate(&[
        ("plan: big\nfeatures: [chat, export]", "plan: big\nfeatures: [chat]"),
        ("limit: 5 }", "limit: 3 }"),
        ("limit: 2, per: 1h, burst: 2", "limit: 1, per: 1h, burst: 1"),
        (
            "\"GET /v1/messages/{id}\", features: [chat] }",
            "\"GET /v1/messages/{id}\", features: [chat], charge: { requests: 10 } }\n  - { match: \"GET /v1/new\", charge: {} }",
        ),
        ("\"GET /healthz\", public: true }", "\"GET /healthz\", charge: {} }"),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_differ_is_counted_and_nothing_of_it_is_carried_out() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let admin = gateway.admin;
    let keys = Keys::make(admin).await;
    let none = admin.call("GET", "/v1/policy/shadow", Value::Null).await;
    assert_eq!((none.status, none.code().as_str()), (409, "no-trial"));
    try_in_the_shadow(admin, stricter()).await;
    keys.send(&gateway).await;
    assert_eq!(upstream.count(), 3 + 5 + 6 + 2 + 1);
    let found = report(admin, 22).await;
    let refused = "quota-exhausted requests";
    let expected = [
        row("acme", "* /v1/export/{*rest}", "allow", "feature-not-in-plan export", 3),
        row("acme", "GET /v1/new", "route-not-covered", "allow", 2),
        row("anonymous", "GET /healthz", "allow", "identity-needed", 1),
        row("costly", "GET /v1/messages/{id}", "allow", refused, 4),
        row("slow", "* /v1/messages", "allow", "rate-limited requests", 1),
        row("tiny", "* /v1/messages", "allow", refused, 2),
    ];
    assert_eq!(rows(&found), expected);
    let totals = json!({
        "compared": 22, "differing": 13, "newly_refused": 10, "newly_allowed": 2, "uncompared": 0
    });
    assert_eq!(found["totals"], totals);
    let counts: Vec<u64> =
        found["items"].as_array().unwrap().iter().map(|i| i["count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [4, 3, 2, 2, 1, 1], "the most frequent first");
    for (tenant, used) in [("acme", 30), ("tiny", 5), ("costly", 6), ("slow", 2)] {
        assert_eq!(admin.used(tenant, "requests").await, used, "{tenant}");
        eventually("usage is recorded", async || usage(admin, tenant).await == used).await;
    }
    sums_and_pages(admin).await;
    commands(admin).await;

    // What was counted stays when the node stops, and goes on when it starts again.
    gateway.stop().await;
    let gateway = setup.start().await;
    assert_eq!(report(gateway.admin, 22).await["totals"], totals);
    assert_eq!(send(&gateway, &get("/v1/export/all").key(&keys.acme), 1).await, [200]);
    assert_eq!(report(gateway.admin, 23).await["totals"]["newly_refused"], 11);
    promoted_and_discarded(&gateway, &keys).await;
}

async fn sums_and_pages(admin: Admin) {
    let by_tenant = admin.get("/v1/policy/shadow?by=tenant").await;
    let acme = by_tenant["items"].as_array().unwrap().iter().find(|item| item["tenant"] == "acme").unwrap();
    let expected = json!({
        "sender": "tenant", "tenant": "acme", "count": 5, "newly_refused": 3, "newly_allowed": 2
    });
    assert_eq!((acme, &by_tenant["items"][0]), (&expected, &expected));
    let by_route = admin.get("/v1/policy/shadow?by=route&limit=1").await;
    let first =
        json!({ "route": "GET /v1/messages/{id}", "count": 4, "newly_refused": 4, "newly_allowed": 0 });
    assert_eq!((&by_route["items"], &by_route["next"]), (&json!([first]), &json!(1)));
    let mut paged = Vec::new();
    let mut next = Some(0);
    while let Some(cursor) = next {
        let page = admin.get(&format!("/v1/policy/shadow?cursor={cursor}&limit=4")).await;
        paged.extend(rows(&page));
        next = page["next"].as_u64();
    }
    paged.sort();
    assert_eq!(paged, rows(&admin.get("/v1/policy/shadow").await));
    for wrong in ["by=plan", "limit=0", "cursor=x", "tenant=acme"] {
        let reply = admin.call("GET", &format!("/v1/policy/shadow?{wrong}"), Value::Null).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "parameter-invalid"), "{wrong}");
    }
}

async fn commands(admin: Admin) {
    let (code, out, said) = shell(admin, &["policy", "shadow"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(out.contains("acme\t* /v1/export/{*rest}\tallow\tfeature-not-in-plan export\t3\n"), "{out}");
    assert!(out.contains("(anonymous)\tGET /healthz\tallow\tidentity-needed\t1\n"), "{out}");
    assert!(said.starts_with("10 of 22 requests since 20"), "{said}");
    assert!(said.contains("would have been refused, 2 let in, and 1 answered otherwise."), "{said}");
    let (_, out, _) = shell(admin, &["policy", "shadow", "--by", "tenant", "--output", "json"]).await;
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["items"][0]["tenant"], "acme");
}

async fn promoted_and_discarded(gateway: &Gateway, keys: &Keys) {
    let admin = gateway.admin;
    admin.ok("POST", "/v1/policy/promote", json!({})).await;
    assert_eq!(send(gateway, &get("/v1/export/all").key(&keys.acme), 1).await, [403]);
    assert_eq!(send(gateway, &get("/v1/new").key(&keys.acme), 1).await, [200]);
    assert_eq!(send(gateway, &get("/healthz"), 1).await, [401]);
    let none = admin.call("GET", "/v1/policy/shadow", Value::Null).await;
    assert_eq!((none.status, none.code().as_str()), (409, "no-trial"));
    let (code, _, said) = shell(admin, &["policy", "shadow"]).await;
    assert_eq!(code, 1, "{said}");
    // The other way round: counted from nothing, although these very policies were tried before.
    try_in_the_shadow(admin, candidate(&[])).await;
    assert_eq!(report(admin, 0).await["items"], json!([]));
    assert_eq!(send(gateway, &get("/v1/export/all").key(&keys.acme), 2).await, [403; 2]);
    let found = report(admin, 2).await;
    let lacks = "feature-not-in-plan export";
    assert_eq!(rows(&found), [row("acme", "* /v1/export/{*rest}", lacks, "allow", 2)]);
    assert_eq!(found["totals"]["newly_allowed"], 2);
    admin.ok("POST", "/v1/policy/discard", json!({})).await;
    assert_eq!(admin.call("GET", "/v1/policy/shadow", Value::Null).await.status, 409);
    assert_eq!(send(gateway, &get("/v1/export/all").key(&keys.acme), 1).await, [403], "as before the trial");
    try_in_the_shadow(admin, candidate(&[])).await;
    assert_eq!(report(admin, 0).await["items"], json!([]), "a new trial begins with nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_used_without_a_limit_is_learned_from_the_database() {
    let upstream = Upstream::start().await;
    let setup = Setup::before(&upstream);
    let gateway = setup.start().await;
    let key = gateway.admin.tenant("acme", "open").await;
    let post = ask("POST", "/v1/messages").key(&key);
    assert_eq!(send(&gateway, &post, 4).await, [200; 4]);
    // A node that starts again need not know them, as nothing limits them.
    gateway.stop().await;
    let gateway = setup.start().await;
    let admin = gateway.admin;
    assert_eq!(admin.used("acme", "requests").await, 4);
    try_in_the_shadow(admin, candidate(&[("limit: unlimited", "limit: 6")])).await;
    assert_eq!(send(&gateway, &post, 1).await, [200]);
    // It learns after it has recorded: by the next record it has.
    report(admin, 1).await;
    assert_eq!(send(&gateway, &get("/v1/me").key(&key), 1).await, [200]);
    report(admin, 2).await;
    assert_eq!(send(&gateway, &post, 3).await, [200; 3]);
    let found = report(admin, 5).await;
    let expected = [row("acme", "* /v1/messages", "allow", "quota-exhausted requests", 2)];
    assert_eq!(rows(&found), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_count_together_what_was_sent() {
    const LIMIT: usize = 400;
    let upstream = Upstream::start().await;
    let mut cluster = Cluster::start(&upstream, &Postgres::shared().url()).await;
    let key = cluster.limited("acme", LIMIT as u64).await;
    // All that is let in would be refused; all that is refused would be refused otherwise.
    let files = candidate(&[("plan: big\nfeatures: [chat, export]", "plan: big\nfeatures: [export]")]);
    try_in_the_shadow(cluster.admin(), files).await;
    let message = get("/v1/messages").key(&key);
    let nodes: Vec<_> = cluster.alive().map(|node| node.data).collect();
    let sent = 900;
    let tally = volley(&message, &nodes, 6, sent).await;
    tally.is_only(&[("passed", LIMIT), ("quota-exhausted", sent - LIMIT)]);
    assert_eq!(upstream.count(), LIMIT, "the quota that is in force is exact");
    for node in [0, 1, 2] {
        let found = report(cluster.node(node).admin, sent).await;
        let lacks = "feature-not-in-plan chat";
        let expected = [
            row("acme", "* /v1/messages", "allow", lacks, LIMIT as u64),
            row("acme", "* /v1/messages", "quota-exhausted requests", lacks, (sent - LIMIT) as u64),
        ];
        assert_eq!(rows(&found), expected);
        assert_eq!(found["totals"]["newly_refused"], LIMIT);
    }

    // What a node has counted more than two seconds ago is not lost with it.
    let load = Load::on_places(&message, &cluster.places(), 3);
    load.more(150).await;
    let counted = sent + load.answers();
    tokio::time::sleep(Duration::from_millis(2_600)).await;
    cluster.kill(2);
    load.more(50).await;
    let most = sent + load.stop().await.total();
    let mut last = 0;
    eventually("the report stands still", async || {
        let before = last;
        last = compared(cluster.admin()).await;
        tokio::time::sleep(Duration::from_millis(2_300)).await;
        before == last
    })
    .await;
    let last = usize::try_from(last).unwrap();
    assert!((counted..=most).contains(&last), "{counted} <= {last} <= {most}");
    assert_eq!(upstream.count(), LIMIT);
}

async fn compared(admin: Admin) -> u64 {
    admin.get("/v1/policy/shadow").await["totals"]["compared"].as_u64().unwrap()
}
