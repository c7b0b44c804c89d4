//! What a change costs until it is in force on every node, and what the nodes cost one PostgreSQL meanwhile. Real
//! processes, and a server that is started for this. See `benches/README.md`.
#![allow(clippy::unwrap_used, reason = "what cannot be set up cannot be measured")]
#![allow(missing_docs, reason = "nobody uses a bench as a library")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use support::{
    admin::{Admin, TOKEN},
    client::{Ask, Wire, ask, get},
    cluster::{Cluster, node},
    postgres::Postgres,
    upstream::Upstream,
};

/// How much is measured.
#[derive(Clone, Copy)]
struct Amounts {
    /// Changes, one after the other.
    each: usize,
    writing: Duration,
    idle: Duration,
}

fn main() {
    let timed = !std::env::args().any(|argument| argument == "--test");
    let amounts = match timed {
        true => Amounts { each: 400, writing: Duration::from_secs(8), idle: Duration::from_secs(30) },
        false => Amounts { each: 5, writing: Duration::from_millis(300), idle: Duration::from_secs(1) },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let upstream = Upstream::start().await;
        // As an installation has it: what is acknowledged is on the disk.
        let durable = ["fsync=on", "full_page_writes=on", "shared_preload_libraries=pg_stat_statements"];
        let server = Postgres::with(&durable);
        println!("| time to `applied` | calls | p50 | p99 | most | the next request, p50 | p99 |");
        println!("|---|--:|--:|--:|--:|--:|--:|");
        for nodes in [1, 3] {
            let mut scene = Scene::start(&upstream, &server, nodes).await;
            scene.applied("with notifications", amounts.each).await;
            let database = scene.database.clone();
            let silence = Silence::over(&server, &database);
            scene.applied("without", amounts.each / 4).await;
            drop(silence);
            if nodes == 3 {
                tokio::time::sleep(Duration::from_secs(2)).await;
                scene.cluster.kill(2);
                scene.applied("the first with a dead node", 1).await;
                scene.applied("the next ones", amounts.each).await;
            }
        }
        println!("\n| changes a second | writers | `wait=none` | `wait=applied` |\n|---|--:|--:|--:|");
        let scene = Scene::start(&upstream, &server, 3).await;
        for writers in [8, 32] {
            let none = scene.changes(writers, "none", amounts.writing).await;
            let applied = scene.changes(writers, "applied", amounts.writing).await;
            println!("| 3 nodes | {writers} | {none:.0} | {applied:.0} |");
        }
        drop(scene);
        println!("\n| statements a second at rest | all | of these, polls |\n|---|--:|--:|");
        for nodes in [1, 3] {
            let scene = Scene::start(&upstream, &server, nodes).await;
            scene.at_rest(&server, amounts.idle).await;
        }
    });
}

/// Nodes, and a client that knows them.
struct Scene {
    cluster: Cluster,
    database: String,
    key: String,
}

/// Sorted times.
struct Times(Vec<Duration>);

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    fn at(&self, percent: usize) -> String {
        let place = (self.0.len() * percent / 100).min(self.0.len() - 1);
        format!("{:.1} ms", self.0[place].as_secs_f64() * 1000.0)
    }
}

fn subscribe(tenant: &str, plan: &str, wait: &str) -> Ask {
    let path = format!("/v1/tenants/{tenant}/subscription?wait={wait}");
    ask("PUT", &path).bearer(TOKEN).json(&json!({ "plan": plan }))
}

fn other(turn: usize) -> &'static str {
    if turn.is_multiple_of(2) { "small" } else { "big" }
}

impl Scene {
    async fn start(upstream: &Upstream, server: &Postgres, nodes: usize) -> Self {
        let database = server.url();
        let setups = ["a", "b", "c"].into_iter().take(nodes).map(|name| {
            let mut setup = node(upstream, &database, name);
            setup.environment.push(("PLANGATE_LOG".to_owned(), "warn,plangate=info".to_owned()));
            setup
        });
        let cluster = Cluster::of(setups.collect()).await;
        let key = cluster.admin().tenant("acme", "big").await;
        // As in use: every node knows the tenant and holds units of it.
        for node in cluster.alive() {
            get("/v1/messages").key(&key).send(node.data).await;
        }
        Self { cluster, database, key }
    }

