//! The ledger over a real PostgreSQL, where one is given: what requests cost it in statements, counted by its server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use plangate::{
    clock::Clock,
    domain::rights::Rights,
    ports::{Answer, Ledger},
    store::{Options, Store, connect},
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::TaskTracker;

use super::{
    cluster::Member,
    grants,
    observer::{Observer, PURPOSES, Statements},
    world::{self, ONE},
};

/// Names a database that does not exist yet, or was made by an earlier run.
const VARIABLE: &str = "PLANGATE_BENCH_DATABASE";
/// Sessions that rest report what they have done after ten seconds.
const REPORTED: Duration = Duration::from_millis(10_500);

/// One tenant's requests to so many nodes.
struct Traffic {
    what: &'static str,
    nodes: usize,
    limit: u64,
    /// To each node.
    a_second: u64,
    seconds: u64,
    /// Made before anything is counted, to each node.
    before: u64,
}

const FAR: u64 = 300_000_000;
const MODEST: u64 = 6_000_000;

const TRAFFIC: [Traffic; 5] = [
    Traffic { what: "2 nodes at rest", nodes: 2, limit: FAR, a_second: 0, seconds: 10, before: 0 },
    Traffic { what: "100/s, limit 300,000,000", nodes: 1, limit: FAR, a_second: 100, seconds: 30, before: 1 },
    Traffic {
        what: "100/s, limit 6,000,000",
        nodes: 1,
        limit: MODEST,
        a_second: 100,
        seconds: 60,
        before: 1,
    },
    Traffic {
        what: "2 x 50/s, the last 1,000",
        nodes: 2,
        limit: 1_000,
        a_second: 50,
        seconds: 10,
        before: 0,
    },
    Traffic { what: "2 x 1,000/s, exhausted", nodes: 2, limit: 10, a_second: 1_000, seconds: 10, before: 10 },
];

/// Measures and prints, or says that there is no database.
pub fn print(timed: bool) {
    let Some(url) = std::env::var(VARIABLE).ok().filter(|url| !url.is_empty()) else {
        println!("\nPostgreSQL: skipped, as {VARIABLE} names no database");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        // The first to connect makes the database and its tables.
        let admin = connect(&url, &Options::default()).await.unwrap();
        let mut observer = Observer::new(&url).await;
        grants::print(&admin, timed).await;
        if !observer.sees_statements {
            println!("\nthe server does not load pg_stat_statements: transactions only");
        }
        println!(
            "\n| traffic | requests | admitted | grants: calls | statements | flushes: calls | statements \
             | looks: calls | statements | polls: calls | statements | committed | grants and looks per 1,000 \
             | a node and second |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
        );
        for traffic in &TRAFFIC {
            run(&url, &admin, &mut observer, traffic, timed).await;
        }
        observer.end().await;
        admin.close().await;
    });
}

async fn run(url: &str, admin: &Arc<dyn Store>, observer: &mut Observer, traffic: &Traffic, timed: bool) {
    let tenant = format!("bench-{}", uuid::Uuid::now_v7());
    let rights = world::enroll(&**admin, &tenant, traffic.limit).await;
    let mut nodes = Vec::new();
    for n in 0..traffic.nodes {
        nodes.push(Member::start(url, &format!("bench-{n}")).await);
    }
    for node in &nodes {
        for _ in 0..traffic.before {
            if let Ok(hold) = node.ledger.charge(&rights, &ONE, node.clock.now()).wait().await {
                hold.keep();
            }
        }
    }
    let seconds = if timed { traffic.seconds } else { 1 };
    tokio::time::sleep(if timed { REPORTED } else { Duration::ZERO }).await;
    let committed = observer.transactions().await;
    let statements = observer.statements().await;
    let calls = sum(&nodes);
    let admitted = Arc::<AtomicU64>::default();
    let tasks = TaskTracker::new();
    for node in &nodes {
        let driving = drive(Arc::clone(node), Arc::clone(&rights), traffic.a_second, seconds);
        tasks.spawn(driving(Arc::clone(&admitted)));
    }
    tasks.close();
    tasks.wait().await;
    for node in &nodes {
        node.halt().await;
    }
    let counted = Counted {
        traffic,
        seconds,
        admitted: admitted.load(Ordering::Relaxed),
        calls: std::array::from_fn(|purpose| sum(&nodes)[purpose] - calls[purpose]),
        statements: difference(&observer.statements().await, &statements),
    };
    for node in &nodes {
        node.close().await;
    }
    // The sessions report as they end, which the server does in its own time.
    tokio::time::sleep(Duration::from_secs(1)).await;
    counted.print(observer.transactions().await - committed);
}

/// Sends one node its requests, evenly, whether those before are answered or not.
fn drive(
    node: Arc<Member>,
    rights: Arc<Rights>,
    a_second: u64,
    seconds: u64,
) -> impl FnOnce(Arc<AtomicU64>) -> futures_util::future::BoxFuture<'static, ()> {
    move |admitted| {
        Box::pin(async move {
            if a_second == 0 {
                return tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
            let mut ticks = interval(Duration::from_secs(1) / u32::try_from(a_second).unwrap());
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let waiting = TaskTracker::new();
            for _ in 0..a_second * seconds {
                ticks.tick().await;
                match node.ledger.charge(&rights, &ONE, node.clock.now()) {
                    Answer::Ready(Ok(hold)) => {
                        hold.keep();
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                    Answer::Ready(Err(_)) => {}
                    Answer::Pending(pending) => {
                        let admitted = Arc::clone(&admitted);
                        waiting.spawn(async move {
                            if let Ok(hold) = pending.await {
                                hold.keep();
                                admitted.fetch_add(1, Ordering::Relaxed);
                            }
                        });
                    }
                }
            }
            waiting.close();
            waiting.wait().await;
        })
    }
}

struct Counted<'a> {
    traffic: &'a Traffic,
    seconds: u64,
    admitted: u64,
    calls: [u64; 4],
    statements: Statements,
}

impl Counted<'_> {
    fn print(&self, committed: i64) {
        let Traffic { what, nodes, a_second, .. } = *self.traffic;
        let requests = nodes as u64 * a_second * self.seconds;
        let seen = !self.statements.is_empty();
        let statements = |purpose: &str| self.statements.get(purpose).copied().unwrap_or(0);
        let mut row = format!("| {what}, {} s | {requests} | {}", self.seconds, self.admitted);
        for (purpose, calls) in PURPOSES.into_iter().zip(self.calls) {
            let statements = if seen { statements(purpose).to_string() } else { "-".to_owned() };
            row.push_str(&format!(" | {calls} | {statements}"));
        }
        let own = (statements("grants") + statements("looks")) as f64;
        let each =
            if seen && requests > 0 { format!("{:.2}", own * 1000.0 / requests as f64) } else { "-".into() };
        let all: i64 = self.statements.values().sum();
        let a_node = all as f64 / (nodes as u64 * self.seconds) as f64;
        let a_node = if seen { format!("{a_node:.1}") } else { "-".into() };
        println!("{row} | {committed} | {each} | {a_node} |");
    }
}

fn sum(nodes: &[Arc<Member>]) -> [u64; 4] {
    let all: Vec<[u64; 4]> = nodes.iter().map(|node| node.calls.get()).collect();
    std::array::from_fn(|purpose| all.iter().map(|calls| calls[purpose]).sum())
}

fn difference(now: &Statements, before: &Statements) -> Statements {
    let since = |(purpose, calls): (&String, &i64)| {
        (purpose.clone(), calls - before.get(purpose).copied().unwrap_or(0))
    };
    now.iter().map(since).collect()
}
