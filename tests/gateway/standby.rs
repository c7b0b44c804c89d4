//! The primary is gone for good and a standby takes its place, which has not seen the last commits.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::support::{
    admin::TOKEN,
    client::{Ask, get},
    cluster::{Cluster, node, shell, standing, usage},
    drain::drain,
    forwarder::Forwarder,
    load::{Load, volley},
    postgres::Postgres,
    process::eventually,
    upstream::Upstream,
};

const LIMIT: u64 = 6_000;
const LEDGER: &str = "ledger-unavailable";
/// Three seconds are promised; a busy machine has more time.
const GRANTS_WITHIN: Duration = Duration::from_secs(10);

fn message(key: &str) -> Ask {
    get("/v1/messages").key(key)
}

fn aside<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

struct Scene {
    upstream: Upstream,
    cluster: Cluster,
    primary: Postgres,
    standby: Postgres,
    /// What the nodes know as their database.
    way: Forwarder,
    /// What the standby knows as its primary.
    stream: Forwarder,
    hard: String,
    fresh: String,
}

/// Three nodes at work, and a standby that has seen all tenants, but not what came after them.
async fn scene() -> Scene {
    let upstream = Upstream::start().await;
    let primary = aside(Postgres::private);
    let (way, stream) = (Forwarder::to(primary.port()).await, Forwarder::to(primary.port()).await);
    let database = format!("postgres://plangate@127.0.0.1:{}/plangate", way.port);
    let setups = ["a", "b", "c"].map(|name| node(&upstream, &database, name));
    let cluster = Cluster::of(setups.into()).await;
    let hard = cluster.limited("hard", LIMIT).await;
    let fresh = cluster.limited("fresh", 1_000).await;
    for node in cluster.alive() {
        volley(&message(&hard), &[node.data], 3, 60).await.is_only(&[("passed", 60)]);
    }
    let standby = aside(|| Postgres::standby(stream.port));
    let maintenance = |server: &Postgres| server.url_of("postgres");
    let written = aside(|| primary.ask(&maintenance(&primary), "SELECT pg_current_wal_lsn()"));
    eventually("the standby has caught up", async || {
        let caught_up = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        aside(|| standby.ask(&maintenance(&standby), &caught_up)) == "t"
    })
    .await;
    Scene { upstream, cluster, primary, standby, way, stream, hard, fresh }
}

impl Scene {
    /// The stream breaks off, the primary goes on for a while, and is gone.
    async fn fall(&self) {
        self.stream.close();
        let granted = self.grants().await;
        let load = Load::on_places(&message(&self.hard), &[self.cluster.place(0), self.cluster.place(1)], 6);
        // Grants that the primary acknowledges and the standby never hears of: what this is about.
        eventually("units are granted", async || self.grants().await >= granted + 4).await;
        aside(|| self.primary.kill());
        self.way.close();
        load.more(100).await;
        let tally = load.stop().await;
        assert_eq!(tally.of("broken"), 0, "{tally:?}");
    }

    /// Grants of all living nodes so far.
    async fn grants(&self) -> u64 {
        let mut all = 0;
        for node in self.cluster.alive() {
            let text = get("/metrics").bearer(TOKEN).send(node.admin.0).await.text();
            let line = text.lines().find_map(|line| line.strip_prefix("plangate_ledger_grants_total "));
            all += line.unwrap_or_else(|| panic!("{text}")).parse::<u64>().unwrap();
        }
        all
    }

    /// The standby takes over.
    fn promote(&self) -> Instant {
        aside(|| self.standby.promote());
        self.way.lead_to(self.standby.port());
        Instant::now()
    }

    /// Waits until every living node is granted units of a tenant of which it has none.
    async fn granted(&self, since: Instant) {
        for node in self.cluster.alive() {
            let granted = eventually("units are granted again", async || {
                message(&self.fresh).send(node.data).await.status == 200
            });
            timeout(GRANTS_WITHIN, granted).await.expect("no grants in time");
        }
        eprintln!("grants again {:?} after the promotion was reachable", since.elapsed());
        assert!(since.elapsed() < GRANTS_WITHIN, "{:?}", since.elapsed());
    }

    fn served(&self, tenant: &str) -> u64 {
        let seen = self.upstream.seen();
        seen.iter().filter(|seen| seen.header("x-plangate-tenant") == Some(tenant)).count() as u64
    }

    /// Uses up what is left: over all of it the limit held, and it was reached but for what is uncertain.
    async fn is_exact(&self, uncertain: bool) {
        // What the others hold by grants that were forgotten must not be granted to this one, too.
        drain(&message(&self.hard), &[self.cluster.place(1)], 3).await;
        let tally = drain(&message(&self.hard), &self.cluster.places(), 2).await;
        let served = self.served("hard");
        assert!(served <= LIMIT, "{served} of {LIMIT}");
        for node in self.cluster.alive() {
            eventually("every node says what was used", async || {
                let standing = standing(node.admin, "hard").await;
                standing.used == served && usage(node.admin, "hard").await == served
            })
            .await;
            let standing = standing(node.admin, "hard").await;
            assert_eq!(standing.used + standing.uncertain, LIMIT, "{standing:?}, {tally:?}");
            assert_eq!(standing.uncertain > 0, uncertain, "{standing:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_nodes_alive_nothing_is_lost_and_grants_go_on() {
    let scene = scene().await;
    scene.fall().await;
    let since = scene.promote();
    scene.granted(since).await;
    scene.is_exact(false).await;
    // Changes are obeyed again, too, though the standby had not seen all of them.
    scene.cluster.limit("hard", LIMIT + 5).await;
    assert_eq!(drain(&message(&scene.hard), &scene.cluster.places(), 2).await.passed(), 5);
}

/// Who was killed before may hold what the standby has not heard of.
async fn without_one_node() -> Scene {
    let mut scene = scene().await;
    scene.cluster.kill(2);
    scene.fall().await;
    scene.promote();
    for node in scene.cluster.alive() {
        eventually("the node has found the new primary", async || {
            let reply = message(&scene.fresh).send(node.data).await;
            assert_ne!(reply.status, 200, "granted without node `c`");
            reply.code() == LEDGER
        })
        .await;
    }
    eventually("it is said whom the nodes wait for", async || {
        let ready = get("/readyz").send(scene.cluster.admin().0).await.text();
        let mut words = ready.split(|c: char| !c.is_ascii_alphanumeric());
        ready.contains("node lost") && words.any(|word| word == "c")
    })
    .await;
    // Longer than it would take with all nodes alive.
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        for node in scene.cluster.alive() {
            let refused = message(&scene.fresh).send(node.data).await;
            assert_eq!((refused.status, refused.code().as_str()), (503, LEDGER));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    scene
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_wait_for_a_node_that_was_killed_before() {
    let mut scene = without_one_node().await;
    scene.cluster.start_again(2).await;
    scene.granted(Instant::now()).await;
    scene.is_exact(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_go_on_when_the_missing_node_is_declared_lost() {
    let scene = without_one_node().await;
    let (code, out, err) = shell(scene.cluster.admin(), &["node", "lost", "c"]).await;
    assert_eq!(code, 0, "{out}{err}");
    scene.granted(Instant::now()).await;
    scene.is_exact(true).await;
}