    /// Changes one after the other, and after each a request to the node that took it.
    async fn applied(&mut self, what: &str, calls: usize) {
        let (admin, data) = {
            let node = self.cluster.alive().next().unwrap();
            (node.admin.0, node.data)
        };
        let (mut calling, mut asking) = (Wire::to(admin).await, Wire::to(data).await);
        let message = get("/v1/me").key(&self.key);
        let (mut applied, mut next) = (Vec::new(), Vec::new());
        for turn in 0..calls.max(1) {
            let began = Instant::now();
            let answer = subscribe("acme", other(turn), "applied").send_on(&mut calling, admin).await;
            applied.push(began.elapsed());
            assert!(answer.status < 300, "{}", answer.text());
            let began = Instant::now();
            assert_eq!(message.send_on(&mut asking, data).await.status, 200);
            next.push(began.elapsed());
            // Not in step with the polls.
            tokio::time::sleep(Duration::from_millis((turn * 37 % 50) as u64)).await;
        }
        let (applied, next) = (Times::of(applied), Times::of(next));
        let nodes = self.cluster.alive().count();
        let (p50, p99, most) = (applied.at(50), applied.at(99), applied.at(100));
        println!(
            "| {nodes} alive, {what} | {calls} | {p50} | {p99} | {most} | {} | {} |",
            next.at(50),
            next.at(99)
        );
    }

    /// Writers with a tenant of their own each, on all nodes.
    async fn changes(&self, writers: usize, wait: &'static str, time: Duration) -> f64 {
        let nodes: Vec<Admin> = self.cluster.alive().map(|node| node.admin).collect();
        let mut all = JoinSet::new();
        for writer in 0..writers {
            let admin = nodes[writer % nodes.len()];
            let tenant = format!("{wait}-{writers}-{writer}");
            admin.ok("PUT", &format!("/v1/tenants/{tenant}?wait=none"), json!({})).await;
            all.spawn(async move {
                let mut wire = Wire::to(admin.0).await;
                let (began, mut made) = (Instant::now(), 0_usize);
                while began.elapsed() < time {
                    let answer = subscribe(&tenant, other(made), wait).send_on(&mut wire, admin.0).await;
                    assert!(answer.status < 300, "{}", answer.text());
                    made += 1;
                }
                made as f64 / began.elapsed().as_secs_f64()
            });
        }
        let mut sum = 0.0;
        while let Some(rate) = all.join_next().await {
            sum += rate.unwrap();
        }
        sum
    }

    /// Statements that the nodes send while nobody asks anything, as the server counts them.
    async fn at_rest(&self, server: &Postgres, time: Duration) {
        server.run(&self.database, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements");
        tokio::time::sleep(Duration::from_secs(3).min(time)).await;
        server.run(&self.database, "SELECT pg_stat_statements_reset()");
        let began = Instant::now();
        tokio::time::sleep(time).await;
        let count = |which: &str| {
            let sql = format!(
                "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid \
                 WHERE d.datname = current_database() AND query NOT LIKE '%pg_stat_statements%' AND {which}"
            );
            server.ask(&self.database, &sql).parse::<f64>().unwrap() / began.elapsed().as_secs_f64()
        };
        let (all, polls) = (count("true"), count("query LIKE 'WITH beat AS%'"));
        println!("| {} nodes | {all:.1} | {polls:.1} |", self.cluster.alive().count());
        let most = "SELECT json_agg(t) FROM (SELECT calls, left(query, 60) AS query FROM pg_stat_statements s \
                    JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database() \
                    ORDER BY calls DESC LIMIT 6) t";
        let most: Value = serde_json::from_str(&server.ask(&self.database, most)).unwrap_or_default();
        eprintln!("{most:#}");
    }
}

/// Ends every session that listens, as soon as it does.
struct Silence<'a> {
    server: &'a Postgres,
    database: &'a str,
    session: Child,
}

impl<'a> Silence<'a> {
    fn over(server: &'a Postgres, database: &'a str) -> Self {
        let statement = "DO $$ BEGIN LOOP PERFORM pg_stat_clear_snapshot(); \
             PERFORM pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND query LIKE 'LISTEN%'; \
             PERFORM pg_sleep(0.02); END LOOP; END $$";
        let mut psql = server.psql(database, statement);
        let session = psql.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        Self { server, database, session }
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        // The process may be only a shell around the one that holds the session.
        let ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'DO $$%'";
        self.server.run(self.database, ending);
        let _ = self.session.wait();
    }
}
